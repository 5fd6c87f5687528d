"""Which findings a report asserts, denies or doubts, for the 14 CheXpert observations and the 13 drawn findings: the
labelers `rules-1` and `rules-2`.

Three tables of `data/` hold what they know: `labeler_lexicon.csv` the words of each finding and of its absence,
`labeler_context.csv` the cues of negation, doubt and time (`rrg_lib.data.text.context`), `labeler_attributes.csv` the
words for severity, side and place. They were tuned on training reports against the expert codes and on challenge
sentences of our own; no validation or test report was looked at before they were done, and nothing that changes a label
of the collection was changed after. A row whose column `versions` is not empty belongs to those versions alone.

Stored results stand on `rules-1`, which never changes. `rules-2` reads reports as other people write them: headings,
lists, abbreviations and British spelling (`rrg_lib.data.text.report_sentences`, `labeler_spelling.csv`), answers behind
a colon or a dash, doubts about a cause.

How a report is summed up is CheXpert's way (Irvin et al. 2019): one positive mention makes the observation positive,
else one uncertain mention uncertain, else one negative mention negative; what is not mentioned stays blank.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS, SEVERITIES, SIDES
from rrg_lib.data.text.context import Context, Cue, Status, compiled, sentences
from rrg_lib.data.text.report_sentences import Spelling, report_sentences
from rrg_lib.errors import AnnotationError, ReportError
from rrg_lib.runtime.choices import check_choice
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.package_data import table
from rrg_lib.runtime.spreadsheet import as_cell
from rrg_lib.runtime.workspace import written_whole

RulesVersion = Literal["rules-1", "rules-2"]
#: The version on which stored results stand, and the newest one, which reads whatever is not stored.
HEADLINE: RulesVersion = "rules-1"
NEWEST: RulesVersion = "rules-2"
#: What counts as a support device among the 14 observations: "wide", every device of the lexicon; "chexpert", those
#: that CheXpert's own list of mentions has (no clips, no sternal wires, no ports but Mediports).
DeviceConvention = Literal["wide", "chexpert"]
#: CheXpert's list (Irvin et al. 2019, their released labeler): words and beginnings of words.
_CHEXPERT_DEVICE = re.compile(
    r"pacer|pacemaker|picc|tube|valve|catheter|hardware|arthroplast|marker|icd|defib|device|plate|screw|cannula|"
    r"apparatus|coil|support|equipment|mediport|lines|\bline\b|\bdrain\b"
)
#: How the four answers are written, as in the CheXpert files: blank is not a number.
POSITIVE, NEGATIVE, UNCERTAIN, BLANK = 1.0, 0.0, -1.0, math.nan
_VALUES: dict[Status, float] = {"positive": POSITIVE, "uncertain": UNCERTAIN, "negative": NEGATIVE}
#: What a row of the lexicon is: the finding's words; words that say it is absent ("sharp costophrenic angles"); a
#: denied normality ("not a normal heart size"), whose own "not" is no negation of the finding; words that look like a
#: finding and are none ("pericardial effusion").
_SAYS = ("present", "absent", "not normal", "other")
_MACRO = "(macro) "
#: Words kept of a sentence when the same sentence comes again: reports repeat themselves.
_REMEMBERED = 2**15


@dataclass(frozen=True, slots=True)
class Mention:
    """One finding in one sentence.

    `concept` is the lexicon's word for it, `drawn` and `observation` its names in the two label sets (None where it has
    none), `words` what the sentence says (lower case), `sentence` the number of the sentence. `severity`, `side` and
    `place` as in `Finding`, None and empty where not said.
    """

    concept: str
    drawn: str | None
    observation: str | None
    status: Status
    words: str
    sentence: int
    severity: str | None = None
    side: str | None = None
    place: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row of the lexicon. `triggers` are stems without which its pattern cannot match: looking for them is twenty
    times faster."""

    concept: str
    says: str
    drawn: str | None
    observation: str | None
    triggers: tuple[str, ...]
    pattern: re.Pattern[str]


