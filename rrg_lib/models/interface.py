"""What every generator of reports is given, what it gives, and what is asked of it.

    training    forward(batch) ──▶ Output                        every word from the true ones before it
    search      start(inputs) ──▶ state ─ step(words, state) ──▶ logits for the next words, state
                                    └─ select(studies), reorder(hypotheses)
    figures     forward(batch, trace) ──▶ where it looked

Training, search, attention and the experiments know a generator by this file alone (`Captioner`), so a new one is one
file beside it and one preset. `tests/models/test_captioner_seam.py` is such a file, whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, runtime_checkable

import torch
from annotated_types import Interval
from torch import Tensor, nn

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.runtime.settings import check_settings

if TYPE_CHECKING:
    from rrg_lib.data.text.vocabulary import Vocabulary

#: What a generator may be built with beside its own settings, and how it is spoken of.
PARTS = {"memory": "memory", "pair": "pair alignment"}
#: The kind of a generator whose settings name none: those of runs made when there was no other.
FIRST_KIND = "transformer"


# --- what goes in and what comes out ----------------------------------------------------------------------------------


@dataclass
class Batch:
    """What a generator learns from: `inputs`, patch features (B, S, d_vf) or, for a generator with its own extractor,
    uint8 views (B, V, H, W); `tokens` (B, T) between 0s, padded with 0; `mask` (B, T) is 1 from the first token to the
    last, the final 0 included; `labels` (B, 14) for memories that are gated by them."""

    inputs: Tensor
    tokens: Tensor
    mask: Tensor
    labels: Tensor | None = None
    ids: list[str] = field(default_factory=list)

    def to(self, device: torch.device | str) -> Batch:
        labels = None if self.labels is None else self.labels.to(device)
        return Batch(self.inputs.to(device), self.tokens.to(device), self.mask.to(device), labels, self.ids)


@dataclass
class Slots:
    """What may be asked: `keys` and `values` (B or 1, h, N, d_k), projected once per batch; `mask` (B, N) is False
    where a slot is padding."""

    keys: Tensor
    values: Tensor
    mask: Tensor | None = None

    def select(self, studies: Tensor) -> Slots:
        """Those of these studies, (b,); what all studies share stays shared."""
        chosen = {
            name: value[studies]
            for name in ("keys", "values", "mask")
            if (value := getattr(self, name)) is not None and len(value) > 1
        }
        return replace(self, **chosen)


@dataclass
class Response:
    """What the memory answered: `vectors` (B, L, d), and for the figures the softmax `weights` and slot `indices`
    behind them, (B, h, L, K)."""

    vectors: Tensor
    weights: Tensor
    indices: Tensor


@dataclass
class Output:
    """`logits` (B, T - 1, V + 1) for the tokens after the first; `losses` by name, already weighted, to be added to the
    report's cross-entropy. Where a generator has them: the memory's responses, and what lies under the logits: visual
    `patches` (B, S, d_vf), the `encoded` ones (B, S, d) without a memory's extra slots, the `words` (B, T - 1, d) as
    the decoder reads them."""

    logits: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)
    image: Response | None = None
    text: Response | None = None
    patches: Tensor | None = None
    encoded: Tensor | None = None
    words: Tensor | None = None


# --- while a report is written ----------------------------------------------------------------------------------------


@runtime_checkable
class CaptionerState(Protocol):
    """Everything about `batch` studies with W hypotheses each that a generator keeps from one word to the next: keys
    and values, a hidden state, a memory that is written to. One hypothesis a study at first."""

    batch: int

    def select(self, studies: Tensor) -> None:
        """Go on with these studies alone, numbers (b,) of those that are left: the others are done."""

    def reorder(self, parents: Tensor) -> None:
        """Hypothesis w of study b goes on from hypothesis `parents[b, w]`; parents (B, W'), and W' need not be W."""


@dataclass
class RecurrentState:
    """A state made of tensors, by name: in `studies` what a study has and keeps, (B, …), its patches say; in
    `hypotheses` what a hypothesis has become, (B, W, …), and becomes anew with each word: h and c of an LSTM, the rows
    of a memory that is written to."""

    studies: dict[str, Tensor]
    hypotheses: dict[str, Tensor]

    @property
    def batch(self) -> int:
        return len(next(iter(self.hypotheses.values())))

    def select(self, studies: Tensor) -> None:
        self.studies = {name: tensor[studies] for name, tensor in self.studies.items()}
        self.hypotheses = {name: tensor[studies] for name, tensor in self.hypotheses.items()}

    def reorder(self, parents: Tensor) -> None:
        rows = torch.arange(len(parents), device=parents.device)[:, None]  # each study's own hypotheses
        self.hypotheses = {name: tensor[rows, parents] for name, tensor in self.hypotheses.items()}


class WordTable:
    """What a word is read as at a place, kept once it was computed: in a finished model that may depend on word and
    place alone, so that the hypotheses of a batch, and all batches after it, share it. One for each set of weights, and
    only where that is so: `Captioner.word_table`."""

    def __init__(self):
        #: place -> vectors (V + 1, d) and which of them are known (V + 1,)
        self.places: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, tokens: Tensor, place: int, embedding: nn.Embedding, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """tokens (B, W) at one place -> (B, W, d); `compute` gives (n, d) for n of them that are met for the first
        time."""
        if place not in self.places:
            size = embedding.weight.shape
            self.places[place] = (
                embedding.weight.new_empty(size),
                torch.zeros(size[0], dtype=torch.bool, device=tokens.device),
            )
        vectors, known = self.places[place]
        if not known[tokens].all():
            new = tokens.unique()
            new = new[~known[new]]
            vectors[new], known[new] = compute(new), True
        return vectors[tokens]


# --- the generator ----------------------------------------------------------------------------------------------------


@runtime_checkable
class Captioner(Protocol):
    """What training, search and attention need of a generator, an `nn.Module`. Most is in `CaptionerModule` already.

    Its promise: in evaluation mode `start`, and `step` with one word after another, give the logits of `forward`, for
    each study and each hypothesis as if it were alone, through any `select` and `reorder`. Id 0 begins and ends a
    report, and no position sees the words after it.

    `extractor`: a `VisualExtractor` that learns with it (its weights are named `extractor.…` and have a learning rate
    of their own), or None where the inputs are patch features. `memory`: a `CrossModalMemory` (weights `memory.…`, a
    decay of their own), or None; a generator that takes one has `token_vectors`, (V + 1, d), too. `pair`: a
    `PairAlignment`, or None. `config` has at least the settings that `GeneratorConfig` tells.
    """

    config: GeneratorConfig
    extractor: nn.Module | None
    memory: nn.Module | None
    pair: nn.Module | None

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""

    def forward(self, batch: Batch, trace: list[Tensor] | None = None) -> Output:
        """Teacher forcing: every token predicted from the true ones before it. A generator that attends (`config`)
        appends to `trace` the attention (B, h, T - 1, S) of each layer that looks at the patches, one of a single head
        with h = 1; what it may look at besides stands after the S patches."""

    def start(
        self,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        max_length: int | None = None,
        table: WordTable | None = None,
    ) -> CaptionerState:
        """Read the images of B studies once, patches (B, S, d_vf) or views; one empty hypothesis each, with room for
        `max_length` tokens (the configured length when None). `labels` (B, 14) are for a memory gated by them. `table`
        is this generator's `word_table`, with its weights as they are now; None where it has none."""

    def step(self, tokens: Tensor, state: CaptionerState) -> tuple[Tensor, CaptionerState]:
        """The last tokens (B, W) of the hypotheses -> logits (B, W, V + 1) for the next ones, and the state after
        them, which may be the same object. No gradient is kept."""

    def word_table(self) -> WordTable | None:
        """An empty table to write many batches with; None where what a word is read as depends on more than word and
        place: on the study, or on the words before."""

    def recompute_activations(self, on: bool) -> None:
        """Whether the layers' activations are computed twice instead of kept. Raises `ConfigurationError` where that
        cannot be."""


class CaptionerModule(nn.Module):
    """A `Captioner` but for what makes it one: a subclass has `forward`, `step` and `begin`; or `start` in its
    place, where it has a table of words."""

    def __init__(self, config: GeneratorConfig, extractor: nn.Module | None = None):
        super().__init__()
        self.config, self.extractor = config, extractor
        self.memory = self.pair = None

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def patches_of(self, inputs: Tensor) -> Tensor:
        """Patch features (B, S, d_vf) of features or views. Raises `ConfigurationError` for features of another
        extractor, and for views without one."""
        if inputs.dtype != torch.uint8:
            if inputs.shape[-1] != self.config.d_vf:
                raise ConfigurationError(
                    f"patches have {inputs.shape[-1]} numbers, this generator reads {self.config.d_vf}: use the "
                    f"extractor it was trained with"
                )
            return inputs
        if self.extractor is None:
            raise ConfigurationError(
                "views were given to a generator that reads patch features: extract them first, or build it with an "
                "extractor"
            )
        return self.extractor(inputs).patches

    @torch.no_grad()
    def start(
        self,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        max_length: int | None = None,
        table: WordTable | None = None,
    ) -> CaptionerState:
        """See `Captioner`. Raises `ConfigurationError` for a table, and what `begin` does."""
        if table is not None:
            raise ConfigurationError(f"a generator of the kind {self.config.kind!r} has no table of words")
        return self.begin(self.patches_of(inputs), labels, max_length or self.config.max_length)

    def begin(self, patches: Tensor, labels: Tensor | None = None, length: int | None = None) -> CaptionerState:
        """Before the first word: patches (B, S, d_vf) are looked at once, one empty hypothesis a study, with room for
        `length` tokens where room must be made."""
        raise NotImplementedError

    def word_table(self) -> WordTable | None:
        """None: what a word does depends on more than word and place."""
        return None

    def recompute_activations(self, on: bool) -> None:
        if on:
            raise ConfigurationError(
                f"training.checkpoint: a generator of the kind {self.config.kind!r} has no layers whose activations "
                f"could be computed twice"
            )


LayerCount = Annotated[int, Interval(ge=1, le=100)]
#: In words.
ReportLength = Annotated[int, Interval(ge=1, le=1000)]


def check_heads(d_model: int, heads: int) -> None:
    """Raises `ConfigurationError` unless the heads divide `d_model`."""
    if d_model % heads:
        raise ConfigurationError(
            f"generator.d_model is {d_model} and generator.heads is {heads}: the heads must divide d_model, for "
            f"example generator.d_model={d_model // heads * heads or heads} generator.heads={heads}"
        )


@dataclass(frozen=True)
class GeneratorConfig:
    """Settings of a generator; a subclass names its `kind` and makes the module. Subclasses register themselves, so a
    new system edits nothing else.

    Every kind has `vocab_size`, the ids without 0, and `d_vf`, the numbers of a patch, which a run sets to those of its
    data; `max_length`, the tokens of the longest report; and a default for each of its settings. `takes` are the
    `PARTS` that it can be built with; `attends` says whether `forward` tells where in the image it looked.
    """

    kind: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ()
    attends: ClassVar[bool] = False
    #: What `--set` may not say.
    of_the_data: ClassVar[tuple[str, ...]] = ("vocab_size", "d_vf")
    _kinds: ClassVar[dict[str, type[GeneratorConfig]]] = {}

    def __post_init__(self):
        check_settings(self, "generator")

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        GeneratorConfig._kinds[cls.kind] = cls

    def of_data(self, vocabulary: Vocabulary, d_vf: int) -> GeneratorConfig:
        """These settings for the words and the patches of a run's data. A kind that must know more of the words than
        their number overrides it."""
        return replace(self, vocab_size=vocabulary.size, d_vf=d_vf)

    def make(self, extractor: nn.Module | None, **parts: Any) -> Captioner:
        """The generator, its weights drawn by torch's global random numbers. `parts` are the settings of those that it
        `takes`, each None where there is none. Raises `ConfigurationError` for settings that cannot be."""
        raise NotImplementedError

    def build(self, extractor: nn.Module | None = None, **parts: Any) -> Captioner:
        """The generator with an extractor that learns along, and with `memory` and `pair` settings. Raises
        `ConfigurationError` for a part that this kind does not take."""
        self.check(**parts)
        return self.make(extractor, **{name: parts.get(name) for name in self.takes})

    def check(self, **parts: Any) -> None:
        """Raises `ConfigurationError` when one of `PARTS` is given that this kind does not take."""
        for name, part in parts.items():
            if part is not None and name not in self.takes:
                taken = " and ".join(PARTS[other] for other in self.takes) or "nothing but an extractor"
                others = ", ".join(kind for kind, config in self._kinds.items() if name in config.takes)
                raise ConfigurationError(
                    f"a generator of the kind {self.kind!r} takes no {PARTS[name]}, it takes {taken}; kinds that do: "
                    f"{others}"
                )

    def check_attends(self) -> None:
        """Raises `ConfigurationError` for a kind that does not tell where it looks."""
        if not self.attends:
            others = ", ".join(kind for kind, config in self._kinds.items() if config.attends is True)
            raise ConfigurationError(
                f"a generator of the kind {self.kind!r} has no attention over the patches to look at; kinds that have: "
                f"{others}"
            )

    def to_json(self) -> dict[str, Any]:
        """The settings, and the kind where it is not the first."""
        return {**({} if self.kind == FIRST_KIND else {"kind": self.kind}), **asdict(self)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> GeneratorConfig:
        kind, settings = data.get("kind", FIRST_KIND), {name: value for name, value in data.items() if name != "kind"}
        if kind not in GeneratorConfig._kinds:
            raise UnknownNameError("generator", kind, GeneratorConfig._kinds)
        return GeneratorConfig._kinds[kind](**settings)
