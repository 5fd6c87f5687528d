"""What the reader of a layout hands back, and which views of a study are taken, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rrg_lib.data.remarks import Remark
from rrg_lib.data.study import Study

#: Which views of a study come first. `as_released`: in the order of the release, that of the image names.
#: `frontal_first`: one frontal, then one lateral, then the rest in that order; a view of unknown position stands in for
#: either where none is known. `frontal`: one frontal alone.
ViewRule = Literal["as_released", "frontal_first", "frontal"]
Position = Literal["frontal", "lateral"]

#: Words for view positions in DICOM headers and in the tables of the collections.
_FRONTAL = frozenset({"PA", "AP", "FRONTAL", "AP AXIAL", "PA LLD", "PA RLD", "AP LLD", "AP RLD"})
_LATERAL = frozenset({"LL", "RL", "LATERAL", "XTABLE LATERAL"})


@dataclass(frozen=True)
class Collection:
    """The studies that a folder holds.

    `Study.views` are all images of a study, in the order of the rule, as paths relative to `images`. `positions` tells
    which of them are known to be frontal or lateral, `left_out` how many studies were not taken, by reason, `remarks`
    what else is wrong with them.
    """

    studies: tuple[Study, ...]
    images: Path
    positions: Mapping[str, Position] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()


def position(word: str | None) -> Position | None:
    """ "frontal" or "lateral" for a view position as headers and tables write it, None for one that is not known."""
    word = (word or "").strip().upper()
    return "frontal" if word in _FRONTAL else "lateral" if word in _LATERAL else None


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
