"""SentSAT+KG against its equations written out node by node and sentence by sentence; what it shares with the lineage
is in test_lineage.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import AnnotationError, ConfigurationError
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.trained_system import build_generator
from rrg_lib.models import sentsat_kg
from rrg_lib.models.interface import Batch
from rrg_lib.models.sentsat_kg import GRAPH_FINDINGS, SentSATKG, SentSATKGConfig, finding_edges, scaled_edges
from rrg_lib.models.visual.extractor import VisualExtractor

STOP = 4
SMALL = SentSATKGConfig(vocab_size=12, d_vf=8, d_model=16, max_length=14, full_stop=STOP)
#: Two sentences and the beginning of a third; one without a full stop; one that begins with one.
REPORTS = [
    [0, 3, 7, STOP, 9, 2, 5, STOP, 6, 1],
    [0, 1, 2, 3, 5, 6, 7, 8, 9, 10],
    [0, STOP, STOP, 5, 5, STOP, 7, 8, 1, 2],
]


def build(config: SentSATKGConfig = SMALL) -> SentSATKG:
    """In evaluation mode, its norms having seen something."""
    torch.manual_seed(0)
    model = config.build()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "graph" not in name:
                parameter.mul_(2)
        for _ in range(30):
            model.nodes(torch.rand(6, 10, 8) * 3)
    return model.eval()


@pytest.fixture
def batch() -> Batch:
    patches = torch.rand(3, 10, 8, generator=torch.Generator().manual_seed(1)) * 3
    tokens = torch.tensor(REPORTS)
    return Batch(patches, tokens, torch.ones_like(tokens))


# --- the graph --------------------------------------------------------------------------------------------------------


def normed(y: Tensor, mapped: sentsat_kg._Mapped) -> Tensor:
    n = mapped.norm
    return (y - n.running_mean) / (n.running_var + n.eps).sqrt() * n.weight + n.bias


def test_nodes_are_the_mean_patch_and_a_softmax_over_patches_for_each_finding(batch):
    """SentSAT+KG, class attention, of each view alone."""
    model = build(replace(SMALL, graph_layers=0)).double()
    nodes = model.nodes(batch.inputs.double())
    assert nodes.shape == (3, 2, 14, 8)
    for b in range(3):
        for view in range(2):
            v = batch.inputs[b, 5 * view : 5 * view + 5].double()
            torch.testing.assert_close(nodes[b, view, 0], v.mean(0))
            for k, c in enumerate(model.class_attention.classes.weight, 1):
                shares = torch.stack([v[i] @ c for i in range(5)]).softmax(0)
                torch.testing.assert_close(nodes[b, view, k], sum(shares[i] * v[i] for i in range(5)))


def test_a_graph_layer_is_its_equation_written_out():
    """SentSAT+KG, graph layer: message by message."""
    model = build().double()
    layer, edges = model.graph[0], finding_edges()
    H = torch.rand(14, 8, dtype=torch.float64) * 2
    out, into = edges.sum(1).double(), edges.T.sum(1).double()
    expected = []
    for j in range(14):
        own = layer.own.map.weight @ H[j]
        # forth: j hears from all that send to it; back: from all that it sends to
        heard = sum(layer.heard.map.weight @ H[i] / (out[i] * out[j]).sqrt() for i in range(14) if edges[i, j])
        answered = sum(layer.answered.map.weight @ H[i] / (into[i] * into[j]).sqrt() for i in range(14) if edges[j, i])
        parts = (normed(own, layer.own), normed(heard, layer.heard), normed(answered, layer.answered))
        message = layer.update.map.weight @ torch.cat(parts).clamp(min=0)
        expected.append((normed(message, layer.update) + H[j]).clamp(min=0))
    found = layer(H[None], model.forth, model.back)[0]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-6, rtol=1e-6)
    assert (found[1:] - layer(H.flip(0)[None], model.forth, model.back)[0].flip(0)[1:]).abs().max() > 1e-3


def test_edges_go_both_ways_between_findings_and_one_way_from_the_whole_film():
    edges = finding_edges()
    assert edges.shape == (14, 14) and OBSERVATIONS[1:] == GRAPH_FINDINGS
    assert torch.equal(edges[1:, 1:], edges[1:, 1:].T) and edges.diagonal().all()
    assert edges[0].all() and edges[1:, 0].sum() == 0
    place = {name: i for i, name in enumerate(GRAPH_FINDINGS, 1)}
    assert edges[place["Edema"], place["Cardiomegaly"]] == 1 and edges[place["Fracture"], place["Edema"]] == 0
    assert edges[1:, 1:].sum() == 13 + 2 * 17  # itself, and 17 edges
    scaled = scaled_edges(edges)
    torch.testing.assert_close(scaled, torch.diag(edges.sum(1) ** -0.5) @ edges @ torch.diag(edges.sum(1) ** -0.5))


def test_an_edge_of_a_finding_that_is_none_is_named(monkeypatch):
    rows = ({"finding": "Edema", "other": "Oedema", "why": "", "source": "ours"},)
    monkeypatch.setattr(sentsat_kg, "table", lambda name: rows)
    with pytest.raises(AnnotationError, match=r"finding_graph\.csv: 'Oedema' is no finding of the graph"):
        finding_edges()


def test_every_edge_of_the_data_says_why_and_whose_it_is():
    rows = sentsat_kg.table("finding_graph")
    assert {row["source"] for row in rows} == {"ours"} and all(row["why"] for row in rows)
    pairs = [frozenset((row["finding"], row["other"])) for row in rows]
    assert len(set(pairs)) == len(pairs) and {len(pair) for pair in pairs} == {2}


# --- two levels in one ------------------------------------------------------------------------------------------------


def lstm(cell: sentsat_kg.LSTMCell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """PyTorch's own cell with these weights: its gates stand in the same order."""
    own = torch.nn.LSTMCell(x.shape[-1], h.shape[-1], dtype=x.dtype)
    names = {"weight_ih": cell.inputs.weight, "bias_ih": cell.inputs.bias}
    own.load_state_dict(names | {"weight_hh": cell.hidden.weight, "bias_hh": cell.hidden.bias})
    return own(x, (h, c))


