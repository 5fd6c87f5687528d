"""ST, Show and Tell (Vinyals et al. 2015): the pooled image is read as if it were the first word, then an LSTM writes.

    h_0, c_0 = LSTM(W f; 0, 0)        h_t, c_t = LSTM(E w_t; h_{t-1}, c_{t-1})        p(w_{t+1}) = softmax(L h_t)

The floor of its family: it sees the image once, as one vector, and cannot point at anything. What the LSTM says after
the image is thrown away; then id 0 is fed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from rrg_lib.models import lstm_captioner
from rrg_lib.models.interface import GeneratorConfig, RecurrentState
from rrg_lib.models.lstm_captioner import LSTMCaptioner, LSTMCell, PooledSizes

RELEASED_NAMES = (
    (r"(?:img_embed|fc_embed)\.(weight|bias)", r"image.\1"),
    (r"core\.weight_ih_l0", "cell.inputs.weight"),
    (r"core\.weight_hh_l0", "cell.hidden.weight"),
    (r"_core\.i2h\.(weight|bias)", r"cell.inputs.\1"),
    (r"_core\.h2h\.(weight|bias)", r"cell.hidden.\1"),
    *lstm_captioner.RELEASED_NAMES,
)


@dataclass(frozen=True)
class ShowTellConfig(PooledSizes, GeneratorConfig):
    """`candidate`: the paper's LSTM has a tanh on it, as the code's class `show_tell` (no bias anywhere); the code's
    relative `newfc`, the one with a training configuration, has the larger of two linear maps ("maxout"), with biases.
    Which of them the radiology papers ran, they do not say; the paper's is ours."""

    candidate: Literal["tanh", "maxout"] = "tanh"

    kind: ClassVar[str] = "st"

    def make(self, extractor: nn.Module | None) -> ShowTell:
        return ShowTell(self, extractor)


class ShowTell(LSTMCaptioner):
    """ST, image as word. No ReLU and no dropout on image or words, unlike the rest of the family."""

    def __init__(self, config: ShowTellConfig, extractor: nn.Module | None = None):
        super().__init__(config, extractor)
        d, maxout = config.d_model, config.candidate == "maxout"
        self.image = nn.Linear(config.pooled_dim, d)
        self.cell = LSTMCell(d, d, bias=maxout, maxout=maxout)
        if not maxout:
            self.start_small()

    def look(self, patches: Tensor) -> dict[str, Tensor]:
        return {}

    def begin(self, patches: Tensor, labels: Tensor | None = None, length: int | None = None) -> RecurrentState:
        """The image takes the first step, and is not seen again."""
        state = super().begin(patches)
        image = self.image(self.config.pool(patches))[:, None]  # (B, 1, d)
        h, c = self.cell(self.cell.inputs(image), **state.hypotheses)
        state.hypotheses = {"h": h, "c": c}
        return state

    def words(self, tokens: Tensor) -> Tensor:
        return self.cell.inputs(self.token_embedding(tokens))  # (B, L, 4d)

    def read(self, word: Tensor, state: dict[str, Tensor], study: dict[str, Tensor]):
        h, c = self.cell(word, **state)
        return h, {"h": h, "c": c}, None
