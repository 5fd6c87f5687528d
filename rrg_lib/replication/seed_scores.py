"""What our stored results say of a system, as the rule of `rrg_lib.replication.decision_rule` wants it: means over
seeds, study by study where that was kept.

**One system may have two names.** `xpronet_wo_cmpnet` is BASE trained as XProNet; in a profile that freezes the
extractor and sets the learning rate itself nothing of that is left, and it *is* `base`. `effective` drops what cannot
change a run; results that are equal in the rest are one system. Runs of one seed are then reruns: they count as one
seed (their mean), and tell what running again does (`rerun_sd`). Results that share their weights (XProNet told other
labels) share a training.

**Paired where possible.** Results of this edition keep the terms of their scores study by study; two of them are
compared on the same resamples of studies. Edition 0.1 kept intervals alone, and of its finding-F1 only the one by
`keywords-0`: two such results are compared by that, as if the studies were not the same, and the answer says
"edition 0.1: greedy, unpaired". That asks for more than a paired test would.

**One protocol at a time.** Edition 0.1's trainings are others: another device, epochs chosen by another score. A result
of it is compared with another of it and with nothing else; where several systems are looked for together, all are taken
from the protocol that has most of them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from scipy import stats

from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.metrics import REGISTRY
from rrg_lib.evaluation.resampling import LEVEL, Spread, bootstrap_weights, over_seeds, seeds_with_studies
from rrg_lib.experiments.presets import DATASETS, Experiment, experiment, released_settings
from rrg_lib.models.decoding import EDITION_0_1, STORED_PROTOCOLS
from rrg_lib.replication.decision_rule import MIN_SEEDS, Arm, Order, Pool, corrected, judge, pooled, smallest_difference
from rrg_lib.runtime.hashing import content_hash

if TYPE_CHECKING:
    from rrg_lib.experiments.results import StoredResult

#: Which profile's results are shown, the first that is there.
PROFILE_ORDER = ("gpu", "laptop", "ci")
UNPAIRED = "edition 0.1: greedy, unpaired"
#: How many standard deviations a stored interval reaches to both sides.
_REACH = float(stats.norm.ppf((1 + LEVEL) / 2))
_Name = TypeVar("_Name", bound=Hashable)


@dataclass(frozen=True)
class Measured:
    """Our runs of one system on one dataset in one profile and protocol, a seed each: the spread of a score over seeds,
    and of their mean the 95 % interval over studies, `low` to `high`, and its standard deviation `s_studies`. `names`
    are the presets that it is. `protocols` are the different ways in which they were measured: one, or they don't
    belong together. `drawn` has the mean on resampled studies, (R,), None where no terms were stored, `with_studies`
    what seeds and studies vary together; `other` is the same system by the score that edition 0.1 kept intervals of.
    NaN stands for intervals that were not stored."""

    dataset: str
    profile: str
    protocol: str
    labels: str | None
    score: str
    spread: Spread
    low: float
    high: float
    s_studies: float
    protocols: tuple[str, ...]
    pool: Pool
    names: tuple[str, ...] = ()
    studies: int = 0
    with_studies: float = 0.0
    drawn: np.ndarray | None = field(default=None, compare=False, repr=False)
    other: Measured | None = field(default=None, compare=False, repr=False)

    @property
    def where(self) -> str:
        return f"{self.dataset}, {self.profile}, {self.protocol}" + (f", labels: {self.labels}" if self.labels else "")

    @property
    def measured_by(self) -> str:
        return "; ".join(self.protocols)


def order(a: Measured, b: Measured) -> Order:
    """How A compares with B, by the rule of `decision_rule`. Raises `ConfigurationError` where no smallest difference
    of the score is declared."""
    if a.protocol != b.protocol or {*a.protocols} != {*b.protocols} or len(a.protocols) > 1:
        return Order("not measured alike", a.spread.mean - b.spread.mean, seeds=min(a.spread.n, b.spread.n))
    paired = a.drawn is not None and b.drawn is not None
    if not paired and math.isnan(a.s_studies + b.s_studies) and a.other and b.other:
        return order(a.other, b.other)
    variance = float(np.nanvar(a.drawn - b.drawn, ddof=1)) if paired else a.s_studies**2 + b.s_studies**2
    note = "" if paired else UNPAIRED if EDITION_0_1 in (a.protocol, b.protocol) else "unpaired"
    if not paired and a.score in REGISTRY and (remark := REGISTRY[a.score].remark):
        note += f", {remark}"
    arms = [Arm(m.spread.mean, m.spread.n, m.pool, m.with_studies) for m in (a, b)]
    return judge(*arms, variance, delta=smallest_difference(a.score), studies=a.studies, note=note)


# --- one system, two names --------------------------------------------------------------------------------------------


def effective(system: Experiment) -> str:
    """A hash of what decides an experiment's numbers, its seed apart: equal for experiments that are the same under two
    names.

    Left out are the preset's name; the extractor's learning rate where it is frozen; the memory's weight decay where
    there is no memory; the steps of a schedule that has none, and the warm-up of one that ignores it; patience that is
    never tried; how often is saved, and how studies are read."""
    data = system.to_json()
    training = data["training"]
    idle = {"seed", "save_every", "workers"}
    idle |= {"lr_visual"} if system.extractor.frozen else set()
    idle |= {"weight_decay_memory"} if system.memory is None else set()
    idle |= {"step_epochs", "step_factor"} if system.training.schedule != "step" else set()
    idle |= {"patience"} if system.training.patience >= system.training.epochs else set()
    return content_hash(
        {**data, "preset": None, "training": {name: value for name, value in training.items() if name not in idle}}
    )


@cache
def _effective_of_preset(name: str, profile: str) -> str:
    return effective(experiment(name, profile, released_settings(name, profile)))


class _Run(NamedTuple):
    """A stored result with what is asked of it again and again."""

    result: StoredResult
    system: str
    seed: int

    @property
    def labels(self) -> str | None:
        return self.result.labels_at_test


class _Indexed(NamedTuple):
    """A list of results, what is asked of each again and again, the pools of its seeds so far, and scores on resampled
    studies (some 7 MB for all that a ledger asks)."""

    known: tuple[StoredResult, ...]
    runs: list[_Run]
    pools: dict[tuple[str, ...], Pool]
    drawn: dict[tuple[int, str], np.ndarray]


_indexed: list[_Indexed] = []


def _index(results: Sequence[StoredResult]) -> _Indexed:
    """The results with their systems: a hash of each takes long enough to keep those of the last few lists."""
    for one in _indexed:
        if len(one.known) == len(results) and all(a is b for a, b in zip(one.known, results, strict=True)):
            return one
    runs = [_Run(r, effective(r.experiment), r.experiment.training.seed) for r in results]
    _indexed.append(_Indexed(tuple(results), runs, {}, {}))
    del _indexed[:-4]
    return _indexed[-1]


def same_systems(results: Sequence[StoredResult]) -> list[tuple[str, ...]]:
    """The names under which one system is stored more than once: "iu_phantom/base, laptop" and
    "iu_phantom/xpronet_wo_cmpnet, laptop"."""
    names: dict[str, dict[str, None]] = {}
    for run in _index(results).runs:
        names.setdefault(run.system, {})[_named(run.result)] = None
    return [tuple(presets) for presets in names.values() if len(presets) > 1]


def _named(result: StoredResult) -> str:
    e = result.experiment
    if result.is_preset:
        return f"{e.name}, {e.profile}"
    preset = experiment(e.name, e.profile).to_json()
    changed = {
        f"{part}.{name}": value
        for part, values in e.to_json().items()
        if isinstance(values, dict)
        for name, value in values.items()
        if (part, name) != ("training", "seed") and value != (preset[part] or {}).get(name)
    }
    return f"{e.name}, {e.profile}, {', '.join(f'{name}={value}' for name, value in changed.items())}"


def trainings(results: Sequence[StoredResult]) -> list[StoredResult]:
    """One result of each training: of those that share their weights the one by which systems are compared (labels by
    the classifier), else the first. Edition 0.1's weights are others under the same names."""
    first: dict[tuple[str, bool], StoredResult] = {}
    for r in results:
        training = r.weights, r.of_edition_0_1
        if training not in first or (r.labels_at_test == "classifier" != first[training].labels_at_test):
            first[training] = r
    return list(first.values())


