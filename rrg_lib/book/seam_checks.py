"""What every memory and every generator promises, asked of any of them: of the library's by its tests, of a student's
by `rrg check-mine`.

A check is silent where the promise is kept and raises a `CheckError` otherwise, with the likely mistake where the
numbers tell it. All work on small random inputs, on the processor, in evaluation mode.

Long because a memory is asked as a part of a generator, and each broken promise has a message of its own beside it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rrg_lib.book.checks import CheckError
from rrg_lib.errors import ConfigurationError
from rrg_lib.models.decoding import DecodingConfig, beam_search, greedy_search
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.interface import Batch, Captioner, CaptionerModule, GeneratorConfig, Response, Slots
from rrg_lib.models.memory import CMNConfig, CrossModalMemory, MemoryConfig
from rrg_lib.models.report_loss import report_loss

WORDS, PATCHES, D_VF, LENGTH, STUDIES = 12, 6, 10, 8, 5
SMALL_SIZES = TransformerConfig(
    vocab_size=WORDS, d_vf=D_VF, d_model=32, d_ff=32, heads=2, layers=1, feature_dropout=0.1, max_length=LENGTH
)
#: Settings of a memory while it is checked: slots enough for the K best not to be all.
SMALL_MEMORY = {"slots": 9, "top_k": 3, "image_dim": D_VF, "text_dim": SMALL_SIZES.d_model}
SMALL_GENERATOR = {"vocab_size": WORDS, "d_vf": D_VF, "d_model": 32, "d_ff": 32, "heads": 2, "layers": 1} | {
    "max_length": LENGTH
}
#: Single precision: the same numbers summed in another order.
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


Config = TypeVar("Config", MemoryConfig, GeneratorConfig)
Module = TypeVar("Module", bound=nn.Module)


class SeamCheck(NamedTuple):
    """A promise in words, and what asks for it."""

    promise: str
    ask: Callable[[], None]


# --- the small case ---------------------------------------------------------------------------------------------------


def small_settings(config: Config) -> Config:
    """A configuration with those of the small sizes that it has."""
    sizes = SMALL_MEMORY if isinstance(config, MemoryConfig) else SMALL_GENERATOR
    has = {f.name for f in fields(config)}
    return replace(config, **{name: value for name, value in sizes.items() if name in has})


def small_patches(studies: int = STUDIES) -> Tensor:
    """(B, S, d_vf)"""
    return torch.rand(studies, PATCHES, D_VF, generator=torch.Generator().manual_seed(0)) * 3


def small_labels(studies: int = STUDIES) -> Tensor:
    """(B, 14), for memories that are gated by labels: every study has some."""
    drawn = torch.rand(studies, 14, generator=torch.Generator().manual_seed(1)) < 0.4
    drawn[:, 2] = True
    return drawn.float()


def small_batch(studies: int = STUDIES, *, labels: bool = False) -> Batch:
    """Reports of several lengths, (B, T), between 0s and padded with 0."""
    draw = torch.Generator().manual_seed(2)
    tokens = torch.randint(1, WORDS, (studies, LENGTH), generator=draw)
    mask = torch.ones_like(tokens)
    tokens[:, 0] = 0
    for study in range(studies):
        end = LENGTH - 1 - study % 3
        tokens[study, end:], mask[study, end + 1 :] = 0, 0
    return Batch(small_patches(studies), tokens, mask, small_labels(studies) if labels else None)


def stirred(module: Module, amount: float = 0.3) -> Module:
    """The module with noise on every parameter, so that what begins at zero, or all alike, doesn't hide a mistake."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=draw).to(parameter.dtype))
    return module.eval()


def small_generator(config: MemoryConfig | GeneratorConfig) -> Captioner:
    """A generator of the small sizes: with this memory, or of this kind."""
    torch.manual_seed(0)
    if isinstance(config, MemoryConfig):
        return stirred(ReportGenerator(SMALL_SIZES, small_settings(config)))
    model = small_settings(config).build()
    if not isinstance(model, CaptionerModule):
        raise CheckError(
            f"{type(config).__name__}.make gives {_called(model)}; return your generator, a subclass of CaptionerModule"
        )
    return stirred(model)


