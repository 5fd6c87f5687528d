"""The baselines' rows as they are stored beside the systems', and what the one that looks is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rrg_lib.data.prepare import prepare
from rrg_lib.errors import JavaError
from rrg_lib.evaluation.baselines import BASELINES
from rrg_lib.evaluation.metrics import FINDING_F1
from rrg_lib.evaluation.score_table import LEFT_OUT
from rrg_lib.experiments import pseudo_labels
from rrg_lib.experiments.pseudo_labels import SEEN_BY, findings_seen, image_labels, observations_of_drawn
from rrg_lib.experiments.results import store_baselines, stored_results
from rrg_lib.experiments.run import baseline_task
from rrg_lib.models.visual.finding_extractor import FindingExtractor, finding_logits
from rrg_lib.runtime import package_data


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare("phantom", count=40, out=tmp_path_factory.mktemp("phantom"), workers=1, progress=False)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """One that has learnt nothing and says much."""
    torch.manual_seed(0)
    model = FindingExtractor()
    with torch.no_grad():
        model.head.weight.mul_(20)
    model.thresholds[:] = -2.0
    path = tmp_path_factory.mktemp("classifier") / "classifier.safetensors"
    model.save(path)
    return path


def test_what_is_seen_is_the_classifiers_and_not_the_studies_own(dataset, classifier, monkeypatch):
    """Its logits against its thresholds, images alone; the same classifier beside every system."""
    asked = []
    monkeypatch.setattr(
        pseudo_labels, "finding_weights", lambda *a, **k: asked.append((a[0], a[2], a[1].folder)) or classifier
    )
    seen = findings_seen(dataset, "test", batch_size=3)
    indices = dataset.split_indices("test")
    model, views = FindingExtractor.load(classifier), dataset.views_array(indices)
    expected = (finding_logits(model, views) >= model.thresholds).int().tolist()
    assert list(seen) == [dataset.ids[i] for i in indices] and [list(row) for row in seen.values()] == expected
    assert asked == [("small", SEEN_BY, dataset.folder)] and SEEN_BY == "laptop"
    drawn = [list(dataset.study(i).drawn) for i in indices]
    assert 0 < np.mean(expected) < 1 and drawn != expected
    assert (image_labels(model, [views]) == observations_of_drawn(np.array(expected))).all()
    task = baseline_task(dataset, "test")
    assert task.seen == seen and baseline_task(dataset, "test", looks=False).seen is None


def test_a_row_stays_unless_another_measured_alike_has_more_scores(dataset, tmp_path):
    """So that last digits of another machine change nothing, a score that was not asked for can be made up, and a run
    that asks for three baselines takes none away."""
    provenance = {"protocol": {}, "vocabulary": "v", "studies": {}, "labeler": {}}

    def row(name, description="d", **scores):
        parts = {"all": {"scores": scores}}
        return {"name": name, "description": description, "parts": parts, "not_computed": {"METEOR": LEFT_OUT}}

    def kept(rows, provenance=provenance):
        path = store_baselines(tmp_path, dataset, "phantom", provenance, rows)
        return json.loads(path.read_text(encoding="utf-8"))["rows"]

    a, f = row("a1", bleu=0.1), row("f", bleu=0.2)
    assert kept([a]) == [a] and kept([f, row("a1", bleu=0.1000001)]) == [a, f] and kept([a]) == [a, f]
    more = row("f", bleu=0.2, meteor=0.3)
    assert kept([more]) == [a, more] and kept([f]) == [a, more]
    again = row("a1", "another", bleu=0.4)
    assert kept([again]) == [again, more]
    assert kept([a], {**provenance, "vocabulary": "w"}) == [a]
    failed = row("f", bleu=0.2) | {"not_computed": {"METEOR": "no Java"}}
    before = list(tmp_path.iterdir()), kept([a])
    with pytest.raises(JavaError, match=r"baselines of phantom: METEOR of f was asked for and failed \(no Java\)"):
        kept([failed])
    assert (list(tmp_path.iterdir()), kept([a])) == before


def test_every_baseline_is_stored_beside_the_results():
    """Retrieval and template, ours: told what a classifier sees, it names more findings rightly than every row that is
    told nothing, and is no constant."""
    stored = next(r for r in stored_results("laptop", "iu_phantom", "tuned") if len(r.evaluation.rows) > 1)
    rows = {row.name: row for row in stored.evaluation.rows[1:]}
    assert rows.keys() == BASELINES.keys()
    assert all(row.description == BASELINES[name].description for name, row in rows.items())
    scores = {name: row.parts["all"].scores[FINDING_F1] for name, row in rows.items()}
    assert scores["f"] > max(scores[name] for name, known in BASELINES.items() if known.sees == "nothing")
    assert rows["f"].parts["all"].distinct > 50


def test_stored_results_are_read_once_and_again_when_a_file_of_them_has_changed(monkeypatch):
    """Reading them all takes a second or two; what was just stored must be seen all the same."""
    reads, name = [], "iu_phantom-cmn-laptop-seed7580-tuned"
    files = {name: package_data.records("results")[name]}

    def records(folder):
        reads.append(folder)
        return files

    state = ["as it was"]
    monkeypatch.setattr(package_data, "records", records)
    monkeypatch.setattr(package_data, "state", lambda folder: (*state,))
    first, second = stored_results(), stored_results("laptop")
    assert reads == ["results"] and len(first) == 1 and second[0] is first[0]
    state.append("one more")
    assert stored_results()[0] is not first[0] and reads == ["results"] * 2


def test_the_state_of_a_folder_tells_a_file_that_was_written_anew(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    path = tmp_path / "results" / "a.json"
    path.write_text("{}")
    monkeypatch.setattr(package_data.resources, "files", lambda name: tmp_path)
    before = package_data.state("results")
    assert package_data.state("results") == before
    path.write_text("[]")  # as long as before
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    changed = package_data.state("results")
    (tmp_path / "results" / "b.json").write_text("{}")
    assert len({before, changed, package_data.state("results")}) == 3
