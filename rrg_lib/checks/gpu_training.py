"""What the exercises of chapter 08 call. Silent when the answer is right; otherwise a `CheckError` that names the likely mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from rrg_lib.budget import GPUS, Cost
from rrg_lib.checks import CheckError, answered
from rrg_lib.models.generator import Batch, GeneratorConfig, ReportGenerator, summed_report_loss

#: The largest number of float16.
FP16_MAX = torch.finfo(torch.float16).max


def _numbers(function: Callable, count: int, *args: object) -> list[float]:
    """The numbers that the function returns. Raises `CheckError` when they are not so many, or not finite."""
    answer = answered(function.__name__, function, *args)
    try:
        numbers = [float(x) for x in (answer if count > 1 else [answer])]
    except (TypeError, ValueError):
        raise CheckError(f"{function.__name__} returned {answer!r}, expected {count} number{'s' * (count > 1)}") from None
    if len(numbers) != count:
        raise CheckError(f"{function.__name__} returned {len(numbers)} numbers, expected {count}")
    if not all(map(math.isfinite, numbers)):
        raise CheckError(f"{function.__name__} returned a number that is not finite: {numbers}")
    return numbers


def _same(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(math.isclose(x, y, rel_tol=1e-6) for x, y in zip(a, b, strict=True))


def _compare(found: Sequence[float], right: Sequence[float], mistakes: Iterable[tuple[Sequence[float], str]], otherwise: str) -> None:
    """Silent when right; else the hint of the first mistake that gives the same numbers."""
    if _same(found, right):
        return
    for wrong, hint in mistakes:
        if _same(found, wrong):
            raise CheckError(hint)
    raise CheckError(f"{otherwise}: {', '.join(f'{x:,.6g}' for x in found)}")


def training_bytes(function: Callable[[nn.Module, int], Sequence[float]]) -> None:
    """Exercise 8.1: a module and the number of moments -> bytes of its weights, its gradients, its optimiser's moments."""
    for sizes, frozen, moments in (((7, 5), 0, 3), ((4, 9), 1, 2), ((3, 2, 6), 2, 3)):
        layers = nn.Sequential(*(nn.Linear(a, b) for a, b in zip(sizes, (*sizes[1:], 11), strict=True)))
        if frozen:
            layers[frozen].requires_grad_(False)
            layers[0].bfloat16()  # two bytes each
        of = list(layers.parameters())
        count = [p.numel() for p in of]
        learnt = [p.numel() * p.element_size() for p in of if p.requires_grad]
        whole = sum(p.numel() * p.element_size() for p in of)
        right = (whole, sum(learnt), moments * sum(learnt))
        counted = sum(p.numel() for p in of if p.requires_grad)
        mistakes = [
            ((sum(count), counted, moments * counted), "these are numbers, not bytes: each has element_size() of them"),
            ((4 * sum(count), 4 * counted, 4 * moments * counted), "not every number takes four bytes: ask each parameter for its element_size()"),
            ((whole, whole, moments * whole), "a frozen weight has no gradient and no moments: look at requires_grad"),
            ((sum(learnt), sum(learnt), moments * sum(learnt)), "frozen weights lie in memory too: only gradients and moments leave them out"),
            ((whole, sum(learnt), sum(learnt)), "Adam keeps `moments` numbers for each learnt weight, you counted one"),
            ((whole, sum(learnt), moments * whole), "a frozen weight has no moments either"),
            ((whole, sum(learnt), (moments - 1) * sum(learnt)), "one moment is missing: amsgrad keeps a third, the largest second moment so far"),
        ]
        otherwise = f"with {frozen and 1} frozen layers and {moments} moments the bytes are not right"
        _compare(_numbers(function, 3, layers, moments), right, mistakes, otherwise)


def loss_scale(function: Callable[[Sequence[Tensor]], float]) -> None:
    """Exercise 8.2: gradients -> the largest power of two that lets none of them overflow in float16."""
    for seed, size in ((0, 1e-6), (1, 3e-3), (2, 40.0), (3, 9e4)):
        own = torch.Generator().manual_seed(seed)
        gradients = [size * torch.randn(*shape, generator=own) for shape in ((3, 4), (5,), (2, 2))]
        gradients[1][0], gradients[2][0, 0] = 0.0, -6 * size  # the largest is negative, and one is nothing
        largest = max(g.abs().max().item() for g in gradients)
        right = 2.0 ** math.floor(math.log2(FP16_MAX / largest))
        positive = max(g.max().item() for g in gradients)
        least = min(g[g != 0].abs().min().item() for g in gradients)
        first = gradients[0].abs().max().item()
        mistakes = [
            ([FP16_MAX / largest], "this is the largest factor: take the power of two below it, so that scaling changes no digit"),
            ([2 * right], "one power of two too many: the largest gradient becomes infinite"),
            ([right / 2], "one power of two is left: the next larger factor still overflows nowhere"),
            ([math.log2(right)], "this is the exponent: return the factor 2 ** exponent"),
            ([2.0 ** math.floor(math.log2(FP16_MAX / positive))], "the largest gradient is negative here: look at sizes, abs()"),
            ([2.0 ** math.floor(math.log2(FP16_MAX / first))], "all tensors count, not only the first: one factor for all"),
            ([2.0 ** math.ceil(math.log2(torch.finfo(torch.float16).tiny / least))], "the largest gradient sets the limit, not the smallest"),
            ([2.0 ** math.floor(math.log2(torch.finfo(torch.bfloat16).max / largest))], "this is bfloat16's limit: float16 ends far earlier"),
            ([2.0**16], "this is where PyTorch's GradScaler begins: the answer depends on the gradients"),
        ]
        otherwise = f"for gradients of at most {largest:.3g} the factor is not right"
        _compare(_numbers(function, 1, [g.clone() for g in gradients]), [right], mistakes, otherwise)


