"""Claims about something else than a score: where words look, what a word and its patch share, what a loss does to rare
classes.

Each is decided by numbers that are kept in `data/attention` (tools/results.py looks) and `data/measurements.csv`
(tools/measurements.py), because they need trained runs. What was averaged over seeds is judged by the rule of
`decision_rule`; where only an interval over studies was kept, by that interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import fmean, stdev
from typing import NamedTuple

from scipy import stats

from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.evaluation.attention import CROSS_ATTENTION, SHARED_SLOTS
from rrg_lib.evaluation.resampling import LEVEL
from rrg_lib.experiments.presets import experiment
from rrg_lib.models.decoding import EDITION_0_1, STORED_PROTOCOLS
from rrg_lib.replication.decision_rule import MIN_SEEDS, Answer, Arm, Order, Pool, judge, pooled, smallest_difference
from rrg_lib.replication.verdicts import DRAWN, Decision, Verdict
from rrg_lib.runtime import package_data

MEASUREMENTS: dict[str, Callable[[], Decision]] = {}
PROFILE = "laptop"
_REACH = float(stats.norm.ppf((1 + LEVEL) / 2))
#: What an answer of the rule says of a claim on drawn studies; any other leaves it undecided.
ON_DRAWN: dict[Answer, Verdict] = {
    "above": Verdict.HOLDS,
    "below": Verdict.FAILS,
    "no difference": Verdict.NO_DIFFERENCE,
}


def measurement(decide: Callable[[], Decision]) -> Callable[[], Decision]:
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

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def sd(self) -> float:
        """Over seeds; NaN for one."""
        return stdev(self.values) if len(self.values) > 1 else math.nan

    def beside_one(self) -> Order:
        """Whether the ratio is above one, which is known: as if it had been measured with seeds without end."""
        mine, one = Arm(self.mean, len(self.values), self.pool), Arm(1.0, 10**9, self.pool)
        return judge(mine, one, self.s_studies**2, delta=smallest_difference("box ratio"), studies=self.studies)

    def __str__(self) -> str:
        return f"{self.preset} {'/'.join(f'{value:.3f}' for value in self.values)}"


def looked(look: str, ratio: str) -> dict[str, Looked]:
    """Preset -> what its reference words look at, `look` "shared slots" or "cross-attention": `ratio` "ratio" over
    chance, or "own" over the maps of other studies, all findings together; of the classifier's labels where a memory
    was told any."""
    by_protocol: dict[str, dict[str, list[dict[str, float]]]] = {}
    for record in package_data.records("attention").values():
        run = record["run"]
        experiment = run["experiment"]
        if (experiment["dataset"], experiment["profile"]) != (DRAWN, PROFILE) or run["decoding"].get(
            "labels_at_test", "classifier"
        ) != "classifier":
            continue
        for row in record["rows"]:
            if (row["words"], row["look"], row["finding"]) == ("reference", look, "all"):
                by_protocol.setdefault(experiment["preset"], {}).setdefault(
                    run.get("protocol", EDITION_0_1), []
                ).append(row)
    # a training counts once, in whatever protocol its own reports were written: of each preset the trainings that are
    # most, the newer ones of as many
    chosen = {
        preset: kinds[max(sorted(kinds, key=STORED_PROTOCOLS.index), key=lambda name: min(len(kinds[name]), MIN_SEEDS))]
        for preset, kinds in by_protocol.items()
    }
    low, high = ("low", "high") if ratio == "ratio" else (f"{ratio}_low", f"{ratio}_high")
    values = {preset: tuple(row[ratio] for row in rows) for preset, rows in chosen.items()}
    pool = pooled(list(values.values()), f"{DRAWN}, {PROFILE}, {look}")
    spread = {
        preset: math.sqrt(fmean(((row[high] - row[low]) / 2 / _REACH) ** 2 for row in rows))
        for preset, rows in chosen.items()
    }
    return {
        preset: Looked(preset, each, spread[preset], pool, int(chosen[preset][0]["studies"]))
        for preset, each in values.items()
    }


def _beside_one(looks: Mapping[str, Looked], why: str) -> Decision:
    """Whether CMN's ratio is above one; `why` has places for {cmn} and {order}."""
    cmn = looks.get("cmn")
    if cmn is None or len(cmn.values) < MIN_SEEDS:
        return Decision(Verdict.NOT_RUN, "fewer than three seeds of cmn are in data/attention; tools/results.py looks")
    order = cmn.beside_one()
    return Decision(ON_DRAWN.get(order.answer, Verdict.UNDECIDED), why.format(cmn=cmn, order=order), cmn)


@measurement
def words_and_boxes_share_slots() -> Decision:
    """CMN Figure 6: a word and the region of its meaning ask the same slots, more than the word and the same place in
    other studies' images."""
    looks = looked(SHARED_SLOTS, "own")
    apart = f"; {looks['mem']}, whose two memories have no slot in common to agree on" if "mem" in looks else ""
    return _beside_one(
        looks,
        "slots shared inside the finding's box, over those shared with other studies' images there: {cmn}"
        f"{apart}; beside 1, {{order}}",
    )


