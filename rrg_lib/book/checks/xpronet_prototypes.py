"""What the exercises of chapter 05 call. Silent when the answer is right; otherwise a `CheckError` that names the
likely mistake."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rrg_lib.book.checks.comparing_arrays import Draw, compare_draws, tensor
from rrg_lib.models.contrastive import multi_label_contrastive, similarity_targets
from rrg_lib.models.interface import Slots
from rrg_lib.models.memory.base import read_slots


def labels_of(function: Callable[[np.ndarray], np.ndarray], *, other: int = 0) -> None:
    """Exercise 5.1: (n, 13) values 1, 0, -1 or nan of the observations but the first -> (n, 14) zeros and ones, "No
    Finding" first."""
    values = np.array([[1, 0, np.nan], [np.nan, -1, 0], [0, 0, 0], [np.nan] * 3, [1, -1, 1], [-1, np.nan, np.nan]])
    values = np.concatenate([values, np.where(np.arange(60).reshape(6, 10) == 52, 1.0, np.nan)], axis=1)  # (6, 13)
    values = np.concatenate([values, np.zeros((1, 13))])
    if other:  # the same studies and observations in another order
        values = np.random.default_rng(other).permuted(np.random.default_rng(other).permutation(values), axis=1)
    known, sure = np.nan_to_num(values), values == 1
    positive = known != 0
    blank = np.isnan(values).all(axis=1, keepdims=True)
    none = ~positive.any(axis=1, keepdims=True)
    last = np.concatenate([positive, none], axis=1)
    all_zero, cancelled = (values == 0).all(axis=1, keepdims=True), known.sum(axis=1, keepdims=True) == 0
    mistakes = [
        (
            _beside(~sure.any(axis=1, keepdims=True), sure),
            "-1, uncertain, counts as absent: in the release it counts as present",
        ),
        (_beside(none, sure), "-1, uncertain, counts as absent: in the release it counts as present"),
        (
            _beside(~sure.any(axis=1, keepdims=True), positive),
            '"No Finding" is set beside an uncertain finding: an uncertain one is present too',
        ),
        (_beside(none, known), "there is a -1 among the labels: an uncertain finding is present, 1"),
        (
            _beside(blank, positive),
            '"No Finding" is set only where nothing is mentioned at all: a 0 is no finding either',
        ),
        (
            _beside(all_zero, positive),
            '"No Finding" is not set where 0 and nan stand side by side: neither is a finding',
        ),
        (
            _beside(cancelled, positive),
            '"No Finding" is set where 1 and -1 add up to 0: both are findings, so ask whether there is any',
        ),
        (
            _beside(np.zeros_like(none), positive),
            '"No Finding" is never set: a study without any other label would have none',
        ),
        (_beside(np.ones_like(none), positive), '"No Finding" is always set: it belongs where nothing else is'),
        (_beside(~none, positive), '"No Finding" is set where something is found, the wrong way round'),
        (_beside(none, values != 0), "nan counts as present: nan, nothing said, is absent (and nan != 0 is True)"),
        (
            _beside(~(values != 0).any(axis=1, keepdims=True), values != 0),
            "nan counts as present: nan, nothing said, is absent (and nan != 0 is True)",
        ),
        (last, '"No Finding" stands last: here it is the first of the 14'),
    ]
    answer = tensor(function, (7, 14), values, not_finite="is there a nan left over?")
    compare_draws([(answer, _beside(none, positive), mistakes)], "the labels are not those of the release")


