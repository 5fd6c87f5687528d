"""SentSAT+KG (Zhang et al. 2020): a graph of chest findings is filled from the film, sends messages along its edges,
and is read by two LSTMs, one that plans sentences and one that writes their words.

    n_0 = mean_i v_i,   n_k = Σ_i softmax_i(c_k·v_i) v_i                                        class attention
    H' = relu(BN(U [relu BN(W₀ H); relu BN(W₁ H Â); relu BN(W₂ H B̂)]) + H)                      graph layer, three times
    z = Σ_k softmax_k(u' tanh(W h^s + V n_k)) n_k                             for each view, the views side by side
    h^s, c^s ← LSTM(z; h^s, c^s)                                                                a sentence
    h_t, c_t = LSTM([E w_t; h^s; z]; h_{t-1}, c_{t-1}),   p(w_{t+1}) = softmax(L h_t)           its words

The original's code was not to be had. This is built from what a successor publishes that was given it
(bionlplab/report_generation_amia2022, commit 57eecd7, MIT, "the code" below), whose model cannot be constructed as
published; its older graph layer, which it keeps beside the new one, is the one here. A reconstruction, and each part
says how well it is founded: **A** is as the code has it, **B** is said of the original in descriptions, **C** is ours.

| part | what | level |
|---|---|---|
| nodes | the mean patch, and a class attention's answer for each finding | A |
| findings | the 13 observations of the labels; the code has 30 words, the original about 20 findings | C |
| edges | drawn by hand from what radiologists know | B; which (`data/finding_graph.csv`), C |
| Â, B̂ | edges, each node to itself, and from n_0 to all; B̂ those turned round; both scaled by their row sums | A |
| graph layers | three, in the older form; a quarter of a patch's numbers within | A |
| sentence LSTM | begins with two linear maps of the mean patches; asks the nodes with the state before | A |
| word LSTM | its state runs on from sentence to sentence | A |
| attention | with biases; the code: without | C |
| norms | both views of a batch are normalised together; the code: one after the other | C |
| findings learnt | binary cross-entropy on the mean of both views' nodes | A |
| when | beside the reports, weight 1; the code: first, then attention and graph are frozen | C |
| word vectors | `d_model` numbers, learnt; the code: 200, given | C |
| sentences | end with a full stop of the training text, the report with id 0; the code: always ten sentences | C |
| text | the FINDINGS alone; the code: IMPRESSION and FINDINGS, in five folds | C |
| features | of the extractor at hand; the code: a DenseNet-121 at 512 pixels | C |
| training | Adam 1e-4, decay 1e-5, values clipped to 5, batch 8, best mean of six validation scores | A |

**A writer of two levels in a search of one word a step.** Search knows words alone, so the sentence LSTM has no step of
its own: the step that reads a full stop (or the 0 that begins a report) first asks it, and what it answers, h^s and z,
is kept until the next full stop. Both states go with their hypothesis. A hypothesis that is in the middle of a sentence
and one that begins its next may stand in one beam: each step computes the sentence LSTM for all and takes it where a
sentence begins. Whether there is another sentence the word LSTM says, by a word or by the 0 that ends.

It attends to findings, not to patches: after three layers a node is of no place any more, so it shows no map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.errors import AnnotationError, ConfigurationError
from rrg_lib.models.interface import Batch, GeneratorConfig, RecurrentState
from rrg_lib.models.lstm_captioner import AdditiveAttention, LSTMCaptioner, LSTMCell, PooledSizes
from rrg_lib.runtime.distributed import gathered
from rrg_lib.runtime.package_data import table

if TYPE_CHECKING:
    from rrg_lib.data.text.vocabulary import Vocabulary

#: The nodes after n_0, in the order of the labels.
GRAPH_FINDINGS = tuple(name for name in OBSERVATIONS if name != "No Finding")
#: What ends a sentence.
FULL_STOP = "."


@dataclass(frozen=True)
class SentSATKGConfig(PooledSizes, GeneratorConfig):
    """`graph_layers`: 0 leaves the nodes as the film fills them. `findings_weight` of the findings' cross-entropy in
    the objective, 0 for none. `full_stop`: the id of the full stop, which a run takes from its vocabulary."""

    graph_layers: int = 3
    findings_weight: float = 1.0
    full_stop: int = 1

    kind: ClassVar[str] = "sentsat_kg"

    def __post_init__(self):
        super().__post_init__()
        if self.graph_layers < 0 or self.findings_weight < 0:
            raise ConfigurationError(
                f"graph_layers is {self.graph_layers} and findings_weight {self.findings_weight}: neither is negative"
            )

    def of_data(self, vocabulary: Vocabulary, d_vf: int) -> GeneratorConfig:
        if FULL_STOP not in vocabulary.ids:
            raise ConfigurationError(
                f"the vocabulary of {vocabulary.size} words has no {FULL_STOP!r}, and a generator of the kind "
                f"{self.kind!r} writes sentence by sentence: prepare the reports with a protocol that keeps it"
            )
        return replace(super().of_data(vocabulary, d_vf), full_stop=vocabulary.ids[FULL_STOP])

    def make(self, extractor: nn.Module | None) -> SentSATKG:
        return SentSATKG(self, extractor)


def finding_edges(findings: Sequence[str] = GRAPH_FINDINGS) -> Tensor:
    """(K + 1, K + 1) ones where node i sends to node j: both ways along each edge of `data/finding_graph.csv`, from
    node 0, the whole film, to all, and from each to itself. Raises `AnnotationError` for an edge of another finding."""
    sends = torch.eye(len(findings) + 1)
    sends[0] = 1
    for row in table("finding_graph"):
        for name in (row["finding"], row["other"]):
            if name not in findings:
                raise AnnotationError(
                    f"data/finding_graph.csv: {name!r} is no finding of the graph; write one of {', '.join(findings)}"
                )
        i, j = (1 + findings.index(row[end]) for end in ("finding", "other"))
        sends[i, j] = sends[j, i] = 1
    return sends


def scaled_edges(sends: Tensor) -> Tensor:
    """D^-½ A D^-½ with the row sums of A on the diagonal of D."""
    root = sends.sum(1).rsqrt()
    return root[:, None] * sends * root


class ClassAttention(nn.Module):
    """SentSAT+KG, class attention: patches (..., S, d_vf) -> nodes (..., K + 1, d_vf), the whole film first."""

    def __init__(self, d_vf: int, findings: int):
        super().__init__()
        self.classes = nn.Linear(d_vf, findings, bias=False)  # c_k

    def forward(self, patches: Tensor) -> Tensor:
        shares = self.classes(patches).softmax(-2).transpose(-2, -1)  # (..., K, S)
        return torch.cat([patches.mean(-2, keepdim=True), shares @ patches], -2)


class _Mapped(nn.Module):
    """A linear map of each node without bias, then batch normalisation over all nodes of the batch."""

    def __init__(self, d_in: int, d_out: int):
        super().__init__()
        self.map, self.norm = nn.Linear(d_in, d_out, bias=False), nn.BatchNorm1d(d_out)

    def forward(self, nodes: Tensor, along: Tensor | None = None) -> Tensor:
        """(B, N, d_in), what reaches a node `along` edges (N, N), or its own -> (B, N, d_out)"""
        y = self.map(nodes)
        y = y if along is None else along.transpose(0, 1) @ y  # node j hears from every i with along[i, j]
        return self.norm(y.flatten(0, 1)).view_as(y)


class GraphLayer(nn.Module):
    """SentSAT+KG, graph layer: a node keeps what it is, and adds what it makes of itself, of those that send to it and
    of those that it sends to."""

    def __init__(self, d: int, d_within: int):
        super().__init__()
        self.own, self.heard, self.answered = (_Mapped(d, d_within) for _ in range(3))
        self.update = _Mapped(3 * d_within, d)

    def forward(self, nodes: Tensor, forth: Tensor, back: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d), edges (N, N) and the same turned round."""
        parts = (self.own(nodes), self.heard(nodes, forth), self.answered(nodes, back))
        return (self.update(torch.cat(parts, -1).relu()) + nodes).relu()


