"""The memory read alone: beside the two matrix products that it needs, beside the textbook's forms, and as it grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rrg_lib.models.interface import Slots
from rrg_lib.models.memory.base import plain_read
from rrg_lib.models.memory.top_k import best_scores, weighted_sum
from rrg_lib.performance.harness import Case, Group
from rrg_lib.performance.naive import masked_dense_read
from rrg_lib.performance.sizes import Size, Work, flops
from rrg_lib.runtime.device import this_device


def _read_tensors(size: Size) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    d_k, rows = size.d_model // size.heads, size.batch * size.patches
    return tuple(
        torch.randn(size.heads, n, d_k, device=this_device(), requires_grad=True)
        for n in (rows, size.slots, size.slots)
    )


def two_products(size: Size) -> Work:
    """The least a dense read needs: all scores, and all values by weights, forwards and backwards."""
    query, keys, values = _read_tensors(size)
    return lambda: ((query @ keys.transpose(-2, -1)) @ values).sum().backward()


def our_read(size: Size) -> Work:
    query, keys, values = _read_tensors(size)
    scale = query.shape[-1] ** -0.5

    def work() -> None:
        best, indices = best_scores(query * scale, keys, size.top_k)
        weighted_sum(best.softmax(-1), indices, values).sum().backward()

    return work


def other_read(size: Size, form: Callable[[Tensor, Tensor, Tensor, int], Tensor]) -> Work:
    query, keys, values = _read_tensors(size)
    return lambda: form(query[None], keys[None], values[None], size.top_k).sum().backward()


def gathered_read(query: Tensor, keys: Tensor, values: Tensor, top_k: int) -> Tensor:
    return plain_read(query, Slots(keys, values), top_k, scale=query.shape[-1] ** -0.5)[0]


def top_k_alone(size: Size) -> Work:
    query, keys, _ = _read_tensors(size)
    scores = (query @ keys.transpose(-2, -1)).detach()
    return lambda: scores.topk(size.top_k, dim=-1)


def memory_reads(size: Size) -> Group:
    cases = (
        Case("two matrix products", lambda: two_products(size), flops=lambda: flops(two_products(size))),
        Case("ours", lambda: our_read(size)),
        Case("masked dense", lambda: other_read(size, masked_dense_read)),
        Case("torch.topk alone, forwards", lambda: top_k_alone(size)),
        Case("gathered, (B, h, L, N, d_k)", lambda: other_read(size, gathered_read), once=True),
    )
    title = (
        f"A memory read, forwards and backwards: {size.batch * size.patches} queries, {size.slots} "
        f"slots, "
        f"{size.top_k} answer"
    )
    return Group("memory", title, cases, "two matrix products")


#: How far each dimension of a memory read grows, the others staying as they are.
GROWTH = {"slots": (512, 2048, 8192, 65_536), "batch": (1, 4, 16, 64), "top_k": (1, 8, 32, 128)}


def growth(size: Size) -> Group:
    """Our read at other sizes, beside the two matrix products, which hold all scores; ours never does."""
    cases = []
    for name, values in GROWTH.items():
        for value in values:
            if name == "top_k" and value > size.slots:
                continue
            grown = replace(size, **{name: value})
            cases.append(Case(f"{name} {value:,}", lambda grown=grown: our_read(grown)))
            if name != "top_k":  # the products are the same for every K
                cases.append(Case(f"{name} {value:,}, two matrix products", lambda grown=grown: two_products(grown)))
    cases.append(Case("as published", lambda: our_read(size)))
    return Group(
        "growth", f"How a memory read grows, forwards and backwards; else {_said(size)}", tuple(cases), "as published"
    )


def _said(size: Size) -> str:
    return f"batch {size.batch}, {size.slots} slots, top {size.top_k}"