def ask_own(function: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor], *, other: int = 0) -> None:
    """Exercise 5.2: (B, h, L, d_k), (h, C·N_p, d_k), (h, C·N_p, d_k), labels (B, C), gamma -> (B, h, L, d_k)."""
    classes, number = 5, 4
    draws: list[Draw] = []
    for seed, gamma in ((1, 3), (2, 4)):
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        query = 2 * torch.randn(3, 2, 6, 4, generator=generator)
        keys, values = (torch.randn(2, classes * number, 4, generator=generator) for _ in range(2))
        labels = torch.tensor([[0.0, 1, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 1, 1, 1]])
        gates = {
            "own": labels.repeat_interleave(number, 1),
            "tiled": labels.repeat(1, number),
            "first": labels[:1].repeat_interleave(number, 1),
        }
        opened = {name: gate.bool() for name, gate in gates.items()}
        opened["all"] = torch.ones_like(opened["own"])

        def read(name, scale=0.5, answering=values, opened=opened, query=query, keys=keys, gamma=gamma):
            return read_slots(query, Slots(keys[None], answering[None], opened[name]), gamma, scale=scale)[0]

        scores = query @ keys.transpose(-2, -1) / 2  # (B, h, L, C·N_p)
        closed = ~opened["own"][:, None, None]
        best = scores.topk(gamma)
        shut = closed.expand_as(scores).gather(-1, best.indices)
        soft = best.values.softmax(-1).masked_fill(shut, 0)
        zeroed = (scores * ~closed).topk(gamma)
        right = read("own")
        gated = scores.masked_fill(closed, -torch.inf)
        kept = gated.topk(gamma)
        opened["shut"] = ~opened["own"]
        early = gated.softmax(-1).topk(gamma)
        mistakes = [
            (
                read("all"),
                "every class is asked: close the prototypes of the classes that a study is not labelled with",
            ),
            (
                read("tiled"),
                "the gate is laid out class after class, again and again (repeat): the rows of a class stand together, "
                "so use repeat_interleave",
            ),
            (read("first"), "every study is gated by the labels of the first: each has its own"),
            (
                _weighted(soft, best.indices, values),
                "the gate comes after the softmax: the weights do not sum to 1 any more. Close first, then choose",
            ),
            (_weighted(soft / soft.sum(-1, keepdim=True), best.indices, values), _LATE),
            (
                _weighted(
                    best.values.masked_fill(shut, torch.finfo(scores.dtype).min).softmax(-1), best.indices, values
                ),
                _LATE,
            ),
            (
                _weighted(zeroed.values.softmax(-1), zeroed.indices, values),
                "closed prototypes score 0, which beats every negative score: give them -inf, masked_fill(…, "
                "-torch.inf)",
            ),
            (read("shut"), "the gate is the wrong way round: it asks the classes that the study does not have"),
            (_weighted(kept.values / kept.values.sum(-1, keepdim=True), kept.indices, values), _SHARES),
            (
                _weighted(early.values, early.indices, values),
                "the softmax comes before the choice: the weights of the gamma chosen do not sum to 1. Choose first, "
                "then take their softmax",
            ),
            *((_weighted(kept.values.softmax(axis), kept.indices, values), _AXIS) for axis in (0, 1, 2)),
            (gated.softmax(-1) @ values, "every open prototype speaks: only the gamma best may"),
            (read("own", scale=1.0), "the weights are too sharp: divide the scores by the square root of d_k"),
            (
                read("own", scale=1 / 4),
                "the weights are too flat: as released, divide by the square root of d_k, not by d_k",
            ),
            (
                read("own", scale=1 / 8),
                "the weights are too flat: dividing by d is the paper's; as released, divide by the square root of d_k",
            ),
            (
                read("own", scale=8**-0.5),
                "the weights are too flat: divide by the square root of d_k, the width of a head, not of d",
            ),
            (
                read("own", answering=keys),
                "you averaged the keys: a prototype is found by its key and answers with its value",
            ),
        ]
        draws.append(
            (
                tensor(function, tuple(right.shape), query, keys, values, labels, gamma, not_finite=_LATE),
                right,
                mistakes,
            )
        )
    compare_draws(draws, "the answers differ from the library's")


_SHARES = "these are Eq. 11's shares of the sum, the paper's weights: as released, they are the softmax of the scores"
_AXIS = "the weights sum to 1 along the wrong axis: the softmax is over the gamma chosen, the last axis"
_LATE = (
    "the gate comes after the choice: the gamma best of all classes were chosen, and then the closed ones thrown out. "
    "Close first, then choose"
)