class SentSATKG(LSTMCaptioner):
    """The whole of it. `h_sentence`, `c_sentence` and `seen` (z) stand still within a sentence."""

    remembers = ("h", "c")

    def __init__(self, config: SentSATKGConfig, extractor: nn.Module | None = None):
        super().__init__(config, extractor)
        d, d_vf, findings = config.d_model, config.d_vf, len(GRAPH_FINDINGS)
        sends = finding_edges()
        self.register_buffer("forth", scaled_edges(sends), persistent=False)
        self.register_buffer("back", scaled_edges(sends.T), persistent=False)
        self.class_attention = ClassAttention(d_vf, findings)
        self.graph = nn.ModuleList(GraphLayer(d_vf, max(1, d_vf // 4)) for _ in range(config.graph_layers))
        self.findings = nn.Linear(d_vf, findings)
        self.attention = AdditiveAttention(d_vf, d)
        self.first_h, self.first_c = nn.Linear(config.pooled_dim, d), nn.Linear(config.pooled_dim, d)
        self.sentence = LSTMCell(config.pooled_dim, d)
        self.word = LSTMCell(2 * d + config.pooled_dim, d)

    def nodes(self, patches: Tensor) -> Tensor:
        """(B, S, d_vf) -> (B, V, K + 1, d_vf)"""
        filled = self.class_attention(self.config.by_view(patches))
        nodes = filled.flatten(0, 1)
        for layer in self.graph:
            nodes = layer(nodes, self.forth, self.back)
        return nodes.view_as(filled)

    def finding_logits(self, nodes: Tensor) -> Tensor:
        """Nodes (B, V, K + 1, d_vf) -> what is seen of each finding, (B, K)."""
        return self.findings(nodes.mean(2).sum(1))

    def look(self, patches: Tensor) -> dict[str, Tensor]:
        nodes = self.nodes(patches)
        return {"nodes": nodes, "keys": self.attention.key(nodes).flatten(1, 2)}  # keys (B, V (K + 1), d)

    def begin(self, patches: Tensor, labels: Tensor | None = None, length: int | None = None) -> RecurrentState:
        """The sentence LSTM begins with the film, the word LSTM with nothing; the 0 that is read first makes the first
        sentence."""
        state, pooled = super().begin(patches), self.config.pool(patches)[:, None]  # (B, 1, V d_vf)
        state.hypotheses |= {
            "h_sentence": self.first_h(pooled),
            "c_sentence": self.first_c(pooled),
            "seen": torch.zeros_like(pooled),
        }
        return state

    def words(self, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, L, d + 1): the word's vector, and 1 where a sentence begins after it."""
        begins = (tokens == 0) | (tokens == self.config.full_stop)
        vectors = self.token_embedding(tokens)
        return torch.cat([vectors, begins[..., None].to(vectors.dtype)], -1)

    def read(self, word: Tensor, state: dict[str, Tensor], study: dict[str, Tensor]):
        planned, begins = self._planned(state, study), word[..., -1:] > 0
        h_sentence, c_sentence, seen = (
            torch.where(begins, planned[name], state[name]) for name in ("h_sentence", "c_sentence", "seen")
        )
        read = self.word.inputs(torch.cat([word[..., :-1], h_sentence, seen], -1))
        h, c = self.word(read, state["h"], state["c"])
        return h, {"h": h, "c": c, "h_sentence": h_sentence, "c_sentence": c_sentence, "seen": seen}, None

    def _planned(self, state: dict[str, Tensor], study: dict[str, Tensor]) -> dict[str, Tensor]:
        """SentSAT+KG, two levels: what the sentence LSTM would do next."""
        nodes = study["nodes"]  # (B, V, K + 1, d_vf)
        scores = self.attention(state["h_sentence"], study["keys"][:, None])  # (B, W, V (K + 1))
        shares = scores.unflatten(-1, nodes.shape[1:3]).softmax(-1)  # in each view of its own
        seen = self.config.joined((shares.transpose(1, 2) @ nodes).transpose(1, 2))  # (B, W, V d_vf)
        h, c = self.sentence(self.sentence.inputs(seen), state["h_sentence"], state["c_sentence"])
        return {"h_sentence": h, "c_sentence": c, "seen": seen}

    def losses(self, batch: Batch, study: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the graph sees of the batch's labels, where it has any: binary cross-entropy over the findings."""
        if batch.labels is None or not self.config.findings_weight:
            return {}
        logits = gathered(self.finding_logits(study["nodes"]))
        truth = gathered(batch.labels[:, [OBSERVATIONS.index(name) for name in GRAPH_FINDINGS]])
        loss = F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype))
        return {"findings": self.config.findings_weight * loss}
