"""PadChest-GR: `grounded_reports_20240819.json`, sentences with the boxes of what they say; `master_table.csv`, whose
split is taken; and the images, PNGs of 16 bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rrg_lib.data.layouts.collection import Collection, ImageBox, ViewRule, ordered, split_part
from rrg_lib.data.layouts.csv_tables import find_table, given, read_table
from rrg_lib.data.layouts.json_files import read_json
from rrg_lib.data.layouts.paths import check_inside, listing
from rrg_lib.data.study import SIDES, SPLITS, Finding, Split, Study
from rrg_lib.errors import AnnotationError, DataRootError
from rrg_lib.runtime.package_data import table

SOURCE = "PadChest-GR (Castro et al. 2024)"
REPORTS, MASTER = "grounded_reports_*.json", "master_table.csv"
SPLIT_SOURCE = "the split of PadChest-GR's master table: train, validation (here val), test"
#: Where the archives of the images unpack to.
_IMAGES = ("Padchest_GR_files/PadChest_GR", "Padchest_GR_files", "PadChest_GR", "images", ".")
_ARCHIVE = "PadChest_GR.zip.001"
#: What a box may leave the image by, as a share of its side: the pen of a reader, and rounding. It is cut off there.
_SLACK = 0.01
_SHAPE = (
    '[{"StudyID": "…", "ImageID": "….png", "findings": [{"sentence_en": "…", "sentence_es": "…", "abnormal": true, '
    '"boxes": [[x0, y0, x1, y1], …], "labels": ["…"], "locations": ["…"], "progression": null}, …]}, …]'
)
_NORMAL = Finding("padchest/normal", "normal")

Language = Literal["en", "es"]


def read_padchest_gr(root: Path, rule: ViewRule, language: Language = "en") -> Collection:
    """The studies of the file that the master table has, train then val then test, each in the order of the file; one
    frontal image each.

    The report is the study's sentences in their order, in English or as the radiologists wrote them, in Spanish (the
    protocol `clinical` knows no letters with accents, the default keeps them; our labelers read English alone). A
    sentence that says that something is there (`abnormal`) has labels, which are the study's findings here, under the
    names that `data/padchest_findings.csv` gives them; a study without any is coded "normal". It may have no box, or
    several: all of them belong to each of its labels. A label that is none of the 13 drawn findings keeps its boxes
    under its own name. `boxes` are read, which the programs that read the file take for the first radiologist's;
    `extra_boxes`, a second one's, are not. `progression` and `locations` stay in the finding's code, and nothing in the
    book reads them; the earlier studies (`PreviousImageID`) are not read either.

    Three things could not be looked up. Whether each patient is in one part of the split alone, so that is not asked of
    it. Whether a box may lie on the very edge: what leaves the image by less than a hundredth is cut. And whether films
    that were stored with low values bright were turned over: the doctor's page of pictures shows it.

    Raises:
        DataRootError: no file of reports, no master table, no image, or no study that both have.
        AnnotationError: a broken file or table, an entry of another shape, a study or an image twice, a path that leads
            out, a box that is none or is in pixels, a study in two parts; names file, study and value.
    """
    path, images = _reports_file(root), _images(root)
    parts = _split(root)
    entries = read_json(path, _SHAPE)
    if not isinstance(entries, list):
        raise AnnotationError(f"{path}: holds a {type(entries).__name__}; expected {_SHAPE}. Get the file again")
    studies, left_out = {part: [] for part in SPLITS}, Counter()
    places: dict[str, str] = {}  # study or image -> where it was
    boxes: dict[str, tuple[ImageBox, ...]] = {}
    for i, entry in enumerate(entries):
        where = f"{path}: entry {i}"
        name, image, sentences = _fields(where, entry)
        where += f" (study {name})"
        check_inside(f"{where}: ImageID", image, images)
        for kind, value in (("study", name), ("image", image)):
            if before := places.get(f"{kind} {value}"):
                raise AnnotationError(f"{where}: the {kind} {value!r} is in {before} already. Remove one of the two")
            places[f"{kind} {value}"] = f"entry {i}"
        texts, findings, marked = [], [], []
        for j, sentence in enumerate(sentences):
            text, said, drawn = _sentence(f"{where}: findings[{j}]", sentence, language)
            texts += [text] if text else []
            findings += said
            marked += drawn
        views = ordered([image], {image: "frontal"}, rule)
        if texts and name in parts:
            part = parts[name]
            codes = tuple(dict.fromkeys(findings)) or (_NORMAL,)
            studies[part].append(Study(name, part, " ".join(texts), codes, views, SOURCE))
            if marked:
                boxes[image] = tuple(dict.fromkeys(marked))
        else:
            left_out["not in the master table" if name not in parts else "no sentence"] += 1
    taken = tuple(study for part in SPLITS for study in studies[part])
    if not taken:
        raise DataRootError(
            f"{path}: none of its {len(entries)} studies can be used ({dict(left_out)}); expected studies that stand "
            f"in {MASTER} too. Get both files again, of one release"
        )
    known = {study.views[0]: "frontal" for study in taken}
    return Collection(taken, images, known, left_out, boxes, SPLIT_SOURCE)


def _reports_file(root: Path) -> Path:
    files = sorted(root.glob(REPORTS))
    if len(files) != 1:
        there = f"there are {', '.join(path.name for path in files)}. Keep one" if files else listing(root)
        raise DataRootError(f"{root}: looked for one {REPORTS} (the layout of PadChest-GR); {there}")
    return files[0]


def _images(root: Path) -> Path:
    for place in _IMAGES:
        if next((root / place).glob("*.png"), None) is not None:
            return (root / place).resolve()
    advice = "Unpack the images there"
    if packed := next(root.glob(f"**/{_ARCHIVE}"), None):
        archive = packed.with_suffix("")
        advice = f"Put the parts together and unpack them: cat {archive}.0* > {archive}; unzip {archive}"
    raise DataRootError(
        f"{root}: looked for the images of PadChest-GR, *.png, in {', '.join(_IMAGES[:-1])} and the folder itself; "
        f"{listing(root)}. {advice}"
    )


def _split(root: Path) -> dict[str, Split]:
    """study -> its part of the split, by the master table, which has a row for each label of a study."""
    path = find_table(root, MASTER)
    if path is None:
        raise DataRootError(
            f"{root}: looked for {MASTER}, which says the split of PadChest-GR; {listing(root)}. Put it there (it may "
            f"come zipped: unpack it)"
        )
    parts: dict[str, tuple[Split, int]] = {}
    for line, row in read_table(path, ["StudyID", "split"]):
        name, part = row["StudyID"].strip(), split_part(row["split"])
        if not name or part is None:
            raise AnnotationError(
                f"{path}, line {line}: study {name!r} is in {row['split']!r}; expected a study in train, validation or "
                f"test. Mend the line"
            )
        other, before = parts.setdefault(name, (part, line))
        if other != part:
            raise AnnotationError(
                f"{path}, line {line}: study {name} is in {part!r}, in line {before} in {other!r}. Get the table again"
            )
    return {name: part for name, (part, _) in parts.items()}


def _fields(where: str, entry: Any) -> tuple[str, str, list[Any]]:
    """The study, the image and the sentences of an entry."""
    if not isinstance(entry, dict):
        raise AnnotationError(f"{where}: is a {type(entry).__name__}; expected {_SHAPE}. Get the file again")
    if absent := [key for key in ("StudyID", "ImageID", "findings") if key not in entry]:
        raise AnnotationError(
            f"{where}: has no {' and no '.join(map(repr, absent))}; expected {_SHAPE}. Add it, or remove the entry"
        )
    name, image, sentences = entry["StudyID"], entry["ImageID"], entry["findings"]
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        raise AnnotationError(f"{where}: StudyID is {name!r}; expected the number of a study. Mend the entry")
    if not isinstance(image, str) or not image.strip():
        raise AnnotationError(f"{where}: ImageID is {image!r}; expected the name of a PNG. Mend the entry")
    if not isinstance(sentences, list):
        raise AnnotationError(f"{where}: findings is {sentences!r}; expected a list of sentences: {_SHAPE}")
    return str(name).strip(), image.strip(), sentences


def _sentence(where: str, sentence: Any, language: Language) -> tuple[str, list[Finding], list[ImageBox]]:
    """A sentence's text, what it says is there, and where that is on the image."""
    if not isinstance(sentence, dict):
        raise AnnotationError(
            f"{where}: is a {type(sentence).__name__}; expected an object with sentence_{language}. Mend it"
        )
    key = f"sentence_{language}"
    if key not in sentence:
        raise AnnotationError(
            f"{where}: has no {key!r}; there is {', '.join(map(repr, list(sentence)[:8]))}. Get the file again"
        )
    text = sentence[key]
    if text is not None and not isinstance(text, str):
        raise AnnotationError(f"{where}: {key} is {text!r}; expected a text. Mend it")
    text = " ".join(given(text).split())
    text += "." if text and text[-1] not in ".!?" else ""
    present = sentence.get("abnormal")
    if not isinstance(present, bool):
        raise AnnotationError(
            f"{where}: abnormal is {present!r}; expected true (it says that something is there) or false. Mend it"
        )
    labels, locations, progression = (_words(where, sentence, key) for key in ("labels", "locations", "progression"))
    corners = [_corners(where, box) for box in _list(where, sentence, "boxes")]
    if not present:  # what is not there has no place
        return text, [], []
    findings = [_finding(label, tuple(locations), tuple(progression)) for label in labels]
    named: dict[str, str] = {}  # two labels of one drawn finding are one box of it
    for finding in findings:
        named.setdefault(finding.drawn or finding.head, f"padchest/{finding.head}")
    return text, findings, [ImageBox(name, *box, code) for name, code in named.items() for box in corners]


