"""What is measured: the groups of `rrg bench`, at the paper's size or a small one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rrg_lib.errors import UnknownNameError
from rrg_lib.models.contrastive import multi_label_contrastive
from rrg_lib.models.decoding import DecodingConfig, beam_search, generate
from rrg_lib.models.generator import ReportGenerator
from rrg_lib.models.memory import MemoryConfig
from rrg_lib.models.report_loss import report_loss
from rrg_lib.performance.harness import Case, Group
from rrg_lib.performance.naive import NaiveCMN, TorchBase, WithoutCache, looped_contrastive
from rrg_lib.performance.reads import growth, memory_reads
from rrg_lib.performance.sizes import Size, Work, flops, new_batch, new_generator, systems
from rrg_lib.performance.training_step import new_training_step
from rrg_lib.performance.waiting import waiting
from rrg_lib.runtime.device import this_device

# --- one step of training ---------------------------------------------------------------------------------------------


def torch_step(size: Size) -> Work:
    torch.manual_seed(0)
    model, batch = (
        TorchBase(size.d_vf, size.vocabulary, size.d_model, size.d_ff, size.heads, size.layers).train(),
        new_batch(size),
    )
    model.to(this_device())
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)

    def step() -> None:
        report_loss(model(batch.inputs, batch.tokens[:, :-1]), batch.tokens, batch.mask).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def training(size: Size) -> Group:
    cases = [
        Case(
            name,
            lambda memory=memory: new_training_step(size, memory),
            flops=lambda memory=memory: flops(new_training_step(size, memory)),
        )
        for name, memory in systems(size).items()
    ]
    cases.append(Case("BASE of torch.nn.Transformer", lambda: torch_step(size), flops=lambda: flops(torch_step(size))))
    cases.append(Case("CMN written out", lambda: new_training_step(size, systems(size)["CMN"], naive=True), once=True))
    return Group("training", f"A training step: {size.batch} studies, forward, backward, Adam", tuple(cases), "BASE")


def options(size: Size) -> Group:
    """CMN's step with each of training's options. torch.compile wants a C++ compiler, or Triton on a GPU."""
    cmn = systems(size)["CMN"]
    kinds: dict[str, dict[str, Any]] = {
        "as it is": {},
        "bf16": {"dtype": torch.bfloat16},
        "activation checkpointing": {"checkpointed": True},
    }
    if this_device().type == "cuda":
        kinds |= {
            "tf32": {"tf32": True},
            "compiled": {"compiled": True},
            "compiled, bf16": {"compiled": True, "dtype": torch.bfloat16},
        }
    cases = tuple(Case(name, lambda kind=kind: new_training_step(size, cmn, **kind)) for name, kind in kinds.items())
    return Group(
        "options", f"CMN's training step of {size.batch} studies, with the options of training", cases, "as it is"
    )


def large(size: Size) -> Group:
    """A memory of 32 times the slots still trains: its scores are held a part at a time."""
    more = replace(size, slots=32 * size.slots)
    cases = (
        Case("CMN", lambda: new_training_step(size, systems(size)["CMN"])),
        Case(f"CMN, {more.slots:,} slots", lambda: new_training_step(more, systems(more)["CMN"]), once=True),
    )
    return Group(
        "large", f"CMN's training step of {size.batch} studies, {size.slots:,} slots and {more.slots:,}", cases, "CMN"
    )


# --- writing reports --------------------------------------------------------------------------------------------------


def endless(size: Size, memory: MemoryConfig | None) -> ReportGenerator:
    """A generator that never ends a report, so that all of them are written to full length."""
    generator = new_generator(size, memory).eval()
    with torch.no_grad():
        generator.logits.bias[0] = -1e4
    return generator


def report_writing(size: Size, memory: MemoryConfig | None, beam: int, *, kept: bool = True) -> Work:
    """A batch after others: the word table holds what they asked. With `kept=False` it is the first batch each time,
    and fills the table."""
    generator, batch = endless(size, memory), new_batch(size)
    config, table = DecodingConfig(beam_size=beam, max_length=size.length), generator.word_table()
    labels = batch.labels if memory is not None and memory.gated else None
    return lambda: generate(generator, batch.inputs, labels, config, table if kept else generator.word_table()).tokens


def naive_writing(size: Size, beam: int) -> Work:
    generator, batch = endless(size, systems(size)["CMN"]), new_batch(size)
    generator.memory = NaiveCMN(generator.memory)
    without_cache = WithoutCache(generator)

    def work() -> Tensor:
        with torch.inference_mode():
            return beam_search(
                without_cache, without_cache.start(batch.inputs), DecodingConfig(beam_size=beam, max_length=size.length)
            ).tokens

    return work


def hugging_face(size: Size, beam: int) -> Work:
    """`transformers`' own search with an encoder and a decoder of the same sizes. Raises `ImportError` where it is not
    installed (the extra `bert`)."""
    from transformers import BartConfig, BartForConditionalGeneration

    sizes = {
        "d_model": size.d_model,
        "vocab_size": size.vocabulary + 1,
        "max_position_embeddings": max(size.patches, size.length) + 2,
    }
    layers = {
        f"{part}_{quantity}": n
        for part in ("encoder", "decoder")
        for quantity, n in (("layers", size.layers), ("attention_heads", size.heads))
    }
    widths = {"encoder_ffn_dim": size.d_ff, "decoder_ffn_dim": size.d_ff}
    marks = {
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "decoder_start_token_id": 0,
        "forced_eos_token_id": None,
    }
    torch.manual_seed(0)
    model = BartForConditionalGeneration(BartConfig(**sizes, **layers, **widths, **marks)).eval().to(this_device())
    patches = torch.nn.Linear(size.d_vf, size.d_model).to(this_device())
    batch, all_there = new_batch(size), torch.ones(size.batch, size.patches, dtype=torch.long, device=this_device())

    def work() -> Tensor:
        with torch.inference_mode():
            encoded = model.get_encoder()(inputs_embeds=patches(batch.inputs))
            options = {
                "min_new_tokens": size.length,
                "max_new_tokens": size.length,
                "do_sample": False,
                "use_cache": True,
            }
            return model.generate(encoder_outputs=encoded, attention_mask=all_there, num_beams=beam, **options)

    return work


def beam(size: Size) -> Group:
    cases = [
        Case(name, lambda memory=memory: report_writing(size, memory, size.beam))
        for name, memory in systems(size).items()
    ]
    cases.append(Case("CMN, first batch", lambda: report_writing(size, systems(size)["CMN"], size.beam, kept=False)))
    cases.append(Case("BASE's sizes, transformers generate", lambda: hugging_face(size, size.beam)))
    cases.append(Case("CMN written out, no cache", lambda: naive_writing(size, size.beam), once=True))
    return Group(
        "beam",
        f"Beam search, {size.beam} hypotheses: {size.batch} studies to {size.length} words",
        tuple(cases),
        "BASE",
    )


def greedy(size: Size) -> Group:
    cases = [
        Case(name, lambda memory=memory: report_writing(size, memory, 1)) for name, memory in systems(size).items()
    ]
    cases.append(Case("CMN, first batch", lambda: report_writing(size, systems(size)["CMN"], 1, kept=False)))
    return Group("greedy", f"Greedy search: {size.batch} studies to {size.length} words", tuple(cases), "BASE")


# --- losses -----------------------------------------------------------------------------------------------------------


def contrastive(size: Size) -> Group:
    def work(loss: Callable[..., Tensor]) -> Work:
        features = (
            torch.randn(size.batch, size.d_model, generator=torch.Generator().manual_seed(0))
            .to(this_device())
            .requires_grad_()
        )
        labels = new_batch(size).labels
        return lambda: loss(features, labels).backward()

    cases = (
        Case("vectorised", lambda: work(multi_label_contrastive)),
        Case("pair by pair", lambda: work(looped_contrastive)),
    )
    return Group(
        "contrastive", f"XProNet's contrastive loss of {size.batch} studies, with gradients", cases, "vectorised"
    )


GROUPS: dict[str, Callable[[Size], Group]] = {
    "training": training,
    "options": options,
    "large": large,
    "beam": beam,
    "greedy": greedy,
    "memory": memory_reads,
    "growth": growth,
    "contrastive": contrastive,
    "waiting": waiting,
}


def find_group(name: str, size: Size) -> Group:
    """A group by name. Raises `UnknownNameError` for one that does not exist."""
    if name not in GROUPS:
        raise UnknownNameError("benchmark", name, GROUPS)
    return GROUPS[name](size)
