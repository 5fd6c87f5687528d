"""The baselines alone: every row on one split of a dataset, with the minutes they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rrg_lib.evaluation.baselines import BASELINES, Task, baseline_hypotheses, constant_bleu, kept_hypotheses
from rrg_lib.evaluation.evaluate import evaluate_reports
from rrg_lib.evaluation.nlg import METRICS
from rrg_lib.evaluation.score_table import Evaluation


@dataclass(frozen=True)
class BaselineTable:
    """`evaluation` has a row for each baseline and no system. `seconds` is what writing their reports took when they
    were written, all seeds together; `val_bleu_4` what the constant ones reach on the validation studies, where they
    were chosen."""

    evaluation: Evaluation
    seconds: dict[str, float]
    val_bleu_4: dict[str, float]

    def markdown(self) -> str:
        """The tables of the evaluation, then how each row was made."""
        lines = ["How the rows were made:", ""]
        for name, seconds in self.seconds.items():
            chosen = (
                f", BLEU-4 {self.val_bleu_4[name]:.4f} on the validation studies" if name in self.val_bleu_4 else ""
            )
            lines.append(f"- **{name}** sees {SEEN[BASELINES[name].sees]}; {seconds / 60:.2f} minutes to write{chosen}")
        return self.evaluation.markdown() + "\n" + "\n".join(lines) + "\n"


#: How the table says what a baseline is told.
SEEN = {"nothing": "nothing of the study", "labels": "the study's expert labels", "report": "the reference itself"}


def evaluate_baselines(
    task: Task,
    *,
    names: Literal["all"] | Sequence[str] = "all",
    metrics: Sequence[str] = METRICS,
    intervals: bool = True,
) -> BaselineTable:
    """Scores of the baselines on `task.studies`. What was made before is found again, its seconds too. Raises as
    `evaluate_reports` does."""
    # an evaluation is of a system: the cheapest baseline stands in for it, and its row is dropped
    given = baseline_hypotheses("b", task)
    found = evaluate_reports(
        given,
        task.studies,
        task.vocabulary,
        train=task.train,
        val=task.val,
        metrics=metrics,
        baselines=names,
        intervals=intervals,
    )
    evaluation = replace(found, rows=found.rows[1:])
    seconds, on_val = {}, {}
    for row in evaluation.rows:
        kept = [kept_hypotheses(row.name, task, seed=seed) for seed in BASELINES[row.name].seeds]
        seconds[row.name] = sum(each.seconds for each in kept)
        if len(written := set(kept[0].value.values())) == 1 and BASELINES[row.name].sees == "nothing":
            on_val[row.name] = float(constant_bleu([*written], task.val_references)[0, 3])
    return BaselineTable(evaluation, seconds, on_val)