@dataclass(frozen=True)
class ReportLabeler:
    """The labeler of one version; of stored results', unless another is named.

    `lexicon`, `context`, `attributes` are rows of the three tables, of which those of the version count; the shipped
    ones by default. `devices` names a label convention (`DeviceConvention`). Thread-safe, no randomness, nothing
    downloaded.

    Raises `UnknownNameError` for a version or convention that there is not, and `AnnotationError` when a table does not
    say what it must; the message names the row.
    """

    version: RulesVersion = HEADLINE
    lexicon: Sequence[dict[str, str]] = field(default_factory=lambda: table("labeler_lexicon"), repr=False)
    context: Sequence[dict[str, str]] = field(default_factory=lambda: table("labeler_context"), repr=False)
    attributes: Sequence[dict[str, str]] = field(default_factory=lambda: table("labeler_attributes"), repr=False)
    #: Those of `label`: the same as the frozen labeler's.
    labels: tuple[str, ...] = DRAWN_FINDINGS
    devices: DeviceConvention = "wide"

    def __post_init__(self) -> None:
        check_choice("labeler", self.version, RulesVersion)
        check_choice("convention of devices", self.devices, DeviceConvention)
        for name in ("lexicon", "context", "attributes"):
            object.__setattr__(self, name, _of_version(getattr(self, name), self.version))
        _ = self._entries, self._cues, self._words  # a fault in a table is found when the labeler is made
        # The memory belongs to this labeler: a method cached on the class would keep every labeler alive.
        object.__setattr__(self, "_read", lru_cache(_REMEMBERED)(self._mentions_of))

    @property
    def hash(self) -> str:
        """Names the rules by their content."""
        rules = [self.version, list(self.lexicon), list(self.context), list(self.attributes)]
        rules += [] if self._spelling is None else [list(table("labeler_spelling"))]
        return content_hash(rules + [self.devices] * (self.devices != "wide"))

    @property
    def stems(self) -> dict[str, tuple[str, ...]]:
        """By drawn finding, the word stems of which one stands in every mention of it."""
        return {
            name: tuple(stem for entry in self._entries if entry.drawn == name for stem in entry.triggers)
            for name in DRAWN_FINDINGS
        }

    def mentions(self, report: str) -> tuple[Mention, ...]:
        """Every finding that the report, raw or cleaned, names, in its order. Raises `ReportError` for what is not
        text."""
        if not isinstance(report, str):
            raise ReportError(
                f"a report to label must be text, not {type(report).__name__}: {report!r}; leave studies without a "
                f"report out"
            )
        return tuple(
            Mention(concept, drawn, observation, status, words, number, *attributes)
            for number, sentence in enumerate(self.sentences(report))
            for concept, drawn, observation, status, words, attributes in self._read(sentence)
        )

    def sentences(self, report: str) -> list[str]:
        """The sentences of a report as this version reads them, in lower case."""
        return [self._spelling.spelled(s) for s in report_sentences(report)] if self._spelling else sentences(report)

    def cues(self, sentence: str) -> list[tuple[Cue, list[tuple[int, int]]]]:
        """What in a sentence (lower case, as `sentences` gives it) speaks of the findings around it, and the pieces of
        the sentence that each reaches."""
        cues = self._cues.cues(sentence)
        return [(cue, self._cues.reach(cue, cues, len(sentence))) for cue in cues]

    def observations(self, report: str) -> tuple[float, ...]:
        """(14,) in the order of `OBSERVATIONS`: 1 positive, 0 negative, -1 uncertain, NaN not mentioned.

        "No Finding" is 1 when nothing else is positive or uncertain, NaN otherwise, and NaN of a report without a word.
        A device is something to `rules-1`, as in `Study.observations`, and no finding to `rules-2`, as in CheXpert's
        labels.
        """
        by_name = self._summed(report, "observation")
        values = [by_name.get(name, BLANK) for name in OBSERVATIONS]
        silent = not any(c.isalnum() for c in report)
        findings = values[1:] if self.version == "rules-1" else values[1:-1]  # the last one is Support Devices
        values[0] = BLANK if silent or any(value in (POSITIVE, UNCERTAIN) for value in findings) else POSITIVE
        return tuple(values)

    def drawn(self, report: str) -> tuple[float, ...]:
        """(13,) in the order of `DRAWN_FINDINGS`, with the same four values."""
        by_name = self._summed(report, "drawn")
        return tuple(by_name.get(name, BLANK) for name in DRAWN_FINDINGS)

    def label(self, report: str, *, uncertain: Literal["positive", "negative"] = "positive") -> tuple[int, ...]:
        """(13,) ones and zeros in the order of `DRAWN_FINDINGS`, as the frozen labeler's; `uncertain` says what a
        doubted finding counts as.

        The experts code what the report calls possible, so it is positive by default.
        """
        counted = (POSITIVE, UNCERTAIN) if uncertain == "positive" else (POSITIVE,)
        return tuple(int(value in counted) for value in self.drawn(report))

    def _summed(self, report: str, names: Literal["drawn", "observation"]) -> dict[str, float]:
        by_name: dict[str, float] = {}
        rank = (POSITIVE, UNCERTAIN, NEGATIVE)
        for mention in self.mentions(report):
            name = getattr(mention, names)
            if name == "Support Devices" and self.devices == "chexpert" and not _CHEXPERT_DEVICE.search(mention.words):
                continue
            if name is not None and mention.status in _VALUES:
                value = _VALUES[mention.status]
                by_name[name] = value if name not in by_name else min(value, by_name[name], key=rank.index)
        return by_name

    # --- one sentence -------------------------------------------------------------------------------------------------

    def _mentions_of(self, sentence: str) -> tuple[tuple, ...]:
        """The mentions of one sentence as plain tuples, without its number."""
        spans = self._spans(sentence)
        if not spans:
            return ()
        cues = self._cues.cues(sentence)
        mentions, ends = [], [end for _, end, _ in spans]
        for start, end, entry in spans:
            around = (
                [cue for cue in cues if cue.end <= start or end <= cue.start] if entry.says == "not normal" else cues
            )
            status = "negative" if entry.says == "absent" else self._cues.status(start, end, around, ends)
            attributes = (
                self._attributes(sentence, start, end, spans, cues)
                if status in ("positive", "uncertain")
                else (None, None, ())
            )
            mentions.append((entry.concept, entry.drawn, entry.observation, status, sentence[start:end], attributes))
        return tuple(mentions)

    def _spans(self, sentence: str) -> list[tuple[int, int, _Entry]]:
        """Where the lexicon's words stand, from left to right. Of two that overlap the longer one is meant: "nodular
        opacity" is no opacity."""
        matches = []
        for entry in self._entries:
            for trigger in entry.triggers:
                if trigger in sentence:
                    matches += [(match.start(), match.end(), entry) for match in entry.pattern.finditer(sentence)]
                    break
        matches.sort(key=lambda span: (span[0] - span[1], span[0]))  # longest first
        kept: list[tuple[int, int, _Entry]] = []
        for start, end, entry in matches:
            # Two findings may lie in the same words (a hydropneumothorax), but a shorter one inside a longer one is not
            # meant. What says that a finding is absent may stretch over others ("heart, mediastinum and lungs are
            # normal"): it hides, and is hidden by, only its own. Two rows of one finding may match the same words.
            if not any(
                other_start < end
                and start < other_end
                and (
                    (other_start, other_end) != (start, end)
                    or (other.concept, other.says) == (entry.concept, entry.says)
                )
                and _excludes(other, entry)
                for other_start, other_end, other in kept
            ):
                kept.append((start, end, entry))
        return sorted((span for span in kept if span[2].says != "other"), key=lambda span: span[:2])

    def _attributes(
        self, sentence: str, start: int, end: int, spans: list, cues: Sequence[Cue]
    ) -> tuple[str | None, str | None, tuple[str, ...]]:
        """Severity, side and place of the finding at `start <= i < end`."""
        stops = [cue for cue in cues if cue.kind == "stop" and cue.direction == "both"]
        low = max([cue.end for cue in stops if cue.end <= start], default=0)
        high = min([cue.start for cue in stops if cue.start >= end], default=len(sentence))
        # Words before the finding are its own unless another finding stands between; words behind it are, unless they
        # stand before the next finding.
        low = max([low, *(e for s, e, _ in spans if e <= start)])
        high = min([high, *(s for s, e, _ in spans if s >= end)])
        return (
            self._nearest("severity", sentence, low, start, end, end),
            self._nearest("side", sentence, low, start, end, high),
            tuple(
                dict.fromkeys(value for value, pattern in self._words["place"] if pattern.search(sentence, low, high))
            ),
        )

    def _nearest(self, attribute: str, sentence: str, low: int, start: int, end: int, high: int) -> str | None:
        """The value whose words stand nearest to the finding between `low` and `high`; of those as near, the
        longest."""
        candidates = [
            (max(start - match.end(), match.start() - end, 0), match.start() - match.end(), value)
            for value, pattern in self._words[attribute]
            for match in pattern.finditer(sentence, low, high)
        ]
        return min(candidates)[2] if candidates else None

    # --- the tables ---------------------------------------------------------------------------------------------------

    @cached_property
    def _entries(self) -> tuple[_Entry, ...]:
        macros: dict[str, str] = {}
        entries = []
        for number, row in enumerate(self.lexicon, 1):
            where = f"row {number} of the lexicon ({row['concept']})"
            pattern = row["pattern"]
            for name, text in macros.items():
                pattern = pattern.replace(f"<{name}>", text)
            if row["concept"].startswith(_MACRO):
                macros[row["concept"].removeprefix(_MACRO)] = pattern
                continue
            for column, known in (("drawn_finding", DRAWN_FINDINGS), ("observation", OBSERVATIONS[1:])):
                if row[column] and row[column] not in known:
                    raise AnnotationError(
                        f"{where} has the {column} {row[column]!r}; it may be empty or one of {', '.join(known)}"
                    )
            if row["says"] not in _SAYS:
                raise AnnotationError(f"{where} says {row['says']!r}; it may be {', '.join(_SAYS)}")
            triggers = tuple(trigger for trigger in row["trigger"].split("|") if trigger)
            if not triggers:
                raise AnnotationError(
                    f"{where} has no trigger: give the stems, separated by |, one of which every match contains"
                )
            entries.append(
                _Entry(
                    row["concept"],
                    row["says"],
                    row["drawn_finding"] or None,
                    row["observation"] or None,
                    triggers,
                    compiled(pattern, where),
                )
            )
        return tuple(entries)

    @cached_property
    def _spelling(self) -> Spelling | None:
        return None if self.version == "rules-1" else Spelling(table("labeler_spelling"))

    @cached_property
    def _cues(self) -> Context:
        return Context(self.context)

    @cached_property
    def _words(self) -> dict[str, list[tuple[str, re.Pattern[str]]]]:
        words: dict[str, list[tuple[str, re.Pattern[str]]]] = {"severity": [], "side": [], "place": []}
        known = {"severity": SEVERITIES, "side": SIDES}
        for number, row in enumerate(self.attributes, 1):
            where = f"row {number} of the attributes"
            if row["attribute"] not in words:
                raise AnnotationError(f"{where} is of {row['attribute']!r}; it may be {', '.join(words)}")
            if row["value"] not in known.get(row["attribute"], (row["value"],)):
                raise AnnotationError(
                    f"{where} has the {row['attribute']} {row['value']!r}; it may be "
                    f"{', '.join(known[row['attribute']])}"
                )
            words[row["attribute"]].append((row["value"], compiled(row["pattern"], where)))
        return words


def _of_version(rows: Sequence[dict[str, str]], version: RulesVersion) -> tuple[dict[str, str], ...]:
    """The rows of a table that belong to a version, without the column that says so."""
    return tuple(
        {column: value for column, value in row.items() if column != "versions"}
        for row in rows
        if version.removeprefix("rules-") in (row.get("versions") or version.removeprefix("rules-")).split()
    )


def _excludes(one: _Entry, other: _Entry) -> bool:
    return one.concept == other.concept or "absent" not in (one.says, other.says)


def save_observations(path: Path, observations: Mapping[str, Sequence[float]]) -> None:
    """A CSV of id and the 14 observations, blank where not mentioned, written whole or not at all: what
    `rrg_lib.experiments.pseudo_labels.read_labels` reads."""
    with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", *OBSERVATIONS))
        writer.writerows(
            (as_cell(study), *("" if math.isnan(value) else f"{value:g}" for value in values))
            for study, values in observations.items()
        )
