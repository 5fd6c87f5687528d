"""What is measured: the groups of `rrg bench`, at the paper's size or a small one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rrg_lib.benchmarks.harness import Case, Group
from rrg_lib.benchmarks.naive import NaiveCMN, TorchBase, WithoutCache, gathered_read, looped_contrastive, masked_dense_read
from rrg_lib.decoding import DecodingConfig, beam_search, generate
from rrg_lib.device import this_device
from rrg_lib.errors import UnknownNameError
from rrg_lib.models.contrastive import multi_label_contrastive
from rrg_lib.models.generator import Batch, GeneratorConfig, ReportGenerator, report_loss
from rrg_lib.models.memory import CMNConfig, MCSAMConfig, MemoryConfig, XProNetConfig
from rrg_lib.models.memory.best_slots import best_scores, weighted_sum
from rrg_lib.training import TrainingConfig, build_optimizer

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
    config = GeneratorConfig(size.vocabulary, size.d_vf, size.d_model, size.d_ff, size.heads, size.layers, max_length=size.length)
    return ReportGenerator(config, memory).to(this_device())


def new_batch(size: Size) -> Batch:
    """Random studies: all reports of full length, two labels a study."""
    random = torch.Generator().manual_seed(1)
    inputs = torch.randn(size.batch, size.patches, size.d_vf, generator=random)
    tokens = torch.randint(1, size.vocabulary + 1, (size.batch, size.length), generator=random)
    tokens[:, 0] = tokens[:, -1] = 0
    labels = torch.zeros(size.batch, 14).scatter(1, torch.rand(size.batch, 14, generator=random).topk(2).indices, 1.0)
    return Batch(inputs, tokens, torch.ones_like(tokens, dtype=torch.float32), labels).to(this_device())


# --- one step of training -------------------------------------------------------------------------------------------------------------------------


def training_step(
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
    generator.encoder.checkpointed = generator.decoder.checkpointed = checkpointed
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


def torch_step(size: Size) -> Work:
    torch.manual_seed(0)
    model, batch = TorchBase(size.d_vf, size.vocabulary, size.d_model, size.d_ff, size.heads, size.layers).train(), new_batch(size)
    model.to(this_device())
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)

    def step() -> None:
        report_loss(model(batch.inputs, batch.tokens[:, :-1]), batch.tokens, batch.mask).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def flops(work: Work) -> float:
    """Floating-point operations of the matrix products in one run."""
    with FlopCounterMode(display=False) as counted:
        work()
    return float(counted.get_total_flops())


def training(size: Size) -> Group:
    cases = [
        Case(name, lambda memory=memory: training_step(size, memory), flops=lambda memory=memory: flops(training_step(size, memory)))
        for name, memory in systems(size).items()
    ]
    cases.append(Case("BASE of torch.nn.Transformer", lambda: torch_step(size), flops=lambda: flops(torch_step(size))))
    cases.append(Case("CMN written out", lambda: training_step(size, systems(size)["CMN"], naive=True), once=True))
    return Group("training", f"A training step: {size.batch} studies, forward, backward, Adam", tuple(cases), "BASE")


def options(size: Size) -> Group:
    """CMN's step with each of training's options. torch.compile wants a C++ compiler, or Triton on a GPU."""
    cmn = systems(size)["CMN"]
    kinds: dict[str, dict[str, Any]] = {"as it is": {}, "bf16": {"dtype": torch.bfloat16}, "activation checkpointing": {"checkpointed": True}}
    if this_device().type == "cuda":
        kinds |= {"tf32": {"tf32": True}, "compiled": {"compiled": True}, "compiled, bf16": {"compiled": True, "dtype": torch.bfloat16}}
    cases = tuple(Case(name, lambda kind=kind: training_step(size, cmn, **kind)) for name, kind in kinds.items())
    return Group("options", f"CMN's training step of {size.batch} studies, with the options of training", cases, "as it is")


# --- writing reports ------------------------------------------------------------------------------------------------------------------------------


def endless(size: Size, memory: MemoryConfig | None) -> ReportGenerator:
    """A generator that never ends a report, so that all of them are written to full length."""
    generator = new_generator(size, memory).eval()
    with torch.no_grad():
        generator.logits.bias[0] = -1e4
    return generator


def writing(size: Size, memory: MemoryConfig | None, beam: int, *, kept: bool = True) -> Work:
    """A batch after others: the word table holds what they asked. With `kept=False` it is the first batch each time, and fills the table."""
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
            return beam_search(without_cache, without_cache.start(batch.inputs), DecodingConfig(beam_size=beam, max_length=size.length)).tokens

    return work


def hugging_face(size: Size, beam: int) -> Work:
    """`transformers`' own search with an encoder and a decoder of the same sizes. Raises `ImportError` where it is not installed (the extra `bert`)."""
    from transformers import BartConfig, BartForConditionalGeneration

    sizes = {"d_model": size.d_model, "vocab_size": size.vocabulary + 1, "max_position_embeddings": max(size.patches, size.length) + 2}
    layers = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in (("layers", size.layers), ("attention_heads", size.heads))}
    widths = {"encoder_ffn_dim": size.d_ff, "decoder_ffn_dim": size.d_ff}
    marks = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0, "forced_eos_token_id": None}
    torch.manual_seed(0)
    model = BartForConditionalGeneration(BartConfig(**sizes, **layers, **widths, **marks)).eval().to(this_device())
    patches = torch.nn.Linear(size.d_vf, size.d_model).to(this_device())
    batch, all_there = new_batch(size), torch.ones(size.batch, size.patches, dtype=torch.long, device=this_device())

    def work() -> Tensor:
        with torch.inference_mode():
            encoded = model.get_encoder()(inputs_embeds=patches(batch.inputs))
            options = {"min_new_tokens": size.length, "max_new_tokens": size.length, "do_sample": False, "use_cache": True}
            return model.generate(encoder_outputs=encoded, attention_mask=all_there, num_beams=beam, **options)

    return work


