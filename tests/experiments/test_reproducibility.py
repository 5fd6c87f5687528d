"""What was deleted and made again is the same: reports and scores of a trained run, and the run itself. Minutes, so
only `make test` asks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from rrg_lib.data.prepare import prepare
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.evaluation.score_table import Evaluation
from rrg_lib.experiments import run as run_module
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.results import differences
from rrg_lib.experiments.run import Run

TINY = [
    "generator.d_model=16",
    "generator.d_ff=16",
    "generator.heads=2",
    "generator.layers=1",
    "training.epochs=3",
    "extractor.weights=null",
]
MEMORY = {"base": [], "cmn": ["memory.slots=8", "memory.top_k=2"], "xpronet": [], "mcsam": []}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _in_this_home(home, monkeypatch):
    studies = prepare("phantom", count=60, out=home / "phantom", workers=1, progress=False)
    monkeypatch.setenv("RRG_HOME", str(home))
    monkeypatch.setattr(run_module, "prepared", lambda *a, **k: studies)


def trained(preset: str, *more: str) -> Run:
    run = Run.of(experiment(f"phantom/{preset}", "ci", [*TINY, *MEMORY[preset], *more]), progress=False)
    run.train()
    return run


def scores(run: Run) -> Evaluation:
    return run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False)


def history(run: Run) -> list[dict[str, float]]:
    """Losses and validation scores of every epoch, without the time they took."""
    rows = json.loads((run.folder / "history.json").read_text())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("preset", MEMORY)
def test_deleted_scores_and_a_deleted_run_come_back_the_same(preset):
    run = trained(preset)
    first, said = scores(run), (run.folder / "reports-test.csv").read_bytes()
    kept = json.loads((run.folder / "scores-test.json").read_text())
    for path in (run.folder / "scores-test.json", run.folder / "reports-test.csv"):
        path.unlink()
    again = scores(Run.open(run.folder, progress=False))
    assert differences(first, again) == [] and (run.folder / "reports-test.csv").read_bytes() == said
    assert json.loads((run.folder / "scores-test.json").read_text()) == kept
    before = history(run)
    shutil.rmtree(run.folder)
    anew = trained(preset)
    assert len(before) == 3 and history(anew) == before
    assert differences(first, scores(anew)) == [] and (run.folder / "reports-test.csv").read_bytes() == said


@pytest.mark.slow
def test_another_seed_is_another_run_and_the_comparison_sees_it():
    one, other = trained("base"), trained("base", "training.seed=1")
    assert one.folder != other.folder
    assert history(one) != history(other)


def test_differences_name_what_is_not_the_same():
    from rrg_lib.data.iu_xray import studies
    from rrg_lib.data.text.vocabulary import Vocabulary
    from rrg_lib.evaluation.evaluate import evaluate_reports

    few = studies("test")[:12]
    vocabulary = Vocabulary.build(study.report for study in few)
    reports = {study.id: "the heart is normal ." for study in few}
    found = evaluate_reports(reports, few, vocabulary, metrics=["BLEU-1", "ROUGE-L"], baselines=False)
    assert differences(found, Evaluation.from_json(json.loads(json.dumps(found.to_json())))) == []
    row = found.rows[0]
    part = row.parts["normal"]
    worse = replace(part, scores=part.scores | {"BLEU-1": part.scores["BLEU-1"] + 1e-9})
    assert differences(found, replace(found, rows=(replace(row, parts={**row.parts, "normal": worse}),))) == [
        "normal BLEU-1"
    ]
    assert differences(
        found, replace(found, rows=(replace(row, parts={**row.parts, "normal": replace(part, distinct=2.0)}),))
    ) == ["normal distinct"]
    ends = row.intervals["BLEU-1"]
    wider = replace(row, intervals=row.intervals | {"BLEU-1": ends._replace(high=ends.high + 0.01)})
    assert differences(found, replace(found, rows=(wider,))) == ["high BLEU-1"]
    other = evaluate_reports(reports | {few[0].id: "clear ."}, few, vocabulary, metrics=["ROUGE-L"], baselines=False)
    assert {"all BLEU-1", "all ROUGE-L", "reports"} <= set(differences(found, other))