def accumulated_gradients(function: Callable[[nn.Module, list[Batch]], object]) -> None:
    """Exercise 8.3: a generator and the parts of a batch -> the gradients of the mean over all words of all parts, one tensor a parameter."""
    torch.manual_seed(0)
    generator = ReportGenerator(GeneratorConfig(vocab_size=12, d_vf=6, d_model=8, d_ff=8, heads=2, layers=1, max_length=9)).eval()
    parts = [_part(lengths, seed) for seed, lengths in enumerate(([8, 7], [3, 2], [4, 2]))]

    def gradients(weigh: Callable[[Tensor, Tensor], Tensor], of: Sequence[Batch] = parts, zeroed: bool = False) -> list[Tensor]:
        generator.zero_grad()
        for part in of:
            if zeroed:
                generator.zero_grad()
            weigh(*summed_report_loss(generator(part).logits, part.tokens, part.mask)).backward()
        return [p.grad.clone() for p in generator.parameters()]

    words = sum(part.mask[:, 1:].sum() for part in parts)
    right = gradients(lambda total, own: total / words)
    mistakes = [
        (
            gradients(lambda total, own: total / own / len(parts)),
            "this is the mean of the parts' means: a word of a short part counts more. Divide each part's *sum* by the words of all",
        ),
        (gradients(lambda total, own: total / own), "the parts' means are added: that is a learning rate times the number of parts"),
        (gradients(lambda total, own: total), "these are sums: divide by the number of words of all parts"),
        (gradients(lambda total, own: total / words, parts[-1:]), "only the last part is left: zero_grad() belongs before the loop, not in it"),
        (gradients(lambda total, own: total / own, parts[-1:]), "only the last part is left: zero_grad() belongs before the loop, not in it"),
        ([g + 1 for g in right], "gradients of before are still in it: begin with zero_grad()"),
    ]
    generator.zero_grad()
    for parameter in generator.parameters():
        parameter.grad = torch.ones_like(parameter)  # of an earlier step
    found = answered("accumulated_gradients", function, generator, parts)
    try:
        found = [None if g is None else g.detach() for g in found]
    except (TypeError, AttributeError):
        raise CheckError(f"accumulated_gradients returned a {type(found).__name__}, expected a list of gradients, one a parameter") from None
    if [None if g is None else g.shape for g in found] != [g.shape for g in right]:
        raise CheckError("accumulated_gradients: expected [p.grad for p in generator.parameters()], one of each parameter's shape")
    for wrong, hint in [(right, ""), *mistakes]:
        if all(torch.allclose(a, b, atol=1e-6, rtol=1e-4) for a, b in zip(found, wrong, strict=True)):
            if hint:
                raise CheckError(hint)
            return
    largest = max((a - b).abs().max().item() for a, b in zip(found, right, strict=True))
    raise CheckError(f"accumulated_gradients differ from those of the whole batch by up to {largest:.3g}")


def _part(lengths: Sequence[int], seed: int) -> Batch:
    own = torch.Generator().manual_seed(seed)
    tokens, mask = torch.zeros(len(lengths), max(lengths) + 2, dtype=torch.long), torch.zeros(len(lengths), max(lengths) + 2)
    for row, length in enumerate(lengths):
        tokens[row, 1 : length + 1] = torch.randint(1, 13, (length,), generator=own)
        mask[row, : length + 2] = 1
    return Batch(torch.randn(len(lengths), 4, 6, generator=own), tokens, mask)


def step_seconds(function: Callable[[float, float, float, float, float], float]) -> None:
    """Exercise 8.4: operations, launches, peak a second, efficiency, seconds a launch -> the least seconds that a step takes."""
    for flops, launches, efficiency, launch in ((4e9, 700, 0.3, 1e-5), (9e12, 900, 0.25, 1e-5), (2e10, 50, 0.6, 4e-6)):
        peak = GPUS["A100, 40 GB"].peak("float32")
        arithmetic, waiting = flops / (efficiency * peak), launches * launch
        right = 3600 * Cost(flops, launches).hours(GPUS["A100, 40 GB"], efficiency=efficiency, launch=launch)
        mistakes = [
            ([arithmetic + waiting], "launching and computing go on at the same time: the longer of the two counts, not their sum"),
            ([min(arithmetic, waiting)], "the step is not over before the slower of the two is: the larger counts"),
            ([max(flops * efficiency / peak, waiting)], "an efficiency below 1 makes it take longer: it divides"),
            ([max(flops / peak, waiting)], "the efficiency is missing: the peak is never reached"),
            ([arithmetic], "the launches are missing: a small step waits for them"),
            ([waiting], "the arithmetic is missing: a large step waits for it"),
            ([right / 3600], "these are hours: seconds are asked for"),
        ]
        # where launches decide, several mistakes are right, and the other sizes find them
        otherwise = f"for {flops:.0e} operations in {launches} launches the seconds are not right"
        _compare(_numbers(function, 1, flops, launches, peak, efficiency, launch), [right], mistakes, otherwise)
