"""The systems of the lineage through the same door as all others: trained, searched, evaluated and looked at, on forty
sampled studies."""

from __future__ import annotations

import json

import pytest
import torch
from small_runs import TINY

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.evaluation.attention import look
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.experiments.presets import PROFILES, Experiment, experiment
from rrg_lib.experiments.run import Run
from rrg_lib.performance import budget

PRESETS = ("st", "att2in", "adaatt", "topdown", "r2gen")


def small(preset: str, *more: str):
    has = vars(experiment(f"phantom/{preset}", "ci").generator)
    fitting = [text for text in TINY if not text.startswith("generator.") or text[10:].partition("=")[0] in has]
    return experiment(f"phantom/{preset}", "ci", [*fitting, *more])


@pytest.mark.usefixtures("in_this_home")
@pytest.mark.parametrize("preset", ["att2in", "r2gen", "ratchet"])
def test_one_is_trained_searched_evaluated_and_looked_at(preset):
    """What `rrg train`, `rrg evaluate` and the attention of chapter 04 do, with nothing said of what kind it is."""
    run = Run.of(small(preset), progress=False)
    history = run.train().history
    assert len(history) == 2 and history[1]["validation_loss"] < history[0]["validation_loss"]
    greedy = run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False)
    beams = run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False, decoding=run.decoding("published"))
    assert greedy.scores.keys() == beams.scores.keys() >= {*WITHOUT_JAVA}
    described = json.loads((run.folder / "experiment.json").read_text())["experiment"]
    assert described["generator"]["kind"] == preset
    assert Experiment.from_json(described).hash == run.experiment.hash
    inputs = torch.tensor(run.inputs(0))[None].float()
    looks = look(run.generator(), inputs, [[1, 2, 3]])
    assert looks.cross.shape == (1, 4, inputs.shape[1])
    torch.testing.assert_close(looks.cross.sum(-1), torch.ones(1, 4))
    with pytest.raises(ConfigurationError, match="no memory: no slots"):
        looks.overlap(0, [0])


@pytest.mark.usefixtures("in_this_home")
def test_sentsat_is_trained_on_reports_and_findings_and_searched():
    """Its full stop is that of the studies' vocabulary."""
    run = Run.of(small("sentsat_kg"), progress=False)
    history = run.train().history
    assert len(history) == 2 and history[1]["train_loss"] < history[0]["train_loss"]
    greedy, beams = run.write("test"), run.write("test", decoding=run.decoding("published"))
    assert greedy.keys() == beams.keys() and len(greedy) == len(run.dataset.split_indices("test"))
    generator = run.generator()
    assert run.dataset.vocabulary.tokens[generator.config.full_stop - 1] == "."
    assert generator.extractor is None and not generator.training


@pytest.mark.usefixtures("in_this_home")
def test_st_is_trained_and_asked_where_it_looks_says_who_can_tell():
    run = Run.of(small("st"), progress=False)
    run.train()
    inputs = torch.tensor(run.inputs(0))[None].float()
    with pytest.raises(ConfigurationError, match=r"'st' has no attention over the patches.*kinds that have: .*adaatt"):
        look(run.generator(), inputs, [[1, 2, 3]])


@pytest.mark.parametrize("preset", PRESETS)
def test_profiles_scale_sizes_and_leave_the_published_setting(preset):
    gpu = experiment(f"iu_xray/{preset}", "gpu")
    assert gpu.generator.d_model == 512 and gpu.training.clip_value == 0.1 and gpu.training.betas == (0.9, 0.999)
    assert (gpu.training.batch_size, gpu.training.weight_decay) == ((16, 5e-5) if preset == "r2gen" else (10, 0.0))
    for profile in ("ci", "laptop"):
        found = experiment(f"iu_phantom/{preset}", profile)
        assert found.generator.d_model == PROFILES[profile].generator["d_model"]
        assert found.training.clip_value == 0.1