# --- what is stored ---------------------------------------------------------------------------------------------------


def measured(
    results: Sequence[StoredResult],
    preset: str,
    dataset: str,
    score: str,
    *,
    profile: str | None = None,
    labels: str | None = None,
    protocol: str | None = None,
) -> Measured | None:
    """Our seeds of a preset, as it is, on a dataset: of `profile`, or of the largest that was run, of `protocol`, or
    of the first that has seeds enough. None where nothing is stored.

    A memory that is gated by labels was told the classifier's unless `labels` says otherwise. Runs of other settings do
    not count, runs of another name with the same settings do. Raises `ConfigurationError` for a seed that is stored
    twice under one name.
    """
    for name in ((profile,) if profile else PROFILE_ORDER) if dataset in DATASETS else ():  # a claim may speak of none
        if ours := _summary(
            results, _effective_of_preset(f"{dataset}/{preset}", name), score, dataset, name, labels, protocol
        ):
            return ours
    return None


def measured_as(
    results: Sequence[StoredResult],
    system: Experiment,
    score: str,
    *,
    labels: str | None = None,
    protocol: str | None = None,
) -> Measured | None:
    """Our seeds of an experiment with whatever settings it has, its own seed among them or not; `protocol` as in
    `measured`. None where nothing is stored. Raises as `measured`."""
    return _summary(results, effective(system), score, system.dataset, system.profile, labels, protocol)


