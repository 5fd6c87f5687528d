"""How to add another generator: one file with a module and its settings, one preset, and no edit anywhere else.

This file is that generator, whole: an LSTM that looks at the patches anew for every word. Its state is another after
each word, so it is also the test of what search does with a state. Then what it gets for it: profiles and overrides on
the command line, training, a checkpoint, greedy and beam search, scores, attention maps and a budget. Read it from top
to bottom; each test says what the library promises.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn
from toy import D_VF, MEMORY, PATCHES, WORDS, ToyDataset, brute_force, generator

from rrg_lib.book.seam_checks import cached_equals_teacher_forced, generator_checks, run_checks
from rrg_lib.data.prepare import prepare
from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.evaluation.attention import look
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.experiments import run as run_module
from rrg_lib.experiments.image_report_retrieval import encode_studies, fit_alignment
from rrg_lib.experiments.presets import PRESETS, PROFILES, Experiment, Preset, experiment, register_preset
from rrg_lib.experiments.run import Run
from rrg_lib.models.decoding import DecodingConfig, beam_search, generate, greedy_search
from rrg_lib.models.interface import (
    Batch,
    Captioner,
    CaptionerModule,
    CaptionerState,
    GeneratorConfig,
    Output,
    RecurrentState,
)
from rrg_lib.models.pair_alignment import PairConfig
from rrg_lib.performance import budget
from rrg_lib.training import Trainer, TrainingConfig

# --- the new file: rrg_lib/models/lstm.py -----------------------------------------------------------------------------


@dataclass(frozen=True)
class LSTMConfig(GeneratorConfig):
    """Its settings. `kind` makes it known: experiment files find the class by it."""

    kind: ClassVar[str] = "lstm"
    attends: ClassVar[bool] = True
    vocab_size: int = 760
    d_vf: int = 2048
    d_model: int = 512
    feature_dropout: float = 0.5
    max_length: int = 60

    def make(self, extractor):
        return LSTMCaptioner(self, extractor)


class LSTMCaptioner(CaptionerModule):
    """Before each word the last state asks the patches, and an LSTM reads the last word beside what they answered."""

    def __init__(self, config: LSTMConfig, extractor: nn.Module | None):
        super().__init__(config, extractor)
        d = config.d_model
        self.patch = nn.Sequential(nn.Linear(config.d_vf, d), nn.ReLU(), nn.Dropout(config.feature_dropout))
        self.word = nn.Embedding(config.vocab_size + 1, d)
        self.query, self.key, self.score = nn.Linear(d, d), nn.Linear(d, d, bias=False), nn.Linear(d, 1)
        self.cell = nn.LSTMCell(2 * d, d)
        self.logits = nn.Linear(d, config.vocab_size + 1)

    def _begin(self, features):
        patches = self.patch(features)  # (B, S, d_vf) -> (B, S, d)
        nothing = patches.new_zeros(len(patches), 1, patches.shape[-1])  # (B, 1, d)
        return RecurrentState({"patches": patches, "keys": self.key(patches)}, {"h": nothing, "c": nothing})

    def _next(self, tokens, state):
        """(B, W) -> logits (B, W, V + 1) and attention (B, W, S); the state is that after these tokens."""
        h, c = state.hypotheses["h"], state.hypotheses["c"]  # (B, W, d)
        asked = self.query(h)[:, :, None] + state.studies["keys"][:, None]  # (B, W, S, d)
        weights = self.score(asked.tanh()).squeeze(-1).softmax(-1)  # (B, W, S)
        x = torch.cat([self.word(tokens), weights @ state.studies["patches"]], -1)  # (B, W, 2d)
        h, c = (new.view_as(h) for new in self.cell(x.flatten(0, 1), (h.flatten(0, 1), c.flatten(0, 1))))
        state.hypotheses = {"h": h, "c": c}
        return self.logits(h), weights

    # Required: all words of a report, the true ones given; and one word after another.

    def forward(self, batch, trace=None):
        features = self.patches_of(batch.inputs)
        state, words = self._begin(features), batch.tokens[:, :-1].split(1, dim=1)
        logits, weights = zip(*(self._next(word, state) for word in words), strict=True)
        if trace is not None:
            trace.append(torch.cat(weights, 1)[:, None])  # (B, 1, T - 1, S): a layer of one head
        return Output(torch.cat(logits, 1), patches=features)

    @torch.no_grad()
    def start(self, inputs, labels=None, *, max_length=None, table=None):
        return self._begin(self.patches_of(inputs))

    @torch.no_grad()
    def step(self, tokens, state):
        return self._next(tokens, state)[0], state


# --- the new line: rrg_lib/experiments/presets.py ---------------------------------------------------------------------

LSTM = Preset("lstm", "Long et al., Table 1, LSTM", generator=LSTMConfig())


@pytest.fixture(autouse=True)
def _registered():
    register_preset(LSTM)
    yield
    del PRESETS["lstm"]


# --- what it gets -----------------------------------------------------------------------------------------------------

SMALL = LSTMConfig(vocab_size=WORDS, d_vf=D_VF, d_model=24, feature_dropout=0.1, max_length=8)


def build(seed: int = 0, end: float = 0.0) -> LSTMCaptioner:
    torch.manual_seed(seed)
    model = SMALL.build()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)  # so that hypotheses really compete, and what was said before really counts
        model.logits.bias[0] += end
    return model


@pytest.fixture
def patches() -> torch.Tensor:
    return torch.rand(5, PATCHES, D_VF, generator=torch.Generator().manual_seed(0)) * 3


def test_it_is_what_the_library_asks_for_and_so_is_the_transformer(patches):
    for model in (build(), generator()):
        assert isinstance(model, Captioner)
        assert isinstance(model.eval().start(patches), CaptionerState)
    assert not isinstance(nn.Linear(1, 1), Captioner)


def test_a_name_profiles_and_overrides_on_every_dataset():
    """`rrg train iu_phantom/lstm --profile ci --set generator.d_model=64`; a profile changes the settings that the
    generator has (d_model) and no others (heads)."""
    for name, profile in PROFILES.items():
        expected = {key: value for key, value in profile.generator.items() if key in ("d_model", "feature_dropout")}
        assert experiment("iu_phantom/lstm", name).generator == LSTMConfig(**expected)
    assert experiment("iu_xray/lstm", "ci", ["generator.d_model=64"]).generator.d_model == 64
    with pytest.raises(UnknownNameError, match=r"setting of generator 'heads'.*d_model"):
        experiment("iu_xray/lstm", "ci", ["generator.heads=2"])


def test_its_experiment_can_be_repeated_from_the_file_that_a_run_writes():
    what = experiment("iu_phantom/lstm", "ci", ["generator.d_model=64"])
    again = Experiment.from_json(json.loads(json.dumps(what.to_json())))
    assert again == what and again.hash == what.hash and isinstance(again.generator, LSTMConfig)
    assert what.to_json()["generator"]["kind"] == "lstm"
    with pytest.raises(UnknownNameError, match="unknown generator 'lsmt'; nearest: lstm"):
        Experiment.from_json(what.to_json() | {"generator": {"kind": "lsmt"}})


def test_it_keeps_the_promises_of_every_generator():
    """What `rrg check-mine` asks of a student's generator too."""
    kept: list[str] = []
    run_checks(generator_checks(SMALL), kept.append)
    assert len(kept) == 7


