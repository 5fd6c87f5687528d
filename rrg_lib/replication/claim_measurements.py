"""Claims about something else than a score: where words look, what a word and its patch share, what a loss does to rare
classes.

Each is decided by numbers that are kept in `data/attention` (tools/results.py looks) and `data/measurements.csv`
(tools/measurements.py), because they need trained runs. What was averaged over seeds is judged by the rule of
`deciding`; where only an interval over studies was kept, by that interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from scipy import stats

from rrg_lib.evaluation.attention import CROSS_ATTENTION, SHARED_SLOTS
from rrg_lib.evaluation.resampling import LEVEL
from rrg_lib.models.decoding import PROTOCOLS
from rrg_lib.replication.claims import DRAWN, FAILS, HOLDS, NO_DIFFERENCE, NOT_RUN, UNDECIDED, Decision, number
from rrg_lib.replication.decision_rule import MIN_SEEDS, Arm, Order, Pool, judge, pooled, smallest_difference
from rrg_lib.replication.seed_scores import EDITION_0_1
from rrg_lib.runtime import package_data

if TYPE_CHECKING:
    from rrg_lib.experiments.results import StoredResult

MEASUREMENTS: dict[str, Callable[[Sequence[StoredResult]], Decision]] = {}
PROFILE = "laptop"
_REACH = float(stats.norm.ppf((1 + LEVEL) / 2))


def measurement(decide: Callable[[Sequence[StoredResult]], Decision]) -> Callable[[Sequence[StoredResult]], Decision]:
    """Registers what decides a claim, under its function's name."""
    MEASUREMENTS[decide.__name__] = decide
    return decide


# --- attention in the boxes of findings -------------------------------------------------------------------------------


class Looked(NamedTuple):
    """How much attention a preset's words send into the boxes of the findings they name: a ratio for each seed, what
    the studies contribute to the mean's standard deviation, and the pool of all systems' seeds."""

    preset: str
    values: tuple[float, ...]
    s_studies: float
    pool: Pool
    studies: int

    def beside_one(self) -> Order:
        """Whether the ratio is above one, which is known: as if it had been measured with seeds without end."""
        mine, one = Arm(fmean(self.values), len(self.values), self.pool), Arm(1.0, 10**9, self.pool)
        return judge(mine, one, self.s_studies**2, delta=smallest_difference("box ratio"), studies=self.studies)

    def __str__(self) -> str:
        return f"{self.preset} {'/'.join(f'{value:.3f}' for value in self.values)}"


def looked(look: str, ratio: str) -> dict[str, Looked]:
    """Preset -> what its reference words look at, `look` "shared slots" or "cross-attention": `ratio` "ratio" over
    chance, or "own" over the maps of other studies, all findings together; of the classifier's labels where a memory
    was told any."""
    by_protocol: dict[str, dict[str, list[dict[str, float]]]] = {}
    for record in package_data.attention().values():
        run = record["run"]
        what = run["experiment"]
        if (what["dataset"], what["profile"]) != (DRAWN, PROFILE) or run["decoding"].get(
            "labels_at_test", "classifier"
        ) != "classifier":
            continue
        for row in record["rows"]:
            if (row["words"], row["look"], row["finding"]) == ("reference", look, "all"):
                by_protocol.setdefault(what["preset"], {}).setdefault(run.get("protocol", EDITION_0_1), []).append(row)
    # a training counts once, in whatever protocol its own reports were written: of each preset the trainings that are
    # most, the newer ones of as many
    newest = [*PROTOCOLS, EDITION_0_1]
    found = {
        preset: kinds[max(sorted(kinds, key=newest.index), key=lambda name: min(len(kinds[name]), MIN_SEEDS))]
        for preset, kinds in by_protocol.items()
    }
    low, high = ("low", "high") if ratio == "ratio" else (f"{ratio}_low", f"{ratio}_high")
    values = {preset: tuple(row[ratio] for row in rows) for preset, rows in found.items()}
    pool = pooled(list(values.values()), f"{DRAWN}, {PROFILE}, {look}")
    spread = {
        preset: math.sqrt(fmean(((row[high] - row[low]) / 2 / _REACH) ** 2 for row in rows))
        for preset, rows in found.items()
    }
    return {
        preset: Looked(preset, each, spread[preset], pool, int(found[preset][0]["studies"]))
        for preset, each in values.items()
    }


def _said(one: Order) -> str:
    return {"above": HOLDS, "below": FAILS, "no difference": NO_DIFFERENCE}.get(one.answer, UNDECIDED)


def _shown(of: Looked) -> tuple[str, ...]:
    sd = (
        math.sqrt(sum((x - fmean(of.values)) ** 2 for x in of.values) / (len(of.values) - 1))
        if len(of.values) > 1
        else math.nan
    )
    where = f"{DRAWN}, {PROFILE}, reference reports"
    return f"{fmean(of.values):.3f}", where, str(len(of.values)), number(sd), "", "attention in the boxes of findings"


@measurement
def words_and_boxes_share_slots(results: Sequence[StoredResult]) -> Decision:
    """CMN Figure 6: a word and the region of its meaning ask the same slots, more than the word and the same place in
    other studies' images."""
    found = looked(SHARED_SLOTS, "own")
    if len(found.get("cmn", Looked("cmn", (), 0.0, pooled([]), 0)).values) < MIN_SEEDS:
        return Decision(NOT_RUN, "fewer than three seeds of cmn are in data/attention; tools/results.py looks")
    one = found["cmn"].beside_one()
    apart = f"; {found['mem']}, whose two memories have no slot in common to agree on" if "mem" in found else ""
    why = (
        f"slots shared inside the finding's box, over those shared with other studies' images "
        f"there: "
        f"{found['cmn']}{apart}; beside 1, {one}"
    )
    return Decision(_said(one), why, _shown(found["cmn"]))


