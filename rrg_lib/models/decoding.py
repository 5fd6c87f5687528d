"""From a trained generator to a report: greedy and beam search, over any `Captioner`.

The beam search returns, token for token, what the released search returns, without its cost: a generator's
state keeps what was computed (the Transformer caches keys and values, and asks its memory about the newest token alone,
with a `WordTable` once for each word at a place), all studies and hypotheses go in one batch, studies that are done
leave it, and it stops as soon as no live hypothesis can still win.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from rrg_lib.models.interface import Captioner, CaptionerState, WordTable
from rrg_lib.runtime.settings import NonNegative, check_settings

LabelsAtTest = Literal[
    "classifier", "none", "reference", "reference_expert", "reference_reports", "reference_impression", "reference_both"
]
#: How a stored result was searched: as the published scores were; the likeliest word at each step; or as chosen on the
#: validation studies (`rrg tune`).
Protocol = Literal["published", "greedy", "tuned"]
#: In the order of the tables.
PROTOCOLS: tuple[Protocol, ...] = ("tuned", "greedy", "published")
#: The protocol of results that edition 0.1 stored: greedy, epochs chosen by `keywords-0`, on other devices than those
#: of this edition.
EDITION_0_1 = "edition 0.1"
#: Every protocol that a stored result may have, as one is looked for: edition 0.1's last.
STORED_PROTOCOLS: tuple[str, ...] = (*PROTOCOLS, EDITION_0_1)
END = 0
#: What the released search takes off a finished hypothesis, so that it keeps a seat only when fewer live ones exist
#: than seats.
_FINISHED = 1000.0


@dataclass(frozen=True)
class DecodingConfig:
    """How to search. The defaults are those of the published scores: beam 3, no penalty, nothing blocked.

    `end_bias` is added to the logit of the end mark at every step, before the softmax: a negative one makes reports
    longer, 0 changes nothing. `length_penalty`: "wu" divides a hypothesis' score by ((5 + length) / 6)^alpha, "average"
    by its length. `block_ngrams` n > 0 forbids to repeat an n-gram; `trigram_penalty` takes that much off the
    log-probability of a token each time it would repeat a trigram (the release's greedy search: 2 ln 2).
    `forbid_repeat`: no token twice in a row (released as "decoding constraint").

    `labels_at_test`: what a memory that is gated by labels is told of a study whose report is to be written.
    "classifier": what an image classifier sees in it; "none": nothing, every class may be asked; "reference": the
    labels of the study itself. XProNet was released and, as its README shows, published with "reference", which nobody
    has before the report is written. "reference_SOURCE" are leaks too: the study's own labels from another source than
    the memory trained with (`rrg_lib.experiments.pseudo_labels.LABEL_SOURCES`). Other memories are told nothing.
    """

    beam_size: Annotated[int, Interval(ge=1, le=100)] = 3
    max_length: Annotated[int, Interval(ge=1, le=1000)] = 60
    end_bias: float = 0.0
    length_penalty: Literal["none", "wu", "average"] = "none"
    alpha: NonNegative = 0.0
    block_ngrams: Annotated[int, Ge(0)] = 0
    trigram_penalty: NonNegative = 0.0
    forbid_repeat: bool = False
    labels_at_test: LabelsAtTest = "classifier"

    def __post_init__(self):
        check_settings(self, "decoding")

    @property
    def plain(self) -> bool:
        """Whether the search is greedy or beam search and nothing else."""
        return self.searches_like(replace(DecodingConfig(), beam_size=self.beam_size, max_length=self.max_length))

    def searches_like(self, other: DecodingConfig) -> bool:
        """Whether both search alike, whatever labels a memory is told."""
        return replace(self, labels_at_test=other.labels_at_test) == other

    def penalty(self, length: int) -> float:
        """What a summed log-probability is divided by."""
        return {"none": 1.0, "wu": ((5 + length) / 6) ** self.alpha, "average": float(length)}[self.length_penalty]


@dataclass
class Hypotheses:
    """The best report of each study: `tokens` (B, T) after the begin mark, padded with 0, and its `scores` (B,),
    penalised sums of log-probabilities. `n_best` (B, keep, T) and `n_best_scores` (B, keep) hold the runners-up; a
    place that was never filled has score -inf."""

    n_best: Tensor
    n_best_scores: Tensor
    steps: int

    @property
    def tokens(self) -> Tensor:
        return self.n_best[:, 0]

    @property
    def scores(self) -> Tensor:
        return self.n_best_scores[:, 0]


def repeated_ngrams(tokens: Tensor, n: int, vocab: int) -> Tensor:
    """How often each next token would repeat an n-gram that already stands in (R, t) tokens: counts (R, vocab)."""
    rows, t = tokens.shape
    counts = torch.zeros(rows, vocab, device=tokens.device)
    if t >= n:
        windows = tokens.unfold(1, n, 1)  # (R, t - n + 1, n)
        same_start = (windows[..., :-1] == tokens[:, None, t - n + 1 :]).all(-1)
        counts.scatter_add_(1, windows[..., -1], same_start.float())
    return counts


def _next_log_probs(logits: Tensor, written: Tensor, config: DecodingConfig) -> Tensor:
    """logits (B, W, V + 1) and the tokens written so far (B, W, t) -> log-probabilities after the end mark's bias and
    after blocking."""
    logits = logits.float()
    if config.end_bias:
        logits = torch.cat([logits[..., :1] + config.end_bias, logits[..., 1:]], dim=-1)  # END is 0
    log_probs = logits.log_softmax(-1)
    rows, vocab = written.flatten(0, 1), log_probs.shape[-1]
    if config.trigram_penalty:
        log_probs = log_probs - config.trigram_penalty * repeated_ngrams(rows, 3, vocab).view_as(log_probs)
    if config.block_ngrams:
        log_probs = log_probs.masked_fill(
            repeated_ngrams(rows, config.block_ngrams, vocab).view_as(log_probs) > 0, -torch.inf
        )
    if config.forbid_repeat and written.shape[-1]:
        log_probs = log_probs.scatter(-1, written[..., -1:], -torch.inf)
    return log_probs


def _unfinished(finished: Tensor) -> Tensor | None:
    """The studies (b',) that are worth going on with alone, once at least half of the (B,) are finished; None before
    that, and when all are."""
    left = int((~finished).sum())
    return (~finished).nonzero()[:, 0] if 0 < left <= len(finished) // 2 else None


@torch.inference_mode()
def greedy_search(
    generator: Captioner,
    state: CaptionerState,
    config: DecodingConfig | None = None,
    follow: Callable[[Tensor], None] | None = None,
) -> Hypotheses:
    """The likeliest token at every step; stops when every report has ended, and works on the unfinished alone once they
    are few. `follow` is told the token that each study has just got, (B,), 0 for those that have ended."""
    config = config or DecodingConfig(beam_size=1)
    device, batch = generator.device, state.batch
    tokens = torch.zeros(batch, config.max_length, dtype=torch.long, device=device)
    scores = torch.zeros(batch, 1, device=device)
    live = torch.arange(batch, device=device)  # which studies the rows below are of
    written = tokens.new_zeros(batch, 1, 0)
    last = torch.full((batch, 1), END, dtype=torch.long, device=device)
    ended = torch.zeros(batch, 1, dtype=torch.bool, device=device)
    length = 0
    while length < config.max_length and not ended.all():
        if (left := _unfinished(ended[:, 0])) is not None:
            live, written, last, ended = live[left], written[left], last[left], ended[left]
            state.select(left)
        logits, state = generator.step(last, state)
        gained, last = _next_log_probs(logits, written, config).max(-1)  # (b, 1)
        last, gained = last.masked_fill(ended, END), gained.masked_fill(ended, 0.0)
        tokens[live, length], length = last[:, 0], length + 1
        if follow is not None:
            follow(tokens[:, length - 1])
        written = torch.cat([written, last[..., None]], -1)
        scores[live] += gained
        ended |= last == END
    return Hypotheses(tokens[:, None], scores, length)


@torch.inference_mode()
def beam_search(
    generator: Captioner, state: CaptionerState, config: DecodingConfig | None = None, *, keep: int = 1
) -> Hypotheses:
    """The released beam search, token for token, stopped as early as is safe.

    Scores are sums of log-probabilities. They only fall, so a study is done once its `keep` best finished hypotheses
    score at least what the best live one could still reach: its present sum, divided by the largest penalty to come.
    Once the studies that are not are few, it goes on with them alone.
    """
    config = config or DecodingConfig()
    width, length = config.beam_size, config.max_length
    device, batch = generator.device, state.batch
    best = torch.zeros(batch, keep, length, dtype=torch.long, device=device)
    best_scores = torch.full((batch, keep), -torch.inf, device=device)
    live = torch.arange(batch, device=device)  # which studies the rows below are of
    written = torch.zeros(batch, 1, 0, dtype=torch.long, device=device)  # (b, W, t)
    sums = torch.zeros(batch, 1, device=device)  # (b, W); a single empty hypothesis at first
    last = torch.full((batch, 1), END, dtype=torch.long, device=device)
    for t in range(1, length + 1):
        logits, state = generator.step(last, state)
        candidates = sums[..., None] + _next_log_probs(logits, written, config)  # (b, W, V + 1)
        sums, chosen = candidates.flatten(1).topk(min(width, candidates[0].numel()), dim=-1)
        parents, last = chosen // candidates.shape[-1], chosen % candidates.shape[-1]
        written = torch.cat([written.gather(1, parents[..., None].expand(-1, -1, t - 1)), last[..., None]], dim=-1)

        ended = last == END if t < length else torch.ones_like(last, dtype=torch.bool)
        scores = torch.where(ended, sums / config.penalty(t), -torch.inf)
        pool = torch.cat(
            [best_scores[live], scores], dim=1
        )  # earlier ones first: a stable sort lets them win ties, as released
        done_scores, order = pool.sort(dim=1, descending=True, stable=True)
        done_scores, order = done_scores[:, :keep], order[:, :keep, None].expand(-1, -1, length)
        padded = torch.nn.functional.pad(written, (0, length - t))
        best[live], best_scores[live] = torch.cat([best[live], padded], dim=1).gather(1, order), done_scores

        sums = torch.where(ended, sums - _FINISHED, sums)
        finished = done_scores[:, -1] >= sums.max(dim=1).values / config.penalty(length)
        if finished.all():
            break
        if (left := _unfinished(finished)) is not None:
            live, written, sums, last, parents = live[left], written[left], sums[left], last[left], parents[left]
            state.select(left)
        state.reorder(parents)
    return Hypotheses(best, best_scores, t)


def generate(
    generator: Captioner,
    inputs: Tensor,
    labels: Tensor | None = None,
    config: DecodingConfig | None = None,
    table: WordTable | None = None,
    follow: Callable[[Tensor], None] | None = None,
) -> Hypotheses:
    """Reports for patches (B, S, d_vf) or views, in evaluation mode: greedy when the beam is 1, beam search otherwise.
    The generator's mode is put back. `labels` (B, 14) are for a memory gated by them; where they come from is the
    caller's to say (`labels_at_test` is not read here). `table` is the generator's `word_table`, given to all batches
    that are written with the same weights. `follow` sees a greedy report as it is written (`greedy_search`); a beam
    knows its words only at the end, and calls it then, a token at a time."""
    config = config or DecodingConfig()
    training = generator.training
    generator.eval()
    try:
        with torch.inference_mode():
            state = generator.start(inputs, labels, max_length=config.max_length, table=table)
            if config.beam_size == 1:
                return greedy_search(generator, state, config, follow)
            hypotheses = beam_search(generator, state, config)
            for token in hypotheses.tokens.unbind(1)[: hypotheses.steps] if follow is not None else ():
                follow(token)
            return hypotheses
    finally:
        generator.train(training)
