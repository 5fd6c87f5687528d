"""Which findings a report asserts, by plain rules: the frozen labeler `keywords-0`.

A finding is positive when its pattern stands in a sentence with no negation word before it in the same sentence. It is
crude on purpose and never changes, so that finding scores stay comparable when a better labeler comes: on the 590 test
reports it agrees with the expert codes at a micro-F1 of
0.85, and every result says which labeler made it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from rrg_lib.data.study import DRAWN_FINDINGS
from rrg_lib.errors import AnnotationError
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.package_data import table

#: The row of `data/finding_keywords.csv` that holds the negation words.
_NEGATION = "(negation before the match, same sentence)"
#: The end of a sentence in cleaned (" . ") and in raw text; the point of "1.5 cm" is none.
_SENTENCE_END = re.compile(r"\s*\.(?:\s+|$)")


def _shipped_rules() -> dict[str, str]:
    return {row["drawn_finding"]: row["regex"] for row in table("finding_keywords")}


@dataclass(frozen=True)
class KeywordLabeler:
    """The labeler of version `keywords-0` over `labels`, the 13 drawn findings in their order.

    Raises `AnnotationError` when the rules lack a finding.
    """

    version: str = "keywords-0"
    labels: tuple[str, ...] = DRAWN_FINDINGS
    rules: dict[str, str] = field(default_factory=_shipped_rules, repr=False)

    def __post_init__(self) -> None:
        if missing := [name for name in (*self.labels, _NEGATION) if name not in self.rules]:
            raise AnnotationError(
                f"the rules of labeler {self.version!r} (data/finding_keywords.csv) have no row for "
                f"{', '.join(missing)}"
            )

    @property
    def hash(self) -> str:
        """Names the rules by their content."""
        return content_hash([self.version, *self.labels, self.rules])

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(self.rules[name]) for name in self.labels)

    @cached_property
    def _negation(self) -> re.Pattern[str]:
        return re.compile(self.rules[_NEGATION])

    def label(self, report: str) -> tuple[int, ...]:
        """(13,) ones where the report, raw or cleaned, asserts the finding, zeros elsewhere."""
        sentences = _SENTENCE_END.split(report.lower())
        return tuple(int(any(self._asserts(pattern, sentence) for sentence in sentences)) for pattern in self._patterns)

    def _asserts(self, pattern: re.Pattern[str], sentence: str) -> bool:
        # The first match decides: what negates it stands before every later one too.
        match = pattern.search(sentence)
        return match is not None and self._negation.search(sentence, 0, match.start()) is None
