"""One step of training at a benchmark's size."""

from __future__ import annotations

import torch

from rrg_lib.models.memory import MemoryConfig
from rrg_lib.models.report_loss import report_loss
from rrg_lib.performance.naive import NaiveCMN
from rrg_lib.performance.sizes import Size, Work, new_batch, new_generator
from rrg_lib.training import TrainingConfig, build_optimizer


def new_training_step(
    size: Size,
    memory: MemoryConfig | None,
    *,
    naive: bool = False,
    dtype: torch.dtype | None = None,
    tf32: bool = False,
    checkpointed: bool = False,
    compiled: bool = False,
) -> Work:
    """Forward, backward and the optimiser's step, dropout on; in mixed precision with a `dtype`."""
    generator, batch = new_generator(size, memory).train(), new_batch(size)
    if naive:
        generator.memory = NaiveCMN(generator.memory)
    generator.recompute_activations(checkpointed)
    if compiled:
        generator.compile(dynamic=True)
    optimizer = build_optimizer(generator, TrainingConfig())

    def step() -> None:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        with torch.autocast(batch.tokens.device.type, dtype, enabled=dtype is not None):
            output = generator(batch)
            loss = report_loss(output.logits, batch.tokens, batch.mask) + sum(output.losses.values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.backends.cuda.matmul.allow_tf32 = False

    return step
