"""Chapter 08's checks let right answers through and tell wrong ones what is wrong."""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np
import pytest
import torch

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import gpu_training as checks
from rrg_lib.models.report_loss import report_loss, summed_report_loss


def solved_bytes(module, moments):
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    learnt = sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
    return weights, learnt, moments * learnt


def by_storage(module, moments):
    learnt = sum(p.nbytes for p in module.parameters() if p.requires_grad)
    return sum(p.untyped_storage().nbytes() for p in module.parameters()), learnt, learnt * moments


def numbers(module, moments):
    weights, learnt = (
        sum(p.numel() for p in module.parameters() if p.requires_grad or every) for every in (True, False)
    )
    return weights, learnt, moments * learnt


@pytest.mark.exercise("8.1", "right")
@pytest.mark.parametrize("answer", [solved_bytes, by_storage])
def test_every_right_number_of_bytes_passes(answer):
    checks.training_bytes(answer)


@pytest.mark.exercise("8.1", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (numbers, "numbers, not bytes"),
        (lambda m, k: tuple(4 * n for n in numbers(m, k)), "not every number takes four bytes"),
        (lambda m, k: (solved_bytes(m, k)[0],) * 2 + (k * solved_bytes(m, k)[0],), "a frozen weight has no gradient"),
        (lambda m, k: (solved_bytes(m, k)[1],) * 2 + (solved_bytes(m, k)[2],), "frozen weights lie in memory too"),
        (lambda m, k: solved_bytes(m, 1), "you counted one"),
        (lambda m, k: solved_bytes(m, 2), "amsgrad keeps a third"),
        (
            lambda m, k: (4 * numbers(m, k)[0], *solved_bytes(m, k)[1:]),
            "the weights are off: not every number takes four bytes",
        ),
        (
            lambda m, k: (solved_bytes(m, k)[0],) * 2 + solved_bytes(m, k)[2:],
            "the gradients are off: a frozen weight has none",
        ),
        (
            lambda m, k: (*solved_bytes(m, k)[:2], 4 * numbers(m, k)[2]),
            "the moments are off: not every number takes four bytes",
        ),
        (lambda m, k: solved_bytes(m, k + 1), "one moment too many"),
        (lambda m, k: (*solved_bytes(m, k)[1::-1], solved_bytes(m, k)[2]), "weights and gradients are exchanged"),
        (lambda m, k: np.cumsum(solved_bytes(m, k)), "you added up as you went"),
        (lambda m, k: tuple(8 * n for n in solved_bytes(m, k)), "these are bits"),
        (lambda m, k: tuple(n / 1024 for n in solved_bytes(m, k)), "these are KiB"),
        (
            lambda m, k: (
                [solved_bytes(m, k)[0]] + [f * (solved_bytes(m, k)[0] - solved_bytes(m, k)[1]) for f in (1, k)]
            ),
            "you took the frozen weights",
        ),
        (lambda m, k: [f * len(list(m.parameters())) for f in (1, 1, k)], "you counted tensors, frozen ones too"),
        (
            lambda m, k: (
                len(list(m.parameters())),
                *(f * sum(p.requires_grad for p in m.parameters()) for f in (1, k)),
            ),
            "you counted tensors: each",
        ),
        (lambda m, k: (352, 352, 1056), "are not right"),
        (lambda m, k: sum(solved_bytes(m, k)), "expected 3 numbers"),
        (lambda m, k: None, "it returns nothing"),
    ],
)
def test_wrong_bytes_are_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.training_bytes(answer)


def largest(gradients):
    return max(g.abs().max().item() for g in gradients)


def solved_scale(gradients):
    return 2.0 ** math.floor(math.log2(torch.finfo(torch.float16).max / largest(gradients)))


def by_trying(gradients):
    scale = 2.0**80
    while any((scale * g).half().isinf().any() for g in gradients):
        scale /= 2
    return scale


@pytest.mark.exercise("8.3", "right")
@pytest.mark.parametrize("answer", [solved_scale, by_trying])
def test_every_right_scale_passes(answer):
    checks.loss_scale(answer)


