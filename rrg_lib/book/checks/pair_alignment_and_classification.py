"""What the exercises of chapter 07 call. Silent when the answer is right; otherwise a `CheckError` that names the
likely mistake."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rrg_lib.book.checks import CheckError, name_of
from rrg_lib.book.checks.comparing_arrays import Draw, called, compare_draws, tensor
from rrg_lib.evaluation.retrieval import retrieval
from rrg_lib.models.disease_classifier import focal_loss as library_focal_loss
from rrg_lib.models.pair_alignment import PairConfig, pair_loss


def attention_pool(function: Callable[..., Tensor], *, other: int = 0) -> None:
    """Exercise 7.1: logits (B, L, V + 1), mask (B, L), W_p (V + 1, d), b (d,), w (d,) -> unit vectors (B, d)."""
    draws: list[Draw] = []
    for seed, lengths in ((1, (6, 4, 1)), (2, (5, 5, 3))):
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        logits, W_p, b, w = (
            torch.randn(*shape, generator=generator) for shape in ((3, max(lengths), 7), (7, 5), (5,), (5,))
        )
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        alignment = PairConfig().build(logits=7, d_model=5, d_vf=5)
        with torch.no_grad():
            for parameter, value in (
                (alignment.projection.weight, W_p.T),
                (alignment.projection.bias, b),
                (alignment.pooling.weight, w[None]),
            ):
                parameter.copy_(value)
            right = alignment.report(logits, mask)
        T = logits @ W_p + b  # (B, L, d)
        scores = T @ w  # (B, L)
        hidden = scores.masked_fill(~mask, -torch.inf)

        def pooled(weights: Tensor, of: Tensor = T) -> Tensor:
            return (weights[..., None] * of).sum(1)

        weights = hidden.softmax(1)
        zeroed = scores.masked_fill(~mask, 0.0)
        mistakes = [
            (pooled(weights), "the vectors are not of length 1: L2-normalise the sum, each report by itself"),
            (
                F.normalize(pooled(weights), dim=0),
                "you normalised over the reports of the batch: the length is over the last axis, d",
            ),
            (
                F.normalize(pooled(scores.softmax(1)), dim=-1),
                "the padding speaks too: give places where `mask` is False the score -inf",
            ),
            (
                F.normalize(pooled(zeroed.softmax(1)), dim=-1),
                "a score of 0 is not silence, exp(0) is 1: the padding must get -inf before the softmax",
            ),
            (
                F.normalize(pooled(torch.nan_to_num(hidden.softmax(0))), dim=-1),
                "the weights of a report do not sum to 1: the softmax ran over the reports, not over the places "
                "(dim=1)",
            ),
            (
                F.normalize(pooled(mask / mask.sum(1, keepdim=True)), dim=-1),
                "every place counts alike: weigh them by the softmax of w · T'",
            ),
            (
                F.normalize(pooled(torch.where(mask, scores, 0.0)), dim=-1),
                "the scores are used as weights: they can be negative; put them through a softmax",
            ),
            (
                F.normalize(pooled(torch.ones_like(scores)), dim=-1),
                "every place counts alike, the padding too: weigh them by the softmax of w · T', and the padding not "
                "at all",
            ),
            (
                F.normalize(pooled(scores.softmax(0)), dim=-1),
                "the softmax ran over the reports, not over the places (dim=1), and the padding speaks too",
            ),
            (
                F.normalize(pooled(weights, F.normalize(T, dim=-1)), dim=-1),
                "make the *sum* of length 1, not each T' before it is added up",
            ),
            (pooled(weights, F.normalize(T, dim=-1)), "make the *sum* of length 1, not each T' before it is added up"),
            (
                F.normalize(T[torch.arange(3), hidden.argmax(1)], dim=-1),
                "only the place with the highest score speaks: add all up, weighed by the softmax",
            ),
            (
                pooled(weights) / pooled(weights).sum(-1, keepdim=True),
                "you divided by the sum of the numbers: the length is the root of the sum of their squares",
            ),
            (
                F.normalize(pooled((hidden - (b @ w)).softmax(1), T - b), dim=-1),
                "the bias b is missing: T' = logits W_p + b",
            ),
        ]
        draws.append(
            (tensor(function, tuple(right.shape), logits, mask, W_p, b, w, not_finite=_SILENCED), right, mistakes)
        )
    compare_draws(draws, "the report vectors differ from the library's")


_SILENCED = "if a whole report is silenced: `mask` is True where a word stands, so -inf goes where it is False (~mask)"


def loss_with_negatives(function: Callable[[Tensor, Tensor, float], Tensor], *, other: int = 0) -> None:
    """Exercise 7.2: cosines (B, B), same (B, B) True where two studies have the same report, a margin -> the loss, one
    number."""
    draws: list[Draw] = []
    for seed, margin in ((3, 0.0), (4, 0.25), (5, -0.5)):
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        cosines = 2 * torch.rand(5, 5, generator=generator) - 1
        same = torch.eye(5, dtype=torch.bool)
        same[0, 3] = same[3, 0] = True
        right = pair_loss(cosines, same, PairConfig(margin=margin))
        matching = (1 - cosines.diagonal()).mean()
        negative, unlike = (~same).float(), 1 - torch.eye(5)
        over = (cosines - margin).relu()
        mistakes = [
            (
                matching + (cosines - margin)[~same].mean().relu(),
                "the margin is taken off the mean: max(0, ·) is of each pair, before the mean",
            ),
            (
                matching + (over * (~same).triu()).sum() / (~same).triu().sum(),
                "only half of the pairs are counted: report i with image j and report j with image i are two",
            ),
            (
                matching + (over * negative).sum() / (5 * 4),
                "divide by the number of pairs in N: not all B(B − 1) are in it",
            ),
            (matching + (over * negative).sum() / 5, "divide by the number of pairs in N, not by B"),
            (
                (1 - cosines)[same].mean() + (over * negative).sum() / negative.sum(),
                "the first term is over the diagonal, a report and its own image: `same` holds twins too",
            ),
            (
                matching + ((margin - cosines).relu() * negative).sum() / negative.sum(),
                "pairs that do not match cost when they are below the margin, the wrong way round: max(0, cosine − "
                "margin)",
            ),
            (
                matching + ((cosines + margin).relu() * negative).sum() / negative.sum(),
                "the margin is added: what exceeds it costs, max(0, cosine − margin)",
            ),
            (matching + (cosines.relu() * negative).sum() / negative.sum(), "the margin is not used"),
            (
                matching + (over * negative).sum() / ((over > 0) * negative).sum().clamp(min=1),
                "the mean is over the pairs that cost something: divide by all pairs in N",
            ),
            (
                matching + (over * same).sum() / same.sum(),
                "the pairs with the same report are pushed apart, not the others: ~same",
            ),
            (
                matching + (over.square() * negative).sum() / negative.sum(),
                "what exceeds the margin is squared: it counts as it is",
            ),
            (matching, "this is the printed form: the pairs that do not match are missing"),
            (
                matching + (over * unlike).sum() / unlike.sum(),
                "two studies with the same report are pushed apart: leave out the pairs where `same` is True",
            ),
            (
                matching + over.mean(),
                "the diagonal is pushed apart too: a study is no negative of itself (`same` is True there)",
            ),
            (
                matching + ((cosines - margin) * negative).sum() / negative.sum(),
                "pairs below the margin are rewarded for moving on: only what *exceeds* the margin costs, max(0, ·)",
            ),
            (
                matching + (over * negative).sum(),
                "the second term is a sum: take the mean over the pairs that do not match",
            ),
            (
                matching + (over * negative).mean(),
                "you divided by all pairs: divide by the number of those that do not match",
            ),
            (
                (1 - cosines.diagonal()).sum() + (over * negative).sum() / negative.sum(),
                "the first term is a sum: take the mean over the studies",
            ),
            (
                (over * negative).sum() / negative.sum(),
                "the matching pairs are missing: the first term is the mean of 1 − cosine",
            ),
            (
                cosines.diagonal().mean() + (over * negative).sum() / negative.sum(),
                "matching pairs are pushed apart: their cost is 1 − cosine, not the cosine",
            ),
        ]
        draws.append((tensor(function, (), cosines, same, margin), right, mistakes))
    compare_draws(draws, "the loss is not right")


def recall_at(function: Callable[[Tensor, int], float], *, other: int = 0) -> None:
    """Exercise 7.3: cosines (n, n), a row a query, its partner on the diagonal, and k -> the share of queries that find
    their partner."""
    draws: list[Draw] = []
    for seed, n, k in ((7, 40, 5), (6, 40, 1), (8, 60, 10)):
        rng = np.random.default_rng(seed + 1000 * other)
        queries = rng.normal(size=(n, 6))
        candidates = queries + rng.normal(0, 1.2, (n, 6))
        queries, candidates = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, candidates))
        cosines = torch.from_numpy(queries @ candidates.T)
        recall = retrieval(queries, candidates, (k - 1, k, k + 1))
        nearer = (cosines < cosines.diagonal()[:, None]).sum(1)
        mistakes = [
            (
                recall.report_to_image[k],
                "the columns are the queries here: rank along each row, so that a row's query looks through all "
                "candidates",
            ),
            (
                recall.image_to_report[k] * n,
                "this is the number of queries that find their partner: divide by their number",
            ),
            (recall.image_to_report[k + 1], "one too many: k places, the first counts as one"),
            (recall.image_to_report[k - 1], "one too few: with k − 1 candidates nearer, the partner is still number k"),
            (
                (nearer < k).double().mean(),
                "these are the k candidates furthest away: the nearest have the largest cosine",
            ),
            (100 * recall.image_to_report[k], "these are per cent: give the share, from 0 to 1"),
            (
                ((nearer_own := (cosines > cosines.diagonal()[:, None]).sum(1)) == k - 1).double().mean(),
                "the partner need not be number k exactly: up to k counts",
            ),
            ((nearer_own < 1).double().mean(), "k is not used: this is recall at 1"),
            (
                (cosines.argsort(dim=1, descending=True).diagonal() < k).double().mean(),
                "argsort gives who stands at a place, not at which place somebody stands",
            ),
            (k / n, "this is chance: look at the cosines"),
            (
                recall.image_to_report[k] / k,
                "dividing by k gives precision: each query has one partner, so recall is found or not found",
            ),
        ]
        draws.append((tensor(function, (), cosines, k), recall.image_to_report[k], mistakes))
    compare_draws(draws, "recall is not right")


# --- Classes: exercises 7.4 and 7.5 -----------------------------------------------------------------------------------


def focal(function: Callable[[Tensor, Tensor, float], Tensor], *, other: int = 0) -> None:
    """Exercise 7.5: logits (B, C), targets (B,) of classes, γ -> the mean focal loss, one number."""
    draws: list[Draw] = []
    for seed, gamma in ((9, 2.0), (10, 0.0), (11, 0.5)):
        generator = torch.Generator().manual_seed(seed + 1000 * other)
        logits, targets = 2 * torch.randn(8, 4, generator=generator), torch.randint(4, (8,), generator=generator)
        right = library_focal_loss(logits, targets, gamma)
        every = logits.softmax(-1)
        p = every.gather(1, targets[:, None]).squeeze(1)  # (B,)
        columns = logits.softmax(0).gather(1, targets[:, None]).squeeze(1)
        decisions = logits.sigmoid().gather(1, targets[:, None]).squeeze(1)
        best = every.max(1).values
        twice = every.softmax(-1).gather(1, targets[:, None]).squeeze(1)
        mistakes = [
            (
                (1 - F.cross_entropy(logits, targets).neg().exp()) ** gamma * F.cross_entropy(logits, targets),
                "the mean was taken first: each study has its own p_t and its own factor, then the mean",
            ),
            (
                right - p.log().mean(),
                "the cross-entropy is added: that is the paper's whole loss, this is the focal part alone",
            ),
            (
                ((1 - twice).pow(gamma) * twice.log()).neg().mean(),
                "softmax twice: what takes logits (cross_entropy, log_softmax) must be given logits",
            ),
            (
                (1 - p).pow(gamma).mul(F.cross_entropy(every, targets, reduction="none")).mean(),
                "softmax twice: cross_entropy must be given logits",
            ),
            (
                ((1 - every[:, targets]) ** gamma * every[:, targets].log()).neg().mean(),
                "p[:, targets] is a table of all pairs: take each study's own class (gather, or p[arange(B), targets])",
            ),
            (((1 - p**gamma) * p.log()).neg().mean(), "this is 1 − p_t^γ: the factor is (1 − p_t)^γ"),
            (library_focal_loss(logits, targets, 2.0), "γ is an argument: 2 is one example"),
            ((p**gamma * p.log()).neg().mean(), "easy studies count most: the factor is (1 − p_t)^γ, not p_t^γ"),
            (right * 8, "this is the sum over the studies: take the mean"),
            (-right, "the sign is turned round: log p_t is negative, the loss is not"),
            (-p.log().mean(), "this is the cross-entropy: the factor (1 − p_t)^γ is missing"),
            ((gamma * (1 - p) * p.log()).neg().mean(), "γ is an exponent, not a factor"),
            (
                ((1 - columns) ** gamma * columns.log()).neg().mean(),
                "the softmax ran over the studies: it is over the classes (dim=-1)",
            ),
            (
                ((1 - decisions) ** gamma * decisions.log()).neg().mean(),
                "this takes the sigmoid: single labels compete, p_t is the softmax of the true class",
            ),
            (
                ((1 - best) ** gamma * best.log()).neg().mean(),
                "this is the class with the highest probability: p_t is that of the *true* class",
            ),
            (
                ((1 - every) ** gamma * every.log()).neg().mean(),
                "all classes are counted: only the true class of each study has a term",
            ),
            ((1 - p).pow(gamma).mean(), "the factor log p_t is missing"),
        ]
        draws.append((tensor(function, (), logits, targets, gamma), right, mistakes))
    compare_draws(draws, "the focal loss is not right")


def constant_scores(function: Callable[[Sequence[int]], tuple[float, float, float]], *, other: int = 0) -> None:
    """Exercise 7.4: studies in each class -> weighted precision, recall and F1 of always answering the most frequent
    class."""
    draws: list[Draw] = []
    for support in ((60, 30, 10), (5, 80, 12, 3), (7, 9)):
        support = tuple(count + (i + 1) * other for i, count in enumerate(support))
        p, classes = max(support) / sum(support), len(support)
        f1 = 2 * p / (1 + p)
        right = torch.tensor([p * p, p, p * f1])
        unfounded = torch.tensor([p * p + 1 - p, p, p * f1])
        mistakes = [
            (100 * right, "these are per cent: give shares, from 0 to 1"),
            (right[[1, 0, 2]], "recall stands first: the order is precision, recall, F1"),
            (right[[2, 0, 1]], "F1 stands first: the order is precision, recall, F1"),
            (torch.tensor([p * p, 1.0, p * f1]), "recall is not weighted yet: it is 1 for that class alone"),
            (torch.tensor([p * p, p, f1]), "F1 is not weighted yet: it counts by the share of that class"),
            *(
                (torch.tensor([q * q, q, q * 2 * q / (1 + q)]), hint)
                for q, hint in (
                    (support[0] / sum(support), "the most frequent class need not be the first"),
                    (min(support) / sum(support), "this is the least frequent class"),
                )
            ),
            (
                torch.tensor([p, 1.0, f1]),
                "these are the scores of the class itself: the weighted mean counts the other classes, with 0",
            ),
            (
                torch.tensor([p, 1.0, f1]) / classes,
                "this is the macro mean, every class alike: weigh each class by its share of the studies",
            ),
            (
                torch.tensor([p, p, p]),
                "this is accuracy three times: precision and F1 are computed class by class first, then averaged",
            ),
            (unfounded, "a class that is never predicted has precision 0 here, not 1"),
            (
                torch.tensor([p, p, p * f1]),
                "precision is not weighted yet: the class's precision counts by its share, the others' is 0",
            ),
        ]
        answer = called(function, list(support))
        try:
            numbers = torch.tensor([float(x) for x in answer])
        except (TypeError, ValueError):
            raise CheckError(
                f"{name_of(function)} returned {answer!r}, expected three numbers: precision, recall, F1"
            ) from None
        if len(numbers) != 3:
            raise CheckError(
                f"{name_of(function)} returned {len(numbers)} numbers, expected three: precision, recall, F1"
            )
        draws.append((numbers.double(), right, mistakes))
    compare_draws(draws, "the scores are not right")