def _called(made: object) -> str:
    return "nothing" if made is None else f"a {type(made).__name__}"


# --- a memory ---------------------------------------------------------------------------------------------------------


def memory_checks(
    config: MemoryConfig, equals: MemoryConfig | None = None, names: Mapping[str, str] | None = None
) -> list[SeamCheck]:
    """What a memory of these settings is asked, in the order in which a mistake is best explained.

    Args:
        config: the memory's settings; its sizes are replaced by small ones.
        equals: another memory that it is to give the same numbers as; its weights are put in.
        names: how the other's parameters are called, by the name of the memory's own; empty where they are called
            alike.
    """
    torch.manual_seed(0)
    memory = small_settings(config).build(SMALL_SIZES.d_model, SMALL_SIZES.heads)
    if not isinstance(memory, CrossModalMemory):
        raise CheckError(
            f"{type(config).__name__}.build gives {_called(memory)}; return your memory, a subclass of CrossModalMemory"
        )
    stirred(memory)
    labels = small_labels() if config.gated else None

    def features(modality: str) -> Tensor:
        draw = torch.Generator().manual_seed(4 if modality == "image" else 5)
        return torch.randn(STUDIES, PATCHES if modality == "image" else LENGTH, SMALL_SIZES.d_model, generator=draw)

    def each(check: Callable[..., None]) -> Callable[[], None]:
        def both() -> None:
            with torch.no_grad():
                for modality in ("image", "text"):
                    check(memory, features(modality), labels, modality)

        return both

    asked = [
        SeamCheck("slots, answers and fused features have their shapes", each(_shapes)),
        SeamCheck("the weights of each query are shares of its own slots", each(_weights)),
        SeamCheck("asked twice it answers alike, whoever asked between", each(_keeps_nothing)),
        SeamCheck("a study is answered as if it were alone, in any order", each(_studies_apart)),
        SeamCheck("a query is answered as if it were alone", each(_queries_apart)),
        SeamCheck("slots behind the mask are not asked", each(_masked)),
    ]
    if equals is not None:
        asked.append(
            SeamCheck(f"its numbers are those of {equals.kind}", lambda: _same_numbers(config, equals, names or {}))
        )
    return asked + generator_checks(config)


class _Asked(NamedTuple):
    slots: Slots
    response: Response
    fused: Tensor


def _asked(memory: CrossModalMemory, features: Tensor, labels: Tensor | None, modality: str) -> _Asked:
    slots = memory.slots(labels, modality)
    response = memory.respond(features, slots)
    return _Asked(slots, response, memory.fuse(features, response, modality))


def _shapes(memory: CrossModalMemory, features: Tensor, labels: Tensor | None, modality: str) -> None:
    slots = memory.slots(labels, modality)
    if not isinstance(slots, Slots):
        raise CheckError(f"slots({modality}) returns {type(slots).__name__}; return Slots(keys, values)")
    batch, length, d = features.shape
    for name, tensor in (("keys", slots.keys), ("values", slots.values)):
        if tensor.dim() != 4 or len(tensor) not in (1, batch):
            raise CheckError(
                f"slots({modality}).{name} is {tuple(tensor.shape)}; expected four axes (B or 1, heads, N, d_k), "
                f"here B = {batch}"
            )
    response = memory.respond(features, slots)
    if not isinstance(response, Response):
        raise CheckError(
            f"respond({modality}) returns {type(response).__name__}; return Response(vectors, weights, indices)"
        )
    weights, n = response.weights, slots.keys.shape[2]
    if weights.dim() == 4 and weights.shape[2] != length and weights.shape[3] in (n, length):
        raise CheckError(
            f"respond({modality}).weights is {tuple(weights.shape)}: {weights.shape[2]} of the {length} queries were "
            f"chosen for each slot. The K best are chosen for each query, among the {n} slots: topk over the last axis "
            f"of the scores (B, h, L, N)"
        )
    if weights.dim() != 4 or weights.shape[0] != batch or weights.shape[2] != length:
        raise CheckError(
            f"respond({modality}).weights is {tuple(weights.shape)}; expected (B, heads, L, K), here B = {batch} and "
            f"L = {length}"
        )
    if response.indices.shape != weights.shape or response.indices.dtype != torch.int64:
        raise CheckError(
            f"respond({modality}).indices is {tuple(response.indices.shape)} of {response.indices.dtype}; expected the "
            f"numbers (int64) of the slots that the weights {tuple(weights.shape)} belong to"
        )
    if response.indices.numel() and not 0 <= int(response.indices.min()) <= int(response.indices.max()) < n:
        raise CheckError(
            f"respond({modality}).indices goes from {int(response.indices.min())} to {int(response.indices.max())}; "
            f"slots are numbered 0 to {n - 1}"
        )
    for name, tensor in (
        (f"respond({modality}).vectors", response.vectors),
        (f"fuse({modality})", memory.fuse(features, response, modality)),
    ):
        if tensor.shape != features.shape:
            raise CheckError(f"{name} is {tuple(tensor.shape)}; expected that of the features, {(batch, length, d)}")
        if not tensor.isfinite().all():
            raise CheckError(f"{name} holds numbers that are not finite")


