"""COATT (Jing, Xie, Xing 2018): image → tags → a topic for each sentence → its words.

    t = softmax(T v̄),   a_k: vectors of the K largest tags
    α^v = softmax(A_v tanh(W_v v̄ + U_v s_{n-1})),   v̂ = α^v ⊙ v̄                              which channels
    α^a = softmax(A_a tanh(W_a a_k + U_a s_{n-1})),   â = Σ_k α^a_k ⊙ a_k                      which tags
    c_n = C [v̂ ; â],   s_n = LSTM²(c_n)
    topic_n = P σ(BN(P₁ s_n) + BN(P₂ c_n)),   go_n = S σ(BN(S₁ s_{n-1}) + BN(S₂ s_n))
    words of sentence n = LSTM(topic_n, E_start, E_{w_1}, E_{w_2}, …)
    L = 10⁴ MSE(t, labels / their number) + 10 CE(go) + Σ_n Σ_j 0.9^j CE(w_{n,j})

The paper's own code is not public. The *code* below is a third party's (ZexinYan/Medical-Report-Generation, commit
d26f25c, no licence, so nothing of it is carried over), which differs from the paper and does not reach it. Run as it is
it mixes the studies of a batch: the softmax over tags has no axis and runs over the studies, and the sentence LSTM
takes the studies for the time of one sequence. What a study's report says would depend on its neighbours, and on who
has left the search. So what is trained here is a reconstruction: **A** as the code has it, held against its numbers,
**B** as the paper is described, **C** ours.

| part | what | level |
|---|---|---|
| tags | from the pooled image, the K largest; no gradient from the words | A |
| K | 4 of 14; the code's 10 of 210 | C |
| tags' targets | the 14 observations of the expert codes; a study without any teaches none | C |
| tags at test | its own: it is told no label | A |
| image attention | over the *channels* of the pooled vector, so no region is attended | A |
| | `visual="patches"`: over patches | B |
| tag attention | number by number over the study's own tags | C |
| | `studies="mixed"`: over the batch | A |
| sentence LSTM | two layers, along the sentences of a study | B |
| | `studies="mixed"`: along the studies of the batch | A |
| s_{n-1} in attention and stop | handed on, as the code's tester does | B |
| | `handed_on=False`: 0 in training, as the code's training loop has it | A |
| batch norms | one mean and variance for all numbers of a batch | A |
| the same, when a report is written | running ones; the code's tester goes on with the batch's | C |
| words | a sentence from its topic and the begin mark; read once, not anew for each word | A |
| one string of words | a full stop ends a sentence, the final 0 is "don't go on" (`one_report`) | C |
| loss | three parts with the code's weights, over the number of words | A; over, C |
| the pooled image | mean patch of both views; the code reads single films | C |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.errors import ConfigurationError
from rrg_lib.models.interface import Batch, CaptionerModule, GeneratorConfig, Output, RecurrentState
from rrg_lib.runtime.distributed import gathered

if TYPE_CHECKING:
    from rrg_lib.data.text.vocabulary import Vocabulary

RELEASED_NAMES = (
    (r"mlc\.classifier\.(weight|bias)", r"tag_scores.\1"),
    (r"mlc\.embed\.weight", "tag_embedding.weight"),
    (r"co_attention\.W_v\.(weight|bias)", r"attention.image_key.\1"),
    (r"co_attention\.W_v_h\.(weight|bias)", r"attention.image_query.\1"),
    (r"co_attention\.W_v_att\.(weight|bias)", r"attention.image_score.\1"),
    (r"co_attention\.W_a\.(weight|bias)", r"attention.tag_key.\1"),
    (r"co_attention\.W_a_h\.(weight|bias)", r"attention.tag_query.\1"),
    (r"co_attention\.W_a_att\.(weight|bias)", r"attention.tag_score.\1"),
    (r"co_attention\.W_fc\.(weight|bias)", r"attention.context.\1"),
    (r"sentence_model\.lstm\.(.+)", r"sentences.lstm.\1"),
    (r"sentence_model\.W_t_h\.(weight|bias)", r"sentences.topic.state.\1"),
    (r"sentence_model\.W_t_ctx\.(weight|bias)", r"sentences.topic.other.\1"),
    (r"sentence_model\.W_topic\.(weight|bias)", r"sentences.topic.joined.\1"),
    (r"sentence_model\.bn_t_h\.(.+)", r"sentences.topic.state_norm.\1"),
    (r"sentence_model\.bn_t_ctx\.(.+)", r"sentences.topic.other_norm.\1"),
    (r"sentence_model\.W_stop_s\.(weight|bias)", r"sentences.go.state.\1"),
    (r"sentence_model\.W_stop_s_1\.(weight|bias)", r"sentences.go.other.\1"),
    (r"sentence_model\.W_stop\.(weight|bias)", r"sentences.go.joined.\1"),
    (r"sentence_model\.bn_stop_s\.(.+)", r"sentences.go.state_norm.\1"),
    (r"sentence_model\.bn_stop_s_1\.(.+)", r"sentences.go.other_norm.\1"),
    (r"word_model\.embed\.weight", "token_embedding.weight"),
    (r"word_model\.lstm\.(.+)", r"words.\1"),
    (r"word_model\.linear\.(weight|bias)", r"logits.\1"),
)
#: Batch norms that the code builds and its forms of attention and sentence never call.
UNUSED = r"co_attention\.bn_.+|sentence_model\.bn_(stop|topic)\..+"

STOP, GO = 0, 1


@dataclass(frozen=True)
class CoAttConfig(GeneratorConfig):
    """Sizes as the code has them. `tags` of which a study has the `top_tags` largest; `full_stop`, the id that ends a
    sentence, which a run sets to that of its words; `visual`, `handed_on` and `studies` as the table above says, the
    last for comparison with the code alone: no report can be written with "mixed". Weights of the loss: `tag_weight`,
    `go_weight`, and `discount` a word, counted from 1."""

    vocab_size: int = 760
    d_vf: int = 2048
    d_model: int = 512
    tags: int = len(OBSERVATIONS)
    top_tags: int = 4
    sentence_layers: int = 2
    max_length: int = 60
    full_stop: int = 1
    visual: Literal["channels", "patches"] = "channels"
    studies: Literal["apart", "mixed"] = "apart"
    handed_on: bool = True
    tag_weight: float = 1e4
    go_weight: float = 10.0
    discount: float = 0.9

    kind: ClassVar[str] = "coatt"

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.top_tags <= self.tags:
            raise ConfigurationError(f"top_tags is {self.top_tags}: a study has between 1 and all {self.tags} tags")

    @property
    def attends(self) -> bool:
        """Whether it looks at patches."""
        return self.visual == "patches"

    def check_attends(self) -> None:
        """Raises `ConfigurationError` for attention over channels."""
        if not self.attends:
            raise ConfigurationError(
                "a generator of the kind 'coatt' attends to the channels of the pooled image, as its public code does, "
                "and so to no patch; generator.visual=patches does"
            )

    def of_data(self, vocabulary: Vocabulary, d_vf: int) -> CoAttConfig:
        """Raises `ConfigurationError` for words without a full stop."""
        if "." not in vocabulary.ids:
            raise ConfigurationError(
                "a generator of the kind 'coatt' writes sentence by sentence, and the vocabulary has no full stop: "
                "prepare the data with a protocol that keeps it"
            )
        return replace(super().of_data(vocabulary, d_vf), full_stop=vocabulary.ids["."])

    def make(self, extractor: nn.Module | None) -> CoAtt:
        return CoAtt(self, extractor)


class CoAttention(nn.Module):
    """COATT, co-attention: what of the image and which tags the next sentence is about. R rows of a study each."""

    def __init__(self, config: CoAttConfig):
        super().__init__()
        c = self.config = config
        self.image_key, self.image_query = nn.Linear(c.d_vf, c.d_vf), nn.Linear(c.d_model, c.d_vf)
        self.image_score = nn.Linear(c.d_vf, c.d_vf if c.visual == "channels" else 1)
        self.tag_key, self.tag_query, self.tag_score = (nn.Linear(c.d_model, c.d_model) for _ in range(3))
        self.context = nn.Linear(c.d_vf + c.d_model, c.d_model)

    def look(self, patches: Tensor, tags: Tensor) -> dict[str, Tensor]:
        """What is the same for all sentences of a study: patches (B, S, d_vf), tags' vectors (B, K, d)."""
        image = patches if self.config.visual == "patches" else patches.mean(1, keepdim=True)  # (B, S or 1, d_vf)
        return {"image": image, "image_key": self.image_key(image), "tags": tags, "tag_key": self.tag_key(tags)}

    def forward(self, study: dict[str, Tensor], past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`past` s_{n-1} (R, d) -> c_n (R, d), α^v (R, 1, d_vf) or of patches (R, S, 1), α^a (R, K, d)"""
        seen = self.image_score((study["image_key"] + self.image_query(past)[:, None]).tanh())
        seen = seen.softmax(1 if self.config.visual == "patches" else 2)
        asked = self.tag_score((study["tag_key"] + self.tag_query(past)[:, None]).tanh())
        asked = asked.softmax(1 if self.config.studies == "apart" else 0)
        both = torch.cat([(seen * study["image"]).sum(1), (asked * study["tags"]).sum(1)], -1)
        return self.context(both), seen, asked


class NormedSum(nn.Module):
    """J σ(BN(X x) + BN(Y y)), each norm with one mean and variance for all numbers of the batch."""

    def __init__(self, d: int, out: int):
        super().__init__()
        self.state, self.other, self.joined = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, out)
        self.state_norm, self.other_norm = nn.BatchNorm1d(1), nn.BatchNorm1d(1)

    def forward(self, state: Tensor, other: Tensor) -> Tensor:
        """(R, d), (R, d) -> (R, out)"""
        one, two = self.state_norm(self.state(state)[:, None]), self.other_norm(self.other(other)[:, None])
        return self.joined((one + two).sigmoid()[:, 0])


class SentenceLSTM(nn.Module):
    """COATT, topics and stop: the state that goes from sentence to sentence, what the next one is about, and whether
    there is one."""

    def __init__(self, config: CoAttConfig):
        super().__init__()
        d, self.mixed = config.d_model, config.studies == "mixed"
        self.lstm = nn.LSTM(d, d, config.sentence_layers)
        self.topic, self.go = NormedSum(d, d), NormedSum(d, 2)

    def begin(self, rows: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """h and c (layers, R, d), 0; (layers, 1, d) where the studies are one sequence."""
        zero = like.new_zeros(self.lstm.num_layers, 1 if self.mixed else rows, self.lstm.hidden_size)
        return zero, zero

    def forward(self, context: Tensor, past: Tensor, state: tuple[Tensor, Tensor]):
        """c_n and s_{n-1} (R, d) -> s_n (R, d), the topic (R, d), the scores (R, 2) of stop and go, the new state."""
        said, state = self.lstm(context[:, None] if self.mixed else context[None], state)
        said = said[:, 0] if self.mixed else said[0]  # (R, d)
        return said, self.topic(said, context), self.go(said, past), state


@dataclass
class Sentences:
    """Where each of the L words that are read stands: `begins` (B, L), whether a sentence begins after it; `number` of
    the sentence that the next word belongs to, and `place` in it, (B, L). At most `count` N sentences of `places` J
    places. Padding stands at the first place of the last sentence."""

    begins: Tensor
    number: Tensor
    place: Tensor
    count: int
    places: int

    @classmethod
    def of(cls, read: Tensor, full_stop: int) -> Sentences:
        begins = read == full_stop
        begins[:, 0] = True
        at = torch.arange(read.shape[1], device=read.device)
        place = at - torch.where(begins, at, 0).cummax(1).values
        place = place.masked_fill((read == 0) & ~begins, 0)
        number = begins.cumsum(1) - 1
        if read.device.type == "meta":  # shapes without numbers: as in a report of the usual sentences
            return cls(begins, number, place, max(1, read.shape[1] // 8), 8)
        return cls(begins, number, place, int(number.max()) + 1, int(place.max()) + 1)


def one_report(words: Tensor, go: Tensor) -> Tensor:
    """Scores of the words (…, V + 1) and of stop and go (…, 2) where a sentence may begin -> log-probabilities
    (…, V + 1) of what a report says next: 0, "no more", is the stop's; a word's is that of going on times its own among
    the words. So a report has one likelihood, and the search can weigh an end against a sentence (C)."""
    go = go.log_softmax(-1)
    return torch.cat([go[..., STOP, None], go[..., GO, None] + words[..., 1:].log_softmax(-1)], -1)


class CoAtt(CaptionerModule):
    """The whole of it."""

    def __init__(self, config: CoAttConfig, extractor: nn.Module | None = None):
        super().__init__(config, extractor)
        c, d = config, config.d_model
        self.tag_scores, self.tag_embedding = nn.Linear(c.d_vf, c.tags), nn.Embedding(c.tags, d)
        self.attention, self.sentences = CoAttention(c), SentenceLSTM(c)
        self.token_embedding = nn.Embedding(c.vocab_size + 1, d)  # 0 begins a sentence
        self.words, self.logits = nn.LSTM(d, d, batch_first=True), nn.Linear(d, c.vocab_size + 1)
        for module in self.modules():  # as the code: all but the LSTMs and the tags' vectors
            if isinstance(module, nn.Linear):
                nn.init.uniform_(module.weight, -0.1, 0.1)
                nn.init.zeros_(module.bias)
        nn.init.uniform_(self.token_embedding.weight, -0.1, 0.1)

    def tags(self, patches: Tensor) -> Tensor:
        """COATT, tags: (B, S, d_vf) -> t (B, tags), which sums to 1."""
        return self.tag_scores(patches.mean(1)).softmax(-1)

    def look(self, patches: Tensor, tags: Tensor) -> dict[str, Tensor]:
        """(B, S, d_vf), t (B, tags) -> what every sentence needs of a study."""
        return self.attention.look(patches, self.tag_embedding(tags.topk(self.config.top_tags, dim=-1).indices))

    def topics(self, study: dict[str, Tensor], count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The first `count` N sentences of each study -> topics (B, N, d), scores of stop and go (B, N, 2), the image's
        attention (B, N, …)."""
        zero = study["tags"].new_zeros(len(study["tags"]), self.config.d_model)
        past, state, found = zero, self.sentences.begin(len(zero), zero), []
        for _ in range(count):
            context, seen, _ = self.attention(study, past)
            said, topic, go, state = self.sentences(context, past, state)
            found.append((topic, go, seen))
            past = said if self.config.handed_on or not self.training else zero
        topics, going, maps = (torch.stack(each, 1) for each in zip(*found, strict=True))
        return topics, going, maps

    def read_sentences(self, topics: Tensor, read: Tensor) -> Tensor:
        """COATT, words: topics (R, d) and the words read (R, J), the begin mark first -> outputs (R, J, d) that score
        the words after them."""
        return self.words(torch.cat([topics[:, None], self.token_embedding(read)], 1))[0][:, 1:]

    def forward(self, batch: Batch, trace: list[Tensor] | None = None) -> Output:
        """Teacher forcing: all sentences' topics one after another, then the words of all sentences at once. `trace`
        receives the image's attention (B, 1, T - 1, S), that of a sentence at each of its words. Raises
        `ConfigurationError` for a trace of attention over channels."""
        if trace is not None:
            self.config.check_attends()
        patches, read = self.patches_of(batch.inputs), batch.tokens[:, :-1]  # (B, L)
        tags, where = self.tags(patches), Sentences.of(read, self.config.full_stop)
        topics, going, maps = self.topics(self.look(patches, tags), where.count)  # (B, N, …)

        studies = torch.arange(len(read), device=read.device)[:, None]
        heard = read.new_zeros(len(read), where.count, where.places)  # (B, N, J): the begin mark first in each
        heard[studies, where.number, where.place] = read.masked_fill(where.begins, 0)
        if read.device.type == "meta":
            real = torch.arange(len(read) * where.count, device=read.device)
        else:  # the sentences that there are
            last = where.number[:, -1:]
            real = (torch.arange(where.count, device=read.device) <= last).flatten().nonzero()[:, 0]
        row_of = torch.zeros(len(read) * where.count, dtype=torch.long, device=read.device)
        row_of[real] = torch.arange(len(real), device=read.device)
        outputs = self.read_sentences(topics.flatten(0, 1)[real], heard.flatten(0, 1)[real])  # (R, J, d)
        words = self.logits(outputs[row_of.view(len(read), -1)[studies, where.number], where.place])  # (B, L, V + 1)
        go = going[studies, where.number]  # (B, L, 2)
        logits = torch.where(where.begins[..., None], one_report(words, go), words)
        if trace is not None:
            trace.append(maps[studies, where.number].squeeze(-1)[:, None])
        return Output(logits, self.losses(logits, go, tags, where, batch), patches=patches)

    def losses(self, logits: Tensor, go: Tensor, tags: Tensor, where: Sentences, batch: Batch) -> dict[str, Tensor]:
        """COATT, loss: what turns the mean over words, which every system here is trained by, into the code's loss of
        words and stops over the number of words; and the tags' part of it, where there are labels."""
        c, said, counts = self.config, batch.tokens[:, 1:], batch.mask[:, 1:].to(logits)  # (B, L)
        if batch.labels is not None and batch.labels.shape[1] != c.tags:
            raise ConfigurationError(f"a study has {batch.labels.shape[1]} labels, the generator {c.tags} tags")
        each = F.cross_entropy(logits.flatten(0, 1).float(), said.flatten(), reduction="none").view_as(counts)
        goes_on = (said != 0).long().flatten()
        stops = F.cross_entropy(go.flatten(0, 1).float(), goes_on, reduction="none").view_as(counts) * where.begins
        words = discounted(each - stops, where.place, c.discount)  # of the first word, its own part alone
        sums = [(x * counts).sum(1) for x in (words, stops, each, torch.ones_like(each))]
        labelled = torch.zeros_like(sums[0]) if batch.labels is None else batch.labels.any(1).to(tags)
        error = torch.zeros_like(sums[0]) if batch.labels is None else tag_error(tags, batch.labels) * labelled
        words, stops, plain, number, error, labelled = gathered(torch.stack([*sums, error, labelled], 1)).sum(0)
        return {
            "sentences": (words + c.go_weight * stops - plain) / number,
            "tags": c.tag_weight * error / labelled.clamp_min(1) / number,
        }

    def begin(self, patches: Tensor, labels: Tensor | None = None, length: int | None = None) -> RecurrentState:
        """`labels` are not looked at. Raises `ConfigurationError` for studies that are mixed."""
        if self.config.studies == "mixed":
            raise ConfigurationError(
                "generator.studies=mixed is the public code's form, in which a report depends on the other studies of "
                "its batch: it is there to be compared, not to write; use apart"
            )
        zero = patches.new_zeros(len(patches), 1, self.config.d_model)
        layers = zero[:, :, None].expand(-1, -1, self.config.sentence_layers, -1)
        hypotheses = {"said": layers, "said_cell": layers, "h": zero, "c": zero}
        return RecurrentState(self.look(patches, self.tags(patches)), hypotheses)

    @torch.no_grad()
    def step(self, tokens: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """See `Captioner`: tokens (B, W) -> logits (B, W, V + 1). Only hypotheses that have come to the end of a
        sentence take a step from sentence to sentence."""
        width, new = tokens.shape[1], {name: x.flatten(0, 1).clone() for name, x in state.hypotheses.items()}
        tokens, begins = tokens.flatten(), ((tokens == self.config.full_stop) | (tokens == 0)).flatten()
        read = (
            self.token_embedding(tokens.masked_fill(begins, 0))[:, None],
            (new["h"][None], new["c"][None]),
        )
        go = None
        meta = tokens.device.type == "meta"
        rows = torch.arange(len(tokens), device=tokens.device) if meta else begins.nonzero()[:, 0]
        if len(rows):
            study = {name: x[rows // width] for name, x in state.studies.items()}
            past = (new["said"][rows], new["said_cell"][rows])  # (R, layers, d)
            context, _, _ = self.attention(study, past[0][:, -1])
            _, topic, go, (said, cell) = self.sentences(
                context, past[0][:, -1], tuple(x.transpose(0, 1).contiguous() for x in past)
            )
            new["said"][rows], new["said_cell"][rows] = said.transpose(0, 1), cell.transpose(0, 1)
            _, (h, c) = self.words(topic[:, None])  # a new sentence begins with its topic
            read[1][0][0, rows], read[1][1][0, rows] = h[0], c[0]
        output, (h, c) = self.words(*read)
        new["h"], new["c"] = h[0], c[0]
        logits = self.logits(output[:, 0])
        if go is not None:
            logits[rows] = one_report(logits[rows], go)
        state.hypotheses = {name: x.unflatten(0, (-1, width)) for name, x in new.items()}
        return logits.unflatten(0, (-1, width)), state


def discounted(losses: Tensor, places: Tensor, discount: float) -> Tensor:
    """Each word's loss times discount^j, its place j in its sentence counted from 1 (from 0 in `places`)."""
    return losses * discount ** (places + 1)


def tag_error(tags: Tensor, labels: Tensor) -> Tensor:
    """(B, tags) of shares and of labels -> (B,) mean square between the shares and the labels over their number."""
    return (tags - labels / labels.sum(1, keepdim=True).clamp_min(1e-9)).square().mean(1)
