"""Where studies and their pictures come from: drawn from real reports, drawn from sampled ones, or read from files.

A source is a small frozen value that can be sent to another process; that is all `prepare` needs to know of it. A
further layout of real images is one more reader and one more entry in `layouts.LAYOUTS`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rrg_lib.data import iu_xray, phantom
from rrg_lib.data.images import SIZE, pixel_box, read_radiograph
from rrg_lib.data.layouts.collection import Collection, ViewRule
from rrg_lib.data.layouts.registry import LAYOUTS, find_layout
from rrg_lib.data.remarks import Remark
from rrg_lib.data.study import Box, Study
from rrg_lib.errors import ConfigurationError, DataRootError, ImageError, UnknownNameError
from rrg_lib.runtime.choices import check_choice
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.settings import SeedNumber, check_setting

#: Views of a study in the prepared form, the first ones it has. A study with fewer repeats its last one, and
#: `num_views` says how many are its own.
VIEWS = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """The views of a study, (V, 256, 256) uint8, and where on them the findings are; `provenance` says how they were
    made, `rejected` which files could not be read and why. V is 0 when none could."""

    views: np.ndarray
    boxes: tuple[Box, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    rejected: tuple[tuple[str, str], ...] = ()


#: Which drawings these are. Whoever changes what a study is drawn like writes another word here, so that nobody takes
#: old pictures for new ones (`tests/data/test_phantom.py` holds the pixels); how the code is written changes nothing.
#: Edition 0.1's word was a hash of its code.
DRAWING = "9595a464"


class Source(Protocol):
    """`identity` names everything, beside the library's version, that decides what comes out; two sources of one
    identity give the same bytes."""

    name: str

    def identity(self) -> dict[str, Any]: ...

    def studies(self) -> Sequence[Study]: ...

    def missing(self) -> Sequence[str]:
        """The files that its pictures need and that are not there."""

    def left_out(self) -> Mapping[str, int]:
        """How many studies of the folder are not among `studies`, by reason."""

    def split_source(self) -> str:
        """Whose split it is, in words; "" where there is nothing to say."""

    def vocabulary_reports(self) -> Sequence[str]:
        """The reports whose words are learnt: those for training, else those that the collection itself has for it."""

    def remarks(self) -> Sequence[Remark]:
        """What is wrong with the folder as a whole."""

    def picture(self, study: Study) -> Picture: ...


def _spread(studies: Sequence[Study], count: int | None) -> Sequence[Study]:
    """So many studies, evenly from all, so that the splits keep their shares."""
    if count is None or count >= len(studies):
        return studies
    return tuple(studies[(2 * i + 1) * len(studies) // (2 * count)] for i in range(count))


def _for_training(studies: Sequence[Study]) -> Sequence[str]:
    return [study.report for study in studies if study.split == "train"]


@dataclass(frozen=True, slots=True)
class _Drawn:
    seed: int = 0
    count: int | None = None

    def identity(self) -> dict[str, Any]:
        return {"seed": self.seed, "count": self.count, "drawing": DRAWING}

    def missing(self) -> Sequence[str]:
        return ()

    def left_out(self) -> Mapping[str, int]:
        return {}

    def split_source(self) -> str:
        return ""

    def vocabulary_reports(self) -> Sequence[str]:
        return _for_training(self.studies())

    def remarks(self) -> Sequence[Remark]:
        return ()

    def picture(self, study: Study) -> Picture:
        drawing = phantom.draw(study, seed=self.seed, size=SIZE)
        return Picture(
            drawing.views, tuple(drawing.boxes), {"pictures": "drawn", "seed": self.seed, "drawing": DRAWING}
        )


@dataclass(frozen=True, slots=True)
class IUPhantom(_Drawn):
    """The real IU X-Ray reports, with radiographs drawn from their expert codes. `count` takes that many studies,
    spread evenly over the 2,955."""

    name: str = "iu_phantom"

    def studies(self) -> Sequence[Study]:
        return _spread(iu_xray.studies(), self.count)


@dataclass(frozen=True, slots=True)
class Phantom(_Drawn):
    """Sampled findings, sentences of our own, drawn radiographs: `count` studies (default 512)."""

    name: str = "phantom"

    def studies(self) -> Sequence[Study]:
        return phantom.sample_studies(512 if self.count is None else self.count, seed=self.seed)


@dataclass(frozen=True)
class RealImages:
    """Real images, in whichever of `LAYOUTS` they come; `count` as above. `picture` sets aside the files it can't read
    and says why."""

    name: str
    root: Path
    layout: str
    rule: ViewRule = "as_released"
    count: int | None = None
    _read: list[Collection] = field(default_factory=list, compare=False, repr=False)  # filled by the first `collection`

    def __getstate__(
        self,
    ) -> dict[str, Any]:  # another process reads pictures alone, and gets the studies they are of with its task
        return {
            **self.__dict__,
            "_read": [replace(self.collection, studies=(), positions={}, left_out={}, vocabulary_reports=())],
        }

    @property
    def collection(self) -> Collection:
        """All that the folder holds, read once."""
        if not self._read:
            self._read.append(LAYOUTS[self.layout].read(self.root, self.rule))
        return self._read[0]

    def studies(self) -> Sequence[Study]:
        return _spread(self.collection.studies, self.count)

    def identity(self) -> dict[str, Any]:
        """The studies by their content, the images by name and size: a changed collection is another one, whatever its
        folder is called."""
        words, files = hashlib.sha256(), hashlib.sha256()
        for study in self.studies():
            words.update(
                content_hash(
                    [study.id, study.split, study.report, [finding.code for finding in study.findings]], 64
                ).encode()
            )
            files.update(content_hash([[path, self._size(path)] for path in study.views], 64).encode())
        apart = {} if self.rule == "as_released" else {"views_rule": self.rule}
        if not _for_training(self.studies()) and self.collection.vocabulary_reports:
            apart["words"] = content_hash(self.collection.vocabulary_reports)
        drawn = self.collection.boxes
        if drawn:
            apart["boxes"] = content_hash([[path, [astuple(box) for box in drawn[path]]] for path in sorted(drawn)])
        return {
            "layout": self.layout,
            "annotation": words.hexdigest()[:12],
            "images": files.hexdigest()[:12],
            "count": self.count,
            **apart,
        }

    def missing(self) -> Sequence[str]:
        return [path for study in self.studies() for path in study.views[:VIEWS] if self._size(path) is None]

    def left_out(self) -> Mapping[str, int]:
        return dict(self.collection.left_out)

    def split_source(self) -> str:
        if self.name == "iu_xray":
            return iu_xray.split_in_words(self.studies())
        return self.collection.split_source

    def vocabulary_reports(self) -> Sequence[str]:
        return _for_training(self.studies()) or self.collection.vocabulary_reports

    def remarks(self) -> Sequence[Remark]:
        return self.collection.remarks

    def picture(self, study: Study) -> Picture:
        folder, views, rejected = self.collection.images, [], []
        for path in study.views[:VIEWS]:
            try:
                views.append(read_radiograph(folder / path))
            except ImageError as error:
                rejected.append((path, str(error).replace(f"{folder}{os.sep}", "")))
        bad = {path for path, _ in rejected}
        files = [path for path in study.views[:VIEWS] if path not in bad]
        provenance = {"pictures": "files", "layout": self.layout, "files": files, "left_out": len(study.views[VIEWS:])}
        boxes = tuple(
            Box(box.finding, view, *pixel_box(box.x0, box.y0, box.x1, box.y1), box.code)
            for view, path in enumerate(files)
            for box in self.collection.boxes.get(path, ())
        )
        return Picture(
            np.stack(views) if views else np.empty((0, SIZE, SIZE), np.uint8), boxes, provenance, tuple(rejected)
        )

    def _size(self, path: str) -> int | None:
        try:
            image = self.collection.images / path
            return image.stat().st_size if isinstance(image, Path) else image.size
        except OSError:
            return None


def _drawn(kind: type[_Drawn]) -> Callable[..., Source]:
    def make(
        data_root: Path | str | None, seed: int, count: int | None, layout: str | None, views: ViewRule | None
    ) -> Source:
        if data_root:
            raise ConfigurationError(
                f"data_root is {str(data_root)!r}, but {kind().name} draws its pictures; leave it out, or prepare "
                f"iu_xray"
            )
        if layout or views:
            raise ConfigurationError(
                f"layout is {layout!r} and views is {views!r}, but {kind().name} draws its pictures; leave them out"
            )
        return kind(seed, count)

    return make


#: The rule for views of a source that has another than the views as released.
RULE_OF: dict[str, ViewRule] = {
    "mimic_cxr": "frontal",  # a report and one frontal view, as published
    "chexpert_plus": "frontal",
    "rexgradient": "frontal_first",
}


def views_option(name: str, rule: ViewRule) -> str:
    """What asks for a rule for views on the command line, with a space before; "" where the source has it anyway."""
    return "" if rule == RULE_OF.get(name, "as_released") else f" --views {rule}"


def _real(name: str) -> Callable[..., Source]:
    def make(
        data_root: Path | str | None, seed: int, count: int | None, layout: str | None, views: ViewRule | None
    ) -> Source:
        if not data_root:
            raise DataRootError(
                f"{name} reads real images; run: rrg prepare {name} --data-root FOLDER (or prepare iu_phantom, which "
                f"needs none)"
            )
        if views is not None:
            check_choice("rule for views", views, ViewRule)
        reader, root = find_layout(Path(data_root).expanduser(), name, layout)
        return RealImages(name, root, reader.name, views or RULE_OF.get(name, "as_released"), count)

    return make


SOURCES: dict[str, Callable[..., Source]] = {
    "iu_phantom": _drawn(IUPhantom),
    "phantom": _drawn(Phantom),
    "iu_xray": _real("iu_xray"),
    "mimic_cxr": _real("mimic_cxr"),
    "chexpert_plus": _real("chexpert_plus"),
    "rexgradient": _real("rexgradient"),
    "padchest_gr": _real("padchest_gr"),
    "own": _real("own"),
}
#: The protocol that a source's reports are cleaned by unless another is asked for.
PROTOCOL_OF = {name: "r2gen_mimic" for name in ("mimic_cxr", "chexpert_plus", "rexgradient")}


def find_source(
    name: str,
    *,
    data_root: Path | str | None = None,
    seed: int = 0,
    count: int | None = None,
    layout: str | None = None,
    views: ViewRule | None = None,
) -> Source:
    """The source of that name. `layout` (else told from the folder) and `views` (else the source's own rule) are for
    real images.

    Raises:
        UnknownNameError: no such source, layout or rule; names the nearest.
        DataRootError: real images asked for and no such folder, or none of the layouts in it.
        ConfigurationError: a count below 1, a data root for a source that reads no files, a folder with the marks of
            two layouts.
    """
    if name not in SOURCES:
        raise UnknownNameError("source", name, SOURCES)
    check_setting("seed", seed, SeedNumber, 0)
    if count is not None and count < 1:
        raise ConfigurationError(f"count is {count}; expected at least 1, or None for all studies")
    return SOURCES[name](data_root, seed, count, layout, views)