def _weights(memory: CrossModalMemory, features: Tensor, labels: Tensor | None, modality: str) -> None:
    slots, response, _ = _asked(memory, features, labels, modality)
    weights = response.weights
    if weights.shape[-1] == slots.keys.shape[2]:
        in_order = torch.zeros_like(weights).scatter_(-1, response.indices, weights)  # (B, h, L, N), slot by slot
        asking, asked_of = (in_order != 0).sum(2), (in_order != 0).sum(3)
        if asking.unique().numel() == 1 and 0 < int(asking.max()) < weights.shape[2] and asked_of.unique().numel() > 1:
            raise CheckError(
                f"respond({modality}): every slot answers {int(asking.max())} queries, and the queries have "
                f"{int(asked_of.min())} to {int(asked_of.max())} slots each. The K best were chosen among the queries; "
                f"choose them among the slots: topk over the last axis of the scores (B, h, L, N)"
            )
    if not weights.shape[3] or _sums_to_one(weights, 3):
        return  # nothing is retrieved, or every query shares itself out
    for axis, what in ((2, "queries"), (0, "studies"), (1, "heads")):
        if weights.shape[axis] > 1 and _sums_to_one(weights, axis):
            raise CheckError(
                f"respond({modality}): the weights sum to 1 over the {what} (axis {axis} of (B, h, L, K)), not "
                "over the "
                f"slots: softmax over the wrong axis. Each query shares itself out among its K slots: softmax(dim=-1)"
            )
    sums = weights.sum(-1)
    raise CheckError(
        f"respond({modality}): the weights of a query sum to {sums.min():.3f} to {sums.max():.3f}; expected 1. "
        "Give the "
        f"weights before dropout, after the softmax over the K slots"
    )


def _sums_to_one(weights: Tensor, axis: int) -> bool:
    return bool((weights.sum(axis) - 1).abs().max() < 1e-4)


def _keeps_nothing(memory: CrossModalMemory, features: Tensor, labels: Tensor | None, modality: str) -> None:
    first = _asked(memory, features, labels, modality)
    _asked(memory, features.flip(0, 1) * 2 + 1, labels, modality)
    again = _asked(memory, features, labels, modality)
    for name, one, two in (
        ("respond", first.response.vectors, again.response.vectors),
        ("fuse", first.fused, again.fused),
    ):
        if (gap := _gap(one, two)) > CLOSE["atol"]:
            raise CheckError(
                f"{name}({modality}) gives other numbers after other studies have asked (by {gap:.2g}): a state leaks "
                f"from one call to the next, and so from one study to another. Keep nothing of a call in `self`; what "
                f"is learnt is a Parameter, and only training changes it"
            )