def measured_together(
    results: Sequence[StoredResult],
    systems: Mapping[_Name, Experiment],
    score: str,
    *,
    labels: str | None = None,
    protocol: str | None = None,
) -> dict[_Name, Measured]:
    """Our seeds of several experiments, to be compared: all of `protocol`, or of the one in which most of them have
    seeds enough. What is not stored in it is left out. Raises as `measured`."""
    best: dict[_Name, Measured] = {}
    for which in (protocol,) if protocol else STORED_PROTOCOLS:
        found = {
            name: ours
            for name, system in systems.items()
            if (ours := measured_as(results, system, score, labels=labels, protocol=which))
        }
        best = max(best, found, key=lambda of: sum(min(ours.spread.n, MIN_SEEDS) for ours in of.values()))
    return best


def swept(
    results: Sequence[StoredResult],
    preset: str,
    setting: str,
    dataset: str,
    score: str,
    *,
    profile: str | None = None,
    labels: str | None = None,
    protocol: str | None = None,
) -> dict[Any, Measured]:
    """Value of a setting ("memory.top_k") -> our seeds with it, all other settings those of the preset; smallest first;
    `protocol` as in `measured_together`. Only of a profile where the preset's own value is stored too; empty where
    nothing else is stored than that."""
    part, _, name = setting.partition(".")
    for which in ((profile,) if profile else PROFILE_ORDER) if dataset in DATASETS else ():
        asked = (preset, dataset, which)
        runs = [
            r.result
            for r in _index(results).runs
            if (r.result.experiment.preset, r.result.experiment.dataset, r.result.experiment.profile) == asked
        ]
        runs = [r for r in runs if hasattr(getattr(r.experiment, part), name)]
        of_preset = _without(experiment(f"{dataset}/{preset}", which), part, name)
        by_value = {
            getattr(getattr(r.experiment, part), name): r.experiment
            for r in runs
            if _without(r.experiment, part, name) == of_preset
        }
        ours = measured_together(results, dict(sorted(by_value.items())), score, labels=labels, protocol=protocol)
        if len(ours) > 1 and getattr(getattr(experiment(f"{dataset}/{preset}", which), part), name) in ours:
            return ours
    return {}


def released_and_printed(
    results: Sequence[StoredResult],
    preset: str,
    dataset: str,
    scores: Sequence[str] = ("BLEU-4", "finding-F1"),
    *,
    profile: str = "laptop",
    protocol: str = "tuned",
) -> dict[str, tuple[Measured, Measured, Order]]:
    """Score -> our seeds of a preset, as released, those of the one that its paper's text describes
    (`PRESET_as_printed`), and how they compare, all scores corrected together. Scores that either lacks are left
    out."""
    pairs, orders = {}, {}
    for score in scores:
        pair = [
            measured(results, name, dataset, score, profile=profile, protocol=protocol)
            for name in (preset, f"{preset}_as_printed")
        ]
        if all(pair):
            pairs[score], orders[score] = pair, order(*pair)
    orders = corrected(orders)
    return {score: (*pair, orders[score]) for score, pair in pairs.items()}


