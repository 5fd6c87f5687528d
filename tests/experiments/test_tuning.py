"""`rrg tune`: the decoding of a run is chosen on the validation studies alone, from a declared grid, and written down
with everything that was tried."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from rrg_lib import cli
from rrg_lib.errors import CheckpointError, ConfigurationError, UnknownNameError
from rrg_lib.evaluation.metrics import FINDING_F1, REGISTRY, Pairs
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.run_folders import BEST
from rrg_lib.experiments.tuned_decoding import BAND, DECODING, Trial, TunedDecoding
from rrg_lib.experiments.tuning import GRID, Grid, tune
from rrg_lib.models.decoding import DecodingConfig
from rrg_lib.runtime.checkpoint import load_tensors, save_tensors

pytestmark = pytest.mark.usefixtures("in_this_home")

SMALL = Grid(beam_sizes=(1, 3), end_biases=(0.0, -2.0), alphas=(0.0, 1.0), block_ngrams=(0, 3))


def trial(score, ratio, **decoding):
    return Trial(
        DecodingConfig(**decoding), {"BLEU-4": score, "finding-F1": 0.0, "length ratio": ratio, "distinct": 1.0}
    )


def test_a_grid_is_every_combination_that_differs_plain_ways_first():
    ways = list(SMALL.settings(DecodingConfig(max_length=9, labels_at_test="none")))
    assert len(ways) == len(set(ways)) == 2 * 2 + 2 * 2 * 2  # a length penalty changes nothing of a greedy search
    assert ways[0] == DecodingConfig(beam_size=1, max_length=9, labels_at_test="none")
    assert {way.max_length for way in ways} == {9} and {way.labels_at_test for way in ways} == {"none"}
    assert replace(SMALL, alphas=(0.0,)).hash != SMALL.hash == Grid(**vars(SMALL)).hash
    with pytest.raises(ConfigurationError, match="end_biases is empty"):
        Grid(end_biases=())
    with pytest.raises(ConfigurationError, match="they must fall"):
        Grid(end_biases=(-1.0, 0.0))
    assert len(list(GRID.settings(DecodingConfig()))) == 48


def test_the_highest_score_of_the_right_length_is_chosen_and_of_equals_the_plainest():
    low, high = BAND
    found = TunedDecoding(
        (
            trial(0.1, 0.9),
            trial(0.3, 1.0, end_bias=-1.0),
            trial(0.3, low, end_bias=-2.0),
            trial(0.9, high + 0.01, end_bias=-3.0),
        ),
        "",
        {},
        0,
    )
    assert found.chosen.decoding.end_bias == -1.0
    nothing_inside = TunedDecoding(
        (trial(0.9, 0.2), trial(0.1, low - 0.1, end_bias=-1.0), trial(0.5, 2.0, end_bias=-2.0)), "", {}, 0
    )
    assert nothing_inside.chosen.decoding.end_bias == -1.0, "where nothing is inside the band, the nearest to it"


def test_a_run_is_tuned_on_its_validation_studies_and_everything_is_kept(trained, monkeypatch):
    asked = []
    batches = Run.batches
    monkeypatch.setattr(
        Run, "batches", lambda run, split, limit=None: asked.append(split) or batches(run, split, limit)
    )
    (trained.folder / DECODING).unlink(missing_ok=True)
    assert trained.tuned_decoding is None
    with pytest.raises(
        CheckpointError, match=r"no decoding chosen for its weights\. Run: rrg tune phantom/cmn --profile ci"
    ):
        trained.decoding("tuned")

    found = tune(trained, SMALL, progress=False)

    assert set(asked) == {"val"}, "the test studies are not looked at"
    assert len(found.trials) == 12 - sum(
        one.length_ratio > BAND[1] and one.decoding.end_bias == 0 for one in found.trials
    )
    kept = json.loads((trained.folder / DECODING).read_text())
    assert (kept["hash"], kept["grid"], kept["chosen_on"]) == (found.hash, SMALL.hash, "val")
    assert TunedDecoding.from_json(kept) == found == trained.tuned_decoding
    assert trained.decoding("tuned").searches_like(found.chosen.decoding)
    assert tune(trained, SMALL, progress=False).seconds == found.seconds, "a second call finds the first one's choice"
    written = trained.write("val", decoding=found.trials[-1].decoding)
    assert len(set(written.values())) == found.trials[-1].scores["distinct"], (
        "the scores are those of the reports that the run writes"
    )


def test_findings_of_studies_that_nobody_coded_are_neither_right_nor_wrong(trained, monkeypatch):
    """The choice is by the finding-F1 of an evaluation, over the validation studies that have codes. Here every second
    one has some, and the reports are the references: what they say of the others would count as false."""
    dataset, val = trained.dataset, trained.batches("val").indices
    said = {dataset.ids[i]: dataset.reports[i] for i in val}
    plain = Grid(beam_sizes=(1,), end_biases=(0.0,), alphas=(0.0,), block_ngrams=(0,))
    monkeypatch.setattr("rrg_lib.experiments.tuning.write_reports", lambda *a, **k: said)
    truth = np.array(dataset.drawn_findings)

    def tuned_where(coded):
        monkeypatch.setattr(dataset, "coded", coded)
        monkeypatch.setattr(dataset, "drawn_findings", np.where(coded[:, None], truth, 0).astype(np.uint8))
        (trained.folder / DECODING).unlink(missing_ok=True)
        return tune(trained, plain, progress=False).chosen.scores

    everyone = np.ones(len(dataset), bool)
    half = everyone.copy()
    half[val[1::2]] = False
    assert truth[val[1::2]].any() and truth[val[::2]].any()
    studies = [replace(dataset.study(i), **({} if half[i] else {"findings": ()})) for i in val]
    pairs = Pairs([*said.values()], [*said.values()], studies)
    assert tuned_where(half)["finding-F1"] == pytest.approx(REGISTRY[FINDING_F1].score(pairs).corpus)
    scores = tuned_where(~everyone)
    assert "finding-F1" not in scores and "BLEU-4" in scores, "where nobody is coded the other scores decide"
    (trained.folder / DECODING).unlink()


def test_no_lower_bias_is_tried_once_reports_are_too_long(trained, monkeypatch):
    for module in ("tuning", "tuned_decoding"):
        monkeypatch.setattr(f"rrg_lib.experiments.{module}.BAND", (0.0, 1e-9))
    grid = Grid(beam_sizes=(1,), end_biases=(50.0, -50.0, -51.0), alphas=(0.0,), block_ngrams=(0, 3))
    trials = tune(trained, grid, progress=False).trials
    assert [(one.decoding.block_ngrams, one.decoding.end_bias) for one in trials] == [
        (0, 50.0),
        (0, -50.0),
        (3, 50.0),
        (3, -50.0),
    ]


def test_a_choice_is_for_its_weights_alone(trained, monkeypatch):
    tune(trained, SMALL, progress=False)
    monkeypatch.setattr(Run, "weights", {"experiment": "another"})
    assert trained.tuned_decoding is None
    (trained.folder / DECODING).write_text("{}")
    with pytest.raises(
        CheckpointError, match=r"decoding\.json cannot be read .*delete it and run: rrg tune phantom/cmn"
    ):
        _ = trained.tuned_decoding
    (trained.folder / DECODING).unlink()


def test_every_protocol_writes_files_of_its_own(trained):
    found = tune(trained, Grid(end_biases=(-4.0,), beam_sizes=(1,), alphas=(0.0,), block_ngrams=(3,)), progress=False)
    published, greedy = trained.decoding("published"), trained.decoding("greedy")
    assert (
        (published.beam_size, greedy.beam_size) == (3, 1)
        and published.plain
        and greedy.plain
        and not found.chosen.decoding.plain
    )
    assert trained.split_name("test", greedy) == "test", "its experiment's own way"
    assert trained.split_name("test", published) == "test-published"
    assert trained.split_name("test", trained.decoding("tuned")) == "test-tuned"
    assert trained.split_name("test", replace(greedy, block_ngrams=5)).startswith("test-decoding-")
    with pytest.raises(UnknownNameError, match="greedi"):
        trained.decoding("greedi")
    (trained.folder / DECODING).unlink()


def test_a_choice_that_is_the_experiments_own_way_is_in_its_own_file(trained):
    """What writes reports and what reads them (`rrg compare`) ask one function for the name."""
    plain = Grid(end_biases=(0.0,), beam_sizes=(1,), alphas=(0.0,), block_ngrams=(0,))
    assert trained.written_reports("val", "tuned") is None, "nothing was chosen"
    assert tune(trained, plain, progress=False).chosen.decoding.searches_like(trained.experiment.decoding)
    trained.write("val", decoding=trained.decoding("tuned"))
    path = trained.folder / "reports-val.csv"
    assert [trained.written_reports("val", protocol) for protocol in ("tuned", "greedy", None)] == [path] * 3
    assert trained.written_reports("val", "published") is None
    (trained.folder / DECODING).unlink()


def test_reports_of_other_weights_are_not_there(trained, tmp_path, monkeypatch, capsys):
    """Evaluated, then trained further: until it writes anew, what compares finds none of its reports."""
    run = replace(trained, folder=tmp_path / "run")
    shutil.copytree(trained.folder, run.folder)
    run.write("val", decoding=run.decoding("greedy"))
    path = run.written_reports("val", "greedy")
    assert path == run.folder / "reports-val.csv"
    tensors, meta = load_tensors(run.folder / BEST)
    epoch, score = meta["progress"]["best"]
    further = {**meta, "progress": {**meta["progress"], "best": [epoch + 1, score + 0.1]}}
    save_tensors(run.folder / BEST, tensors, further)
    assert run.written_reports("val", "greedy") is None and path.is_file()
    monkeypatch.setattr("rrg_lib.experiments.run_folders.run_folder", lambda experiment: run.folder)
    monkeypatch.setattr("sys.argv", ["rrg", "compare", "phantom/cmn", "phantom/base", "--split", "val"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "has no reports of val by its weights as they are now; run: rrg train phantom/cmn" in capsys.readouterr().err
    run.write("val", decoding=run.decoding("greedy"))
    assert run.written_reports("val", "greedy") == path

    mark = run.folder / "reports-val.json"
    mark.write_text("{")
    assert run.written_reports("val", "greedy") is None, "nobody can say whose they are"
    mark.unlink()
    assert run.written_reports("val", "greedy") is None, "written before there were marks"
    run.write("val", decoding=run.decoding("greedy"))
    (run.folder / BEST).unlink()
    assert run.written_reports("val", "greedy") is None


def test_tuned_reports_are_those_of_the_choice_of_now(trained):
    """Another grid chooses another way for the same weights, and the file of its reports has the same name."""
    for bias in (-3.0, -4.0):
        tune(trained, Grid(end_biases=(bias,), beam_sizes=(1,), alphas=(0.0,), block_ngrams=(3,)), progress=False)
        assert trained.written_reports("val", "tuned") is None
        trained.write("val", decoding=trained.decoding("tuned"))
        assert trained.written_reports("val", "tuned") == trained.folder / "reports-val-tuned.csv"
    (trained.folder / DECODING).unlink()