def _studies_apart(memory: CrossModalMemory, features: Tensor, labels: Tensor | None, modality: str) -> None:
    together = _asked(memory, features, labels, modality)
    order = torch.arange(len(features)).roll(2)
    turned = _asked(memory, features[order], None if labels is None else labels[order], modality)
    alone = _asked(memory, features[:1], None if labels is None else labels[:1], modality)
    for name, whole, other, one in (
        ("respond", together.response.vectors, turned.response.vectors, alone.response.vectors),
        ("fuse", together.fused, turned.fused, alone.fused),
    ):
        if (gap := _gap(whole[:1], one)) > CLOSE["atol"]:
            raise CheckError(
                f"{name}({modality}): a study that is alone in its batch is answered otherwise (by {gap:.2g}): "
                "something "
                f"leaks between the studies of a batch. Sum, mean or normalise over no axis that holds studies (axis 0)"
            )
        if (gap := _gap(whole[order], other)) > CLOSE["atol"]:
            raise CheckError(
                f"{name}({modality}): the studies in another order are answered otherwise (by {gap:.2g}): a study's "
                f"place in the batch plays a part"
            )


def _queries_apart(memory: CrossModalMemory, features: Tensor, labels: Tensor | None, modality: str) -> None:
    whole = _asked(memory, features, labels, modality).response.vectors
    for place in (0, features.shape[1] - 1):
        one = _asked(memory, features[:, place : place + 1], labels, modality).response.vectors
        if (gap := _gap(whole[:, place : place + 1], one)) > CLOSE["atol"]:
            raise CheckError(
                f"respond({modality}): query {place} alone is answered otherwise than among the others (by {gap:.2g}): "
                f"the queries of a study mix, over axis 1 of the features or axis 2 of the scores (B, h, L, N). "
                "Of words "
                f"that would be a look at those not yet written"
            )


def _masked(memory: CrossModalMemory, features: Tensor, labels: Tensor | None, modality: str) -> None:
    slots, response, _ = _asked(memory, features, labels, modality)
    if slots.mask is None:
        return
    open_to = slots.mask.expand(len(features), -1)  # (B, N)
    behind = ~open_to[torch.arange(len(features))[:, None, None, None], response.indices]
    enough = open_to.sum(1) > 0
    if (weight := (response.weights.abs() * behind)[enough].max()) > 1e-6:
        raise CheckError(
            f"respond({modality}): slots that the mask closes answer with a weight of {weight:.2g}. Give their scores "
            f"the least number there is before the K best are chosen: masked_fill(~mask, torch.finfo(dtype).min)"
        )


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


# --- the numbers of another memory ------------------------------------------------------------------------------------


def _same_numbers(config: MemoryConfig, equals: MemoryConfig, names: Mapping[str, str]) -> None:
    own_settings, other_settings = small_settings(config), small_settings(equals)
    torch.manual_seed(0)
    own = own_settings.build(SMALL_SIZES.d_model, SMALL_SIZES.heads).eval()
    other = stirred(other_settings.build(SMALL_SIZES.d_model, SMALL_SIZES.heads))
    own.load_state_dict(_renamed(own.state_dict(), other.state_dict(), names, equals.kind))
    labels = small_labels() if equals.gated else None
    for modality in ("image", "text"):
        features = torch.randn(STUDIES, LENGTH, SMALL_SIZES.d_model, generator=torch.Generator().manual_seed(6))
        with torch.no_grad():
            mine, theirs = (_asked(m, features, labels, modality) for m in (own, other))
            if _gap(mine.response.vectors, theirs.response.vectors) <= CLOSE["atol"] * 10:
                if (gap := _gap(mine.fused, theirs.fused)) > CLOSE["atol"] * 10:
                    raise CheckError(
                        f"fuse({modality}): the answers are those of {equals.kind}, the fused features are not (by "
                        f"{gap:.2g}); {_fusion(equals)}"
                    )
                continue
            gap = _gap(mine.response.vectors, theirs.response.vectors)
            for hint, form in _mistaken(other):
                if _gap(mine.response.vectors, _asked(form, features, labels, modality).response.vectors) <= 1e-4:
                    raise CheckError(f"respond({modality}): these are not the numbers of {equals.kind}; {hint}")
        raise CheckError(
            f"respond({modality}): with the same weights the answers are not those of {equals.kind} (they differ by "
            f"up to {gap:.2g}). Write out query, scores, the K best, their softmax and the sum for one query, and "
            f"compare"
        )


