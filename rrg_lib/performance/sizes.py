"""What the benchmarks measure with: the published sizes or small ones, generators and batches of them on this
device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from rrg_lib.errors import UnknownNameError
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory import CMNConfig, MCSAMConfig, MemoryConfig, XProNetConfig
from rrg_lib.runtime.device import this_device

Work = Callable[[], object]


@dataclass(frozen=True)
class Size:
    """Sizes of models and batches; the defaults are the published ones for IU X-Ray."""

    d_model: int = 512
    d_ff: int = 512
    layers: int = 3
    heads: int = 8
    slots: int = 2048
    top_k: int = 32
    patches: int = 98
    d_vf: int = 2048
    vocabulary: int = 760
    length: int = 60
    batch: int = 16
    beam: int = 3


SIZES = {"paper": Size(), "small": Size(64, 64, 1, 4, 64, 8, 10, 32, 50, 12, 4)}


def systems(size: Size) -> dict[str, MemoryConfig | None]:
    """The four memories at this size. XProNet has no size but its prototypes' width."""
    return {
        "BASE": None,
        "CMN": CMNConfig(slots=size.slots, top_k=size.top_k),
        "XProNet": XProNetConfig(image_dim=size.d_vf, text_dim=min(768, size.d_model)),
        "MCSAM": MCSAMConfig(slots=size.slots, top_k=size.top_k),
    }


def new_generator(size: Size, memory: MemoryConfig | None) -> ReportGenerator:
    torch.manual_seed(0)
    config = TransformerConfig(
        size.vocabulary, size.d_vf, size.d_model, size.d_ff, size.heads, size.layers, max_length=size.length
    )
    return ReportGenerator(config, memory).to(this_device())


def new_batch(size: Size) -> Batch:
    """Random studies: all reports of full length, two labels a study."""
    random = torch.Generator().manual_seed(1)
    inputs = torch.randn(size.batch, size.patches, size.d_vf, generator=random)
    tokens = torch.randint(1, size.vocabulary + 1, (size.batch, size.length), generator=random)
    tokens[:, 0] = tokens[:, -1] = 0
    labels = torch.zeros(size.batch, 14).scatter(1, torch.rand(size.batch, 14, generator=random).topk(2).indices, 1.0)
    return Batch(inputs, tokens, torch.ones_like(tokens, dtype=torch.float32), labels).to(this_device())


def flops(work: Work) -> float:
    """Floating-point operations of the matrix products in one run."""
    with FlopCounterMode(display=False) as counted:
        work()
    return float(counted.get_total_flops())


def find_size(name: str, **changes: int) -> Size:
    """A size by name, with fields changed. Raises `UnknownNameError` for a name or a field that does not exist."""
    if name not in SIZES:
        raise UnknownNameError("size", name, SIZES)
    known = asdict(SIZES[name])
    for changed in changes:
        if changed not in known:
            raise UnknownNameError("field of a size", changed, known)
    return Size(**known | changes)