def _without(system: Experiment, part: str, name: str) -> str:
    """The experiment's settings but one and the seed, as a hash."""
    data = system.to_json()
    data = {**data, "training": {**data["training"], "seed": None}}
    return content_hash({**data, part: {**data[part], name: None}})


def _summary(
    results: Sequence[StoredResult],
    system: str,
    score: str,
    dataset: str,
    profile: str,
    labels: str | None,
    protocol: str | None,
) -> Measured | None:
    told = (None, labels or "classifier")
    runs = [run for run in _index(results).runs if run.system == system and run.labels in told]
    most: list[_Run] = []
    for name in (protocol,) if protocol else STORED_PROTOCOLS:  # the first with seeds enough, else that with most
        here = [run for run in runs if run.result.protocol == name and score in run.result.evaluation.scores]
        if min(len({run.seed for run in here}), MIN_SEEDS) > min(len({run.seed for run in most}), MIN_SEEDS):
            most = here
    return _measured(results, most, score, dataset, profile, most[0].result.protocol) if most else None


def _measured(
    results: Sequence[StoredResult], here: Sequence[_Run], score: str, dataset: str, profile: str, protocol: str
) -> Measured:
    by_seed: dict[int, list[StoredResult]] = {}
    for run in here:
        by_seed.setdefault(run.seed, []).append(run.result)
    for seed, of in by_seed.items():
        if len({r.experiment.preset for r in of}) < len(of):
            names = ", ".join(r.name for r in of)
            raise ConfigurationError(
                f"seed {seed} of {_named(of[0])} is stored twice ({names}); keep one of them in data/results"
            )
    runs = [run.result for run in here]
    spread = over_seeds([fmean(r.evaluation.scores[score] for r in of) for of in by_seed.values()])
    drawn, with_studies = None, 0.0
    if all(score in r.terms for r in runs):
        index = _index(results)
        each = np.stack([np.mean([_resampled(index, r, score) for r in of], axis=0) for of in by_seed.values()])
        drawn, with_studies = each.mean(axis=0), seeds_with_studies(each)
        s_studies, (low, high) = (
            float(np.nanstd(drawn, ddof=1)),
            np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]),
        )
    else:  # the means of the seeds' bounds: they erred on the same studies, so averaging makes the interval no shorter
        bounds = [r.evaluation.rows[0].intervals.get(score, (math.nan, math.nan)) for r in runs]
        s_studies = math.sqrt(fmean(((high - low) / 2 / _REACH) ** 2 for low, high in bounds))
        low, high = (fmean(b[side] for b in bounds) for side in (0, 1))
    stand_in = REGISTRY[score].stand_in if score in REGISTRY else None
    other = _measured(results, here, stand_in, dataset, profile, protocol) if stand_in else None
    return Measured(
        dataset=dataset,
        profile=profile,
        protocol=protocol,
        labels=here[0].labels,
        score=score,
        spread=spread,
        low=float(low),
        high=float(high),
        s_studies=s_studies,
        protocols=tuple(sorted({_measured_by(r, score) for r in runs})),
        pool=seed_pool(results, score, dataset, profile, protocol),
        names=tuple(dict.fromkeys(r.experiment.preset for r in runs)),
        studies=runs[0].evaluation.provenance["studies"]["n"],
        with_studies=with_studies,
        drawn=drawn,
        other=other,
    )


def _resampled(index: _Indexed, result: StoredResult, score: str) -> np.ndarray:
    """(R,) a score on resampled studies, the same resamples for every result of as many studies."""
    key = id(result), score  # the index keeps its results, so no other gets this number
    if key not in index.drawn:
        terms = result.terms[score]
        index.drawn[key] = terms.resampled(bootstrap_weights(len(terms)))
    return index.drawn[key]


