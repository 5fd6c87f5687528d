"""The trained system that comes with the package: small, whole, and worth what its provenance says."""

from __future__ import annotations

import pytest
import torch
from command_line import rrg

from rrg_lib.book import demonstration
from rrg_lib.data import iu_xray
from rrg_lib.data.phantom import draw
from rrg_lib.errors import CheckpointError
from rrg_lib.experiments import shipped_system as shipped
from rrg_lib.experiments.presets import experiment
from rrg_lib.models.decoding import DecodingConfig, generate


def test_it_is_the_laptop_profile_s_cmn_in_at_most_five_megabytes():
    folder = shipped.shipped_folder()
    system = shipped.shipped_system()
    assert system.experiment == experiment("iu_phantom/cmn", "laptop")
    assert system.tuned_decoding is not None, "the decoding that was chosen for the weights is chosen for them still"
    of_weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert of_weights == shipped.shipped_provenance()["bytes"] <= 5_000_000


@pytest.mark.slow
def test_it_scores_what_its_provenance_says():
    """590 studies drawn and written anew. Another processor's sums may turn a word: a hundredth."""
    scores = shipped.scores_on_drawn(shipped.shipped_system(), iu_xray.studies("test"))
    stated = shipped.shipped_provenance()["scores"]
    assert scores.keys() == stated.keys()
    assert scores == pytest.approx(stated, abs=0.01)


def test_halving_keeps_the_scores_of_the_run():
    provenance = shipped.shipped_provenance()
    assert provenance["scores"] == pytest.approx(provenance["scores_of_the_run"], abs=0.005)


def test_without_its_files_the_message_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped.resources, "files", lambda package: tmp_path)
    with pytest.raises(CheckpointError, match=r"best\.safetensors is not there.*pip install"):
        shipped.shipped_system()


@pytest.mark.parametrize("beam", [1, 3])
def test_words_come_as_they_are_written(beam):
    """The words that are told one by one are the report, in a beam too, and the end mark is not among them."""
    system, study, words = shipped.shipped_system(), demonstration.first_glanceable(), []
    report = system.report_of_views(
        draw(study).views, decoding=DecodingConfig(beam_size=beam, end_bias=-3.5), follow=words.append
    )
    assert " ".join(words) == report and len(words) > 5


def test_each_study_of_a_batch_is_told_its_own_tokens():
    system = shipped.shipped_system()
    studies = iu_xray.studies("test")[:6]
    views = torch.stack([torch.from_numpy(draw(study).views) for study in studies])
    seen = []
    patches = system.extractor(views).patches
    found = generate(system.generator(), patches, config=DecodingConfig(beam_size=1), follow=seen.append)
    told = torch.stack(seen, dim=1)
    assert torch.equal(told, found.tokens[:, : found.steps]), "also after the first reports have ended"
    assert (told == 0).any(), "a case in which some end before others"


def test_the_demo_writes_a_report_and_a_picture(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    code, out, err = rrg(monkeypatch, capsys, "demo")
    study = demonstration.first_glanceable()
    assert code == 0, err
    assert study.id in out and "Read against the codes, found:" in out
    assert (tmp_path / "demo" / f"{study.id}.png").stat().st_size > 10_000
    report = shipped.shipped_system().report_of_views(
        draw(study).views, decoding=shipped.shipped_system().best_decoding()
    )
    assert report in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--study", "CXR2384_IM-0943"), "CXR2384_IM-0942"),
        (("--out", "picture.gif"), "picture.gif: the picture is a PNG"),
    ],
)
def test_what_the_demo_cannot_show_is_refused(monkeypatch, capsys, arguments, message):
    code, _, err = rrg(monkeypatch, capsys, "demo", *arguments)
    assert code == 2 and message in err


def test_a_demonstration_tells_right_from_missed_from_made_up():
    study = demonstration.first_glanceable()  # Opacity and Atelectasis
    shown = demonstration.demonstration(study, "there is atelectasis . there is a large right pleural effusion .")
    assert (shown.right, shown.missed, shown.made_up) == (["Atelectasis"], ["Opacity"], ["Effusion"])
    assert shown.verdict == "found: Atelectasis; missed: Opacity; made up: Effusion"
