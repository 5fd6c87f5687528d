"""The checks of chapter 03's exercises. An answer is run on random inputs, compared with the library, and then with the
mistakes that are usual."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rrg_lib.book.checks import CheckError, answered
from rrg_lib.book.checks.comparing import compare_explanations, explanation
from rrg_lib.models.decoding import END, DecodingConfig
from rrg_lib.models.layers import ReleasedLayerNorm
from rrg_lib.models.report_loss import report_loss as library_report_loss
from rrg_lib.models.transformer import causal_mask as library_causal_mask


def scaled_attention(answer: Callable[..., Tensor], *, other: int = 0) -> None:
    """`answer(query, keys, values, mask)` is softmax(q k^T / sqrt(d_k)) v (Vaswani et al. 2017, Eq. 1), mask True where
    looking is allowed."""
    draw = torch.Generator().manual_seed(3 + 1000 * other)
    for batch, heads, length, source, d_k in ((2, 3, 4, 5, 16), (1, 2, 6, 6, 9)):
        query, keys, values = (torch.randn(batch, heads, n, d_k, generator=draw) * 2 for n in (length, source, source))
        allowed = torch.rand(batch, 1, length, source, generator=draw) > 0.4
        allowed[..., 0] = True
        for mask in (None, allowed):
            scores = query @ keys.transpose(-2, -1)
            scaled = scores / math.sqrt(d_k)
            off = torch.zeros_like(scores, dtype=torch.bool) if mask is None else ~mask
            slips = {
                "the dot products are not scaled: divide them by √d_k before the softmax": _attend(scores, off, values),
                "the dot products are divided by d_k: it is its square root": _attend(scores / d_k, off, values),
                "the dot products are divided by √d of all heads together: each head asks with its own d_k "
                "numbers": _attend(scores / math.sqrt(heads * d_k), off, values),
                "the root is that of 64, another example's width: d_k is the width of *these* queries": _attend(
                    scores / 8, off, values
                ),
                "the root is that of the number of keys: it is that of d_k": _attend(
                    scores / math.sqrt(source), off, values
                ),
                "the softmax runs over the queries: the weights of *one query* sum to one, over the keys (dim=-1)": (
                    scaled.masked_fill(off, -torch.inf).softmax(-2) @ values
                ),
            }
            if mask is not None:
                slips |= {
                    "the mask is not used: where it is False, the weight must be 0": _attend(
                        scaled, torch.zeros_like(off), values
                    ),
                    "the mask is upside down: True means *may look*": _attend(scaled, mask, values),
                    "the masked scores are set to 0, and exp(0) is 1: set them to -inf": scaled.masked_fill(
                        off, 0
                    ).softmax(-1)
                    @ values,
                    "the masked weights are set to 0 after the softmax, so the rest do not sum to one: set the scores "
                    "to -inf before it": (scaled.softmax(-1).masked_fill(off, 0) @ values),
                }
            result = answered(
                "scaled_attention",
                answer,
                query.clone(),
                keys.clone(),
                values.clone(),
                None if mask is None else mask.clone(),
            )
            _compare(
                "scaled_attention", result, _attend(scaled, off, values), slips, values.shape[:2] + query.shape[2:]
            )


def released_norm(answer: Callable[..., Tensor], *, other: int = 0) -> None:
    """`answer(x, weight, bias, eps)` is the release's layer normalisation: unbiased standard deviation, eps added to
    it."""
    draw = torch.Generator().manual_seed(4 + 1000 * other)
    for spread in (1.0, 1e-3):
        x = torch.randn(2, 3, 8, generator=draw) * spread + 0.5 * spread
        weight, bias = torch.rand(8, generator=draw) + 0.5, torch.randn(8, generator=draw)
        eps = 1e-3
        layer = ReleasedLayerNorm(8, eps)
        layer.load_state_dict({"weight": weight, "bias": bias})
        mean, std, biased = x.mean(-1, keepdim=True), x.std(-1, keepdim=True), x.std(-1, keepdim=True, correction=0)
        slips = {
            "the standard deviation divides by d: the release's is the unbiased one, which divides by d - 1": (x - mean)
            / (biased + eps)
            * weight
            + bias,
            "this is nn.LayerNorm: the release takes the unbiased deviation and adds eps to it, not to the "
            "variance": F.layer_norm(x, (8,), weight, bias, eps),
            "eps stands under the root: the release adds it to the standard deviation": (x - mean)
            / (std**2 + eps).sqrt()
            * weight
            + bias,
            "eps is missing, or a fixed number: add the argument `eps` to the standard deviation": (x - mean)
            / std
            * weight
            + bias,
            "mean and deviation run over the sequence: each position is normalised by itself, over its d numbers "
            "(dim=-1)": ((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + eps) * weight + bias),
            "the weight is left out": (x - mean) / (std + eps) + bias,
            "the bias is left out": (x - mean) / (std + eps) * weight,
            "this divides by the variance: the root is missing": (x - mean) / (std**2 + eps) * weight + bias,
            "mean and deviation run over everything: each position is normalised by itself, over its d numbers "
            "(dim=-1)": ((x - x.mean()) / (x.std() + eps) * weight + bias),
            "weight and bias are left out": (x - mean) / (std + eps),
            "the mean is not taken off": x / (std + eps) * weight + bias,
        }
        result = answered("released_norm", answer, x.clone(), weight, bias, eps)
        _compare("released_norm", result, layer(x).detach(), slips, x.shape)


def causal_mask(answer: Callable[[Tensor], Tensor], *, other: int = 0) -> None:
    """`answer(tokens)` is (B, 1, L, L), True where position i may look at j: j <= i and j is a word or the begin
    mark."""
    examples = [[[0, 5, 2, 7, 1], [0, 3, 9, 0, 0], [0, 0, 0, 0, 0]], [[0, 4, 4, 8, 6, 2, 0], [0, 1, 0, 0, 0, 0, 0]]]
    if other:
        draw = random.Random(other)
        examples = [
            [[0] + [draw.randint(1, 9)] * words + [0] * (8 - words) for words in draw.sample(range(9), 4)] for _ in "ab"
        ]
    for given in map(torch.tensor, examples):
        right, length = library_causal_mask(given), given.shape[1]
        words, square = given > 0, torch.ones(length, length, dtype=torch.bool)
        visible = words.clone()
        visible[:, 0] = True
        slips = {
            "off by one: a position may look at itself. Without that, the begin mark sees nothing, and word t never "
            "hears what word t - 1 was": (visible[:, None] & square.tril(-1))[:, None],
            "off by one: a position sees the word after it, which is the one it must predict": (
                visible[:, None] & square.tril(1)
            )[:, None],
            "it looks into the future: row i may look at columns up to i, the *lower* triangle": (
                visible[:, None] & square.triu()
            )[:, None],
            "padding can be looked at: a column whose token is 0 is hidden (but for the begin "
            "mark)": square.tril().expand(len(given), 1, -1, -1),
            "the begin mark is hidden: it is 0 like the padding, but position 0 is always on": (
                words[:, None] & square.tril()
            )[:, None],
            "only padding is hidden: the words to come must be hidden too": visible[:, None, None].expand(
                -1, 1, length, -1
            ),
            "upside down: True means *may look*": ~right,
            "the rows of padding are hidden too: only columns are, the rows need no treatment": right
            & visible[:, None, :, None],
            "the end mark can be looked at: every 0 but the first counts as padding here": (
                (visible | (torch.arange(length) == words.sum(1, keepdim=True) + 1))[:, None] & square.tril()
            )[:, None],
            "the diagonal is always on: padding is not looked at, not even by itself": (
                right[:, 0] | torch.eye(length, dtype=torch.bool)
            )[:, None],
        }
        copy = given.clone()
        result = answered("causal_mask", answer, copy)
        if not torch.equal(copy, given):
            raise CheckError("causal_mask: the tokens given to it were changed; work on a copy")
        if isinstance(result, Tensor) and result.shape == right[:, 0].shape:
            raise CheckError(
                f"causal_mask: the shape is {tuple(result.shape)}; add an axis of one for the heads: "
                f"{tuple(right.shape)}"
            )
        if isinstance(result, Tensor) and result.dtype != torch.bool:
            raise CheckError(
                f"causal_mask: it holds {result.dtype}; attention takes numbers for something to add to the scores. "
                f"Return True and False"
            )
        _compare("causal_mask", result, right, slips, right.shape)


def report_loss(answer: Callable[[Tensor, Tensor, Tensor], Tensor], *, other: int = 0) -> None:
    """`answer(logits, tokens, mask)` is the mean negative log-likelihood over words and the final 0 (CMN Eq. 2, as
    released)."""
    draw = torch.Generator().manual_seed(5 + 1000 * other)
    tokens = torch.tensor([[0, 5, 2, 7, 1, 0], [0, 3, 0, 0, 0, 0], [0, 6, 6, 4, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]]).float()
    for spread in (1.0, 3.0):
        logits = torch.randn(3, 5, 9, generator=draw) * spread
        log_probs = logits.log_softmax(-1)
        each, weight = -log_probs.gather(-1, tokens[:, 1:, None]).squeeze(-1), mask[:, 1:]
        words = (tokens[:, 1:] > 0).float()
        slips = {
            "the mean runs over the padding too: weigh each position by the mask, and divide by the sum of mask[:, "
            "1:]": each.mean(),
            "padding is left out of the sum, but counted in the number you divide by: divide by the sum of mask[:, "
            "1:]": (each * weight).mean(),
            "the begin mark is counted in the number you divide by, and nobody predicts it: divide by the sum of "
            "mask[:, 1:]": ((each * weight).sum() / mask.sum()),
            "the end mark is forgotten: the 0 after the last word is a word to predict. Without it, a report never "
            "learns to end": (each * words).sum() / words.sum(),
            "every target is its own input: position t predicts token t + 1, so the targets are tokens[:, 1:]": (
                -(log_probs.gather(-1, tokens[:, :-1, None]).squeeze(-1) * weight).sum() / weight.sum()
            ),
            "the mask is shifted: logits at t belong to token t + 1, and so do mask[:, 1:]": (each * mask[:, :-1]).sum()
            / mask[:, :-1].sum(),
            "it is the mean of the reports' means: short reports then weigh as much as long ones. Take one mean over "
            "all words": (((each * weight).sum(1) / weight.sum(1)).mean()),
            "it is a sum, not a mean: divide by the number of words": (each * weight).sum(),
            "the sign is wrong: likely words should cost little": -(each * weight).sum() / weight.sum(),
            "logits are not log-probabilities: log_softmax first": (
                -(logits.gather(-1, tokens[:, 1:, None]).squeeze(-1) * weight).sum() / weight.sum()
            ),
        }
        loss = answered("report_loss", answer, logits.clone(), tokens.clone(), mask.clone())
        _compare("report_loss", loss, library_report_loss(logits, tokens, mask), slips, torch.Size([]))


class _Script:
    """A generator with `start` and `step` that says what a table tells it to: the likeliest next word depends on the
    last word and on the position."""

    def __init__(self, words: int, length: int, ends_at: int | None, seed: int):
        draw = torch.Generator().manual_seed(seed)
        self.table = torch.randn(length + 2, words + 1, words + 1, generator=draw)  # position, last word -> logits
        self.table[..., END] = -10.0
        if ends_at is not None:
            self.table[ends_at, :, END] = 10.0
        self.fed: list[int] = []
        self.positions: list[int] = []

    def start(self, inputs: Tensor, labels: Tensor | None = None, *, max_length: int | None = None) -> dict[str, int]:
        return {"position": 0}

    def step(self, tokens: Tensor, state: dict[str, int]) -> tuple[Tensor, dict[str, int]]:
        if not isinstance(tokens, Tensor) or tokens.is_floating_point():
            kind = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
            raise CheckError(
                f"greedy_search: step was given {kind}; it takes a tensor of ids (dtype=torch.long) of shape (1, 1)"
            )
        if tuple(tokens.shape) != (1, 1):
            raise CheckError(
                f"greedy_search: step was given tokens of shape {tuple(tokens.shape)}; it takes the last word alone, "
                f"(1, 1)"
            )
        position = state["position"]
        if position >= len(self.table) - 2:
            raise CheckError(
                "greedy_search: it goes on after max_length words: a report that never says 0 must end too"
            )
        self.fed.append(int(tokens))
        self.positions.append(position)
        return self.table[position, int(tokens)][None, None], {"position": position + 1}

    def greedy_words(self, length: int, *, feed: Callable[[int], int] = lambda word: word) -> list[int]:
        """What greedy search writes, the end mark included if it came; `feed` is what is fed back of each word."""
        words: list[int] = []
        last = END
        for position in range(length):
            words.append(int(self.table[position, last].argmax()))
            if words[-1] == END:
                break
            last = feed(words[-1])
        return words


def greedy_search(answer: Callable[..., Sequence[int]], *, other: int = 0) -> None:
    """`answer(generator, patches, max_length)` is the list of the likeliest words of one study, without the end
    mark."""
    for seed, (length, ends_at) in enumerate(((9, 4), (9, None), (12, 0), (12, 11))):
        script = _Script(words=7, length=length, ends_at=ends_at, seed=seed + 1000 * other)
        patches = torch.zeros(1, 2, 3)
        words = answered("greedy_search", answer, script, patches, length)
        if isinstance(words, list | tuple) and any(isinstance(word, Tensor) for word in words):
            raise CheckError("greedy_search: the words it returns are tensors; keep numbers (`.item()`)")
        try:
            words = words.flatten().tolist() if isinstance(words, Tensor) else list(map(int, words))
        except (TypeError, ValueError) as error:
            raise CheckError(f"greedy_search: it returns a {type(words).__name__}; return a list of ids") from error
        script_words = script.greedy_words(length)
        right = [word for word in script_words if word != END]
        if words == right:
            continue
        if script.fed[:1] != [END]:
            raise CheckError(
                f"greedy_search: the first token fed was {script.fed[:1] or 'none'}; a report begins with 0, the begin "
                f"mark"
            )
        if words == [*right, END]:
            raise CheckError("greedy_search: the end mark is part of the answer: stop *before* you keep it")
        if words == [END, *right]:
            raise CheckError("greedy_search: the begin mark is part of the answer: keep only what was said after it")
        if len(script.positions) > 1 and set(script.positions) == {0}:
            raise CheckError(
                "greedy_search: the first state was used again and again: go on with the state that `step` returns"
            )
        if len(script.fed) > 1 and set(script.fed) == {END}:
            raise CheckError("greedy_search: every step was fed 0: feed the word that was said last")
        if len(words) > len(right) and words[: len(right)] == right:
            raise CheckError("greedy_search: it goes on after the end mark: stop when the likeliest token is 0")
        if right[: len(words)] == words:
            raise CheckError(
                f"greedy_search: it stops after {len(words)} words, {len(right)} were expected: stop at 0 or after "
                f"max_length words only"
            )
        raise CheckError(
            f"greedy_search: it says {words}, the likeliest words are {right}: take the argmax over the last axis at "
            f"every step"
        )


def wu_score(answer: Callable[[Sequence[int], float, float], float], *, other: int = 0) -> None:
    """`answer(words, total, alpha)` divides a summed log-probability by ((5 + length) / 6)^alpha, the final 0 counted
    in the length."""
    for words, total, alpha in (
        ((3, 5, 2, 0), -2.5, 0.6),
        ((4, 0), -1.25, 1.0),
        ((0,), -4.0, 0.9),
        ((*range(1, 31), 0), -21.0, 0.7),
    ):
        words, total = (*range(1, other % 9 + 1), *words), total * (1 + other / 7)
        length = len(words)
        right = total / DecodingConfig(length_penalty="wu", alpha=alpha).penalty(length)
        slips = {
            "the end mark is not counted: it was predicted like a word and its log-probability is in the sum": total
            / ((4 + length) / 6) ** alpha,
            "the score is multiplied: a log-probability is negative, so a longer report would be punished twice. "
            "Divide": total * ((5 + length) / 6) ** alpha,
            "it is the plain mean: Wu's penalty grows more slowly than the length": total / length,
            "it is length^alpha: Wu's is ((5 + length) / 6)^alpha, which is 1 for the end mark alone": total
            / length**alpha,
            "the brackets: it is (5 + length) / 6, not 5 + length / 6": total / (5 + length / 6) ** alpha,
            "the 6 is under the power too: ((5 + length) / 6)^alpha": total / ((5 + length) ** alpha / 6),
            "the begin mark is counted: it was not predicted": total / ((6 + length) / 6) ** alpha,
            "this is the penalty itself: divide the total by it": ((5 + length) / 6) ** alpha,
            "the total is a log-probability already and stays one: no exp": math.exp(total)
            / ((5 + length) / 6) ** alpha,
            "alpha is not used": total / ((5 + length) / 6),
            "nothing was divided": total,
        }
        score = answered("wu_score", answer, words, total, alpha)
        slips = {hint: torch.tensor(value) for hint, value in slips.items() if not math.isclose(value, right)}
        try:
            score = torch.as_tensor(score, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise CheckError(f"wu_score: it returns a {type(score).__name__}; return one number") from error
        _compare("wu_score", score, torch.tensor(right), slips, torch.Size([]))


def _attend(scores: Tensor, off: Tensor, values: Tensor) -> Tensor:
    return scores.masked_fill(off, -torch.inf).softmax(-1) @ values


def _compare(name: str, result: Any, right: Tensor, slips: Mapping[str, Tensor], shape: torch.Size) -> None:
    """Silent when `result` is right; otherwise the hint of the slip that it equals, or what is known of the
    difference."""
    if not isinstance(result, Tensor):
        raise CheckError(f"{name}: it returns a {type(result).__name__}; return a tensor of shape {tuple(shape)}")
    if result.shape != shape:
        raise CheckError(f"{name}: the shape is {tuple(result.shape)}, expected {tuple(shape)}")
    result = result.detach()
    if _alike(result, right):
        return
    for hint, wrong in slips.items():
        if wrong.shape == result.shape and not _alike(wrong, right) and _alike(result, wrong.to(right.dtype)):
            raise CheckError(f"{name}: {hint}")
    if result.is_floating_point() and not result.isfinite().all():
        raise CheckError(
            f"{name}: {int((~result.isfinite()).sum())} of {result.numel()} numbers are not finite: does a softmax see "
            f"a row of -inf?"
        )
    off = (result != right).sum() if right.dtype == torch.bool else (result - right).abs().gt(1e-5).sum()
    raise CheckError(
        f"{name}: {int(off)} of {right.numel()} values differ from the library's; go through the steps once more, one "
        f"at a time"
    )


def _alike(a: Tensor, b: Tensor) -> bool:
    return (
        torch.equal(a, b)
        if b.dtype == torch.bool
        else torch.allclose(a.float(), b.float(), atol=1e-5, rtol=1e-4, equal_nan=True)
    )


# --- Exercise 3.7: why the report that a search found is likelier than another ----------------------------------------

MEASURED = ("the gain by words", "the gain by length")
REASONS = ("words", "length", "none")
#: Reports of two searches for the same studies: summed log-probabilities and lengths of the one, then of the other,
#: (n,) each.
Searches = tuple[Tensor, Tensor, Tensor, Tensor]


def why_likelier(
    answer: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Sequence[float], str]], *, other: int = 0
) -> None:
    """`answer(totals_a, lengths_a, totals_b, lengths_b)`: the gain of B over A by words and by length, means over
    studies; and the larger part's name."""
    name, cases = "why_likelier", _searches(other)
    answers = [
        explanation(name, answered(name, answer, *(part.clone() for part in case)), MEASURED, REASONS) for case in cases
    ]
    right = [_parts(*case) for case in cases]

    def instead(measure: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> list[list[float]]:
        """Of every case, what `measure` makes of lengths and means of A and B."""
        return [[part.mean().item() for part in measure(n, a / n, m, b / m)] for a, n, b, m in cases]

    slips = {
        "the two parts are exchanged: words first, then length": [parts[::-1] for parts in right],
        "the gain is that of B over A: you took what A has more": [[-part for part in parts] for parts in right],
        "the gains of the studies are added up: take their mean": [
            [len(case[0]) * part for part in parts] for parts, case in zip(right, cases, strict=True)
        ],
        "it is twice the gain: between the two reports stands the *mean* of the two lengths, and of the two means": [
            [2 * part for part in parts] for parts in right
        ],
        "both parts start at A, so they do not add up to the gain: use what lies midway between A and B": instead(
            lambda n, p, m, q: ((q - p) * n, (m - n) * p)
        ),
        "both parts start at B, so they do not add up to the gain: use what lies midway between A and B": instead(
            lambda n, p, m, q: ((q - p) * m, (m - n) * q)
        ),
        "this is one order, the length changed first and the words after it; the other order gives other parts. Midway "
        "is fair to both": instead(lambda n, p, m, q: ((q - p) * m, (m - n) * p)),
        "this is one order, the words changed first and the length after them; the other order gives other parts. "
        "Midway is fair to both": instead(lambda n, p, m, q: ((q - p) * n, (m - n) * q)),
        "a difference a word, or of words, is no gain of a report: each is to be multiplied by the other "
        "quantity": instead(lambda n, p, m, q: (q - p, (m - n).double())),
        "the studies were averaged before the parts were taken: split the gain of every study, then take the mean": [
            _parts(*(part.double().mean()[None] for part in case)) for case in cases
        ],
    }
    larger = ["words" if words > length else "length" for words, length in right]
    reasons = [reason if sum(parts) > 0 else "none" for reason, parts in zip(larger, right, strict=True)]
    each = [[_parts(*(part[i][None] for part in case)) for i in range(len(case[0]))] for case in cases]
    readings = {
        "where B is not likelier on average, there is no gain to explain": larger,
        "where B is not likelier on average, there is no gain to explain, however large a part is": [
            "words" if abs(words) > abs(length) else "length" for words, length in right
        ],
        "fewer words, or a part above 0, are not enough: the *larger* part explains the gain": [
            "none" if reason == "none" else "length" if length > 0 else "words"
            for reason, (_, length) in zip(reasons, right, strict=True)
        ],
        "better words are not enough: the *larger* part explains the gain": [
            "none" if reason == "none" else "words" if words > 0 else "length"
            for reason, (words, _) in zip(reasons, right, strict=True)
        ],
        "the means over the studies decide, not the number of studies in which a part is larger": [
            "none" if reason == "none" else ("length", "words")[int(sum(w > n for w, n in studies) > len(studies) / 2)]
            for reason, studies in zip(reasons, each, strict=True)
        ],
        "the mean gain decides whether B is likelier, not the number of studies in which it is": [
            "none" if sum(w + n > 0 for w, n in studies) < len(studies) / 2 else longer
            for longer, studies in zip(larger, each, strict=True)
        ],
        "the smaller part is no explanation: it is the wrong way round": [
            {"words": "length", "length": "words", "none": "none"}[r] for r in reasons
        ],
    }
    compare_explanations(name, answers, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


def _parts(totals_a: Tensor, lengths_a: Tensor, totals_b: Tensor, lengths_b: Tensor) -> list[float]:
    p, q = totals_a / lengths_a, totals_b / lengths_b
    return [
        ((q - p) * (lengths_a + lengths_b) / 2).mean().item(),
        ((lengths_b - lengths_a) * (p + q) / 2).mean().item(),
    ]


def _searches(other: int) -> list[Searches]:
    """Two cases for each gain, in one of which both parts are above 0; two without a gain, in each of which another
    part is; and two in which one study gains so much by words that the means do too, though most studies gain by
    length, or nothing."""
    draw, cases = random.Random(other), []
    wanted: tuple[Callable[[float, float], bool], ...] = (
        lambda words, length: words > length + 0.3 and length > 0.2,
        lambda words, length: words > 0.4 - length and length < -0.2,
        lambda words, length: length > words + 0.3 and words > 0.2,
        lambda words, length: length > 0.4 - words and words < -0.2,
        lambda words, length: words + length < -0.4 and words > 0.2,
        lambda words, length: words + length < -0.4 and length > 0.2,
    )
    for fits in wanted:
        while True:
            n, shift, gain = draw.randint(4, 7), draw.randint(-9, 9), draw.uniform(-0.25, 0.25)
            lengths_a = torch.tensor([draw.randint(12, 30) for _ in range(n)])
            lengths_b = torch.tensor([max(3, length + shift + draw.randint(-2, 2)) for length in lengths_a.tolist()])
            means = torch.tensor([draw.uniform(-0.6, -0.3) for _ in range(n)], dtype=torch.float64)
            better = torch.tensor([draw.gauss(gain, 0.03) for _ in range(n)], dtype=torch.float64)
            case = means * lengths_a, lengths_a, (means + better).clamp(max=-0.02) * lengths_b, lengths_b
            if fits(*_parts(*case)):
                break
        cases.append(case)
    for longer, worse in (
        (-2, 0.01),
        (1, 0.02),
    ):  # of four studies; the fifth is as long in B, and each word far likelier
        lengths_a = torch.tensor([draw.randint(18, 24) for _ in range(5)])
        lengths_b = lengths_a + torch.tensor([longer] * 4 + [0])
        means = torch.tensor([draw.uniform(-0.7, -0.6) for _ in range(5)], dtype=torch.float64)
        cases.append(
            (means * lengths_a, lengths_a, (means + torch.tensor([-worse] * 4 + [0.5])) * lengths_b, lengths_b)
        )
    return draw.sample(cases, len(cases))
