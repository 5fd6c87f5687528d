"""Every metric: one class that says what it is called, what it needs, how it is computed and where it is shown, and one
line that registers it.

    @register_metric
    class WordPrecision(MeanMetric):
        name = "word precision"

        def of_each(self, pairs):
            ...

All else knows a metric from `REGISTRY`: what is scored, the tables of an evaluation and of the stored results, the
terms that a stored result keeps, the paired comparison, the ledger, the site. A stored result that was scored before a
metric was there lacks it, and shows a dash.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar, overload

import numpy as np
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from rrg_lib.data.study import Study
from rrg_lib.data.text.keyword_labeler import KeywordLabeler
from rrg_lib.data.text.rule_labeler import ReportLabeler
from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.evaluation.bleu import bleu_of, bleu_terms
from rrg_lib.evaluation.clinical import FindingScores, f1_of_counts, finding_f1, macro_f1_of_counts
from rrg_lib.evaluation.meteor import meteor, meteor_of
from rrg_lib.evaluation.resampling import Additive, mean_of

Shared = TypeVar("Shared")
#: Where a score is shown: the table of an evaluation, its table of normal and abnormal studies apart, the table of the
#: stored results, the first table of the site, the comparison of two systems.
Place = Literal["evaluation", "normal and abnormal", "results", "site", "comparison"]
USUAL: frozenset[Place] = frozenset({"evaluation", "results", "site", "comparison"})


@dataclass(eq=False)
class Pairs:
    """What a metric is given: a reference and a hypothesis of each study, (n,) each in one order; `studies` (n,) with
    their experts' codes, None where the texts are all there is."""

    references: Sequence[str]
    hypotheses: Sequence[str]
    studies: Sequence[Study] | None = None
    _shared: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def once(self, name: Hashable, make: Callable[[], Shared]) -> Shared:
        """What `make` gives, made once for all metrics that ask for it by this name."""
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]


class Score(NamedTuple):
    """A metric's value on all studies, its values study by study (n,), and its terms: a score that is a fixed function
    of sums over studies has intervals, parts and a paired test. None where there is no such thing."""

    corpus: float
    per_study: np.ndarray | None = None
    additive: Additive | None = None


class Metric(ABC):
    """A metric. What a class does not say is: it needs nothing but the texts, higher is better, three decimals, shown
    in the usual places with its interval, its terms kept under its name.

    `needs_java` and `needs_codes`: what must be there. `labelled_by`: where an evaluation's provenance names the
    labeler that it depends on. `stand_in`: the metric that is compared in its place where its own terms and intervals
    were not stored; `remark`: what a comparison says where it had to stand in.
    """

    name: str
    needs_java: bool = False
    needs_codes: bool = False
    higher_is_better: bool = True
    decimals: int = 3
    shown_in: frozenset[Place] = USUAL
    interval_shown: bool = True
    labelled_by: str | None = None
    stand_in: str | None = None
    remark: str = ""

    @abstractmethod
    def score(self, pairs: Pairs) -> Score:
        """The score of the hypotheses. Raises `JavaError` where it needs Java and that fails."""

    @property
    def kept_as(self) -> str:
        """What its terms are called in a stored result; metrics that share terms share it."""
        return self.name

    def kept(self, additive: Additive) -> np.ndarray | None:
        """The terms (n, …) that a stored result keeps; None where another metric of the same `kept_as` keeps more."""
        return additive.terms

    def additive_of(self, kept: np.ndarray) -> Additive:
        """The score of terms as they were kept. Raises `ConfigurationError` where the metric has none."""
        raise ConfigurationError(f"{self.name} is no function of sums over studies: it keeps no terms")

    def shown(self, value: float | None) -> str:
        """A value as a table shows it: a dash for what was not computed (None) or is not defined (NaN)."""
        return "–" if value is None or value != value else f"{value:.{self.decimals}f}"


class MeanMetric(Metric):
    """A metric that is the mean of its values study by study. A class says `of_each`."""

    @abstractmethod
    def of_each(self, pairs: Pairs) -> Sequence[float]:
        """(n,) values, one a study."""

    def score(self, pairs: Pairs) -> Score:
        values = np.asarray(self.of_each(pairs), dtype=float)
        return Score(float(values.mean()), values, mean_of(values))

    def kept(self, additive: Additive) -> np.ndarray:
        return additive.terms[:, 0]  # the other column counts studies

    def additive_of(self, kept: np.ndarray) -> Additive:
        return mean_of(kept)