def test_reconstructions_keep_their_released_settings_and_are_scaled_like_the_others():
    ratchet, sentsat = (experiment(f"mimic_cxr/{name}", "gpu") for name in ("ratchet", "sentsat_kg"))
    assert (ratchet.generator.heads, ratchet.generator.layers, ratchet.generator.d_ff) == (8, 6, 2048)
    assert ratchet.training.schedule == "inverse_root" and ratchet.training.betas == (0.9, 0.98)
    assert sentsat.training.clip_value == 5.0 and sentsat.generator.graph_layers == 3
    for profile in ("ci", "laptop"):
        scale = PROFILES[profile].generator
        small_one, other = (experiment(f"iu_phantom/{name}", profile) for name in ("ratchet", "sentsat_kg"))
        assert small_one.generator.d_model == other.generator.d_model == scale["d_model"]
        assert (small_one.generator.layers, small_one.generator.wide_heads) == (scale["layers"], True)
        assert small_one.training.schedule == other.training.schedule == "cosine"


@pytest.mark.parametrize("preset", (*PRESETS, "ratchet", "sentsat_kg"))
def test_a_slot_or_a_memory_asked_of_one_that_has_none_is_named(preset):
    with pytest.raises(ConfigurationError, match=f"the preset '{preset}' has no memory; it has .*generator"):
        experiment(f"iu_phantom/{preset}", "ci", ["memory.slots=4"])
    with pytest.raises(UnknownNameError, match="slots"):
        experiment(f"iu_phantom/{preset}", "ci", ["generator.slots=4"])


@pytest.mark.usefixtures("in_this_home")
def test_ekagen_is_told_labels_as_xpronet_is_and_its_knowledge_is_the_training_reports():
    """`rrg train`, `rrg evaluate --labels`, with nothing said of its kind: the table comes with the checkpoint."""
    settings = ["memory.rows=20", "memory.least=2", "decoding.labels_at_test=none", "training.epochs=1"]
    run = Run.of(small("ekagen", *settings), progress=False)
    assert run.gated and run.labels.source == "expert"
    run.train()
    generator, table = run.generator(), run.new_generator().memory
    assert torch.equal(generator.memory.blocks, table.blocks) and torch.equal(generator.memory.patterns, table.patterns)
    assert table.blocks[0].any() and len(table.blocks[table.patterns.shape[0]].unique()) > 1
    told = {}
    for labels in ("none", "reference"):
        decoding = run.decoding("greedy", labels)
        told[labels] = run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False, decoding=decoding).scores
    assert told["none"].keys() == told["reference"].keys()
    assert (run.folder / "scores-test-labels-reference.json").is_file()
    inputs = torch.tensor(run.inputs(0))[None].float()
    looks = look(generator, inputs, [[1, 2, 3]])
    torch.testing.assert_close(looks.cross.sum(-1), torch.ones(1, 4))
    with pytest.raises(ConfigurationError, match=r"memory is looked up and not asked: no slots .* cross_map"):
        looks.overlap(0, [0])


@pytest.mark.usefixtures("in_this_home")
def test_coatt_is_trained_and_writes_without_being_told_labels():
    run = Run.of(small("coatt"), progress=False)
    history = run.train().history
    assert len(history) == 2 and history[1]["validation_loss"] < history[0]["validation_loss"] and not run.gated
    for decoding in (run.decoding("greedy"), run.decoding("published")):
        assert run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False, decoding=decoding).scores
    assert run.generator().config.full_stop == run.dataset.vocabulary.ids["."]
    inputs = torch.tensor(run.inputs(0))[None].float()
    with pytest.raises(ConfigurationError, match=r"channels of the pooled image.*generator\.visual=patches does"):
        look(run.generator(), inputs, [[1, 2, 3]])


@pytest.mark.parametrize("preset", ["ekagen", "coatt"])
def test_the_reconstructions_are_scaled_and_counted_like_the_others(preset):
    """Sizes of a profile, sizes as released, and what a training costs before it is run."""
    released = experiment(f"iu_xray/{preset}", "gpu")
    assert released.generator.d_model == {"ekagen": 256, "coatt": 512}[preset] and released.decoding.beam_size == 1
    assert experiment(f"iu_phantom/{preset}", "ci").generator.d_model == PROFILES["ci"].generator["d_model"]
    counted = budget.training_step(released, vocabulary=760)
    learnt = sum(p.numel() for p in budget.build(released, 760)[0].parameters())
    assert counted.weights == 4 * learnt and 2.5 < counted.step.flops / counted.forward.flops < 3.5
    assert budget.decoding(released, vocabulary=760).launches > 0
    assert Experiment.from_json(json.loads(json.dumps(released.to_json()))) == released