def test_words_one_by_one_equal_all_at_once(patches):
    cached_equals_teacher_forced(build().eval(), patches)


@pytest.mark.parametrize("penalty", ["none", "average"])
@pytest.mark.parametrize("seed", range(4))
def test_beam_search_equals_brute_force(penalty, seed, patches):
    """Hypotheses change places after every word, and each takes its h and c along."""
    model, config = build(seed).eval(), DecodingConfig(beam_size=3, max_length=6, length_penalty=penalty)
    with torch.no_grad():
        tokens, scores = brute_force(model, patches, config)
    written = generate(model, patches, config=config)
    assert written.tokens.tolist() == tokens
    torch.testing.assert_close(written.scores, torch.tensor(scores), atol=1e-4, rtol=1e-5)


def only_in_number(self, parents):
    """A state that knows how many hypotheses there are, but not which goes on from which."""
    if parents.shape[1] != self.hypotheses["h"].shape[1]:
        self.hypotheses = {name: x[:, :1].expand(-1, parents.shape[1], -1) for name, x in self.hypotheses.items()}


def test_a_state_that_is_not_reordered_is_noticed(patches, monkeypatch):
    model, config = build().eval(), DecodingConfig(beam_size=3, max_length=6)
    right = generate(model, patches, config=config)
    monkeypatch.setattr(RecurrentState, "reorder", only_in_number)
    assert (generate(model, patches, config=config).scores - right.scores).abs().max() > 1e-2


