"""Presets and profiles: what is as released, what a profile may change, and what a mistyped name is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import pytest

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.experiments.presets import PRESETS, PROFILES, Experiment, experiment, settings_given
from rrg_lib.experiments.run import run_folder
from rrg_lib.models.generator import TransformerConfig
from rrg_lib.models.memory import CMNConfig
from rrg_lib.runtime import package_data
from rrg_lib.training import TrainingConfig


def test_the_gpu_profile_is_the_published_setting():
    """CMN section 4 and its released scripts: ResNet-101 fine-tuned, d 512, 3 layers, 8 heads, N 2,048, K 32, batch 16,
    seed 7580, beam 3."""
    found = experiment("iu_xray/cmn", "gpu")
    assert (found.extractor.name, found.extractor.weights, found.extractor.frozen) == ("resnet101", "imagenet", False)
    assert (found.generator.d_model, found.generator.layers, found.generator.heads) == (512, 3, 8)
    assert found.memory == CMNConfig(slots=2048, top_k=32)
    training = found.training
    assert (training.lr, training.lr_visual, training.batch_size, training.epochs, training.seed) == (
        5e-4,
        1e-4,
        16,
        100,
        7580,
    )
    assert training.monitor == {"BLEU-4": 1.0}
    assert found.decoding.beam_size == 3


def test_as_printed_differs_from_as_released_where_paper_and_code_do():
    printed, released = experiment("iu_xray/cmn_as_printed", "gpu"), experiment("iu_xray/cmn", "gpu")
    assert (printed.memory.fusion, printed.memory.scale, printed.training.lr, printed.training.step_epochs) == (
        "replace",
        "model",
        1e-4,
        1,
    )
    assert (released.memory.fusion, released.memory.scale, released.training.lr, released.training.step_epochs) == (
        "add",
        "head",
        5e-4,
        10,
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_experiment_survives_json(preset, profile):
    found = experiment(f"iu_phantom/{preset}", profile, seed=3)
    assert Experiment.from_json(found.to_json()) == found
    assert Experiment.from_json(found.to_json()).hash == found.hash


def test_overrides_change_what_they_name_and_the_hash():
    plain = experiment("iu_phantom/cmn", "ci")
    changed = experiment(
        "iu_phantom/cmn", "ci", ["memory.slots=64", "training.lr=1e-3", "decoding.beam_size=1", "studies=100"]
    )
    assert (changed.memory.slots, changed.training.lr, changed.decoding.beam_size, changed.studies) == (
        64,
        1e-3,
        1,
        100,
    )
    assert changed.hash != plain.hash


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("iu_phantom/cmm",), UnknownNameError, "unknown preset 'cmm'; nearest: .*cmn"),
        (("iu_fantom/cmn",), UnknownNameError, "unknown dataset 'iu_fantom'; nearest: iu_phantom"),
        (("cmn",), ConfigurationError, "write DATASET/PRESET, for example iu_phantom/cmn"),
        (("iu_phantom/cmn", "lap"), UnknownNameError, "unknown profile 'lap'; nearest: laptop"),
        (("iu_phantom/cmn", "ci", ["training.epoch=3"]), UnknownNameError, "nearest: epochs"),
        (("iu_phantom/cmn", "ci", ["trainin.epochs=3"]), UnknownNameError, "nearest: training"),
        (("iu_phantom/cmn", "ci", ["training.epochs"]), ConfigurationError, "PART.FIELD=VALUE"),
        (("iu_phantom/cmn", "ci", ["training.epochs=x"]), ConfigurationError, "epochs is 'x': expected a whole number"),
        (("iu_phantom/cmn", "ci", ["training=3"]), ConfigurationError, "has fields"),
        (("iu_phantom/base", "ci", ["memory.slots=3"]), ConfigurationError, "'base' has no memory"),
        (("iu_phantom/cmn", "ci", ["generator.heads=7"]), ConfigurationError, "heads must divide d_model"),
        (("iu_phantom/cmn", "ci", ["memory.top_k=129"]), ConfigurationError, "between 1 and all 128 slots"),
        (("iu_phantom/cmn", "ci", ["generator.vocab_size=3"]), ConfigurationError, "follows from the data"),
        (("iu_phantom/cmn", "ci", ["generator.d_vf=3"]), ConfigurationError, "follows from the data"),
        (("iu_phantom/cmn", "ci", ["studies.number=3"]), ConfigurationError, "studies has no fields"),
        (("iu_phantom/cmn", "ci", ["studies=0"]), ConfigurationError, "studies is 0: expected a whole number"),
        (("iu_phantom/cmn", "ci", [], -1), ConfigurationError, "training.seed is -1: expected a whole number"),
        (("iu_phantom/cmn", "ci", ["training.lr=" + "9" * 5000]), ConfigurationError, "training.lr is '999"),
        (("iu_phantom/cmn", "ci", ["training.betas=" + "[" * 9999]), ConfigurationError, "training.betas is "),
        (("iu_phantom/cmn", "ci", ['training.monitor={"BLEU-4": 0}']), ConfigurationError, "as good as another"),
        (("iu_phantom/cmn", "ci", ['training.monitor={"train_loss": 1}']), ConfigurationError, "a weight below 0"),
    ],
)
def test_a_mistake_is_named(arguments, error, says):
    with pytest.raises(error, match=says):
        experiment(*arguments)


def test_settings_that_fit_each_other_alone_are_taken_in_any_order():
    for order in (["generator.d_model=21", "generator.heads=7"], ["generator.heads=7", "generator.d_model=21"]):
        found = experiment("iu_phantom/cmn", "ci", [*order, "memory.top_k=300", "memory.slots=300", "studies=5"])
        assert (found.generator.d_model, found.generator.heads, found.memory.top_k, found.studies) == (21, 7, 300, 5)
    assert experiment("iu_phantom/cmn", "ci", ["training.lr=1e-3", "training.lr=2e-3"]).training.lr == 2e-3


def test_settings_are_told_so_that_they_make_the_experiment_again():
    texts = (
        "extractor.weights=my extractor.safetensors",
        "generator.heads=4",
        "training.betas=[0.9, 0.95]",
        "training.schedule=constant",
        'training.monitor={"BLEU-4": 1.0}',
        "studies=100",
    )
    made = experiment("iu_phantom/cmn", "laptop", texts, seed=3)
    assert settings_given(made) == texts
    assert settings_given(experiment("iu_phantom/cmn", "laptop", seed=3)) == ()
    assert settings_given(experiment("iu_phantom/cmn", "ci", ['extractor.weights="3"'])) == ('extractor.weights="3"',)
    assert settings_given(replace(made, preset="mine")) == (), "a preset that is not known here"
    for record in package_data.records("results").values():
        if "run" in record:
            e = Experiment.from_json(record["run"]["experiment"])
            assert experiment(e.name, e.profile, settings_given(e), e.training.seed) == e


@dataclass(frozen=True)
class _LaterTraining(TrainingConfig):
    """The training of an edition to come, which can do something more."""

    something_new: bool = False


def test_a_setting_of_a_later_edition_changes_no_hash_while_it_is_off():
    found = experiment("iu_phantom/cmn", "laptop")
    later = replace(found, training=_LaterTraining(**asdict(found.training)))
    assert later.to_json() != found.to_json()
    assert later.hash == found.hash
    assert replace(later, training=replace(later.training, something_new=True)).hash != found.hash


def test_the_options_of_xpronet_leave_its_stored_runs_their_hash():
    """`residual`, `gate` and `sides` came after them."""
    assert [experiment("iu_phantom/xpronet", profile).hash for profile in ("ci", "laptop")] == [
        "4f880c934b50",
        "1a4a4cd298d8",
    ]


def test_stored_experiments_are_read_written_and_named_as_when_they_were_run():
    """What came later, kinds of generators, stands in no file that does not use it and changes no hash and no name."""
    kept: dict[str, dict[str, dict]] = {}
    for name, result in package_data.records("results").items():
        if "run" in result:
            kept.setdefault(result["run"]["experiment"]["preset"], {})[name] = result["run"]
    assert len(kept) >= 10
    for runs in kept.values():
        for name in (min(runs), max(runs)):  # as the preset is, and with other settings, where there is such a one
            run, found = runs[name], Experiment.from_json(runs[name]["experiment"])
            assert found.hash == run["identity"]["experiment"]
            assert name.startswith(run_folder(found).name)
            assert isinstance(found.generator, TransformerConfig) == ("kind" not in run["experiment"]["generator"])
            assert list(found.to_json()["generator"].items()) == list(run["experiment"]["generator"].items())


def test_no_two_presets_share_a_hash():
    hashes = {experiment(f"iu_phantom/{preset}", profile).hash for preset in PRESETS for profile in PROFILES}
    assert len(hashes) == len(PRESETS) * len(PROFILES)