@pytest.mark.exercise("8.3", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda g: torch.finfo(torch.float16).max / largest(g), "the power of two below it"),
        (lambda g: 2 * solved_scale(g), "becomes infinite"),
        (lambda g: 2.0 ** round(math.log2(65504 / largest(g))), "rounded the exponent to the nearest"),
        (lambda g: solved_scale(g) / 2, "one power of two is left"),
        (lambda g: math.log2(solved_scale(g)), "this is the exponent"),
        (
            lambda g: 2.0 ** math.floor(math.log2(65504 / max(x.max().item() for x in g))),
            "the largest gradient is negative",
        ),
        (lambda g: solved_scale(g[:1]), "not only the first"),
        (lambda g: 65536, "where PyTorch's GradScaler begins"),
        (lambda g: solved_scale(g[-1:]), "not only the last"),
        (lambda g: 2.0 ** math.floor(math.log2(2**16 / largest(g))), "just below 2 "),
        (lambda g: 2.0 ** math.floor(math.log2(65504 / max(x.norm().item() for x in g))), "a tensor's norm"),
        (lambda g: 2.0 ** math.floor(math.log2(65504 / sum(x.abs().sum().item() for x in g))), "you added"),
        (lambda g: 2.0 ** math.floor(math.log2(65504 / np.mean([largest([x]) for x in g]))), "you took the mean"),
        (lambda g: max(solved_scale([x]) for x in g), "the smallest maximum"),
        (lambda g: 2.0 ** math.floor(math.log2(largest(g) / 65504)), "upside down"),
        (lambda g: 2.0 ** math.floor(math.log(65504 / largest(g))), "natural logarithm"),
        (lambda g: max(1.0, solved_scale(g)), "the factor is below 1$"),
        (lambda g: int(solved_scale(g)), "a whole number"),
        (lambda g: 2.0 ** math.floor(math.log2(torch.finfo(torch.float32).max / largest(g))), "bfloat16 and float32"),
        (lambda g: 1024, "are not right"),
        (lambda g: g, "expected 1 number"),
        (lambda g: math.inf, "not finite"),
    ],
)
def test_a_wrong_scale_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.loss_scale(answer)


def accumulated(weigh, *, zero="before", divide=True):
    def answer(generator, parts):
        words = sum(part.mask[:, 1:].sum() for part in parts)
        if zero == "before":
            generator.zero_grad()
        for part in parts:
            if zero == "inside":
                generator.zero_grad()
            weigh(*summed_report_loss(generator(part).logits, part.tokens, part.mask), words, len(parts)).backward()
        return [p.grad for p in generator.parameters()]

    return answer


def divided_by(count):
    def answer(generator, parts):
        generator.zero_grad()
        for part in parts:
            summed_report_loss(generator(part).logits, part.tokens, part.mask)[0].div(count(parts)).backward()
        return [p.grad for p in generator.parameters()]

    return answer


def by_words_so_far(generator, parts):
    generator.zero_grad()
    so_far = 0
    for part in parts:
        total, words = summed_report_loss(generator(part).logits, part.tokens, part.mask)
        so_far = so_far + words
        (total / so_far).backward()
    return [p.grad for p in generator.parameters()]


def by_one_backward(generator, parts):
    generator.zero_grad()
    words = sum(part.mask[:, 1:].sum() for part in parts)
    sum(summed_report_loss(generator(part).logits, part.tokens, part.mask)[0] for part in parts).div(words).backward()
    return [p.grad for p in generator.parameters()]


def by_autograd(generator, parts):
    words, found = sum(part.mask[:, 1:].sum() for part in parts), None
    for part in parts:
        total, _ = summed_report_loss(generator(part).logits, part.tokens, part.mask)
        own = torch.autograd.grad(total / words, list(generator.parameters()))
        found = own if found is None else [a + b for a, b in zip(found, own, strict=True)]
    return list(found)


def by_division_at_the_end(generator, parts, zeroed=True):
    if zeroed:
        generator.zero_grad()
    for part in parts:
        summed_report_loss(generator(part).logits, part.tokens, part.mask)[0].backward()
    words = sum(part.mask[:, 1:].sum() for part in parts)
    return [p.grad / words for p in generator.parameters()]


@pytest.mark.exercise("8.4", "right")
@pytest.mark.parametrize(
    "answer", [accumulated(lambda total, own, words, n: total / words), by_division_at_the_end, by_autograd]
)
def test_every_right_accumulation_passes(answer):
    checks.accumulated_gradients(answer)


def test_the_right_accumulation_is_the_gradient_of_one_batch(monkeypatch):
    """What the check compares with, from one padded batch and `report_loss`."""
    seen = []

    def answer(generator, parts):
        longest = max(part.tokens.shape[1] for part in parts)
        wide = [
            torch.nn.functional.pad(x, (0, longest - x.shape[1])) for part in parts for x in (part.tokens, part.mask)
        ]
        tokens, mask = torch.cat(wide[::2]), torch.cat(wide[1::2])
        whole = type(parts[0])(torch.cat([part.inputs for part in parts]), tokens, mask)
        generator.zero_grad()
        report_loss(generator(whole).logits, tokens, mask).backward()
        seen.append(len(tokens))
        return [p.grad for p in generator.parameters()]

    with pytest.raises(CheckError, match="the gradients are right, but backward"):  # right, and not one part at a time
        checks.accumulated_gradients(answer)
    assert seen == [6]


