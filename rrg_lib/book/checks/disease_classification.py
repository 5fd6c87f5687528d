"""What the exercises of chapter 07 call that classify. Silent when the answer is right; otherwise a `CheckError` that
names the likely mistake."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rrg_lib.book.checks import CheckError, name_of
from rrg_lib.book.checks.comparing import Draw, called, compare, tensor
from rrg_lib.models.disease_classifier import focal_loss as library_focal_loss


def focal(function: Callable[[Tensor, Tensor, float], Tensor], *, other: int = 0) -> None:
    """Exercise 7.5: logits (B, C), targets (B,) of classes, γ -> the mean focal loss, one number."""
    draws: list[Draw] = []
    for seed, gamma in ((9, 2.0), (10, 0.0), (11, 0.5)):
        own = torch.Generator().manual_seed(seed + 1000 * other)
        logits, targets = 2 * torch.randn(8, 4, generator=own), torch.randint(4, (8,), generator=own)
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
    compare(draws, "the focal loss is not right")


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
    compare(draws, "the scores are not right")