def contrastive(function: Callable[[Tensor, Tensor, float, float], Tensor], *, other: int = 0) -> None:
    """Exercise 5.3: features (B, d), labels (B, C), margin, theta -> the loss of XProNet Eq. 17 as printed, a
    scalar."""
    generator = torch.Generator().manual_seed(3 + 1000 * other)
    labels = (torch.rand(9, 6, generator=generator) < 0.3).float()
    labels[:, 0] = (labels.sum(1) == 0).float()
    features = torch.randn(9, 5, generator=generator) + 0.6
    draws: list[Draw] = []
    for margin, theta in ((0.4, 1.5), (0.1, 1.75)):
        unit = torch.nn.functional.normalize(features, dim=-1)
        cosine, product = unit @ unit.T, features @ features.T
        together, targets = similarity_targets(labels, theta)
        differing = (labels[:, None] != labels).sum(-1)
        each = labels.sum(1)

        def loss(pull, push, together=together, mean=torch.mean):
            return mean(torch.where(together, pull, push))

        push = (cosine - margin).clamp(min=0)
        right = multi_label_contrastive(features, labels, margin=margin, theta=theta, clamp=False)
        union = (labels[:, None] + labels).clamp(max=1).sum(-1)
        scaled = product / product.diagonal().max()
        total = each[:, None] + each
        mistakes = [
            (
                multi_label_contrastive(features, labels, margin=margin, theta=theta),
                "the pull is kept from going below 0: that is the release; here as printed",
            ),
            (loss(1 - cosine, push), "theta is not there: the target of a pair is theta ** -(h_d / h_t), not 1"),
            (
                loss(targets**-1 - cosine, push),
                "the target grows with the labels that differ: the exponent is negative",
            ),
            (
                loss(theta ** -(differing / labels.shape[1]) - cosine, push),
                "h_t is not the number of classes: add up the labels of both studies",
            ),
            (
                loss(theta ** -(differing / union) - cosine, push),
                "h_t counts a shared label once: it is counted for each of the two studies",
            ),
            (loss(theta ** -differing.float() - cosine, push), "h_d is not divided by h_t"),
            (
                loss(theta ** -(1 - differing / total) - cosine, push),
                "h_d is the number of labels in which they differ, not of those they share",
            ),
            (
                loss(targets - cosine, cosine.clamp(min=0)),
                "the margin is not there: studies without a common label count above it only",
            ),
            (
                loss(targets - cosine, cosine - margin),
                "strangers below the margin pull the loss down: max(cos − margin, 0)",
            ),
            (
                loss(targets - cosine, (margin - cosine).clamp(min=0)),
                "strangers pay when they are less alike than the margin, the wrong way round: max(cos − margin, 0)",
            ),
            (
                loss(targets - cosine, torch.zeros_like(cosine)),
                "strangers count nothing: add max(cos − margin, 0) for pairs without a common label",
            ),
            (
                loss(targets - cosine, push, torch.ones_like(together)),
                "every pair is pulled together: only pairs with a common label are",
            ),
            (
                loss(targets - cosine, push, differing == 0),
                "together are studies that share a label, not only those with the same labels",
            ),
            (
                loss(targets - product, (product - margin).clamp(min=0)),
                "cosines, not dot products: make the features unit length first",
            ),
            (
                loss(targets - scaled, (scaled - margin).clamp(min=0)),
                "cosines, not dot products: make the features unit length first",
            ),
            (loss(targets - cosine, push, mean=torch.sum), "this is the sum over the pairs: divide by B²"),
            (right * 81 / 72, "a pair of a study with itself counts too, as released: divide by B²"),
            (right * 9, "divided by B: there are B² pairs"),
            (
                right.new_tensor(float((torch.where(together, targets - cosine, push)).triu(1).sum() / 36)),
                "each pair counts twice, ij and ji, in a sum over B²",
            ),
        ]
        draws.append((tensor(function, (), features, labels, margin, theta), right, mistakes))
    compare_draws(draws, "the loss differs from the library's")