@pytest.mark.exercise("8.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (accumulated(lambda total, own, words, n: total / own / n), "mean of the parts' means"),
        (accumulated(lambda total, own, words, n: total / own), "a learning rate times the number of parts"),
        (accumulated(lambda total, own, words, n: total), "these are sums"),
        (accumulated(lambda total, own, words, n: total / words, zero="inside"), "only the last part is left"),
        (accumulated(lambda total, own, words, n: total / words, zero="never"), "gradients of before are still in it"),
        (
            accumulated(lambda total, own, words, n: total / own / n, zero="never"),
            "still in it: begin with zero_grad.*mean of the parts' means",
        ),
        (
            accumulated(lambda total, own, words, n: total / own, zero="never"),
            "still in it: begin with zero_grad.*times the number of parts",
        ),
        (
            accumulated(lambda total, own, words, n: total, zero="never"),
            "still in it: begin with zero_grad.*these are sums",
        ),
        (
            lambda generator, parts: by_division_at_the_end(generator, parts, zeroed=False),
            "still in it: begin with zero_grad.*before you divide",
        ),
        (by_one_backward, "backward.. came once for several parts"),
        (
            lambda generator, parts: [torch.zeros_like(p) for p in generator.parameters()],
            "differ from those of the whole batch",
        ),
        (divided_by(lambda parts: sum(part.mask.sum() for part in parts)), "mask begins with the mark"),
        (divided_by(lambda parts: sum(part.mask[:, 1:].numel() for part in parts)), "padding was counted"),
        (divided_by(lambda parts: sum(len(part.tokens) for part in parts)), "number of studies"),
        (
            divided_by(lambda parts: len(parts) * sum(part.mask[:, 1:].sum() for part in parts)),
            "number of parts besides",
        ),
        (by_words_so_far, "words of the parts so far"),
        (lambda generator, parts: generator, "expected a list of gradients"),
        (lambda generator, parts: [torch.zeros(1)], "one gradient a parameter, of its shape"),
    ],
)
def test_a_wrong_accumulation_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.accumulated_gradients(answer)


@pytest.mark.exercise("8.2", "right")
@pytest.mark.parametrize(
    "answer",
    [
        lambda flops, launches, peak, efficiency, launch: max(flops / (efficiency * peak), launches * launch),
        lambda f, n, p, e, s: f / e / p if f / e / p > n * s else n * s,
    ],
)
def test_every_right_estimate_passes(answer):
    checks.step_seconds(answer)


@pytest.mark.exercise("8.2", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda f, n, p, e, s: f / (e * p) + n * s, "not their sum"),
        (lambda f, n, p, e, s: min(f / (e * p), n * s), "the larger counts"),
        (lambda f, n, p, e, s: max(f * e / p, n * s), "it divides"),
        (lambda f, n, p, e, s: max(f / p, n * s), "the efficiency is missing"),
        (lambda f, n, p, e, s: f / (e * p), "the launches are missing"),
        (lambda f, n, p, e, s: 1e3 * max(f / (e * p), n * s), "these are milliseconds"),
        (lambda f, n, p, e, s: max(2 * f / (e * p), n * s), "don't double them"),
        (lambda f, n, p, e, s: max(f / p, n * s) / e, "a launch takes what it takes"),
        (lambda f, n, p, e, s: f / p + n * s, "take the longer"),
        (lambda f, n, p, e, s: max(f / e * p, n * s), r"multiplies by c"),
        (lambda f, n, p, e, s: max(e * p / f, n * s), "upside down"),
        (lambda f, n, p, e, s: max(f / (e * p), n / s), "multiply by their number"),
        (lambda f, n, p, e, s: n * s, "the arithmetic is missing"),
        (lambda f, n, p, e, s: max(f / (e * p), n * s) / 3600, "these are hours"),
        (lambda f, n, p, e, s: 7e-3, "are not right"),
    ],
)
def test_a_wrong_estimate_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=hint):
        checks.step_seconds(answer)


def slope_of(sides, took, x=np.log, y=np.log):
    return np.polyfit(x(sides), y(took), 1)[0]


def reason_of(slope, powers=(0, 2, 3), names=("launches", "traffic", "arithmetic")):
    return names[int(np.argmin([abs(slope - power) for power in powers]))]


def measured_wait(sides, took, slope=slope_of, reason=reason_of):
    """The right answer unless told otherwise."""
    return slope(sides, took), reason(slope_of(sides, took))


def by_covariance(sides, took):
    x, y = torch.as_tensor(sides).log(), torch.as_tensor(took).log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return [slope, "launches" if slope < 1 else "traffic" if slope < 2.5 else "arithmetic"]