def beam(size: Size) -> Group:
    cases = [Case(name, lambda memory=memory: writing(size, memory, size.beam)) for name, memory in systems(size).items()]
    cases.append(Case("CMN, first batch", lambda: writing(size, systems(size)["CMN"], size.beam, kept=False)))
    cases.append(Case("BASE's sizes, transformers generate", lambda: hugging_face(size, size.beam)))
    cases.append(Case("CMN written out, no cache", lambda: naive_writing(size, size.beam), once=True))
    return Group("beam", f"Beam search, {size.beam} hypotheses: {size.batch} studies to {size.length} words", tuple(cases), "BASE")


def greedy(size: Size) -> Group:
    cases = [Case(name, lambda memory=memory: writing(size, memory, 1)) for name, memory in systems(size).items()]
    cases.append(Case("CMN, first batch", lambda: writing(size, systems(size)["CMN"], 1, kept=False)))
    return Group("greedy", f"Greedy search: {size.batch} studies to {size.length} words", tuple(cases), "BASE")


# --- the memory read ------------------------------------------------------------------------------------------------------------------------------


def _read_tensors(size: Size) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    d_k, rows = size.d_model // size.heads, size.batch * size.patches
    return tuple(torch.randn(size.heads, n, d_k, device=this_device(), requires_grad=True) for n in (rows, size.slots, size.slots))


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


def top_k_alone(size: Size) -> Work:
    query, keys, _ = _read_tensors(size)
    scores = (query @ keys.transpose(-2, -1)).detach()
    return lambda: scores.topk(size.top_k, dim=-1)


def memory(size: Size) -> Group:
    cases = (
        Case("two matrix products", lambda: two_products(size), flops=lambda: flops(two_products(size))),
        Case("ours", lambda: our_read(size)),
        Case("masked dense", lambda: other_read(size, masked_dense_read)),
        Case("torch.topk alone, forwards", lambda: top_k_alone(size)),
        Case("gathered, (B, h, L, N, d_k)", lambda: other_read(size, gathered_read), once=True),
    )
    title = f"A memory read, forwards and backwards: {size.batch * size.patches} queries, {size.slots} slots, {size.top_k} answer"
    return Group("memory", title, cases, "two matrix products")


#: How far each dimension of a memory read grows, the others staying as they are.
GROWTH = {"slots": (512, 2048, 8192, 65_536), "batch": (1, 4, 16, 64), "top_k": (1, 8, 32, 128)}


def growth(size: Size) -> Group:
    """Our read at other sizes. Above the published number of slots nothing of (queries, N) is ever held whole."""
    cases = [
        Case(f"{name} {value:,}", lambda grown={name: value}: our_read(replace(size, **grown)))
        for name, values in GROWTH.items()
        for value in values
        if name != "top_k" or value <= size.slots
    ]
    cases.append(Case("as published", lambda: our_read(size)))
    return Group("growth", f"How a memory read grows, forwards and backwards; else {_said(size)}", tuple(cases), "as published")


def _said(size: Size) -> str:
    return f"batch {size.batch}, {size.slots} slots, top {size.top_k}"


# --- losses ---------------------------------------------------------------------------------------------------------------------------------------


def contrastive(size: Size) -> Group:
    def work(loss: Callable[..., Tensor]) -> Work:
        features = torch.randn(size.batch, size.d_model, generator=torch.Generator().manual_seed(0)).to(this_device()).requires_grad_()
        labels = new_batch(size).labels
        return lambda: loss(features, labels).backward()

    cases = (Case("vectorised", lambda: work(multi_label_contrastive)), Case("pair by pair", lambda: work(looped_contrastive)))
    return Group("contrastive", f"XProNet's contrastive loss of {size.batch} studies, with gradients", cases, "vectorised")


GROUPS: dict[str, Callable[[Size], Group]] = {
    "training": training,
    "options": options,
    "beam": beam,
    "greedy": greedy,
    "memory": memory,
    "growth": growth,
    "contrastive": contrastive,
}


def find_size(name: str, **changes: int) -> Size:
    """A size by name, with fields changed. Raises `UnknownNameError` for a name or a field that does not exist."""
    if name not in SIZES:
        raise UnknownNameError("size", name, SIZES)
    known = asdict(SIZES[name])
    for changed in changes:
        if changed not in known:
            raise UnknownNameError("field of a size", changed, known)
    return Size(**known | changes)


def find_group(name: str, size: Size) -> Group:
    """A group by name. Raises `UnknownNameError` for one that does not exist."""
    if name not in GROUPS:
        raise UnknownNameError("benchmark", name, GROUPS)
    return GROUPS[name](size)