REGISTRY: dict[str, Metric] = {}
_Class = TypeVar("_Class", bound=type[Metric])


def register_metric(metric: _Class) -> _Class:
    """Registers a metric, last in the order of the tables: `@register_metric` above its class. Raises
    `ConfigurationError` for a name that is taken."""
    if metric.name in REGISTRY:
        raise ConfigurationError(f"there is a metric {metric.name!r} already; give {metric.__name__} another name")
    REGISTRY[metric.name] = metric()
    return metric


def known_metric(name: str) -> Metric:
    """The metric of a name. Raises `UnknownNameError` with the nearest names."""
    if name not in REGISTRY:
        raise UnknownNameError("metric", name, REGISTRY)
    return REGISTRY[name]


def metrics_shown(place: Place) -> list[Metric]:
    """The metrics that are shown in a place, in order."""
    return [metric for metric in REGISTRY.values() if place in metric.shown_in]


class MetricNames(Sequence[str]):
    """The names of some registered metrics, in order: a view, so that a metric that is registered later is in it."""

    def __init__(self, chosen: Callable[[Metric], bool] = lambda metric: True):
        self._chosen = chosen

    def _names(self) -> tuple[str, ...]:
        return tuple(name for name, metric in REGISTRY.items() if self._chosen(metric))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[str, ...]: ...
    def __getitem__(self, at):
        return self._names()[at]

    def __repr__(self) -> str:
        return repr(self._names())


#: The name of every score of a row, in the order of its columns.
SCORES = MetricNames()

# --- of the texts, in the order of the published tables ---------------------------------------------------------------

_NARROW = USUAL - {"results", "site"}


class _Bleu(Metric):
    """BLEU of n-grams up to `n`; all four count their n-grams together."""

    n: int
    kept_as = "BLEU"
    interval_shown = False  # a bracket on each of four would leave no table room
    shown_in = _NARROW

    def score(self, pairs: Pairs) -> Score:
        corpus, each, terms = pairs.once("BLEU", lambda: bleu_terms(pairs.references, pairs.hypotheses))
        return Score(corpus[self.n - 1], np.asarray(each[self.n - 1], dtype=float), self.additive_of(terms))

    def additive_of(self, kept: np.ndarray) -> Additive:
        return Additive(kept, lambda sums: bleu_of(sums)[..., self.n - 1])


@register_metric
class Bleu1(_Bleu):
    name, n = "BLEU-1", 1
    shown_in = USUAL - {"site"}


@register_metric
class Bleu2(_Bleu):
    name, n = "BLEU-2", 2


@register_metric
class Bleu3(_Bleu):
    name, n = "BLEU-3", 3


@register_metric
class Bleu4(_Bleu):
    name, n = "BLEU-4", 4
    interval_shown = True
    shown_in = USUAL | {"normal and abnormal"}


@register_metric
class Meteor(Metric):
    """METEOR 1.5 by its own Java program; a corpus's is the score of the summed statistics of its pairs."""

    name = "METEOR"
    needs_java = True
    interval_shown = False

    def score(self, pairs: Pairs) -> Score:
        corpus, each, terms = meteor().score(pairs.references, pairs.hypotheses)
        return Score(float(corpus), each, self.additive_of(terms))

    def additive_of(self, kept: np.ndarray) -> Additive:
        return Additive(kept, meteor_of)


class _Coco(MeanMetric):
    """A metric whose scorer of pycocoevalcap gives each study a score, and the corpus their mean."""

    scorer: type
    interval_shown = False

    def of_each(self, pairs: Pairs) -> Sequence[float]:
        return self._computed(pairs)[1]

    def score(self, pairs: Pairs) -> Score:
        corpus, each = self._computed(pairs)
        return Score(float(corpus), np.asarray(each, dtype=float), mean_of(each))

    def _computed(self, pairs: Pairs) -> tuple[float, Sequence[float]]:
        wanted, got = ({n: [text] for n, text in enumerate(texts)} for texts in (pairs.references, pairs.hypotheses))
        return self.scorer().compute_score(wanted, got)