@pytest.mark.parametrize("search", [beam_search, greedy_search])
def test_finished_studies_leave_the_batch_with_their_state(search):
    """Studies end at different times; each alone is what nothing can have been dropped from."""
    model = build(seed=4, end=1.1).eval()
    config = DecodingConfig(beam_size=1 if search is greedy_search else 3, max_length=20)
    many = torch.rand(24, PATCHES, D_VF, generator=torch.Generator().manual_seed(4)) * 6
    sizes, select = [], RecurrentState.select

    def watched(state, studies):
        sizes.append(len(studies))
        select(state, studies)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecurrentState, "select", watched)
        together = search(model, model.start(many), config)
    alone = [search(model, model.start(one[None]), config) for one in many]
    assert torch.equal(together.tokens, torch.cat([one.tokens for one in alone]))
    torch.testing.assert_close(together.scores, torch.cat([one.scores for one in alone]), atol=1e-4, rtol=1e-5)
    assert sizes and sizes[0] <= 12


def test_beam_one_is_greedy(patches):
    model, config = build().eval(), DecodingConfig(beam_size=1, max_length=8)
    beam = beam_search(model, model.start(patches), config)
    assert torch.equal(beam.tokens, greedy_search(model, model.start(patches), config).tokens)
    assert beam.tokens.unique(dim=0).shape[0] > 1  # the image decides


def test_the_training_loop_takes_it_as_it_is_and_it_learns_to_look(tmp_path):
    """Its report names what its patches show, so only who looks gets below the loss of who does not."""
    data = ToyDataset().batches()
    config = TrainingConfig(epochs=30, batch_size=8, lr=1e-2, monitor={"validation_loss": -1.0})
    torch.manual_seed(0)
    model = SMALL.build()
    trainer = Trainer(model, data.loader(8, seed=1, shuffle=True), data.loader(40), config, tmp_path, progress=False)
    losses = [row["validation_loss"] for row in trainer.fit().history]
    batch = data.collate(list(range(40)))
    blind = Batch(batch.inputs.mean(0, keepdim=True).expand_as(batch.inputs), batch.tokens, batch.mask)
    with torch.no_grad():
        seen, unseen = (
            (generate(model, one.inputs, config=DecodingConfig(1, 8)).tokens[:, :4] == batch.tokens[:, 1:]).all(1)
            for one in (batch, blind)
        )
    assert losses[-1] < 0.3 * losses[0]
    assert seen.float().mean() > 0.8 > unseen.float().mean()
    assert (tmp_path / "best.safetensors").exists()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def studies(home):
    return prepare("phantom", count=40, out=home / "phantom", workers=1, progress=False)


def test_a_run_of_it_is_trained_written_and_scored_as_any_other(home, studies, monkeypatch):
    """`rrg train phantom/lstm`, `rrg evaluate`: the reports of the test studies and their scores, in a folder from
    which it opens again."""
    monkeypatch.setenv("RRG_HOME", str(home))
    monkeypatch.setattr(run_module, "prepared", lambda *a, **k: studies)
    settings = ["generator.d_model=16", "training.epochs=2", "extractor.weights=null"]
    run = Run.of(experiment("phantom/lstm", "ci", settings), progress=False)
    history = run.train().history
    assert len(history) == 2 and {"BLEU-4", "validation_loss"} <= set(history[0])
    scores = run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False).scores
    again = Run.open(run.folder, progress=False)
    assert again.experiment == run.experiment and isinstance(again.generator(), LSTMCaptioner)
    kept = json.loads((run.folder / "scores-test.json").read_text())
    assert kept["rows"][0]["parts"]["all"]["scores"]["BLEU-4"] == scores["BLEU-4"]
    views = studies.views(studies.split_indices("test")[0])
    assert again.system.report_of_views(views) == next(iter(run.write("test").values()))


