"""A tree of MIMIC-CXR-JPG that came without the labelers' tables: what its studies have is read in their reports, and
everything trains on that."""

from __future__ import annotations

import numpy as np
import pytest
import trees
from small_runs import TINY

from rrg_lib.cli.options import app
from rrg_lib.data.finding_labels import findings_of_dataset
from rrg_lib.data.study import DRAWN_FINDINGS
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.run import Run, prepared

REPORTS = {
    "ill": " FINAL REPORT\n FINDINGS: Large left pleural effusion.\n The heart is enlarged.\n IMPRESSION: Ill.",
    "well": " FINAL REPORT\n FINDINGS: The heart is normal in size.\n The lungs are clear.\n\n IMPRESSION: Well.\n",
    "unread": " FINAL REPORT\n IMPRESSION: Pneumothorax.\n",
}
SPLITS = ["train"] * 9 + ["validate"] * 3 + ["test"] * 3
EFFUSION, HEART = (DRAWN_FINDINGS.index(name) for name in ("Effusion", "Cardiomegaly"))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Fifteen studies of a patient and a frontal film each, ill, well, unread, ill, …: ten of them have FINDINGS."""
    monkeypatch.setenv("RRG_HOME", str(tmp_path / "home"))
    studies = {
        f"500000{i:02d}": (f"100000{i:02d}", split, [(f"{i:08x}", "PA")], REPORTS[kind])
        for i, (split, kind) in enumerate(zip(SPLITS, list(REPORTS) * 5, strict=True))
    }
    return trees.mimic(tmp_path / "mimic", studies, labels=False)


def test_what_a_study_has_is_read_in_its_report_and_impressions_are_not_read(root):
    dataset = prepared("mimic_cxr", data_root=root, progress=False)
    assert dataset.manifest["splits"] == {"train": 6, "val": 2, "test": 2}
    assert dataset.manifest["left_out"] == {"no FINDINGS section": 5}
    assert not dataset.coded.any() and not dataset.drawn_findings.any()
    found = findings_of_dataset(dataset, range(10))
    assert found.source == "the report labeler rules-2"
    assert found.abnormal.tolist() == [True, False] * 5
    expected = np.zeros(len(DRAWN_FINDINGS), int)
    expected[[EFFUSION, HEART]] = 1
    np.testing.assert_array_equal(found.drawn[::2], np.tile(expected, (5, 1)))


def test_the_commands_train_write_and_measure_without_the_tables(root):
    from typer.testing import CliRunner

    settings = [part for text in (*TINY[:4], "training.epochs=1") for part in ("--set", text)]
    result = CliRunner().invoke(app, ["train", "mimic_cxr/base", "--data-root", str(root), "--quiet", *settings])
    assert result.exit_code == 0, result.output
    assert "the extractor learns the findings of the training studies from the report labeler rules-2" in result.output
    assert "finding-F1 cannot be computed (2 validation studies, none of them has an expert code)" in result.output
    what = experiment("mimic_cxr/base", "ci", [*TINY[:4], "training.epochs=1"])
    run = Run.of(what, data_root=root, progress=False, trained=True)
    evaluation = run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False)
    shown = evaluation.markdown()
    assert "2 studies, 1 of them abnormal by the report labeler rules-2" in shown
    assert "finding-F1 is not defined: 0 of 2 studies have expert codes" in shown and "nan" not in shown


def test_a_memory_of_prototypes_takes_the_labels_of_the_reports(root):
    what = experiment("mimic_cxr/xpronet", "ci", ["training.epochs=1", "extractor.weights=null", "generator.layers=1"])
    run = Run.of(what, data_root=root, progress=False)
    run.train()
    assert "the memory's labels of the training studies are from the report labeler rules-2" in run.remarks
    ill, well = run.labels.pseudo_labels.of(run.dataset.ids[:2])
    assert ill[0] == 0 and ill.sum() == 2  # effusion and heart, not "No Finding"
    assert well[0] == 1 and well.sum() == 1
