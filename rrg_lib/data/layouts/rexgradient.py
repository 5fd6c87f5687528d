"""ReXGradient-160K: `metadata/train_metadata_view_position.json`, … by study, and the images in `deid_png/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrg_lib.data.layouts.collection import Collection, ViewRule, ordered, position
from rrg_lib.data.layouts.csv_tables import find_table, given, read_table
from rrg_lib.data.layouts.json_files import read_json
from rrg_lib.data.layouts.paths import check_inside, listing
from rrg_lib.data.study import SPLITS, Study
from rrg_lib.errors import AnnotationError, DataRootError

SOURCE = "ReXGradient-160K (Zhang et al. 2025)"
FILES = "{part}_metadata_view_position.json"
SPLIT_SOURCE = (
    "ReXGradient-160K's own train, valid (here val) and public test; ReXrank's private test studies are others"
)
IMAGES, ARCHIVE = "deid_png", "deid_png.part*"
#: The files' own words for the parts of the split; the second names are tried when the first are not there.
_FILES = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}
_TAILS = ("_metadata_view_position.json", "_metadata.json")
#: Paths in the files are written from where the files lie.
_PREFIXES = ("../deid_png/", "./deid_png/", "deid_png/")
#: The files' words for positions beside those of DICOM.
_POSITIONS = {"POSTERO_ANTERIOR": "PA", "ANTERO_POSTERIOR": "AP", "AP (KUB)": "AP", "LAT": "LATERAL"}
_SHAPE = '{"ID": {"Findings": "…", "ImagePath": ["../deid_png/….png", …], "ImageViewPosition": ["PA", …], …}, …}'


def metadata_file(root: Path, part: str) -> Path | None:
    """The file of a part of the split in `root/metadata` or `root`; None if there is none."""
    places = (root / "metadata", root)
    names = [f"{word}{tail}" for tail in _TAILS for word in _FILES[part]]
    return next((path for name in names for place in places if (path := place / name).is_file()), None)


def read_rexgradient(root: Path, rule: ViewRule) -> Collection:
    """The studies of the files that have `Findings`, train then val then test, each in the order of its file; ids are
    the files' own.

    `ImageViewPosition` goes with `ImagePath`, one word for each image; words that tell neither frontal from lateral
    (OBLIQUE, UNKNOWN, …) are an unknown position. `Impression` is not read. Files whose entries have no `Findings` (the
    views were published twice, with the reports and without) take them from `train_metadata.csv`, … beside them, by
    `id`; that the two are joined so was learnt from programs that read them, not from a description. A part without a
    file is empty.

    Raises:
        DataRootError: no such file, no folder of images, or no study with findings.
        AnnotationError: a broken file, an entry of another shape, as many positions as there are no images, an image
            twice, a path that leads out, a patient in two parts; names file, study and value.
    """
    files = {part: path for part in SPLITS if (path := metadata_file(root, part))}
    if not files:
        raise DataRootError(
            f"{root}: looked for metadata/{FILES.format(part='train')} (the layout of ReXGradient-160K); "
            f"{listing(root)}"
        )
    images = next((root / place for place in (IMAGES, f"images/{IMAGES}") if (root / place).is_dir()), None)
    if images is None:
        raise DataRootError(
            f"{root}: looked for {IMAGES}/, the images of ReXGradient-160K; {listing(root)}. Put the parts together "
            f"and unpack them there: cat {ARCHIVE} | tar -xf - (or tar --zstd -xf -)"
        )
    images = images.resolve()
    studies, left_out, positions = [], Counter(), {}
    owner: dict[str, str] = {}  # image -> study
    part_of: dict[str, tuple[str, str]] = {}  # patient -> part, study
    for part, path in files.items():
        entries = read_json(path, _SHAPE)
        if not isinstance(entries, dict):
            raise AnnotationError(f"{path}: holds a {type(entries).__name__}; expected {_SHAPE}. Get the file again")
        reports = _Reports(path)
        for name, entry in entries.items():
            where = f"{path}: {name!r}"
            paths, words = _images(where, entry)
            patient = given(str(entry.get("PatientID") or "")) or name.partition("_")[0]
            other, before = part_of.setdefault(patient, (part, name))
            if other != part:
                raise AnnotationError(
                    f"{where}: patient {patient} is in {part!r}, and with {before!r} in {other!r}; expected each "
                    f"patient in one part. Get the files again"
                )
            for image, word in zip(paths, words, strict=True):
                check_inside(f"{where}: ImagePath", image, images)
                if image in owner:
                    raise AnnotationError(
                        f"{where}: the image {image!r} is also one of {owner[image]!r}; expected each once. Get the "
                        f"file again"
                    )
                owner[image] = name
                if known := position(_POSITIONS.get(word, word)):
                    positions[image] = known
            report, views = " ".join(reports.of(where, name, entry).split()), ordered(paths, positions, rule)
            if report and views:
                studies.append(Study(name, part, report, (), views, SOURCE))
            else:
                left_out["no findings" if not report else "no frontal view" if paths else "no image"] += 1
    if twice := [name for name, n in Counter(study.id for study in studies).items() if n > 1]:
        raise AnnotationError(
            f"{root}: the study {twice[0]!r} is in two of the files {', '.join(path.name for path in files.values())}; "
            f"expected each in one. Get the files again"
        )
    if not studies:
        raise DataRootError(
            f"{root}: none of the studies of {', '.join(path.name for path in files.values())} can be used "
            f"({dict(left_out)}); expected some with Findings and ImagePath. Get the files again"
        )
    places = {view: positions[view] for study in studies for view in study.views if view in positions}
    return Collection(tuple(studies), images, places, left_out, split_source=SPLIT_SOURCE)


def _images(where: str, entry: Any) -> tuple[list[str], list[str]]:
    """The images of an entry, relative to the folder of the images, and the word for the position of each."""
    if not isinstance(entry, dict):
        raise AnnotationError(f"{where}: is a {type(entry).__name__}; expected {_SHAPE}. Get the file again")
    paths, words = entry.get("ImagePath"), entry.get("ImageViewPosition")
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        raise AnnotationError(
            f"{where}: ImagePath is {paths!r}; expected a list of paths such as '../deid_png/….png'. (The tables "
            f"….csv have none: give the files {FILES.format(part='…')})"
        )
    if words is None:
        words = [""] * len(paths)
    if not isinstance(words, list) or len(words) != len(paths):
        raise AnnotationError(
            f"{where}: ImageViewPosition is {words!r}; expected a list of {len(paths)}, one word for each of "
            f"ImagePath. Get the file again"
        )
    bare = [
        next((path.removeprefix(prefix) for prefix in _PREFIXES if path.startswith(prefix)), path) for path in paths
    ]
    return bare, [str(word or "").strip().upper() for word in words]


class _Reports:
    """The findings of the studies of one file: in its entries, else in the table beside it, which is read when the
    first entry has none."""

    def __init__(self, path: Path):
        self.path = path
        self._table: Mapping[str, str] | None = None

    def of(self, where: str, name: str, entry: Mapping[str, Any]) -> str:
        if "Findings" in entry:
            findings = entry["Findings"]
            if findings is None or findings != findings:  # null, or NaN as pandas writes nothing
                return ""
            if not isinstance(findings, str):
                raise AnnotationError(f"{where}: Findings is {findings!r}; expected a text. Get the file again")
            return given(findings)
        if self._table is None:
            self._table = self._read()
        return self._table.get(name, "")

    def _read(self) -> Mapping[str, str]:
        word = next(self.path.name.removesuffix(tail) for tail in _TAILS if self.path.name.endswith(tail))
        table = find_table(self.path.parent, f"{word}_metadata.csv")
        if table is None:
            raise AnnotationError(
                f"{self.path}: its entries have no 'Findings'; looked for them in {word}_metadata.csv beside it; "
                f"{listing(self.path.parent)}. Put that table there"
            )
        rows: dict[str, str] = {}
        for line, row in read_table(table, ["id", "Findings"]):
            if row["id"].strip() in rows:
                raise AnnotationError(f"{table}, line {line}: a second row of study {row['id'].strip()!r}. Keep one")
            rows[row["id"].strip()] = given(row["Findings"])
        return rows