def test_where_it_looked_is_told_word_by_word(patches):
    model = build().eval()
    looks = look(model, patches, [[3, 5], [1, 2, 4], [6], [7, 8], [2]])
    assert looks.cross.shape == (5, 4, PATCHES) and looks.text is None and looks.slots == 0
    torch.testing.assert_close(looks.cross.sum(-1), torch.ones(5, 4))
    state = model.start(patches[:1])
    for word in (0, 3):
        model._next(torch.tensor([[word]]), state)
    torch.testing.assert_close(looks.cross[0, 2], model._next(torch.tensor([[5]]), state)[1][0, 0])


def test_its_training_and_its_writing_are_counted():
    what = experiment("iu_xray/lstm", "gpu")
    counted = budget.training_step(what, vocabulary=760)
    learnt = sum(p.numel() for p in budget.build(what, 760)[0].parameters())
    assert counted.weights == 4 * learnt and 2.5 < counted.step.flops / counted.forward.flops < 3.5
    assert budget.decoding(what, vocabulary=760).launches > 0


# --- what it has not, and is told so ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BlindConfig(LSTMConfig):
    """The same that does not tell where it looks."""

    kind: ClassVar[str] = "lstm_blind"
    attends: ClassVar[bool] = False


def test_a_memory_or_an_alignment_on_a_kind_that_takes_none_is_refused():
    says = "kind 'lstm' takes no memory, it takes nothing but an extractor; kinds that do: .*transformer"
    with pytest.raises(ConfigurationError, match=says):
        Preset("lstm_cmn", "none", MEMORY, generator=LSTMConfig())
    with pytest.raises(ConfigurationError, match=says):
        SMALL.build(memory=MEMORY)
    with pytest.raises(ConfigurationError, match="takes no pair alignment"):
        SMALL.build(pair=PairConfig())
    with pytest.raises(ConfigurationError, match="preset 'lstm' has no memory; it has decoding, extractor, generator"):
        experiment("iu_phantom/lstm", "ci", ["memory.slots=3"])


def test_what_it_does_not_give_is_asked_for_in_vain(patches, tmp_path):
    data = ToyDataset().batches()
    blind = BlindConfig(vocab_size=WORDS, d_vf=D_VF, d_model=8).build()
    with pytest.raises(ConfigurationError, match=r"'lstm_blind' has no attention over the patches.*: .*lstm"):
        look(blind, patches, [[1]] * 5)
    with pytest.raises(ConfigurationError, match="'lstm' gives no vectors of patches and words"):
        encode_studies(build(), data, torch.zeros(PATCHES, D_VF))
    with pytest.raises(ConfigurationError, match="takes no pair alignment"):
        fit_alignment(build(), data)
    config = TrainingConfig(checkpoint=True, monitor={"validation_loss": -1.0})
    with pytest.raises(ConfigurationError, match="'lstm' has no layers whose activations could be computed twice"):
        Trainer(build(), data.loader(8), data.loader(8), config, tmp_path, progress=False)


def test_a_word_table_is_given_where_words_are_read_alike_and_refused_elsewhere(patches):
    """What an LSTM makes of a word depends on the words before; what a gated memory answers, on the study."""
    assert build().word_table() is None
    transformer = generator().eval()
    table = transformer.word_table()
    assert transformer.start(patches, table=table).table is table
    with pytest.raises(ConfigurationError, match="a generator while it learns has no word table"):
        transformer.train().start(patches, table=table)
    with pytest.raises(ConfigurationError, match="not asked by word and place alone"):
        generator(None).eval().start(patches, table=table)