@register_metric
class RougeL(_Coco):
    name, scorer = "ROUGE-L", Rouge


@register_metric
class CIDEr(_Coco):
    """Between 0 and 10; weighs n-grams by how rare they are in these references. Where these are all alike none is
    rarer than another, and it is not defined: NaN."""

    name, scorer = "CIDEr", Cider
    shown_in = USUAL | {"normal and abnormal"}

    def _computed(self, pairs: Pairs) -> tuple[float, Sequence[float]]:
        if len(set(pairs.references)) == 1:
            return math.nan, [math.nan] * len(pairs.references)
        return super()._computed(pairs)


# --- of the findings, against the experts' codes ----------------------------------------------------------------------

#: Findings read by the labeler `rules-1`, one that is doubted counted as said, against the experts' codes: over all
#: decisions, and the mean over findings.
FINDING_F1, FINDING_F1_MACRO = "finding-F1", "finding-F1 macro"
#: The same over all decisions, read by the older and coarser labeler `keywords-0`.
FINDING_F1_KEYWORDS = "finding-F1 keywords-0"


class FindingMetric(Metric):
    """Agreement of the 13 drawn findings that a labeler reads in a report with the experts' codes. A study without
    codes counts as nothing, whatever its report asserts: neither right nor wrong can be said of it."""

    needs_codes = True
    labeler_class: type[ReportLabeler] | type[KeywordLabeler] = ReportLabeler
    labelled_by = "labeler"

    @cached_property
    def labeler(self) -> ReportLabeler | KeywordLabeler:
        return self.labeler_class()

    def asserted(self, pairs: Pairs) -> np.ndarray:
        """(n, 13) findings that the hypotheses assert, ones and zeros."""
        read = lambda: np.array([self.labeler.label(text) for text in pairs.hypotheses])  # noqa: E731
        return pairs.once(("asserted", self.labeler_class), read)

    def scores(self, pairs: Pairs) -> FindingScores:
        """All scores of the findings. Raises `ConfigurationError` for pairs without their studies."""
        if pairs.studies is None:
            raise ConfigurationError(f"{self.name} is scored against experts' codes: give the studies")
        coded = np.array([study.is_coded for study in pairs.studies])[:, None]
        truth = [study.drawn for study in pairs.studies]
        return pairs.once(("findings", self.labeler_class), lambda: finding_f1(self.asserted(pairs) * coded, truth))


@register_metric
class FindingF1(FindingMetric):
    name = FINDING_F1
    shown_in = USUAL | {"normal and abnormal"}
    stand_in = FINDING_F1_KEYWORDS  # the first edition stored the intervals of that one alone

    def score(self, pairs: Pairs) -> Score:
        scores = self.scores(pairs)
        return Score(scores.micro.f1, additive=scores.additive["micro"])

    def kept(self, additive: Additive) -> None:
        return None  # its terms are sums of those by finding, which finding-F1 macro keeps under the same name

    def additive_of(self, kept: np.ndarray) -> Additive:
        return Additive(kept.reshape(len(kept), 3, -1).sum(2), f1_of_counts)


@register_metric
class KeywordFindingF1(FindingMetric):
    name = FINDING_F1_KEYWORDS
    labeler_class = KeywordLabeler
    labelled_by = "keywords"
    remark = "by keywords-0"
    shown_in = frozenset({"evaluation", "results"})
    interval_shown = False

    def score(self, pairs: Pairs) -> Score:
        scores = self.scores(pairs)
        return Score(scores.micro.f1, additive=scores.additive["micro"])

    def additive_of(self, kept: np.ndarray) -> Additive:
        return Additive(kept, f1_of_counts)


@register_metric
class MacroFindingF1(FindingMetric):
    name = FINDING_F1_MACRO
    shown_in = frozenset()
    interval_shown = False

    @property
    def kept_as(self) -> str:
        return FINDING_F1

    def score(self, pairs: Pairs) -> Score:
        scores = self.scores(pairs)
        return Score(scores.macro.f1, additive=scores.additive["macro"])

    def additive_of(self, kept: np.ndarray) -> Additive:
        return Additive(kept, macro_f1_of_counts)