def _renamed(
    own: Mapping[str, Tensor], other: Mapping[str, Tensor], names: Mapping[str, str], kind: str
) -> dict[str, Tensor]:
    """The other's weights under the memory's own names. Raises `CheckError` where they don't go together."""
    source = {name: names.get(name, name) for name in own}
    fits = all(of in other and own[name].shape == other[of].shape for name, of in source.items())
    if fits and sorted(source.values()) == sorted(other):
        return {name: other[of] for name, of in source.items()}

    def listed(of: Mapping[str, Tensor]) -> str:
        return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in of.items())

    raise CheckError(
        f"your parameters can't be given the weights of {kind}. Yours: {listed(own)}. Its: {listed(other)}. Where they "
        f'are called otherwise, write WEIGHTS = {{"your name": "its name", …}} into your file'
    )


def _fusion(equals: MemoryConfig) -> str:
    how = getattr(equals, "fusion", None)
    ways = {"add": "it adds the answer to the features", "replace": "it takes the answer instead of the features"}
    return ways.get(how, "compare your `fuse` with its own")


def _mistaken(memory: CrossModalMemory) -> Iterator[tuple[str, CrossModalMemory]]:
    """The memory with one usual mistake each, and the hint for who made it."""
    if not isinstance(memory.config, CMNConfig):
        return
    d_k = SMALL_SIZES.d_model // SMALL_SIZES.heads
    scales = [
        (1, "the scale is forgotten: divide the scores by sqrt(d_k)"),
        (d_k**2, "the scores are divided by d_k; divide them by its root"),
        (SMALL_SIZES.d_model, "the scale is that of d_model; each head asks with d_k numbers: 1 / sqrt(d_k)"),
    ]
    for scale_dim, hint in scales:
        form = copy.deepcopy(memory)
        form.scale_dim = scale_dim
        yield hint, form
    form = copy.deepcopy(memory)
    form.config = replace(form.config, top_k=form.config.slots)
    yield "all slots answer; only the K best of each query do, and the softmax is over these K", form
    form = copy.deepcopy(memory)
    for projections in form.projections.values():
        projections.output = nn.Identity()
    yield "the last linear map, over the heads put side by side, is missing", form
    form = copy.deepcopy(memory)
    for projections in form.projections.values():
        projections.value = projections.key
    yield "the answer is made of keys; sum the values", form


# --- a generator ------------------------------------------------------------------------------------------------------


def generator_checks(config: MemoryConfig | GeneratorConfig) -> list[SeamCheck]:
    """What a generator of these settings, or one with a memory of these settings, is asked."""
    gated = isinstance(config, MemoryConfig) and config.gated
    model, labels, batch = small_generator(config), small_labels() if gated else None, small_batch(labels=gated)
    patches = batch.inputs
    return [
        SeamCheck("logits have a number for every word at every place", lambda: logits_have_their_shape(model, batch)),
        SeamCheck(
            "words one by one with caches give what all at once give",
            lambda: cached_equals_teacher_forced(model, patches, labels),
        ),
        SeamCheck("a study's logits depend on no other study", lambda: studies_are_apart(model, batch)),
        SeamCheck("padding behind the reports changes nothing", lambda: padding_changes_nothing(model, batch)),
        SeamCheck(
            "reports found by beam search score what teacher forcing gives them",
            lambda: found_reports_score_as_read(model, patches, labels),
        ),
        SeamCheck("a beam of one is greedy search", lambda: beam_one_is_greedy(model, patches, labels)),
        SeamCheck(
            "a gradient reaches every weight and is that of finite differences",
            lambda: gradients_are_right(model, batch, only="memory." if isinstance(config, MemoryConfig) else ""),
        ),
    ]