@measurement
def words_attend_to_their_regions(results: Sequence[StoredResult]) -> Decision:
    """CMN Figure 5: the attention of a word lies in the box of the finding it names, more than by chance."""
    found = looked(CROSS_ATTENTION, "ratio")
    if len(found.get("cmn", Looked("cmn", (), 0.0, pooled([]), 0)).values) < MIN_SEEDS:
        return Decision(NOT_RUN, "fewer than three seeds of cmn are in data/attention; tools/results.py looks")
    one = found["cmn"].beside_one()
    same = (
        f"; but {found['base']} without any memory, so it is the decoder's attention and not the memory's doing"
        if "base" in found
        else ""
    )
    return Decision(
        _said(one),
        f"attention in the finding's box over chance: {found['cmn']}; beside 1, {one}{same}",
        _shown(found["cmn"]),
    )


# --- numbers of data/measurements.csv ---------------------------------------------------------------------------------


class Kept(NamedTuple):
    """One row of `data/measurements.csv`."""

    name: str
    value: float
    low: float
    high: float
    seeds: int
    studies: int
    of: str
    made_by: str

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def kept(name: str) -> Kept | None:
    """A kept measurement by its name, None where it was not made."""
    for row in package_data.table("measurements"):
        if row["name"] == name:
            return Kept(
                name,
                *(float(row[part]) for part in ("value", "low", "high")),
                int(row["seeds"]),
                int(row["studies"]),
                row["of"],
                row["made_by"],
            )
    return None


def _kept(*names: str) -> list[Kept]:
    return [found for name in names if (found := kept(name))]


def _ours(of: Kept) -> tuple[str, ...]:
    return f"{of.value:.3f}", of.of, str(of.seeds), "", f"[{of.low:.3f}, {of.high:.3f}]", of.made_by


@measurement
def word_and_patch_share_prototypes(results: Sequence[StoredResult]) -> Decision:
    """XProNet Figure 1: a word and its patch share most of the prototypes they ask first, which says something if it is
    more than with another image."""
    found = _kept(
        "shared prototypes of ten",
        "shared prototypes of ten, over chance",
        "shared prototypes of ten, over another study's patches",
    )
    if len(found) < 3:
        return Decision(NOT_RUN, "not measured; python tools/measurements.py xpronet_meetings")
    of_ten, _, of_image = found
    delta = smallest_difference("shared prototypes of ten")
    verdict = (
        HOLDS
        if of_image.low > 0
        else FAILS
        if of_image.high < 0
        else NO_DIFFERENCE
        if -delta < of_image.low and of_image.high < delta
        else UNDECIDED
    )
    why = (
        "; ".join(map(str, found))
        + f"; {of_ten.studies} studies. About *this* image is only what goes beyond another study's patches behind the "
        f"same gate"
    )
    return Decision(verdict, why, _ours(of_ten))


@measurement
def prototypes_lie_by_class(results: Sequence[StoredResult]) -> Decision:
    """XProNet Figure 2: prototypes of one class lie together. They are means of clusters made class by class; the
    question is what training leaves."""
    found = _kept(
        "nearest prototype of the same class, before training", "nearest prototype of the same class, trained"
    )
    if len(found) < 2:
        return Decision(NOT_RUN, "not measured; python tools/measurements.py xpronet_clusters")
    trained = found[1]
    chance = float(trained.of.rpartition("by chance ")[2])
    verdict = HOLDS if trained.low > chance else FAILS if trained.high < chance else UNDECIDED
    return Decision(verdict, "; ".join(map(str, found)) + f"; by chance {chance:.3f}", _ours(trained))


@measurement
def focal_loss_and_rare_classes(results: Sequence[StoredResult]) -> Decision:
    """Student paper: focal loss helps rare classes. Mean F1 of those with few training studies, with it less without,
    on the same studies."""
    found = _kept("F1 with focal loss less without, rare classes", "F1 with focal loss less without, all classes")
    if len(found) < 2:
        return Decision(NOT_RUN, "not measured; python tools/measurements.py focal_loss_and_rare_classes")
    rare = found[0]
    delta = smallest_difference("finding-F1 macro")
    inside = -delta < rare.low and rare.high < delta
    verdict = HOLDS if rare.low > 0 else FAILS if rare.high < 0 else NO_DIFFERENCE if inside else UNDECIDED
    return Decision(verdict, "; ".join(map(str, found)) + f"; {rare.seeds} seeds; {rare.of}", _ours(rare))


@measurement
def rare_classes_beside_all(results: Sequence[StoredResult]) -> Decision:
    """Student paper: robust, particularly for rare diseases. Mean F1 of the rare classes less that of all, with focal
    loss."""
    if not (found := kept("F1 with focal loss, rare classes less all")):
        return Decision(NOT_RUN, "not measured; python tools/measurements.py focal_loss_and_rare_classes")
    delta = smallest_difference("finding-F1 macro")
    verdict = FAILS if found.high < -delta else HOLDS if found.low > -delta else UNDECIDED
    return Decision(
        verdict,
        f"{found}; {found.seeds} seeds; robust would mean not much below the others ({delta:g}); {found.of}",
        _ours(found),
    )