def by_doublings(sides, took):
    (design := np.ones((len(sides), 2)))[:, 0] = np.log2(sides)
    slope = np.linalg.lstsq(design, np.log2(took), rcond=None)[0][0]
    return slope, {0: "launches", 1: "traffic", 2: "traffic", 3: "arithmetic"}[round(slope)]


@pytest.mark.exercise("8.5", "right")
@pytest.mark.parametrize("answer", [measured_wait, by_covariance, by_doublings])
def test_every_right_measurement_of_a_wait_passes(answer):
    checks.waits_for(answer)


def plain(x):
    return x


@pytest.mark.exercise("8.5", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(measured_wait, slope=partial(slope_of, x=plain, y=plain)), "a line through the plain numbers"),
        (partial(measured_wait, slope=partial(slope_of, x=plain)), "only the seconds are logarithms"),
        (partial(measured_wait, slope=partial(slope_of, y=plain)), "only the sides are logarithms"),
        (partial(measured_wait, slope=lambda n, s: slope_of(s, n)), "the axes are exchanged"),
        (partial(measured_wait, slope=lambda n, s: slope_of(n**2, s)), "growth with the number of elements"),
        (partial(measured_wait, slope=lambda n, s: s[-1] / s[0]), "how many times longer the last one takes"),
        (partial(measured_wait, slope=lambda n, s: np.polyfit(np.log(n), np.log(s), 1)[1]), "where the line begins"),
        (partial(measured_wait, slope=lambda n, s: round(slope_of(n, s))), "the slope is rounded"),
        (partial(measured_wait, reason=lambda slope: "traffic"), "the same reason for every operation"),
        (partial(measured_wait, reason=partial(reason_of, powers=(0, 3, 2))), "two reasons are exchanged"),
        (partial(measured_wait, reason=partial(reason_of, powers=(2, 0, 3))), "not waiting for its numbers"),
        (partial(measured_wait, reason=partial(reason_of, powers=(1, 2, 3))), "they do not grow at all"),
        (partial(measured_wait, reason=lambda slope: reason_of(math.floor(slope))), "take the *nearest* power"),
        (partial(measured_wait, slope=partial(slope_of, x=np.log2)), "different bases"),
        (partial(measured_wait, slope=lambda n, s: slope_of(n, n / s)), "the side over the seconds"),
        (partial(measured_wait, reason=partial(reason_of, powers=(0, 1, 2))), "your powers are too small"),
        (partial(measured_wait, reason=partial(reason_of, powers=(0, 1, 1.5))), "as rows or elements"),
        (partial(measured_wait, reason=partial(reason_of, powers=(0, 1, 3))), "you took n for the numbers of a matrix"),
        (
            lambda n, s: (slope_of(n, s), reason_of(math.log10(s[-1]), (-4.5, -2.5, 0))),
            "the seconds themselves do not tell",
        ),
        (
            partial(
                measured_wait, reason=lambda slope: ("launches", "traffic", "traffic", "arithmetic")[int(abs(slope))]
            ),
            "which is nearest?",
        ),
        (lambda n, s: (1.3, "launches"), "the slopes are not right"),
        (lambda n, s: measured_wait(n, s)[0], "return two things"),
        (lambda n, s: "traffic", "return two things"),
        (lambda n, s: {"slope": 2.0, "reason": "traffic"}, "return two things"),
        (lambda n, s: measured_wait(n, s)[::-1], "in the other order"),
        (lambda n, s: (slope_of(n, s), "memory"), "'memory' is none of the three reasons"),
        (lambda n, s: (slope_of(n, s), [0, 2, 3]), "none of the three reasons"),
        (lambda n, s: (np.polyfit(np.log(n), np.log(s), 1), "traffic"), "one number is asked for"),
        (lambda n, s: (math.nan, "traffic"), "its slope is not finite"),
        (lambda n, s: None, "it returns nothing"),
    ],
)
def test_a_wrong_measurement_of_a_wait_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.waits_for(answer)


@pytest.mark.parametrize("other", range(40))
def test_each_reason_is_asked_for_twice_or_more_and_the_seconds_do_not_tell_which(other):
    """However the timings are drawn, each slope is clearly nearer to one power than to another, and constants and
    guesses by duration fail."""
    slopes = [slope_of(*case) for case in checks._timings(other)]
    nearest = [sorted((abs(slope - power), power) for power in (0, 2, 3)) for slope in slopes]
    assert sorted(first[1] for first, *_ in nearest) == [0, 0, 2, 2, 2, 3, 3]
    assert min(second[0] - first[0] for first, second, _ in nearest) > 0.2
    checks.waits_for(measured_wait, other=other)
    checks.waits_for(by_covariance, other=other)
    for reason in ("launches", "traffic", "arithmetic"):
        with pytest.raises(CheckError):
            checks.waits_for(lambda n, s, reason=reason: (slope_of(n, s), reason), other=other)
