"""What a trained system says of one drawn study, beside what is there: findings named rightly, missed and made up, and
a picture of it all (`rrg demo`, chapter 00, the first figure of the README)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from rrg_lib.book.figures.overview import study_and_reports
from rrg_lib.data import iu_xray
from rrg_lib.data.phantom import Drawing, draw
from rrg_lib.data.study import DRAWN_FINDINGS, Study
from rrg_lib.data.text.rule_labeler import ReportLabeler
from rrg_lib.experiments.trained_system import TrainedSystem

#: A study that can be taken in at a glance: so many findings, at most so many words of reference.
FINDINGS, WORDS = (2, 4), 45


@dataclass(frozen=True)
class Demonstration:
    """A drawn study, the report that was written of it, and what `rules-1` reads there against the codes."""

    study: Study
    drawing: Drawing
    report: str
    reported: tuple[str, ...]

    @property
    def there(self) -> tuple[str, ...]:
        return finding_names(self.study.drawn)

    @property
    def right(self) -> list[str]:
        return [finding for finding in self.there if finding in self.reported]

    @property
    def missed(self) -> list[str]:
        return [finding for finding in self.there if finding not in self.reported]

    @property
    def made_up(self) -> list[str]:
        return [finding for finding in self.reported if finding not in self.there]

    @property
    def verdict(self) -> str:
        parts = {"found": self.right, "missed": self.missed, "made up": self.made_up}
        return "; ".join(f"{name}: {', '.join(findings) or 'none'}" for name, findings in parts.items())

    def picture(self, writer: str, where: Path | str | None = None) -> Figure:
        """The views with their boxes, solid where the report names the finding, and the two texts beside them."""
        texts = {
            "Reference, as written": self.study.report,
            f"Generated ({writer})": self.report,
            "Read by rules-1": self.verdict,
        }
        return study_and_reports(self.drawing.views, self.drawing.boxes, self.reported, texts, where)


def finding_names(flags: Sequence[int]) -> tuple[str, ...]:
    """(13,) zeros and ones -> the names of those that are set."""
    return tuple(finding for finding, on in zip(DRAWN_FINDINGS, flags, strict=True) if on)


def glanceable(study: Study) -> bool:
    """Whether a study has few enough findings and words to be taken in at a glance."""
    return FINDINGS[0] <= sum(study.drawn) <= FINDINGS[1] and len(study.report.split()) <= WORDS


def first_glanceable() -> Study:
    """The first test study, by its id, that can be taken in at a glance: a rule that no report has a say in."""
    return next(study for study in sorted(iu_xray.studies("test"), key=lambda s: s.id) if glanceable(study))


def demonstration(study: Study, report: str) -> Demonstration:
    """A study and a report of it."""
    return Demonstration(study, draw(study), report, finding_names(ReportLabeler().label(report)))


def demonstrate(system: TrainedSystem, study: Study, follow: Callable[[str], None] | None = None) -> Demonstration:
    """A drawn study as a system writes of it, searched as was chosen for its weights. `follow` is told each word as it
    is written."""
    report = system.report_of_views(draw(study).views, decoding=system.best_decoding(), follow=follow)
    return demonstration(study, report)