def sentence_by_sentence(model: SentSATKG, patches: Tensor, report: list[int]) -> Tensor:
    """The loop of two levels: cut at full stops, ask the graph once a sentence, write its words. Logits (T, V + 1)."""
    nodes, attention = model.nodes(patches[None])[0], model.attention  # (V, K + 1, d_vf)
    film = torch.cat([patches[:5].mean(0), patches[5:].mean(0)])
    h_s, c_s = model.first_h(film), model.first_c(film)
    h = c = torch.zeros(16, dtype=patches.dtype)
    sentences: list[list[int]] = []
    for word in report:
        sentences += [[]] if word in (0, STOP) else []
        sentences[-1].append(word)  # what is read first in a sentence is the full stop of the one before
    logits = []
    for words in sentences:
        seen = []
        for view in nodes:
            asked = [attention.key(n) + attention.query(h_s) for n in view]
            shares = torch.cat([attention.score(x.tanh()) for x in asked]).softmax(0)
            seen.append(sum(share * n for share, n in zip(shares, view, strict=True)))
        z = torch.cat(seen)
        h_s, c_s = lstm(model.sentence, z, h_s, c_s)
        for word in words:
            h, c = lstm(model.word, torch.cat([model.token_embedding.weight[word], h_s, z]), h, c)
            logits.append(model.logits(h))
    return torch.stack(logits)


def test_one_word_a_step_is_the_loop_over_sentences_and_their_words(batch):
    """SentSAT+KG, two levels."""
    model = build().double()
    with torch.no_grad():
        found = model(replace(batch, inputs=batch.inputs.double())).logits
        for b, report in enumerate(REPORTS):
            expected = sentence_by_sentence(model, batch.inputs[b].double(), report[:-1])
            torch.testing.assert_close(found[b], expected, atol=1e-7, rtol=1e-7)