def _measured_by(result: StoredResult, score: str) -> str:
    """What must be equal for two scores to be compared: how references were made, the studies, the images, and who
    labelled."""
    provenance: Mapping[str, Any] = result.evaluation.provenance
    parts = [
        f"{provenance['protocol']['name']} {provenance['protocol']['hash']}",
        f"vocabulary {provenance['vocabulary']}",
        f"studies {provenance['studies']['hash']}",
    ]
    parts.append(f"data {result.provenance['identity']['dataset']}")
    if score in REGISTRY and REGISTRY[score].labelled_by:
        labeler = provenance[REGISTRY[score].labelled_by]
        parts.append(f"labeler {labeler['version']} {labeler['hash']}")
    return ", ".join(parts)


# --- what seeds and reruns do -----------------------------------------------------------------------------------------


def seed_pool(results: Sequence[StoredResult], score: str, dataset: str, profile: str, protocol: str) -> Pool:
    """The spread of seeds of everything that was trained on this dataset in this profile and searched in this protocol:
    a system under two names is one, reruns of a seed are one seed, results that share their weights are one
    training."""
    index, key, scores = _index(results), (dataset, profile, protocol), {}
    if known := index.pools.get((score, *key)):
        return known
    kept = {id(r) for r in trainings([run.result for run in index.runs if _kind(run.result) == key])}
    for run in index.runs:
        if id(run.result) in kept and score in run.result.evaluation.scores:
            scores.setdefault(run.system, {}).setdefault(run.seed, []).append(run.result.evaluation.scores[score])
    found = pooled([[fmean(again) for again in seeds.values()] for seeds in scores.values()], ", ".join(key))
    index.pools[score, *key] = found
    return found


def _kind(r: StoredResult) -> tuple[str, str, str]:
    return r.experiment.dataset, r.experiment.profile, r.protocol


def rerun_pool(results: Sequence[StoredResult], again: Sequence[StoredResult], score: str) -> Pool:
    """What running again does with the seed unchanged: the spread of runs of one system and seed, those under another
    name among them and `again` (`twins()`), pooled over seeds. They are no further seeds."""
    scores: dict[tuple[str, int, str], list[float]] = {}
    for run in _index([*trainings(results), *again]).runs:
        if score in run.result.evaluation.scores:
            scores.setdefault((run.system, run.seed, run.result.protocol), []).append(
                run.result.evaluation.scores[score]
            )
    return pooled([*scores.values()], "one seed each, run again")


# --- families ---------------------------------------------------------------------------------------------------------

_FAMILIES = {None: "BASE", "cmn": "CMN", "xpronet": "XProNet", "mcsam": "MCSAM"}


def family(system: Experiment) -> str:
    """The kind of system, whatever its settings: "BASE", "BASE+MEM", "CMN", "XProNet", "MCSAM", "CMN + pair
    alignment"; of a system with a generator of its own, a system of the lineage, the generator's name."""
    data = system.to_json()
    if own := data["generator"].get("kind"):
        return own
    name = _FAMILIES[data["memory"]["kind"] if data["memory"] else None]
    if name == "CMN" and not system.memory.shared:
        name = "BASE+MEM"
    return name + (" + pair alignment" if system.pair else "")


class Families(NamedTuple):
    """All trainings of one kind of system, whatever their settings, against all of another, on the same studies: the
    `difference` of the means with its 90 % interval (Welch), so that at 5 % a difference above `high` is excluded, and
    one below `low`. It says nothing of other studies."""

    a: Spread
    b: Spread
    difference: float
    low: float
    high: float
    p: float


def families(
    results: Sequence[StoredResult],
    a: str,
    b: str,
    score: str,
    *,
    dataset: str = "iu_phantom",
    profile: str = "laptop",
    protocol: str,
) -> Families | None:
    """One family against another, searched as `protocol` says; None where one has fewer than two trainings. A training
    counts once, whatever labels its memory was told afterwards."""
    here = [
        r
        for r in results
        if (r.experiment.dataset, r.experiment.profile) == (dataset, profile) and score in r.evaluation.scores
    ]
    here = trainings([r for r in here if r.protocol == protocol])
    one, two = ([r.evaluation.scores[score] for r in here if family(r.experiment) == name] for name in (a, b))
    if min(len(one), len(two)) < 2:
        return None
    welch = stats.ttest_ind(one, two, equal_var=False)
    low, high = welch.confidence_interval(0.9)
    return Families(
        over_seeds(one), over_seeds(two), fmean(one) - fmean(two), float(low), float(high), float(welch.pvalue)
    )