@torch.no_grad()
def logits_have_their_shape(model: Captioner, batch: Batch) -> None:
    """Raises `CheckError` unless `forward` gives finite logits (B, T - 1, V + 1)."""
    logits = model(batch).logits
    expected = (*batch.tokens[:, 1:].shape, WORDS + 1)
    if logits.shape != expected:
        raise CheckError(
            f"forward gives logits {tuple(logits.shape)}; expected (B, T - 1, V + 1), here {expected}: one for every "
            f"token after the first, over all words and the end mark 0"
        )
    if not logits.isfinite().all():
        raise CheckError("forward gives logits that are not finite")


@torch.no_grad()
def cached_equals_teacher_forced(model: Captioner, patches: Tensor, labels: Tensor | None = None) -> None:
    """Raises `CheckError` unless `start` and `step`, word after word, give the logits of `forward`."""
    tokens = torch.randint(1, WORDS, (len(patches), LENGTH), generator=torch.Generator().manual_seed(1))
    tokens[:, 0] = 0
    whole = model(Batch(patches, tokens, torch.ones_like(tokens), labels)).logits  # (B, L, V + 1)
    state, steps = model.start(patches, labels), []
    for t in range(LENGTH - 1):
        logits, state = model.step(tokens[:, t : t + 1], state)
        steps.append(logits)
    apart = ~torch.isclose(torch.cat(steps, 1), whole, **CLOSE)
    if apart.any():
        place = int(apart.any(-1).any(0).nonzero()[0])
        raise CheckError(
            f"from word {place + 1} on, words one by one give other logits than all at once: what `start` and `step` "
            f"compute differs from `forward`, for instance a word that sees the words after it (in a memory: a `fuse` "
            f"that mixes the words of a report), or a state that is not carried on"
        )


@torch.no_grad()
def studies_are_apart(model: Captioner, batch: Batch) -> None:
    """Raises `CheckError` unless a study's logits are those it has alone, and in another order of the batch."""
    whole = model(batch).logits
    order = torch.arange(len(batch.tokens)).roll(2)
    for numbers in (order, order[:1]):
        part = Batch(
            *(None if x is None else x[numbers] for x in (batch.inputs, batch.tokens, batch.mask, batch.labels))
        )
        if (gap := _gap(model(part).logits, whole[numbers])) > 1e-4:
            how = "alone" if len(numbers) == 1 else "in another order of the batch"
            raise CheckError(
                f"a study {how} has other logits (by {gap:.2g}): something leaks between the studies of a batch, or "
                f"from one batch to the next"
            )


@torch.no_grad()
def padding_changes_nothing(model: Captioner, batch: Batch) -> None:
    """Raises `CheckError` unless two more columns of padding leave the logits and the extra losses as they are."""
    wider = replace(batch, tokens=F.pad(batch.tokens, (0, 2)), mask=F.pad(batch.mask, (0, 2)))
    short, long = model(batch), model(wider)
    if (gap := _gap(short.logits, long.logits[:, : short.logits.shape[1]])) > 1e-4:
        raise CheckError(
            f"with longer padding the words before it have other logits (by {gap:.2g}): a place sees what "
            "stands after it"
        )
    for name, loss in short.losses.items():
        if (gap := _gap(loss, long.losses[name])) > 1e-4:
            raise CheckError(
                f"with longer padding the loss {name!r} is another one (by {gap:.2g}): it counts places that are no "
                f"words. `token_mask` (B, L) is True at words: average over these alone"
            )


@torch.no_grad()
def found_reports_score_as_read(
    model: Captioner, patches: Tensor, labels: Tensor | None = None, width: int = 3
) -> None:
    """Raises `CheckError` unless the reports that a beam search finds, whose hypotheses split, end and change places,
    have the log-probability of the same report read in one go."""
    config = DecodingConfig(beam_size=width, max_length=LENGTH)
    found = beam_search(model, model.start(patches, labels), config, keep=width)
    tokens = F.pad(found.n_best.flatten(0, 1), (1, 0))  # (B W, T + 1), the begin mark first
    told = None if labels is None else labels.repeat_interleave(width, 0)
    logits = model(Batch(patches.repeat_interleave(width, 0), tokens, torch.ones_like(tokens), told)).logits
    each = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)  # (B W, T)
    counted = F.pad(tokens[:, 1:-1] > 0, (1, 0), value=True).cumprod(1)  # words, and the first 0 after them
    read = (each * counted).sum(1)
    if not torch.allclose(found.n_best_scores.flatten(), read, atol=1e-4, rtol=1e-5):
        raise CheckError(
            f"reports that beam search finds have a log-probability that is "
            f"{_gap(found.n_best_scores.flatten(), read):.2g} "
            f"off that of the same reports read in one go: the state does not follow its hypothesis through `reorder` "
            f"and `select`"
        )


