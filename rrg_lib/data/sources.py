"""Where studies and their pictures come from: drawn from real reports, drawn from sampled ones, or read from files.

A source is a small frozen value that can be sent to another process; that is all `prepare` needs to know of it. A further layout of real images is
one more class here or beside it, and one more entry in `SOURCES`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rrg_lib.data import iu_xray, phantom
from rrg_lib.data.annotation import ANNOTATION, IMAGES, read_annotation
from rrg_lib.data.images import SIZE, read_radiograph
from rrg_lib.errors import ConfigurationError, DataRootError, UnknownNameError
from rrg_lib.hashing import content_hash
from rrg_lib.study import Box, Study

#: Views of a study in the prepared form, the first ones it has. A study with fewer repeats its last one, and `num_views` says how many are its own.
VIEWS = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """The views of a study, (V, 256, 256) uint8, and where on them the findings are; `provenance` says how they were made."""

    views: np.ndarray
    boxes: tuple[Box, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """`identity` names everything, beside the library's version, that decides what comes out; two sources of one identity give the same bytes."""

    name: str

    def identity(self) -> dict[str, Any]: ...

    def studies(self) -> Sequence[Study]: ...

    def picture(self, study: Study) -> Picture: ...


@cache
def drawing_version() -> str:
    """A hash of the drawing code: whoever changes the phantom gets a new prepared dataset, not the old pictures."""
    here = Path(phantom.__file__)
    digest = hashlib.sha256()
    for path in (here, *sorted((here.parent / "drawing").glob("*.py"))):
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:8]


def _spread(studies: Sequence[Study], count: int | None) -> Sequence[Study]:
    """So many studies, evenly from all, so that the splits keep their shares."""
    if count is None or count >= len(studies):
        return studies
    return tuple(studies[(2 * i + 1) * len(studies) // (2 * count)] for i in range(count))


@dataclass(frozen=True, slots=True)
class _Drawn:
    seed: int = 0
    count: int | None = None

    def identity(self) -> dict[str, Any]:
        return {"seed": self.seed, "count": self.count, "drawing": drawing_version()}

    def picture(self, study: Study) -> Picture:
        drawing = phantom.draw(study, seed=self.seed, size=SIZE)
        return Picture(drawing.views, tuple(drawing.boxes), {"pictures": "drawn", "seed": self.seed, "drawing": drawing_version()})


@dataclass(frozen=True, slots=True)
class IUPhantom(_Drawn):
    """The real IU X-Ray reports, with radiographs drawn from their expert codes. `count` takes that many studies, spread evenly over the 2,955."""

    name: str = "iu_phantom"

    def studies(self) -> Sequence[Study]:
        return _spread(iu_xray.studies(), self.count)


@dataclass(frozen=True, slots=True)
class Phantom(_Drawn):
    """Sampled findings, sentences of our own, drawn radiographs: `count` studies (default 512)."""

    name: str = "phantom"

    def studies(self) -> Sequence[Study]:
        return phantom.sample_studies(512 if self.count is None else self.count, seed=self.seed)


@dataclass(frozen=True, slots=True)
class R2GenRelease:
    """Real images in the layout of the R2Gen release; `count` as above. The first `VIEWS` images of a study are its views, as released."""

    root: Path
    count: int | None = None
    name: str = "iu_xray"

    def identity(self) -> dict[str, Any]:
        """The annotation by its content, the images by name and size: a changed collection is another one, whatever its folder is called."""
        images = [[path, (self.root / IMAGES / path).stat().st_size] for study in self.studies() for path in study.views]
        annotation = hashlib.sha256((self.root / ANNOTATION).read_bytes()).hexdigest()[:12]
        return {"layout": "r2gen", "annotation": annotation, "images": content_hash(images), "count": self.count}

    def studies(self) -> Sequence[Study]:
        return _spread(read_annotation(self.root, f"rrg prepare {self.name} --data-root {self.root}"), self.count)

    def picture(self, study: Study) -> Picture:
        views = np.stack([read_radiograph(self.root / IMAGES / path) for path in study.views[:VIEWS]])  # (V, 256, 256)
        return Picture(views, (), {"pictures": "files", "layout": "r2gen", "files": list(study.views[:VIEWS]), "left_out": len(study.views[VIEWS:])})


def _iu_xray(data_root: Path | str | None, seed: int, count: int | None) -> Source:
    if not data_root:
        raise DataRootError("iu_xray reads real images; run: rrg prepare iu_xray --data-root FOLDER (or prepare iu_phantom, which needs none)")
    return R2GenRelease(Path(data_root).expanduser(), count)


def _drawn(kind: type[_Drawn]) -> Callable[..., Source]:
    def make(data_root: Path | str | None, seed: int, count: int | None) -> Source:
        if data_root:
            raise ConfigurationError(f"data_root is {str(data_root)!r}, but {kind().name} draws its pictures; leave it out, or prepare iu_xray")
        return kind(seed, count)

    return make


SOURCES: dict[str, Callable[..., Source]] = {"iu_phantom": _drawn(IUPhantom), "phantom": _drawn(Phantom), "iu_xray": _iu_xray}


def find_source(name: str, *, data_root: Path | str | None = None, seed: int = 0, count: int | None = None) -> Source:
    """The source of that name.

    Raises:
        UnknownNameError: no such source; names the nearest.
        DataRootError: real images asked for and no such folder.
        ConfigurationError: a count below 1, or a data root for a source that reads no files.
    """
    if name not in SOURCES:
        raise UnknownNameError("source", name, SOURCES)
    if count is not None and count < 1:
        raise ConfigurationError(f"count is {count}; expected at least 1, or None for all studies")
    return SOURCES[name](data_root, seed, count)
