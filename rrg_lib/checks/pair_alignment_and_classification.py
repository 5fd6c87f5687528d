"""What the exercises of chapter 07 call. Silent when the answer is right; otherwise a `CheckError` that names the likely mistake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rrg_lib.checks import CheckError, answered, name_of
from rrg_lib.evaluation.retrieval import retrieval
from rrg_lib.models.classifier import focal_loss as library_focal_loss
from rrg_lib.models.memory.pair import PairConfig, pair_loss

TOLERANCE = 1e-5


def _called(function: Callable, *args: Any) -> Any:
    """The answer of the function, given copies, so that it cannot change what it is compared with."""
    return answered(name_of(function), function, *(arg.clone() if isinstance(arg, Tensor) else arg for arg in args))


def _tensor(function: Callable, shape: tuple[int, ...], *args: Any) -> Tensor:
    answer = _called(function, *args)
    try:
        answer = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        raise CheckError(f"{name_of(function)} returned a {type(answer).__name__}, expected numbers of shape {shape}") from None
    if tuple(answer.shape) != shape:
        expected = f"shape {shape}" if shape else "one number"
        raise CheckError(f"{name_of(function)} returned shape {tuple(answer.shape)}, expected {expected}")
    if not torch.isfinite(answer.double()).all():
        raise CheckError(f"{name_of(function)} returned numbers that are not finite: is there a division by 0, or the logarithm of 0?")
    return answer.detach().double()


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=TOLERANCE, rtol=1e-4)


def _compare(answer: Tensor, right: Any, mistakes: Sequence[tuple[Any, str]], otherwise: str) -> None:
    """Silent when the answer is right; else the hint of the first mistake that gives the same numbers."""
    right = torch.as_tensor(right).detach().double()
    if _same(answer, right):
        return
    for wrong, hint in mistakes:
        if _same(answer, torch.as_tensor(wrong).detach().double()):
            raise CheckError(hint)
    raise CheckError(f"{otherwise} (largest difference {(answer - right).abs().max():.3g})")


def attention_pool(function: Callable[..., Tensor], *, other: int = 0) -> None:
    """Exercise 7.1: logits (B, L, V + 1), mask (B, L), W_p (V + 1, d), b (d,), w (d,) -> unit vectors (B, d)."""
    for seed, lengths in ((1, (6, 4, 1)), (2, (5, 5, 3))):
        own = torch.Generator().manual_seed(seed + 1000 * other)
        logits, W_p, b, w = (torch.randn(*shape, generator=own) for shape in ((3, max(lengths), 7), (7, 5), (5,), (5,)))
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        alignment = PairConfig().build(logits=7, d_model=5, d_vf=5)
        with torch.no_grad():
            for parameter, value in ((alignment.projection.weight, W_p.T), (alignment.projection.bias, b), (alignment.pooling.weight, w[None])):
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
            (F.normalize(pooled(weights), dim=0), "you normalised over the reports of the batch: the length is over the last axis, d"),
            (F.normalize(pooled(scores.softmax(1)), dim=-1), "the padding speaks too: give places where `mask` is False the score -inf"),
            (
                F.normalize(pooled(zeroed.softmax(1)), dim=-1),
                "a score of 0 is not silence, exp(0) is 1: the padding must get -inf before the softmax",
            ),
            (
                F.normalize(pooled(torch.nan_to_num(hidden.softmax(0))), dim=-1),
                "the weights of a report do not sum to 1: the softmax ran over the reports, not over the places (dim=1)",
            ),
            (F.normalize(pooled(mask / mask.sum(1, keepdim=True)), dim=-1), "every place counts alike: weigh them by the softmax of w · T'"),
            (
                F.normalize(pooled(torch.where(mask, scores, 0.0)), dim=-1),
                "the scores are used as weights: they can be negative; put them through a softmax",
            ),
            (F.normalize(pooled((hidden - (b @ w)).softmax(1), T - b), dim=-1), "the bias b is missing: T' = logits W_p + b"),
        ]
        answer = _tensor(function, tuple(right.shape), logits, mask, W_p, b, w)
        _compare(answer, right, mistakes, "the report vectors differ from the library's")


def loss_with_negatives(function: Callable[[Tensor, Tensor, float], Tensor], *, other: int = 0) -> None:
    """Exercise 7.2: cosines (B, B), same (B, B) True where two studies have the same report, a margin -> the loss, one number."""
    for seed, margin in ((3, 0.0), (4, 0.25), (5, -0.5)):
        own = torch.Generator().manual_seed(seed + 1000 * other)
        cosines = 2 * torch.rand(5, 5, generator=own) - 1
        same = torch.eye(5, dtype=torch.bool)
        same[0, 3] = same[3, 0] = True
        right = pair_loss(cosines, same, PairConfig(margin=margin))
        matching = (1 - cosines.diagonal()).mean()
        negative, unlike = (~same).float(), 1 - torch.eye(5)
        over = (cosines - margin).relu()
        mistakes = [
            (matching, "this is the printed form: the pairs that do not match are missing"),
            (
                matching + (over * unlike).sum() / unlike.sum(),
                "two studies with the same report are pushed apart: leave out the pairs where `same` is True",
            ),
            (matching + over.mean(), "the diagonal is pushed apart too: a study is no negative of itself (`same` is True there)"),
            (
                matching + ((cosines - margin) * negative).sum() / negative.sum(),
                "pairs below the margin are rewarded for moving on: only what *exceeds* the margin costs, max(0, ·)",
            ),
            (matching + (over * negative).sum(), "the second term is a sum: take the mean over the pairs that do not match"),
            (matching + (over * negative).mean(), "you divided by all pairs: divide by the number of those that do not match"),
            (
                (1 - cosines.diagonal()).sum() + (over * negative).sum() / negative.sum(),
                "the first term is a sum: take the mean over the studies",
            ),
            ((over * negative).sum() / negative.sum(), "the matching pairs are missing: the first term is the mean of 1 − cosine"),
            (
                cosines.diagonal().mean() + (over * negative).sum() / negative.sum(),
                "matching pairs are pushed apart: their cost is 1 − cosine, not the cosine",
            ),
        ]
        answer = _tensor(function, (), cosines, same, margin)
        _compare(answer, right, mistakes, f"the loss with margin {margin} is not right")


def recall_at(function: Callable[[Tensor, int], float], *, other: int = 0) -> None:
    """Exercise 7.3: cosines (n, n), a row a query, its partner on the diagonal, and k -> the share of queries that find their partner."""
    for seed, n, k in ((7, 40, 5), (6, 40, 1), (8, 60, 10)):
        rng = np.random.default_rng(seed + 1000 * other)
        queries = rng.normal(size=(n, 6))
        candidates = queries + rng.normal(0, 1.2, (n, 6))
        queries, candidates = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, candidates))
        cosines = torch.from_numpy(queries @ candidates.T)
        found = retrieval(queries, candidates, (k - 1, k, k + 1))
        nearer = (cosines < cosines.diagonal()[:, None]).sum(1)
        mistakes = [
            (found.report_to_image[k], "the columns are the queries here: rank along each row, so that a row's query looks through all candidates"),
            (found.image_to_report[k] * n, "this is the number of queries that find their partner: divide by their number"),
            (found.image_to_report[k + 1], "one too many: k places, the first counts as one"),
            (found.image_to_report[k - 1], "one too few: with k − 1 candidates nearer, the partner is still number k"),
            ((nearer < k).double().mean(), "these are the k candidates furthest away: the nearest have the largest cosine"),
            (k / n, "this is chance: look at the cosines"),
            (found.image_to_report[k] / k, "dividing by k gives precision: each query has one partner, so recall is found or not found"),
        ]
        answer = _tensor(function, (), cosines, k)
        _compare(answer, found.image_to_report[k], mistakes, f"recall at {k} is not right")


def focal(function: Callable[[Tensor, Tensor, float], Tensor], *, other: int = 0) -> None:
    """Exercise 7.5: logits (B, C), targets (B,) of classes, γ -> the mean focal loss, one number."""
    for seed, gamma in ((9, 2.0), (10, 0.0), (11, 0.5)):
        own = torch.Generator().manual_seed(seed + 1000 * other)
        logits, targets = 2 * torch.randn(8, 4, generator=own), torch.randint(4, (8,), generator=own)
        right = library_focal_loss(logits, targets, gamma)
        every = logits.softmax(-1)
        p = every.gather(1, targets[:, None]).squeeze(1)  # (B,)
        columns = logits.softmax(0).gather(1, targets[:, None]).squeeze(1)
        decisions = logits.sigmoid().gather(1, targets[:, None]).squeeze(1)
        best = every.max(1).values
        mistakes = [
            ((p**gamma * p.log()).neg().mean(), "easy studies count most: the factor is (1 − p_t)^γ, not p_t^γ"),
            (right * 8, "this is the sum over the studies: take the mean"),
            (-right, "the sign is turned round: log p_t is negative, the loss is not"),
            (-p.log().mean(), "this is the cross-entropy: the factor (1 − p_t)^γ is missing"),
            ((gamma * (1 - p) * p.log()).neg().mean(), "γ is an exponent, not a factor"),
            (((1 - columns) ** gamma * columns.log()).neg().mean(), "the softmax ran over the studies: it is over the classes (dim=-1)"),
            (
                ((1 - decisions) ** gamma * decisions.log()).neg().mean(),
                "this takes the sigmoid: single labels compete, p_t is the softmax of the true class",
            ),
            (((1 - best) ** gamma * best.log()).neg().mean(), "this is the class with the highest probability: p_t is that of the *true* class"),
            (((1 - every) ** gamma * every.log()).neg().mean(), "all classes are counted: only the true class of each study has a term"),
            ((1 - p).pow(gamma).mean(), "the factor log p_t is missing"),
        ]
        if gamma == 0:  # at γ = 0 several of them are the right answer
            mistakes = mistakes[1:3]
        answer = _tensor(function, (), logits, targets, gamma)
        _compare(answer, right, mistakes, f"the focal loss at γ = {gamma} is not right")


def constant_scores(function: Callable[[Sequence[int]], tuple[float, float, float]], *, other: int = 0) -> None:
    """Exercise 7.4: studies in each class -> weighted precision, recall and F1 of always answering the most frequent class."""
    for support in ((60, 30, 10), (5, 80, 12, 3), (7, 9)):
        support = tuple(count + (i + 1) * other for i, count in enumerate(support))
        p, classes = max(support) / sum(support), len(support)
        f1 = 2 * p / (1 + p)
        right = torch.tensor([p * p, p, p * f1])
        unfounded = torch.tensor([p * p + 1 - p, p, p * f1])
        mistakes = [
            (torch.tensor([p, 1.0, f1]), "these are the scores of the class itself: the weighted mean counts the other classes, with 0"),
            (torch.tensor([p, 1.0, f1]) / classes, "this is the macro mean, every class alike: weigh each class by its share of the studies"),
            (torch.tensor([p, p, p]), "this is accuracy three times: precision and F1 are computed class by class first, then averaged"),
            (unfounded, "a class that is never predicted has precision 0 here, not 1"),
            (torch.tensor([p, p, p * f1]), "precision is not weighted yet: the class's precision counts by its share, the others' is 0"),
        ]
        answer = _called(function, list(support))
        try:
            numbers = torch.tensor([float(x) for x in answer])
        except (TypeError, ValueError):
            raise CheckError(f"{name_of(function)} returned {answer!r}, expected three numbers: precision, recall, F1") from None
        if len(numbers) != 3:
            raise CheckError(f"{name_of(function)} returned {len(numbers)} numbers, expected three: precision, recall, F1")
        _compare(numbers.double(), right, mistakes, f"with {support} studies in the classes the scores are not right")