@torch.no_grad()
def beam_one_is_greedy(model: Captioner, patches: Tensor, labels: Tensor | None = None) -> None:
    """Raises `CheckError` unless a beam of one hypothesis finds what greedy search finds."""
    config = DecodingConfig(beam_size=1, max_length=LENGTH)
    beam = beam_search(model, model.start(patches, labels), config).tokens
    greedy = greedy_search(model, model.start(patches, labels), config).tokens
    if not torch.equal(beam, greedy):
        raise CheckError("a beam of one finds other words than greedy search: the state is changed by being reordered")


def gradients_are_right(model: Captioner, batch: Batch, only: str = "") -> None:
    """Raises `CheckError` unless a gradient reaches every weight whose name begins with `only`, and has along a random
    direction the value of central differences in double precision."""
    model = copy.deepcopy(model).double().eval()
    batch = replace(batch, inputs=batch.inputs.double(), labels=None if batch.labels is None else batch.labels.double())

    def loss() -> Tensor:
        output = model(batch)
        return report_loss(output.logits, batch.tokens, batch.mask) + sum(output.losses.values())

    try:
        loss().backward()
    except RuntimeError as error:
        raise CheckError(
            f"in double precision it stops with: {error}. Make tensors like those you are given (features.new_zeros, "
            f"features.dtype), not in single precision"
        ) from error
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad and n.startswith(only)}
    if unreached := [name for name, parameter in learning.items() if parameter.grad is None]:
        raise CheckError(
            f"no gradient reaches {', '.join(unreached)}: it is not used, or cut off by detach(), no_grad() or .data"
        )
    draw = torch.Generator().manual_seed(8)
    for name, parameter in learning.items():
        if parameter.dim() > 1 and not parameter.grad.any():
            raise CheckError(f"the gradient of {name} is 0 everywhere: what it gives does not reach the report")
        direction = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
        direction /= direction.norm()
        if (steep := parameter.grad.norm()) > 0:  # a random direction alone hardly meets a gradient of many numbers
            direction += parameter.grad / steep
        given = float((parameter.grad * direction).sum())
        # Wide steps for what computes a part in single precision, whose rounding drowns narrow ones.
        for eps, least, share in ((1e-6, 1e-6, 1e-4), (1e-3, 1e-3, 2e-2)):
            numeric = _slope(loss, parameter, eps * direction) / eps
            if abs(numeric - given) <= least + share * abs(numeric):
                break
        else:
            raise CheckError(
                f"the gradient of {name} along a direction is {given:.3g}, by finite differences {numeric:.3g}: a part "
                f"of what it does is hidden from autograd (detach(), .data, item(), rounding), or it draws random "
                f"numbers in evaluation mode"
            )


@torch.no_grad()
def _slope(loss: Callable[[], Tensor], parameter: Tensor, step: Tensor) -> float:
    """Half the loss's difference between a step forward and one back; the parameter is left as it was."""
    before = parameter.clone()
    parameter.copy_(before + step)
    forward = float(loss())
    parameter.copy_(before - step)
    back = float(loss())
    parameter.copy_(before)
    return (forward - back) / 2


def run_checks(checks: list[SeamCheck], say: Callable[[str], Any] = print) -> None:
    """Ask one after another, saying each promise that is kept. Raises the first `CheckError`; another error that the
    asked module stops with is raised as one, after the promise it was asked for."""
    for check in checks:
        try:
            check.ask()
        except CheckError:
            raise
        except (ConfigurationError, NotImplementedError):
            raise
        except Exception as error:
            raise CheckError(f"asked whether {check.promise}, it stops with {type(error).__name__}: {error}") from error
        say(check.promise)