def report_losses(function: Callable[[Tensor, Tensor], tuple], *, other: int = 0) -> None:
    """Exercise 5.4: log probabilities (B, L) and mask (B, L) -> the mean of XProNet Eq. 19's means, and the release's
    mean over all words of the batch."""
    draws: list[Draw] = []
    for seed, lengths in ((1, (9, 2, 4)), (2, (3, 7, 5, 1))):
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        log_p = -3 * torch.rand(len(lengths), 9, generator=generator)
        log_p = (
            log_p * torch.tensor(lengths)[:, None] / 3
        )  # long reports are harder here, so that the two means are apart
        mask = torch.arange(9) < torch.tensor(lengths)[:, None]
        nll, words = -log_p * mask, mask.sum(1)
        each, every = (nll.sum(1) / words).mean(), nll.sum() / words.sum()
        width = mask.shape[1]
        whole = (-log_p).mean()
        mistakes = [
            (
                (every, each),
                "the two stand the wrong way round: first the mean of the reports' means, then the mean over all words",
            ),
            ((-each, -every), "the sign is missing: a loss is the *negative* log probability"),
            ((-every, -each), "the sign is missing, and the two stand the wrong way round"),
            (
                (each, each),
                "the second is the first again: the release adds up the words of all reports and divides once",
            ),
            (
                (every, every),
                "the first is the second again: Eq. 19 divides each report by its own number of words before reports "
                "are averaged",
            ),
            ((whole, whole), "padding counts: only places where the mask is True hold a word"),
            (
                ((-log_p).mean(1).mean(), every),
                "in the first, padding counts: only places where the mask is True hold a word",
            ),
            ((each, whole), "in the second, padding counts: only places where the mask is True hold a word"),
            (
                (nll.mean(), every),
                "in the first, padding is counted in the divisor: a report is divided by the number of its *own* "
                "words, N^r",
            ),
            (
                (each, nll.mean()),
                "in the second, padding is counted in the divisor: divide by the number of words, not of places",
            ),
            (
                (nll.mean(), nll.mean()),
                "padding is counted in the divisor: divide by the number of words, not of places",
            ),
            (((nll.sum(1) / words).sum(), every), "the first is a sum over the reports: take their mean"),
            (
                (each, nll.sum(1).mean()),
                "the second divides by the number of reports: divide by the number of words in the batch",
            ),
            ((nll.sum(1).mean(), every), "the first does not divide a report by the number of its words"),
            ((each, nll.sum()), "the second is a sum: divide it by the number of words in the batch"),
            (
                (each, nll.sum() / width),
                "the second divides by the longest report: divide by the number of words in the batch",
            ),
        ]
        draws.append(
            (
                tensor(function, (2,), log_p, mask),
                torch.stack([each, every]),
                [(torch.stack(pair), hint) for pair, hint in mistakes],
            )
        )
    compare_draws(draws, "the two losses are not right")


