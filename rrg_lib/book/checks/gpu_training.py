"""What the exercises of chapter 08 call. Silent when the answer is right; otherwise a `CheckError` that names the
likely mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rrg_lib.book.checks import CheckError, answered, name_of
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.interface import Batch
from rrg_lib.models.report_loss import summed_report_loss
from rrg_lib.performance.budget import GPUS, Cost

#: The largest number of float16.
FP16_MAX = torch.finfo(torch.float16).max


def _numbers(function: Callable, count: int, *args: object) -> list[float]:
    """The numbers that the function returns. Raises `CheckError` when they are not so many, or not finite."""
    answer = answered(name_of(function), function, *args)
    try:
        numbers = [float(x) for x in (answer if count > 1 else [answer])]
    except (TypeError, ValueError):
        raise CheckError(
            f"{name_of(function)} returned {answer!r}, expected {count} number{'s' * (count > 1)}"
        ) from None
    if len(numbers) != count:
        raise CheckError(f"{name_of(function)} returned {len(numbers)} numbers, expected {count}")
    if not all(map(math.isfinite, numbers)):
        raise CheckError(f"{name_of(function)} returned a number that is not finite: {numbers}")
    return numbers


def _compare(
    answers: Sequence[float], right: Sequence[float], mistakes: Mapping[str, Sequence[float]], otherwise: str
) -> None:
    """Silent when all answers are right; else the hint of the first mistake that gives all the same numbers."""
    for hint, numbers in {"": right, **mistakes}.items():
        if all(math.isclose(x, y, rel_tol=1e-6) for x, y in zip(answers, numbers, strict=True)):
            if hint:
                raise CheckError(hint)
            return
    place = next(i for i, (x, y) in enumerate(zip(answers, right, strict=True)) if not math.isclose(x, y, rel_tol=1e-6))
    raise CheckError(f"{otherwise}: the first that is off is {answers[place]:,.6g}")


def training_bytes(function: Callable[[nn.Module, int], Sequence[float]], *, other: int = 0) -> None:
    """Exercise 8.1: a module and the number of moments -> bytes of its weights, its gradients, its optimiser's
    moments."""
    answers, right, mistakes = [], [], {}
    alone: list[dict[str, list[int]]] = [
        {},
        {},
        {},
    ]  # of weights, gradients and moments by themselves: hint -> the wrong number of each module
    for sizes, frozen, moments in (((7, 5), 0, 3), ((4, 9), 1, 2), ((3, 2, 6), 2, 3)):
        sizes = tuple(size + 3 * (other % 97) for size in sizes)
        layers = nn.Sequential(*(nn.Linear(a, b) for a, b in zip(sizes, (*sizes[1:], 11), strict=True)))
        if frozen:
            layers[frozen].requires_grad_(False)
            layers[0].bfloat16()  # two bytes each
        of = list(layers.parameters())
        every, learnt = sum(p.numel() for p in of), sum(p.numel() for p in of if p.requires_grad)
        whole, learnt_bytes = (
            sum(p.numel() * p.element_size() for p in of if p.requires_grad or all_of) for all_of in (True, False)
        )
        answers += _numbers(function, 3, layers, moments)
        right += [whole, learnt_bytes, moments * learnt_bytes]
        for wrong, hint in (
            ((every, learnt, moments * learnt), "these are numbers, not bytes: each has element_size() of them"),
            (
                (4 * every, 4 * learnt, 4 * moments * learnt),
                "not every number takes four bytes: ask each parameter for its element_size()",
            ),
            ((whole, whole, moments * whole), "a frozen weight has no gradient and no moments: look at requires_grad"),
            ((whole, learnt_bytes, moments * whole), "a frozen weight has no moments either"),
            (
                (learnt_bytes, learnt_bytes, moments * learnt_bytes),
                "frozen weights lie in memory too: only gradients and moments leave them out",
            ),
            (
                (whole, learnt_bytes, learnt_bytes),
                "Adam keeps `moments` numbers for each learnt weight, you counted one",
            ),
            (
                (whole, learnt_bytes, 2 * learnt_bytes),
                "you counted two moments: amsgrad keeps a third, the largest second moment so far",
            ),
            (
                (whole, learnt_bytes, (moments + 1) * learnt_bytes),
                "you counted one moment too many: the weights themselves are none",
            ),
            ((learnt_bytes, whole, moments * learnt_bytes), "weights and gradients are exchanged"),
            (
                (whole, whole + learnt_bytes, whole + (1 + moments) * learnt_bytes),
                "you added up as you went: the three are asked for one by one",
            ),
            ((8 * whole, 8 * learnt_bytes, 8 * moments * learnt_bytes), "these are bits: a byte has eight"),
            (
                (whole / 1024, learnt_bytes / 1024, moments * learnt_bytes / 1024),
                "these are KiB: bytes are asked for",
            ),
            (
                (whole, whole - learnt_bytes, moments * (whole - learnt_bytes)),
                "you took the frozen weights: those that learn (requires_grad) have gradients and moments",
            ),
            (
                (len(of), sum(p.requires_grad for p in of), moments * sum(p.requires_grad for p in of)),
                "you counted tensors: each has numel() numbers",
            ),
            ((len(of), len(of), moments * len(of)), "you counted tensors, frozen ones too: each has numel() numbers"),
        ):
            mistakes.setdefault(hint, []).extend(wrong)
        for part, name, numbers, elsewhere in (
            (0, "weights", (every, 4 * every), (learnt_bytes, "frozen weights lie in memory too")),
            (1, "gradients", (learnt, 4 * learnt), (whole, "a frozen weight has none: look at requires_grad")),
            (
                2,
                "moments",
                (moments * learnt, 4 * moments * learnt),
                (moments * whole, "a frozen weight has none: look at requires_grad"),
            ),
        ):
            for wrong, hint in (
                (numbers[0], "these are numbers, not bytes"),
                (numbers[1], "not every number takes four bytes: ask each parameter for its element_size()"),
                elsewhere,
            ):
                alone[part].setdefault(f"the {name} are off: {hint}", []).append(wrong)
    for part, slips in enumerate(alone):
        if answers[part::3] != right[part::3] and all(answers[k::3] == right[k::3] for k in range(3) if k != part):
            for hint, wrong in slips.items():
                if answers[part::3] == wrong and hint not in mistakes:
                    mistakes[hint] = answers
    _compare(answers, right, mistakes, "the bytes of weights, gradients and moments are not right")


#: Of each list of gradients for exercise 8.3: the largest, by a power of two. One is such a power itself; one does not
#: fit into float16 before it is scaled.
_LARGEST = ((1.0, -20), (1.5, -8), (1.2, 5), (1.5, 16))


def loss_scale(function: Callable[[Sequence[Tensor]], float], *, other: int = 0) -> None:
    """Exercise 8.3: gradients -> the largest power of two that lets none of them overflow in float16."""
    answers, right, mistakes = [], [], {}

    def below(limit: float, size: float) -> float:
        return 2.0 ** math.floor(math.log2(limit / float(size)))

    for place, (top, exponent) in enumerate(_LARGEST):
        generator = torch.Generator().manual_seed(place + 1000 * other)
        size = 2.0**exponent
        gradients = [0.1 * size * (2 * torch.rand(*shape, generator=generator) - 1) for shape in ((3, 4), (5,), (2, 2))]
        gradients[place % 3].view(-1)[-1] = 0.0
        holds_largest = gradients[(place + 2) % 3].view(-1)
        holds_largest[:2], holds_largest[2] = -0.9 * top * size, -top * size  # negative, and not by far the largest
        largest, positive, first, last = (
            max(g.abs().max() for g in gradients),
            max(g.max() for g in gradients),
            gradients[0].abs().max(),
            gradients[-1].abs().max(),
        )
        least = min(g[g != 0].abs().min() for g in gradients)
        scale = below(FP16_MAX, largest)
        answers += _numbers(function, 1, [g.clone() for g in gradients])
        right.append(scale)
        for wrong, hint in (
            (
                FP16_MAX / float(largest),
                "this is the largest factor: take the power of two below it, so that scaling changes no digit",
            ),
            (2 * scale, "one power of two too many: the largest gradient becomes infinite"),
            (
                2.0 ** round(math.log2(FP16_MAX / float(largest))),
                "you rounded the exponent to the nearest: round *down*, or the largest gradient overflows",
            ),
            (scale / 2, "one power of two is left: the next larger factor still overflows nowhere"),
            (math.log2(scale), "this is the exponent: return the factor 2 ** exponent"),
            (below(FP16_MAX, positive), "the largest gradient is negative here: look at sizes, abs()"),
            (below(FP16_MAX, first), "all tensors count, not only the first: one factor for all"),
            (below(FP16_MAX, least), "the largest gradient sets the limit, not the smallest"),
            (
                below(torch.finfo(torch.bfloat16).max, largest),
                "this is the limit of bfloat16 and float32: float16 ends far earlier",
            ),
            (below(FP16_MAX, last), "all tensors count, not only the last: one factor for all"),
            (
                below(2.0**16, largest),
                "float16 ends just below 2 ** 16, at torch.finfo(torch.float16).max: a gradient of 2 ** 16 is infinite",
            ),
            (
                below(FP16_MAX, max(g.norm() for g in gradients)),
                "this is the limit of a tensor's norm: each gradient must fit by itself, take the largest of them",
            ),
            (
                below(FP16_MAX, sum(g.abs().sum() for g in gradients)),
                "you added the gradients up: each must fit by itself, take the largest of them",
            ),
            (
                below(FP16_MAX, sum(g.abs().max() for g in gradients) / len(gradients)),
                "you took the mean over the tensors: the largest of all sets the limit",
            ),
            (
                below(FP16_MAX, min(g.abs().max() for g in gradients)),
                "you took the tensor with the smallest maximum: the largest of all sets the limit",
            ),
            (
                2.0 ** math.floor(math.log2(float(largest) / FP16_MAX)),
                "the division is upside down: the factor is float16's largest number by the largest gradient",
            ),
            (
                2.0 ** math.floor(math.log(FP16_MAX / float(largest))),
                "this is the natural logarithm: for a power of two take log2",
            ),
            (max(1.0, scale), "where a gradient is too large already, the factor is below 1"),
            (int(scale), "where a gradient is too large already, the factor is below 1: don't make it a whole number"),
            (2.0**16, "this is where PyTorch's GradScaler begins: the answer depends on the gradients"),
        ):
            mistakes.setdefault(hint, []).append(wrong)
    _compare(answers, right, mistakes, "the factors are not right")


def accumulated_gradients(function: Callable[[nn.Module, list[Batch]], object], *, other: int = 0) -> None:
    """Exercise 8.4: a generator and the parts of a batch -> the gradients of the mean over all words of all parts, one
    tensor a parameter."""
    torch.manual_seed(other)
    generator = ReportGenerator(
        TransformerConfig(vocab_size=12, d_vf=6, d_model=8, d_ff=8, heads=2, layers=1, max_length=9)
    ).eval()
    parts = [_part(lengths, seed + 1000 * other) for seed, lengths in enumerate(([8, 7], [3, 2], [4, 2]))]

    def gradients(
        weigh: Callable[[Tensor, Tensor], Tensor], of: Sequence[Batch] = parts, zeroed: bool = False
    ) -> list[Tensor]:
        generator.zero_grad()
        for part in of:
            if zeroed:
                generator.zero_grad()
            weigh(*summed_report_loss(generator(part).logits, part.tokens, part.mask)).backward()
        return [p.grad.clone() for p in generator.parameters()]

    words = sum(part.mask[:, 1:].sum() for part in parts)
    right = gradients(lambda total, part_words: total / words)
    mistakes = [
        (
            gradients(lambda total, part_words: total / part_words / len(parts)),
            "this is the mean of the parts' means: a word of a short part counts more. Divide each part's *sum* by the "
            "words of all",
        ),
        (
            gradients(lambda total, part_words: total / part_words),
            "the parts' means are added: that is a learning rate times the number of parts",
        ),
        (gradients(lambda total, part_words: total), "these are sums: divide by the number of words of all parts"),
        (
            gradients(lambda total, part_words: total / words, parts[-1:]),
            "only the last part is left: zero_grad() belongs before the loop, not in it",
        ),
        (
            gradients(lambda total, part_words: total / part_words, parts[-1:]),
            "only the last part is left: zero_grad() belongs before the loop, not in it",
        ),
    ]
    for other_words, hint in (
        (
            sum(part.mask.sum() for part in parts),
            "the mask begins with the mark before the first word: the words that are predicted are mask[:, 1:]",
        ),
        (sum(part.mask[:, 1:].numel() for part in parts), "padding was counted: the words are where the mask is 1"),
        (sum(len(part.tokens) for part in parts), "you divided by the number of studies: the mean is over words"),
        (words * len(parts), "you divided by the number of parts besides: the words of all are enough"),
    ):
        mistakes.append((gradients(lambda total, part_words, n=other_words: total / n), hint))
    so_far = torch.tensor(0.0)

    def of_those_before(total: Tensor, part_words: Tensor) -> Tensor:
        nonlocal so_far
        so_far = so_far + part_words
        return total / so_far

    mistakes.append(
        (
            gradients(of_those_before),
            "you divided by the words of the parts so far: count those of all parts before the loop",
        )
    )
    stale = "gradients of before are still in it: begin with zero_grad()"
    mistakes += [
        ([g + 1 for g in right], stale),
        *[([g + 1 for g in wrong], f"{stale}. And then: {hint}") for wrong, hint in mistakes[:3]],
    ]
    words_at_the_end = [(g + 1 / words, f"{stale}, before you divide") for g in right]
    mistakes.append(([g for g, _ in words_at_the_end], words_at_the_end[0][1]))
    generator.zero_grad()
    for parameter in generator.parameters():
        parameter.grad = torch.ones_like(parameter)  # of an earlier step
    backwards: list[None] = []  # one for each time that gradients are computed
    handle = next(generator.parameters()).register_hook(lambda _: backwards.append(None))
    try:
        result = answered("accumulated_gradients", function, generator, parts)
    finally:
        handle.remove()
    try:
        result = [None if g is None else g.detach() for g in result]
    except (TypeError, AttributeError):
        raise CheckError(
            f"accumulated_gradients returned a {type(result).__name__}, expected a list of gradients, one a parameter"
        ) from None
    if [None if g is None else g.shape for g in result] != [g.shape for g in right]:
        raise CheckError(
            "accumulated_gradients: expected one gradient a parameter, of its shape, in the order of "
            "generator.parameters()"
        )
    for wrong, hint in [(right, ""), *mistakes]:
        if all(torch.allclose(a, b, atol=1e-6, rtol=1e-4) for a, b in zip(result, wrong, strict=True)):
            if hint:
                raise CheckError(hint)
            if len(backwards) < len(parts):
                raise CheckError(
                    "the gradients are right, but backward() came once for several parts: until then the activations "
                    "of all of them are in memory, which is what accumulating is to avoid. Call it for each part"
                )
            return
    largest = max((a - b).abs().max().item() for a, b in zip(result, right, strict=True))
    raise CheckError(f"accumulated_gradients differ from those of the whole batch by up to {largest:.3g}")


def _part(lengths: Sequence[int], seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    tokens, mask = (
        torch.zeros(len(lengths), max(lengths) + 2, dtype=torch.long),
        torch.zeros(len(lengths), max(lengths) + 2),
    )
    for row, length in enumerate(lengths):
        tokens[row, 1 : length + 1] = torch.randint(1, 13, (length,), generator=generator)
        mask[row, : length + 2] = 1
    return Batch(torch.randn(len(lengths), 4, 6, generator=generator), tokens, mask)


def step_seconds(function: Callable[[float, float, float, float, float], float], *, other: int = 0) -> None:
    """Exercise 8.2: operations, launches, peak a second, efficiency, seconds a launch -> the seconds that a step
    should take."""
    answers, right, mistakes = [], [], {}
    gpu = GPUS["A100, 40 GB"]
    for flops, launches, efficiency, launch in ((4e9, 700, 0.3, 1e-5), (9e12, 900, 0.25, 1e-5), (2e10, 50, 0.6, 4e-6)):
        flops, launches = flops * (1 + other / 7), launches + 3 * other
        peak = gpu.peak("float32")
        arithmetic, waiting = flops / (efficiency * peak), launches * launch
        answers += _numbers(function, 1, flops, launches, peak, efficiency, launch)
        right.append(3600 * Cost(flops, launches).hours(gpu, efficiency=efficiency, launch=launch))
        for wrong, hint in (
            (
                arithmetic + waiting,
                "launching and computing go on at the same time: the longer of the two counts, not their sum",
            ),
            (min(arithmetic, waiting), "the step is not over before the slower of the two is: the larger counts"),
            (max(flops * efficiency / peak, waiting), "an efficiency below 1 makes it take longer: it divides"),
            (max(flops / peak, waiting), "the efficiency is missing: the peak is never reached"),
            (arithmetic, "the launches are missing: a small step waits for them"),
            (waiting, "the arithmetic is missing: a large step waits for it"),
            (right[-1] / 3600, "these are hours: seconds are asked for"),
            (1e3 * right[-1], "these are milliseconds: seconds are asked for"),
            (
                max(2 * flops / (efficiency * peak), waiting),
                "a multiplication and its addition are two operations already in `flops`: don't double them",
            ),
            (
                max(flops / peak, waiting) / efficiency,
                "the efficiency is that of the arithmetic: a launch takes what it takes",
            ),
            (
                flops / peak + waiting,
                "the efficiency is missing, and launching and computing go on at the same time: take the longer",
            ),
            (
                max(flops / efficiency * peak, waiting),
                "a / b * c multiplies by c: write flops / (efficiency * peak)",
            ),
            (
                max(efficiency * peak / flops, waiting),
                "the division is upside down: seconds are operations by operations a second",
            ),
            (
                max(arithmetic, launches / launch),
                "`launch` is the seconds of one launch: multiply by their number",
            ),
        ):
            mistakes.setdefault(hint, []).append(wrong)
    _compare(answers, right, mistakes, "the seconds are not right")


#: What an operation on n x n matrices may wait for -> the power of n with which that grows.
POWERS = {"launches": 0, "traffic": 2, "arithmetic": 3}


def waits_for(function: Callable[[np.ndarray, np.ndarray], tuple[float, str]], *, other: int = 0) -> None:
    """Exercise 8.5: sides n and seconds, two arrays -> the slope of log seconds over log sides, and "launches",
    "traffic" or "arithmetic"."""
    name = "waits_for"
    cases = _timings(other)
    answers = [_slope_and_reason(name, answered(name, function, sides.copy(), took.copy())) for sides, took in cases]
    lines: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "": lambda n, s: _slope(np.log(n), np.log(s)),
        "a line through the plain numbers: what grows with a power is straight only when *both* axes are "
        "logarithmic": _slope,
        "only the seconds are logarithms: a power of n is a straight line over log n": lambda n, s: _slope(
            n, np.log(s)
        ),
        "only the sides are logarithms: take those of the seconds too": lambda n, s: _slope(np.log(n), s),
        "the axes are exchanged: how do the seconds grow with the side, not the side with the seconds": lambda n, s: (
            _slope(np.log(s), np.log(n))
        ),
        "this is the growth with the number of elements: the slope over the *side* is asked for": lambda n, s: _slope(
            np.log(n * n), np.log(s)
        ),
        "this is how many times longer the last one takes: how steep is the line that leads there?": lambda n, s: (
            s[-1] / s[0]
        ),
        "this is where the line begins, not how steep it is (polyfit returns the slope first)": lambda n, s: np.polyfit(
            np.log(n), np.log(s), 1
        )[1],
        "the two logarithms have different bases: take the same for both": lambda n, s: _slope(np.log2(n), np.log(s)),
        "this is how the side over the seconds grows: the seconds themselves are asked for": lambda n, s: _slope(
            np.log(n), np.log(n / s)
        ),
        "the slope is rounded: return it as measured, and round in your head": lambda n, s: round(
            _slope(np.log(n), np.log(s))
        ),
    }
    slopes = {hint: [float(line(*case)) for case in cases] for hint, line in lines.items()}
    right = slopes.pop("")
    if not all(abs(slope - wanted) < 0.05 for (slope, _), wanted in zip(answers, right, strict=True)):
        for hint, wrong in slopes.items():
            if all(
                math.isclose(slope, w, rel_tol=0.02, abs_tol=1e-12)
                for (slope, _), w in zip(answers, wrong, strict=True)
            ):
                raise CheckError(f"{name}: {hint}")
        place = next(i for i, (slope, _) in enumerate(answers) if abs(slope - right[i]) >= 0.05)
        raise CheckError(
            f"{name}: the slopes are not right: {answers[place][0]:.3g} for sides {cases[place][0].tolist()}"
        )
    given_reasons, reasons = [reason for _, reason in answers], [_nearest(slope, POWERS) for slope in right]
    if given_reasons == reasons:
        return
    longest = sorted(range(len(cases)), key=lambda i: cases[i][1][-1])
    by_time = {i: list(POWERS)[3 * place // len(cases)] for place, i in enumerate(longest)}
    mistakes = {
        "you give one and the same reason for every operation: the slopes are different, let them decide": [
            given_reasons[0]
        ]
        * len(given_reasons),
        "two reasons are exchanged: how many numbers has an n × n matrix, and how many multiplications takes a product "
        "of two?": [_nearest(slope, {"launches": 0, "traffic": 3, "arithmetic": 2}) for slope in right],
        "your powers are too small: are they powers of the side n, or of something else, as rows or elements? Count "
        "the numbers of a matrix of n rows, and the multiplications of a product, and write both as powers of n": [
            _nearest(slope, {"launches": 0, "traffic": 1, "arithmetic": 2}) for slope in right
        ],
        "you took n for the numbers of a matrix: that is one row of it": [
            _nearest(slope, {"launches": 0, "traffic": 1, "arithmetic": 3}) for slope in right
        ],
        "a power of 1 for launches says that they take twice as long for twice the side; they do not grow at all": [
            _nearest(slope, {"launches": 1, "traffic": 2, "arithmetic": 3}) for slope in right
        ],
        "take the *nearest* power: a slope that is not quite 2 may still be 2, not cut off to 1": [
            _nearest(math.floor(slope), POWERS) for slope in right
        ],
        "what takes as long for a large matrix as for a small one is not waiting for its numbers": [
            _nearest(slope, {"traffic": 0, "launches": 2, "arithmetic": 3}) for slope in right
        ],
        "the seconds themselves do not tell: one launch on a slow machine takes longer than a product on a fast one. "
        "Only how they *grow* does": [by_time[i] for i in range(len(cases))],
    }
    for hint, wrong in mistakes.items():
        if given_reasons == wrong:
            raise CheckError(f"{name}: {hint}")
    place = next(i for i, (a, b) in enumerate(zip(given_reasons, reasons, strict=True)) if a != b)
    raise CheckError(
        f"{name}: with a slope of {right[place]:.2f} it is not {given_reasons[place]!r}: of the three powers of n, "
        f"which is nearest?"
    )


def _timings(other: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(sides, seconds) of operations, two or three for each reason, with the scatter of a good clock; one is nearest to
    its power, and not near. The seconds are of any size, so that they tell nothing."""
    draw = np.random.default_rng(other)
    slopes = [
        power + shift + draw.uniform(-0.05, 0.05)
        for power, shifts in zip(POWERS.values(), ((0.08, 0.2), (-0.82, -0.2, 0.2), (-0.25, 0.05)), strict=True)
        for shift in shifts
    ]
    longest = draw.permutation(np.geomspace(1e-5, 3, len(slopes)))
    if not other:  # the longest is a launch, the shortest a product
        longest = np.array([3.0, 2e-4, 5e-3, 2e-2, 0.3, 1e-5, 1e-4])
    cases = []
    for slope, last in zip(slopes, longest, strict=True):
        sides = int(draw.integers(20, 60)) * 2.0 ** np.arange(draw.integers(4, 7))
        cases.append((sides, last * (sides / sides[-1]) ** slope * np.exp(draw.normal(0, 0.01, len(sides)))))
    return [cases[i] for i in draw.permutation(len(cases))]


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(x, y, 1)[0])


def _nearest(slope: float, powers: Mapping[str, float]) -> str:
    return min(powers, key=lambda reason: abs(slope - powers[reason]))


def _slope_and_reason(name: str, answer: object) -> tuple[float, str]:
    """The two things that were returned. Raises `CheckError` when they are something else."""
    both = "return two things, the slope and the reason: (1.3, 'launches')"
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise CheckError(f"{name}: it returns {answer!r}; {both}")
    slope, reason = answer
    if isinstance(slope, str) and not isinstance(reason, str):
        raise CheckError(f"{name}: the two are in the other order: first the slope, then the reason")
    try:
        slope = float(slope)
    except (TypeError, ValueError):
        raise CheckError(f"{name}: its slope is {slope!r}, one number is asked for") from None
    if not math.isfinite(slope):
        raise CheckError(f"{name}: its slope is not finite ({slope}): is there the logarithm of 0?")
    if not isinstance(reason, str) or reason not in POWERS:
        raise CheckError(f"{name}: {reason!r} is none of the three reasons: {', '.join(map(repr, POWERS))}")
    return slope, reason