@measurement
def words_attend_to_their_regions() -> Decision:
    """CMN Figure 5: the attention of a word lies in the box of the finding it names, more than by chance."""
    looks = looked(CROSS_ATTENTION, "ratio")
    alike = (
        f"; but {looks['base']} without any memory, so it is the decoder's attention and not the memory's doing"
        if "base" in looks
        else ""
    )
    own = looked(CROSS_ATTENTION, "own")
    blind = "; over the maps of other studies, which a blind guess of the place has too, " + ", ".join(
        str(own[name]) for name in ("cmn", "base") if name in own
    )
    return _beside_one(looks, f"attention in the finding's box over chance: {{cmn}}; beside 1, {{order}}{alike}{blind}")


# --- numbers of data/measurements.csv ---------------------------------------------------------------------------------


class Measurement(NamedTuple):
    """One row of `data/measurements.csv`: a mean over seeds with its 95 % interval over studies, of how many of both,
    measured on what (`of`), and what made it."""

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

    def against(self, level: float = 0.0, delta: float = 0.0) -> Verdict:
        """What the interval says of "above `level`"; within `delta` of it on both sides, that there is no
        difference."""
        if self.low > level:
            return Verdict.HOLDS
        if self.high < level:
            return Verdict.FAILS
        inside = level - delta < self.low and self.high < level + delta
        return Verdict.NO_DIFFERENCE if inside else Verdict.UNDECIDED


def kept(*names: str) -> list[Measurement]:
    """The kept measurements of these names; of those that were not made, none."""
    rows = {row["name"]: row for row in package_data.table("measurements")}
    return [_measurement(rows[name]) for name in names if name in rows]


def _measurement(row: Mapping[str, str]) -> Measurement:
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    return Measurement(row["name"], value, low, high, int(row["seeds"]), int(row["studies"]), row["of"], row["made_by"])


def _decided(maker: str, names: tuple[str, ...], decide: Callable[..., tuple[Measurement, Verdict, str]]) -> Decision:
    """A decision by kept measurements: `decide` is given them and says which is shown, the verdict, and what stands
    behind the numbers."""
    rows = kept(*names)
    if len(rows) < len(names):
        return Decision(Verdict.NOT_RUN, f"not measured; python tools/measurements.py {maker}")
    shown, verdict, more = decide(*rows)
    return Decision(verdict, "; ".join((*map(str, rows), more)), shown)


@measurement
def word_and_patch_share_prototypes() -> Decision:
    """XProNet Figure 1: a word and its patch share most of the prototypes they ask first, which says something if it is
    more than with another image."""

    def decide(of_ten: Measurement, over_chance: Measurement, over_others: Measurement):
        verdict = over_others.against(delta=smallest_difference(of_ten.name))
        beyond = "About *this* image is only what goes beyond another study's patches behind the same gate"
        return of_ten, verdict, f"{of_ten.studies} studies. {beyond}"

    names = ("", ", over chance", ", over another study's patches")
    return _decided("xpronet_meetings", tuple(f"shared prototypes of ten{name}" for name in names), decide)


@measurement
def prototypes_lie_by_class() -> Decision:
    """XProNet Figure 2: prototypes of one class lie together. They are means of clusters made class by class; the
    question is what training leaves."""
    n = experiment(f"{DRAWN}/xpronet", PROFILE).memory.prototypes
    chance = (n - 1) / (n * len(OBSERVATIONS) - 1)

    def decide(before: Measurement, trained: Measurement):
        return trained, trained.against(chance), f"by chance {chance:.3f}"

    names = ("before training", "trained")
    return _decided("xpronet_clusters", tuple(f"nearest prototype of the same class, {name}" for name in names), decide)


@measurement
def focal_loss_and_rare_classes() -> Decision:
    """Student paper: focal loss helps rare classes. Mean F1 of those with few training studies, with it less without,
    on the same studies."""

    def decide(rare: Measurement, every: Measurement):
        return rare, rare.against(delta=smallest_difference("finding-F1 macro")), f"{rare.seeds} seeds; {rare.of}"

    names = ("rare classes", "all classes")
    return _decided(
        "focal_loss_and_rare_classes", tuple(f"F1 with focal loss less without, {name}" for name in names), decide
    )


@measurement
def rare_classes_beside_all() -> Decision:
    """Student paper: robust, particularly for rare diseases. Mean F1 of the rare classes less that of all, with focal
    loss."""
    delta = smallest_difference("finding-F1 macro")

    def decide(behind: Measurement):
        much = f"robust would mean not much below the others ({delta:g})"
        return behind, behind.against(-delta), f"{behind.seeds} seeds; {much}; {behind.of}"

    return _decided("focal_loss_and_rare_classes", ("F1 with focal loss, rare classes less all",), decide)
