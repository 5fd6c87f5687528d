"""Where trained systems look, measured, stored and printed: on forty sampled studies and a tiny generator; and what the
repository ships."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from rrg_lib import cli
from rrg_lib.cli import measuring
from rrg_lib.data.prepare import prepare
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.attention import CROSS_ATTENTION, SHARED_SLOTS, box_table
from rrg_lib.experiments import run as run_module
from rrg_lib.experiments.attention_results import (
    CONTROL,
    OWN,
    REFERENCE,
    attention_markdown,
    attention_table,
    label_kinds,
    measure_attention,
    store_attention,
    stored_attention,
)
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.reports import save_reports
from rrg_lib.experiments.run import Run
from rrg_lib.runtime import package_data
from rrg_lib.runtime.hashing import content_hash

TINY = [
    "generator.d_model=16",
    "generator.d_ff=16",
    "generator.heads=2",
    "generator.layers=1",
    "training.epochs=1",
    "extractor.weights=null",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def trained(home):
    """CMN and BASE+MEM, trained for an epoch, by preset."""
    studies = prepare("phantom", count=40, out=home / "phantom", workers=1, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRG_HOME", str(home))
        patch.setattr(run_module, "prepared", lambda *a, **k: studies)
        made = {
            p: Run.of(experiment(f"phantom/{p}", "ci", [*TINY, "memory.slots=8", "memory.top_k=2"]), progress=False)
            for p in ("cmn", "mem")
        }
        for run in made.values():
            run.train()
        yield made


def test_the_words_are_the_references_or_its_own_and_the_rows_are_the_tables_means(trained):
    run = trained["cmn"]
    found = measure_attention(run)
    rows = found.rows.set_index(["words", "look", "finding"]).sort_index()
    batches = run.batches("test")
    texts = {run.dataset.ids[i]: run.dataset.reference(i) for i in batches.indices}
    table = box_table(run.generator(), batches, texts)
    assert set(rows.loc[REFERENCE].index.get_level_values(0)) == {SHARED_SLOTS, CROSS_ATTENTION} and len(table)
    for look, group in table.groupby("look"):
        whole = rows.loc[(REFERENCE, look, "all")]
        assert whole["inside"] == pytest.approx(group["inside"].mean()) and whole["n"] == len(group)
        each = rows.loc[(REFERENCE, look)].drop("all")
        assert each["n"].sum() == whole["n"] and (each["n"] * each["inside"]).sum() / whole["n"] == pytest.approx(
            whole["inside"]
        )
    assert (run.folder / "reports-test.csv").is_file(), "its own reports were written"
    made = found.provenance
    assert (
        made["identity"] == run.identity
        and made["checkpoint"]["epoch"] == 0
        and made["studies"]["n"] == len(batches.indices)
    )
    assert made["reports"][REFERENCE] != made["reports"][OWN]


def test_its_own_reports_are_read_again_only_if_these_weights_wrote_them(trained, monkeypatch):
    run = trained["cmn"]
    decoding = run.decoding("greedy")
    written = run.write("test", decoding=decoding)
    others = {name: run.dataset.reference(run.dataset.index(name)) for name in written}
    save_reports(run.reports_file("test", decoding), others)
    assert measure_attention(run).provenance["reports"][OWN] == content_hash(sorted(others.items())), "read"
    monkeypatch.setattr(Run, "weights", {"experiment": "trained further"})
    assert measure_attention(run).provenance["reports"][OWN] == content_hash(sorted(written.items())), "written anew"
    monkeypatch.undo()
    run.write("test", decoding=decoding)


def test_kept_and_read_again_it_is_the_same(trained, tmp_path, monkeypatch):
    found = measure_attention(trained["cmn"])
    path = store_attention(found, tmp_path)
    assert path.name == f"{trained['cmn'].folder.name}-greedy.json"
    monkeypatch.setattr(package_data, "records", lambda folder: {path.stem: json.loads(path.read_text())})
    [again] = stored_attention("ci", "phantom")
    assert stored_attention("laptop") == [] == stored_attention(dataset="iu_phantom")
    assert attention_markdown([again]) == attention_markdown([found]) and again.experiment == found.experiment
    np.testing.assert_allclose(
        again.rows.select_dtypes("number"), found.rows[again.rows.select_dtypes("number").columns].astype(float)
    )


def test_seeds_are_averaged_and_their_intervals_joined(trained):
    one = measure_attention(trained["cmn"])
    other = replace(
        one, rows=one.rows.assign(ratio=one.rows["ratio"] + 0.2, low=one.rows["low"] - 1, high=one.rows["high"] - 0.1)
    )
    first, both = attention_table([one]), attention_table([one, other])
    assert (both["seeds"] == 2).all()
    np.testing.assert_allclose(both["ratio"], first["ratio"] + 0.1)
    np.testing.assert_allclose(both["low"], first["low"] - 1)
    np.testing.assert_allclose(both["high"], first["high"])


def test_two_memories_share_no_slots_and_the_table_says_so(trained):
    looks = set(attention_table([measure_attention(trained["mem"])]).index.get_level_values("look"))
    assert looks == {CROSS_ATTENTION, SHARED_SLOTS + CONTROL}
    assert SHARED_SLOTS in attention_table([measure_attention(trained["cmn"])]).index.get_level_values("look")


def test_measurements_of_other_drawings_or_words_make_no_table(trained):
    one = measure_attention(trained["cmn"])
    for change in (
        {"identity": {**one.provenance["identity"], "dataset": "another"}},
        {"reports": {**one.provenance["reports"], REFERENCE: "another protocol"}},
    ):
        with pytest.raises(ConfigurationError, match="not measured alike"):
            attention_table([one, replace(one, provenance={**one.provenance, **change})])


def test_studies_without_boxes_are_refused(trained, monkeypatch):
    monkeypatch.setattr(type(trained["cmn"].dataset), "boxes", lambda self, i: ())
    with pytest.raises(ConfigurationError, match="the test studies of phantom have no boxes"):
        measure_attention(trained["cmn"])


def test_only_a_gated_memory_is_measured_with_every_kind_of_labels(trained):
    run = trained["cmn"]
    assert label_kinds(run) == (run.experiment.decoding.labels_at_test,)
    gated = Run.of(experiment("phantom/xpronet", "ci", [*TINY, "extractor.weights=findings"][:-1]), progress=False)
    assert label_kinds(gated) == ("classifier", "none", "reference")


def test_what_is_shipped_belongs_to_the_stored_results():
    """A measurement and a result of one name are of one checkpoint: the same drawing, settings and epoch."""
    measured, results = package_data.records("attention"), package_data.records("results")
    assert measured
    for name in measured.keys() & results.keys():
        looked, scored = measured[name]["run"], results[name]["run"]
        assert looked["identity"] == scored["identity"], name
        assert looked["checkpoint"]["epoch"] == scored["checkpoint"]["epoch"], name
        assert looked["reports"]["own"] == results[name]["provenance"]["hypotheses"], (
            f"{name}: measured on other reports than were scored"
        )
    for quality in stored_attention():
        whole = quality.rows[quality.rows["finding"] == "all"]
        assert (
            set(whole["words"]) == {REFERENCE, OWN}
            and (whole["low"] <= whole["ratio"]).all()
            and (whole["ratio"] <= whole["high"]).all()
        )
    attention_table(
        [quality for quality in stored_attention() if quality.experiment.dataset == "iu_phantom"]
    )  # they may stand in one table


def test_the_command_prints_the_table_and_keeps_a_file_a_run(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "named_run", lambda name, *_: trained[name.partition("/")[2]])
    monkeypatch.setattr(sys, "argv", ["rrg", "attention", "phantom/cmn", "phantom/mem", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    said = capsys.readouterr().out
    assert said.startswith(attention_markdown([measure_attention(run) for run in trained.values()]))
    assert {path.stem for path in tmp_path.glob("*.json")} == {f"{run.folder.name}-greedy" for run in trained.values()}
    monkeypatch.setattr(sys, "argv", ["rrg", "attention", "phantom/cmn", "--labels", "none"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2 and "is not gated by labels" in capsys.readouterr().err
