"""What the explorer's file holds is what the systems looked at, small and whole."""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
import pytest
import torch

from rrg_lib.book import explorer
from rrg_lib.book.explorer import CROSS, LEVELS, SLOTS, STEPS, explored, explored_studies, shares_of, stored_explorer
from rrg_lib.data.phantom import draw, sample_studies
from rrg_lib.data.text.cleaning import clean_r2gen
from rrg_lib.errors import CheckpointError
from rrg_lib.evaluation.attention import box_cover, box_score, look
from rrg_lib.experiments.shipped_system import shipped_system
from rrg_lib.models.decoding import DecodingConfig

PATCHES = 98


@pytest.fixture(scope="module")
def stored():
    return stored_explorer()


@pytest.fixture(scope="module")
def shipped():
    return shipped_system()


@pytest.fixture(scope="module")
def fresh(shipped):
    """Two studies with findings, as the system that comes with the package sees them."""
    chosen = [study for study in explored_studies() if study.is_abnormal][:2]
    return chosen, explored([shipped], chosen)


def reports(data):
    return [(system, report) for system in data["systems"] for report in system["reports"]]


def test_a_map_survives_as_bytes_to_half_a_step_and_one_of_zeros_stays_zeros():
    shares = np.random.default_rng(0).dirichlet(np.full(PATCHES, 0.2))
    kept, peak = explorer.quantised(3 * shares)  # of any sum
    back = np.frombuffer(kept, np.uint8) * peak / LEVELS
    assert np.abs(back - shares).max() <= 0.51 * peak / LEVELS
    assert max(kept) == LEVELS and explorer.quantised(np.zeros(PATCHES)) == (bytes(PATCHES), 0.0)


def test_every_stored_map_sums_to_one_within_its_rounding_or_is_zero_everywhere(stored):
    counted = 0
    for system, report in reports(stored):
        assert set(report["looks"]) == ({CROSS, SLOTS} if system["shares_slots"] else {CROSS})
        for kept in report["looks"].values():
            shares, peaks = shares_of(kept), np.array(kept["peaks"])
            assert shares.shape == (len(report["words"]), PATCHES)
            assert (np.abs(shares.sum(1) - (peaks > 0)) <= (PATCHES / 2 / LEVELS + 0.001) * peaks).all()
            counted += len(shares)
        assert min(report["looks"][CROSS]["peaks"]) > 0
    assert counted > 1000


def test_the_stored_file_is_small_and_says_which_runs_it_is_of(stored):
    assert len(resources.files("rrg_data").joinpath(explorer.EXPLORER).read_bytes()) < 2**20
    assert len(stored["studies"]) == explorer.STUDIES == 24 and len(stored["systems"]) == 10
    presets = [system["preset"] for system in stored["systems"]]
    assert len(set(presets)) == len(presets) and not set(presets) & set(stored["absent"])
    for system in stored["systems"]:
        assert len(system["reports"]) == len(stored["studies"])
        assert len(system["experiment"]) == 12 and len(system["weights"]) == 16 and system["data"]


def test_every_stored_word_is_of_the_books_own_grammar(stored):
    """Reports of the collection may not be copied, and a system that learnt from them writes some word for word."""
    assert {system["dataset"] for system in stored["systems"]} == {"phantom"}
    sampled = {word for study in sample_studies(4000) for word in clean_r2gen(study.report).split()}
    assert set(stored["words"]) <= sampled | {"(end)", "<unk>"}


def test_the_stored_studies_are_those_that_the_grammar_samples_and_the_pen_draws_now(stored):
    for study, row in zip(explored_studies(), stored["studies"], strict=True):
        assert (study.id, study.report, study.split) == (row["id"], row["report"], "test")
    assert sum(not row["findings"] for row in stored["studies"]) == explorer.NORMAL
    for at in (0, 11, 23):
        views = draw(explored_studies()[at]).views
        assert hashlib.sha256(views.tobytes()).hexdigest()[:16] == stored["studies"][at]["films"]


def test_words_and_their_chances_are_told_apart_and_in_order(stored):
    for _, report in reports(stored):
        assert len(report["words"]) == len(report["chances"]) == len(report["written"]) == len(report["on_patches"]) > 0
        for word, chances, written in zip(report["words"], report["chances"], report["written"], strict=True):
            steps = [p for _, p in chances]
            assert steps == sorted(steps, reverse=True) and sum(steps) <= STEPS + len(steps)
            assert dict(map(tuple, chances)).get(word, written) == written
            assert all(0 <= w < len(stored["words"]) for w, _ in chances)


def test_the_maps_are_those_of_look_and_the_boxes_shares_are_those_of_box_score(shipped, fresh):
    studies, data = fresh
    (system,) = data["systems"]
    for study, report in zip(studies, system["reports"], strict=True):
        drawing = draw(study)
        words = [data["words"][w] for w in report["words"]]
        ids = [shipped.vocabulary.ids[word] for word in words]
        with torch.inference_mode():
            looks = look(shipped.generator(), shipped.extractor(torch.from_numpy(drawing.views)[None]).patches, [ids])
        shares = {name: shares_of(kept) for name, kept in report["looks"].items()}
        assert np.abs(shares[CROSS] - looks.cross[0, : len(ids)].numpy()).max() < 1e-3
        overlap = looks.overlap(0, [3]).weight.numpy()
        assert np.abs(shares[SLOTS][3] - overlap / overlap.sum()).max() < 1e-3
        chances = looks.logits[0, 3].softmax(-1)
        assert report["written"][3] == pytest.approx(STEPS * float(chances[ids[3]]), abs=1)
        for mention in report["mentions"]:
            boxes = [box for box in drawing.boxes if box.finding == mention["finding"]]
            assert mention["drawn"] == bool(boxes)
            if boxes:
                score = box_score(shares[CROSS][mention["words"][0]], box_cover(boxes))
                assert mention["inside"][CROSS][0] == pytest.approx(score.inside, abs=0.02)
                assert mention["chance"] == pytest.approx(score.chance, abs=1e-4)


def test_the_reports_are_searched_as_was_chosen(shipped, fresh):
    studies, data = fresh
    (system,) = data["systems"]
    assert DecodingConfig(**system["decoding"]) == shipped.best_decoding()
    said = " ".join(data["words"][w] for w in system["reports"][0]["words"])
    assert said == shipped.report_of_views(draw(studies[0]).views, decoding=shipped.best_decoding())


def test_the_same_data_are_the_same_bytes_and_a_file_that_is_none_is_named(tmp_path, fresh):
    for name in ("a", "b"):
        explorer.save_explorer(tmp_path / name, fresh[1])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert stored_explorer(tmp_path / "a") == fresh[1]
    (tmp_path / "cut").write_bytes((tmp_path / "a").read_bytes()[:99])
    explorer.save_explorer(tmp_path / "other", {**fresh[1], "form": 0})
    for name in ("cut", "gone", "other"):
        with pytest.raises(CheckpointError, match=rf"{name} cannot be read .*make it again: python tools/explorer\.py"):
            stored_explorer(tmp_path / name)
