"""What the LSTM captioners share: cells, additive attention, and the loop that reads a report word by word.

They are Show-Tell (`show_tell`), Att2in (`att2in`), AdaAtt (`adaatt`) and TopDown (`topdown`), the systems that the
radiology papers compare with; `sentsat_kg`, of other origin, runs the same loop. They follow the public code that those
papers name, ruotianluo/self-critical.pytorch (commit 4c48a33, MIT), which is called *the code* below. A subclass of
`LSTMCaptioner` says what it sees of a study (`look`), what it reads of a word (`words`) and what a step makes of both
(`read`); training, greedy and beam search run the same lines, one word of one hypothesis a study or one of each of W.

What the papers say of these rows and what is ours: *which features* they had, whether the CNN learnt along, the sizes
and which of the code's twin classes was meant, no paper says. Ours: patches of both views, the pooled image as each
view's mean patch side by side (`pooled`), the code's sizes of 512, and its shipped training settings (presets). The
code's training also feeds its own words back now and then (scheduled sampling, up to one in four) and can end with a
reward stage; both are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError
from rrg_lib.models.interface import Batch, CaptionerModule, Output, RecurrentState, ReportLength
from rrg_lib.models.layers import Dropout
from rrg_lib.runtime.settings import Count, DropShare, Size

#: The code's parameter names (regular expressions) -> ours, where the family has them in common.
RELEASED_NAMES = (
    (r"embed\.(?:0\.)?weight", "token_embedding.weight"),
    (r"att_embed\.0\.(weight|bias)", r"patch_embedding.0.\1"),
    (r"fc_embed\.0\.(weight|bias)", r"pooled_embedding.0.\1"),
    (r"logit\.(weight|bias)", r"logits.\1"),
    (r"ctx2att\.(weight|bias)", r"attention.key.\1"),
    (r"core\.attention\.h2att\.(weight|bias)", r"attention.query.\1"),
    (r"core\.attention\.alpha_net\.(weight|bias)", r"attention.score.\1"),
)


@dataclass(frozen=True)
class LSTMSizes:
    """Settings of the family: words, state and attention all have `d_model` numbers (the code's default: 512 each).
    `dropout` falls on words and outputs."""

    vocab_size: Count = 760
    d_vf: Size = 2048
    d_model: Size = 512
    dropout: DropShare = 0.5
    max_length: ReportLength = 60


@dataclass(frozen=True)
class PooledSizes(LSTMSizes):
    """For those that read the pooled image: the mean patch of each of `views` views, "views" side by side (as R2Gen
    pools two of them) or their "mean"."""

    views: Annotated[int, Interval(ge=1, le=100)] = 2
    pooled: Literal["views", "mean"] = "views"

    @property
    def pooled_dim(self) -> int:
        return self.d_vf * (self.views if self.pooled == "views" else 1)

    def by_view(self, patches: Tensor) -> Tensor:
        """(B, S, d_vf), view after view -> (B, V, S / V, d_vf). Raises `ConfigurationError` where the patches cannot be
        those of so many views."""
        if patches.shape[1] % self.views:
            raise ConfigurationError(
                f"{patches.shape[1]} patches are not those of {self.views} views: set generator.views to the number of "
                f"views of a study"
            )
        return patches.unflatten(1, (self.views, -1))

    def joined(self, of_views: Tensor) -> Tensor:
        """One vector a view, (..., V, d_vf) -> one vector, (..., pooled_dim)."""
        return of_views.flatten(-2) if self.pooled == "views" else of_views.mean(-2)

    def pool(self, patches: Tensor) -> Tensor:
        """(B, S, d_vf), view after view -> (B, pooled_dim). Raises as `by_view`."""
        return self.joined(self.by_view(patches).mean(2))


def embedding(d_in: int, d_model: int, dropout: float) -> nn.Sequential:
    """The family's front for patches and pooled images: a linear map, ReLU, dropout."""
    return nn.Sequential(nn.Linear(d_in, d_model), nn.ReLU(), Dropout(dropout))


def next_state(i: Tensor, f: Tensor, o: Tensor, candidate: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Input, forget and output gate before the logistic, the candidate as it enters -> new h and c (Hochreiter and
    Schmidhuber 1997, with a forget gate)."""
    c = f.sigmoid() * c + i.sigmoid() * candidate
    return o.sigmoid() * c.tanh(), c


class LSTMCell(nn.Module):
    """An LSTM's step on (B, W, d) states. The candidate goes through tanh, or with `maxout` it is the larger of two
    linear maps, unit by unit, without tanh, so that the cell is not bounded. Rows in the code's order: input, forget,
    candidate, output; with `maxout` input, forget, output, both candidates. `bias`: two, one on each side."""

    def __init__(self, d_in: int, d: int, *, bias: bool = True, maxout: bool = False):
        super().__init__()
        self.maxout, rows = maxout, (5 if maxout else 4) * d
        self.inputs, self.hidden = nn.Linear(d_in, rows, bias=bias), nn.Linear(d, rows, bias=bias)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(d), 1 / math.sqrt(d))

    def forward(self, read: Tensor, h: Tensor, c: Tensor, seen: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """`read` (B, W, 4d or 5d) is `inputs` of what is read, which a whole report has at once; `seen` (B, W, 2d) is
        added to the two candidates alone."""
        gates = read + self.hidden(h)
        if not self.maxout:
            i, f, candidate, o = gates.chunk(4, -1)
            return next_state(i, f, o, candidate.tanh(), c)
        i, f, o, one, other = gates.chunk(5, -1)
        return next_state(i, f, o, (torch.cat([one, other], -1) + seen).unflatten(-1, (2, -1)).amax(-2), c)


class _Tanh(torch.autograd.Function):
    """tanh x as 2 σ(2 x) - 1, equal but for the last bits: on a CPU PyTorch's logistic takes a tenth of the time of its
    tanh, and a step of additive attention is little else."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = x.tanh() if x.device.type != "cpu" else (2 * x).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return grad * (1 - y * y)


class AdditiveAttention(nn.Module):
    """Which patch to look at: e_i = u' tanh(P v_i + H q) + b (Bahdanau et al. 2015; Xu et al. 2015). The patches' side
    P v_i, `key`, is computed once a study."""

    def __init__(self, d_in: int, d: int, dropout: float = 0.0):
        super().__init__()
        self.key, self.query, self.score = nn.Linear(d_in, d), nn.Linear(d, d), nn.Linear(d, 1)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Queries (B, W, d), keys (B or B W, S, d) as (B, 1 or W, S, d) -> scores before the softmax, (B, W, S)."""
        asked = _Tanh.apply(keys + self.query(query)[:, :, None])  # (B, W, S, d): most of a step's arithmetic
        return self.score(self.dropout(asked)).squeeze(-1)


class LSTMCaptioner(CaptionerModule):
    """Reads a report word by word; a state of `remembers`, each (B, W, d), goes from one to the next, zero at first."""

    remembers = ("h", "c")

    def __init__(self, config: LSTMSizes, extractor: nn.Module | None = None):
        super().__init__(config, extractor)
        self.token_embedding = nn.Embedding(config.vocab_size + 1, config.d_model)  # 0 begins a report: a row as any
        self.dropout = Dropout(config.dropout)
        self.logits = nn.Linear(config.d_model, config.vocab_size + 1)

    def start_small(self) -> None:
        """How the code's older classes begin (`show_tell`, `att2in`): words and outputs uniform in ±0.1."""
        for weight in (self.token_embedding.weight, self.logits.weight):
            nn.init.uniform_(weight, -0.1, 0.1)
        nn.init.zeros_(self.logits.bias)

    def look(self, patches: Tensor) -> dict[str, Tensor]:
        """Patches (B, S, d_vf) -> by name, what a step needs of a study and is the same at each, (B, …)."""
        raise NotImplementedError

    def words(self, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, L, k): all of a step that depends on its word alone. Here the family's word vector, with a ReLU
        and dropout on it, as the code has."""
        return self.dropout(self.token_embedding(tokens).relu())

    def read(
        self, word: Tensor, state: dict[str, Tensor], study: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """A word (B, W, k) -> the output that scores the next one, (B, W, d), the new state, and the attention (B, W,
        S), None without."""
        raise NotImplementedError

    def losses(self, batch: Batch, study: dict[str, Tensor]) -> dict[str, Tensor]:
        """What it is trained on beside the report, from what `look` gave; nothing in the family itself."""
        return {}

    def begin(self, patches: Tensor, labels: Tensor | None = None, length: int | None = None) -> RecurrentState:
        zero = patches.new_zeros(len(patches), 1, self.config.d_model)
        return RecurrentState(self.look(patches), dict.fromkeys(self.remembers, zero))

    def forward(self, batch: Batch, trace: list[Tensor] | None = None) -> Output:
        """Teacher forcing. `trace` receives the attention (B, 1, T - 1, S). Raises `ConfigurationError` for a trace of
        a kind that has none."""
        if trace is not None:
            self.config.check_attends()
        patches = self.patches_of(batch.inputs)
        state, outputs, maps = self.begin(patches), [], []
        for word in self.words(batch.tokens[:, :-1]).split(1, dim=1):  # (B, 1, k)
            output, state.hypotheses, attention = self.read(word, state.hypotheses, state.studies)
            outputs.append(output)
            maps.append(attention)
        if trace is not None:
            trace.append(torch.cat(maps, 1)[:, None])
        logits = self.logits(self.dropout(torch.cat(outputs, 1)))  # (B, T - 1, V + 1)
        return Output(logits, self.losses(batch, state.studies), patches=patches)

    @torch.no_grad()
    def step(self, tokens: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """See `Captioner`: tokens (B, W) -> logits (B, W, V + 1)."""
        output, state.hypotheses, _ = self.read(self.words(tokens), state.hypotheses, state.studies)
        return self.logits(self.dropout(output)), state
