"""What the reader of a layout hands back, and which views of a study are taken, in which order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rrg_lib.data.layouts.parquet_images import ParquetImages
from rrg_lib.data.remarks import Remark
from rrg_lib.data.study import Split, Study

#: Which views of a study come first. `as_released`: in the order of the release, that of the image names.
#: `frontal_first`: one frontal, then one lateral, then the rest in that order; a view of unknown position stands in for
#: either where none is known. `frontal`: one frontal alone.
ViewRule = Literal["as_released", "frontal_first", "frontal"]
Position = Literal["frontal", "lateral"]
#: Where the images of a collection are: `images / name` can be looked for, measured and read.
ImageFolder = Path | ParquetImages

#: Words for view positions in DICOM headers and in the tables of the collections.
_FRONTAL = frozenset({"PA", "AP", "FRONTAL", "AP AXIAL", "PA LLD", "PA RLD", "AP LLD", "AP RLD"})
_LATERAL = frozenset({"LL", "RL", "LATERAL", "XTABLE LATERAL"})
#: Words that tell a position beside others: "PA erect", "Chest Lat".
_FRONTAL_WORDS, _LATERAL_WORDS = frozenset({"PA", "AP", "FRONTAL"}), frozenset({"LAT", "LATERAL", "LL", "RL"})
#: The collections' words for the parts of their split.
_PARTS: Mapping[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True, slots=True)
class ImageBox:
    """Where on an image a finding is, as its readers drew it: `x0` and `x1` are shares of the image's width, `y0` and
    `y1` of its height, counted from the upper left, 0 to 1."""

    finding: str
    x0: float
    y0: float
    x1: float
    y1: float
    code: str = ""


@dataclass(frozen=True)
class Collection:
    """The studies that a folder holds.

    `Study.views` are all images of a study, in the order of the rule, as paths relative to `images`. `positions` tells
    which of them are known to be frontal or lateral, `left_out` how many studies were not taken, by reason. `boxes`
    are those of the images that have some, `split_source` says in words whose split it is. `vocabulary_reports` make
    the vocabulary where none of the studies is for training, `remarks` say what else is wrong with them.
    """

    studies: tuple[Study, ...]
    images: ImageFolder
    positions: Mapping[str, Position] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    boxes: Mapping[str, tuple[ImageBox, ...]] = field(default_factory=dict)
    split_source: str = ""
    vocabulary_reports: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


def split_part(word: str | None) -> Split | None:
    """The part of the split that a collection calls `word` ("valid", "validate", …); None for a word that is none."""
    return _PARTS.get((word or "").strip().lower())


def position(word: str | None) -> Position | None:
    """ "frontal" or "lateral" for a view position as headers and tables write it, None for one that is not known."""
    word = (word or "").strip().upper()
    if word in _FRONTAL or word in _LATERAL:
        return "frontal" if word in _FRONTAL else "lateral"
    words = {*re.findall(r"[A-Z]+", word)}
    frontal, lateral = bool(words & _FRONTAL_WORDS), bool(words & _LATERAL_WORDS)
    return None if frontal == lateral else "frontal" if frontal else "lateral"


def ordered(images: Sequence[str], positions: Mapping[str, Position], rule: ViewRule) -> tuple[str, ...]:
    """The images of one study by `rule`; all of them, except for `frontal`: at most one, and none when all are known to
    be lateral."""
    if rule == "as_released" or not images:
        return tuple(images)

    def first(*preferred: Position | None) -> str:
        return min(rest, key=lambda image: preferred.index(positions.get(image)))

    rest = list(images)
    frontal = first("frontal", None, "lateral")
    if rule == "frontal":
        return () if positions.get(frontal) == "lateral" else (frontal,)
    rest.remove(frontal)
    if not rest:
        return (frontal,)
    lateral = first("lateral", None, "frontal")
    rest.remove(lateral)
    return (frontal, lateral, *rest)