def test_a_plan_stands_still_within_a_sentence_and_the_words_state_runs_on(batch):
    """SentSAT+KG, two levels: of hypotheses at different places of their sentences each keeps its own."""
    model, plans, states = build(), [], []
    with torch.no_grad():
        state = model.start(batch.inputs)
        for t in range(9):
            _, state = model.step(batch.tokens[:, t : t + 1], state)
            plans.append(torch.cat([state.hypotheses[name] for name in ("h_sentence", "c_sentence", "seen")], -1))
            states.append(state.hypotheses["h"])
    for b, report in enumerate(REPORTS):
        moved = [t for t in range(1, 9) if not torch.equal(plans[t][b], plans[t - 1][b])]
        assert moved == [t for t in range(1, 9) if report[t] == STOP]
    assert all((states[t] - states[t - 1]).abs().amax(-1).min() > 1e-4 for t in range(1, 9))
    assert states[3][0].abs().min() > 0  # after the full stop it is not zero again


def test_another_full_stop_is_another_model(batch):
    with torch.no_grad():
        ours, other = (build(replace(SMALL, full_stop=stop))(batch).logits for stop in (STOP, 9))
    torch.testing.assert_close(ours[0, :3], other[0, :3])  # before any of the two
    assert (ours[0, 3] - other[0, 3]).abs().max() > 1e-4


def test_a_run_takes_the_full_stop_from_its_vocabulary():
    words = Vocabulary((".", "<unk>", "lungs"))
    extractor = VisualExtractor("small", None, frozen=True)
    what = experiment("iu_phantom/sentsat_kg", "ci")
    for vocabulary in (words, Vocabulary(("-", ".", "<unk>"))):
        config = build_generator(what, vocabulary, extractor).config
        assert (config.full_stop, config.vocab_size, config.d_vf) == (vocabulary.ids["."], 3, 256)
    with pytest.raises(ConfigurationError, match=r"vocabulary of 2 words has no '\.'"):
        build_generator(what, Vocabulary(("<unk>", "lungs")), extractor)


# --- what it learns ---------------------------------------------------------------------------------------------------


def labelled(batch: Batch) -> Batch:
    labels = (torch.rand(3, 14, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    return replace(batch, labels=labels)


def test_the_findings_loss_is_the_cross_entropy_of_what_the_graph_sees(batch):
    """On the mean of both views' nodes, of the 13 observations but "No Finding"; none without labels."""
    model, batch = build(), labelled(batch)
    with torch.no_grad():
        nodes = model.nodes(batch.inputs)  # (B, V, K + 1, d_vf)
        logits = model.findings(nodes[:, 0].mean(1) + nodes[:, 1].mean(1))
        expected = F.binary_cross_entropy(logits.sigmoid(), batch.labels[:, 1:])
        torch.testing.assert_close(model(batch).losses["findings"], expected)
        halved = build(replace(SMALL, findings_weight=0.5))(batch).losses["findings"]
        torch.testing.assert_close(halved, expected / 2)
        assert model(replace(batch, labels=None)).losses == {}
        assert build(replace(SMALL, findings_weight=0))(batch).losses == {}


def test_every_part_learns(batch):
    model = build().train()
    output = model(labelled(batch))
    (output.logits.pow(2).sum() + output.losses["findings"]).backward()
    for name, parameter in model.named_parameters():
        if name not in ("attention.key.bias", "attention.query.bias", "attention.score.bias"):
            assert parameter.grad.abs().max() > 0, name


def test_the_films_findings_reach_the_words_through_the_graph_alone_after_the_first_plan(batch):
    """With other nodes, other reports: the words see the film in what is read of the nodes."""
    model = build()
    with torch.no_grad():
        state = model.start(batch.inputs)
        state.studies["nodes"] = state.studies["nodes"].flip(0)
        moved = model.step(batch.tokens[:, :1], state)[0]
        still = model.step(batch.tokens[:, :1], model.start(batch.inputs))[0]
    assert (moved[0] - still[0]).abs().max() > 1e-3 and torch.allclose(moved[1], still[1])


def test_settings_that_cannot_be_are_named(batch):
    with pytest.raises(ConfigurationError, match=r"graph_layers is -1 and findings_weight 1\.0: neither is negative"):
        replace(SMALL, graph_layers=-1)
    with pytest.raises(ConfigurationError, match="9 patches are not those of 2 views"):
        build().start(batch.inputs[:, :9])