def _list(where: str, sentence: Mapping[str, Any], key: str) -> list[Any]:
    values = sentence.get(key)
    if values is not None and not isinstance(values, list):
        raise AnnotationError(f"{where}: {key} is {values!r}; expected a list, empty where there is none. Mend it")
    return values or []


def _words(where: str, sentence: Mapping[str, Any], key: str) -> list[str]:
    """A list of words, or one word alone."""
    value = sentence.get(key)
    values = [value] if isinstance(value, str) else _list(where, sentence, key)
    if not all(isinstance(word, str) for word in values):
        raise AnnotationError(f"{where}: {key} is {values!r}; expected words. Mend it")
    return [word.strip() for word in values if given(word)]


def _corners(where: str, box: Any) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in shares of the image, cut at its edges."""
    numbers = isinstance(box, list) and len(box) == 4
    numbers = numbers and all(isinstance(side, int | float) and not isinstance(side, bool) for side in box)
    if not numbers or not all(-_SLACK <= side <= 1 + _SLACK for side in box):
        raise AnnotationError(
            f"{where}: the box {box!r} is no box; expected [x0, y0, x1, y1] in shares of the image's width and height, "
            f"0 to 1. If it is in pixels, divide by the image's size"
        )
    if box[0] > box[2] or box[1] > box[3]:
        raise AnnotationError(
            f"{where}: the box {box!r} ends before it begins; expected [x0, y0, x1, y1] with x0 below x1 and y0 below "
            f"y1. Put the corners in that order"
        )
    x0, y0, x1, y1 = (min(max(float(side), 0.0), 1.0) for side in box)
    return x0, y0, x1, y1


def _finding(label: str, locations: tuple[str, ...], progression: tuple[str, ...]) -> Finding:
    drawn, observation = _names().get(label.lower(), (None, None))
    words = {word for location in locations for word in location.split()}
    side = next((side for side in SIDES if side in words), None)
    if {"left", "right"} <= words:
        side = "bilateral"
    code = "/".join(("padchest", label, *locations, *progression))
    return Finding(code, label, drawn, observation, locations, side)


@cache
def _names() -> dict[str, tuple[str | None, str | None]]:
    """PadChest's label in small letters -> (drawn finding, CheXpert observation): `data/padchest_findings.csv`."""
    return {
        row["label"].lower(): (row["drawn_finding"] or None, row["chexpert_observation"] or None)
        for row in table("padchest_findings")
    }