def label_f1(function: Callable[[np.ndarray, np.ndarray], float], *, other: int = 0) -> None:
    """Exercise 5.5: labels (n, 14) that the memory is told and those of the experts -> micro-F1 over the 13 that are
    findings."""
    rng, draws = np.random.default_rng(4 + 1000 * other), []
    for n in (40, 7):
        truth, given_labels = ((rng.random((n, 14)) < np.linspace(0.02, 0.25, 14)).astype(np.uint8) for _ in range(2))
        given_labels[: n // 2] = truth[: n // 2]
        given_labels[1, 1] = truth[0, 2] = given_labels[2, 3] = truth[2, 3] = (
            1  # so that there is a hit, a miss and a false one
        )
        truth[3, 1:] = given_labels[3, 1:] = 0
        for rows in (truth, given_labels):
            rows[:, 0] = ~rows[:, 1:].any(axis=1)
        a, b = given_labels[:, 1:].astype(float), truth[:, 1:].astype(float)
        hit, positives, there = (a * b).sum(0), a.sum(0), b.sum(0)

        def f1(hit, positives, there):
            return 2 * hit / np.maximum(positives + there, 1e-9)

        right = f1(hit.sum(), positives.sum(), there.sum())
        whole = (given_labels.astype(float) * truth).sum()
        count, ill = (given_labels * truth.astype(float)).sum, truth[:, 0] == 0
        mistakes = [
            (
                f1(count() - count(0)[-1], given_labels[:, :-1].sum(), truth[:, :-1].sum()),
                "the last column is left out: No Finding is the first",
            ),
            *(
                (f1(hit.sum(), x.sum(), y.sum()), "No Finding is left out of one of the two only")
                for x, y in ((a, truth), (given_labels, b))
            ),
            (
                f1(whole, given_labels.sum(), truth.sum()),
                '"No Finding" counts as a finding: leave the first column out',
            ),
            (
                f1(hit, positives, there).mean(),
                "this is the mean over the classes (macro): add up the counts of all classes first",
            ),
            (
                f1(hit, positives, there)[there > 0].mean(),
                "this is the mean over the classes (macro): add up the counts of all classes first",
            ),
            (
                f1((a * b).sum(1), a.sum(1), b.sum(1)).mean(),
                "this is the mean over the studies: add up the counts of all studies first",
            ),
            ((a == b).mean(), "this is accuracy: a label that nobody sets counts as right, and most are of that kind"),
            (
                (given_labels == truth).mean(),
                "this is accuracy: a label that nobody sets counts as right, and most are of that kind",
            ),
            ((a == b).all(axis=1).mean(), "this is the share of studies with every label right"),
            (hit.sum() / positives.sum(), "this is precision: labels that were missed count too"),
            (hit.sum() / there.sum(), "this is recall: labels that are wrong count too"),
            (hit.sum() / (positives.sum() + there.sum()), "half of F1: twice the hits over (told + true)"),
            (
                hit.sum() / np.maximum(a, b).sum(),
                "this is hits over the union (Jaccard): F1 is twice the hits over (told + true)",
            ),
            *(
                (
                    f1((a * b)[some].sum(), a[some].sum(), b[some].sum()),
                    "studies are left out: only the column No Finding is, every study counts",
                )
                for some in (
                    ill,
                    given_labels[:, 0] == 0,
                    ill & (given_labels[:, 0] == 0),
                    ill | (given_labels[:, 0] == 0),
                )
            ),
        ]
        draws.append((tensor(function, (), given_labels, truth), right, mistakes))
    compare_draws(draws, "micro-F1 over the 13 findings is another number")


def met_by_chance(function: Callable[[int, int], float], *, other: int = 0) -> None:
    """Exercise 5.6: two draw k of n prototypes, each blindly -> the number that both have, on average."""
    drawn = np.random.default_rng(other)
    cases = (
        [(int(drawn.integers(5, n - 1)), int(n)) for n in drawn.integers(25, 60, 4)]
        if other
        else [(13, 30), (15, 40), (3, 40), (7, 7)]
    )
    draws: list[Draw] = []
    for k, n in cases:
        mistakes = [
            (10 * k / n, "k is an argument: 10 of them is one example"),
            (round(k * k / n), "do not round: an average need not be a whole number"),
            (k * k // n, "do not round: an average need not be a whole number"),
            (k / n, "this is the probability that one prototype is among the other's k: there are k of them"),
            ((k / n) ** 2, "this is the probability that both have one certain prototype: there are n of them"),
            (k, "they would have to choose alike: each draws on its own"),
            (n * k / n / 2, "half of them is a guess: each of the k has the probability k / n to be among the other's"),
            (
                k * (k - 1) / (n - 1),
                "the second draw is not told what the first one took: every prototype has the probability k / n each "
                "time",
            ),
            (min(k, max(0, 2 * k - n)), "this is the least they can share: on average they share more"),
            (k * k, "divide by n: each of the k has the probability k / n to be among the other's"),
        ]
        draws.append((tensor(function, (), k, n), k * k / n, mistakes))
    compare_draws(draws, "they share another number on average")


def _beside(first: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.concatenate([first, others], axis=1).astype(float)


def _weighted(weights: Tensor, indices: Tensor, values: Tensor) -> Tensor:
    """(B, h, L, gamma) weights and indices, values (h, N, d_k) -> (B, h, L, d_k)."""
    heads = torch.arange(values.shape[0]).view(1, -1, 1, 1)
    return (weights[..., None] * values[heads, indices]).sum(-2)
