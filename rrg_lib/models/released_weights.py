"""Weights of the released models under our names: the documented key maps of R2GenCMN and XProNet.

The releases store the memory's linear maps twice (`cmn.*` and `model.cmn.*`, one storage) and two sinusoidal buffers;
we store neither copy nor buffer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from torch import Tensor

from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.errors import CheckpointError

ReleasedModel = Literal["R2GenCMN", "XProNet"]

_LINEARS = ("query", "key", "value", "output")

#: Released name (a regular expression) -> ours: what both releases have, and R2Gen, from which they come.
ENCODER_DECODER_KEYS: tuple[tuple[str, str], ...] = (
    (r"att_embed\.0\.(weight|bias)", r"patch_embedding.0.\1"),
    (r"logit\.(weight|bias)", r"logits.\1"),
    (r"model\.tgt_embed\.0\.lut\.weight", "token_embedding.weight"),
    (
        r"model\.(encoder|decoder)\.layers\.(\d+)\.self_attn\.linears\.([0-3])\.(weight|bias)",
        r"\1.layers.\2.<SELF:\1>.<\3>.\4",
    ),
    (
        r"model\.decoder\.layers\.(\d+)\.src_attn\.linears\.([0-3])\.(weight|bias)",
        r"decoder.layers.\1.cross_attention.<\2>.\3",
    ),
    (r"model\.(encoder|decoder)\.layers\.(\d+)\.feed_forward\.w_1\.(weight|bias)", r"\1.layers.\2.feed_forward.0.\3"),
    (r"model\.(encoder|decoder)\.layers\.(\d+)\.feed_forward\.w_2\.(weight|bias)", r"\1.layers.\2.feed_forward.3.\3"),
    (
        r"model\.(encoder|decoder)\.layers\.(\d+)\.sublayer\.(\d)\.norm\.(a_2|b_2|gamma|beta)",
        r"\1.layers.\2.norms.\3.<\4>",
    ),
    (r"model\.(encoder|decoder)\.norm\.(a_2|b_2|gamma|beta)", r"\1.norm.<\2>"),
)

R2GENCMN_KEYS: tuple[tuple[str, str], ...] = (
    (r"memory_matrix", "memory.matrices.shared"),
    (r"cmn\.linears\.([0-3])\.(weight|bias)", r"memory.projections.shared.<\1>.\2"),
    *ENCODER_DECODER_KEYS,
)
XPRONET_KEYS: tuple[tuple[str, str], ...] = (
    (r"protypes", "memory.prototypes"),
    (r"dim_reduction\.(weight|bias)", r"memory.reduction.\1"),
    (r"cmn\.linears\.([0-3])\.(weight|bias)", r"memory.projections.<\1>.\2"),
    (r"fuse_feature\.(weight|bias)", r"memory.fusion.image.\1"),
    (r"model\.fuse_feature\.(weight|bias)", r"memory.fusion.text.\1"),
    *ENCODER_DECODER_KEYS,
)
_KEYS: dict[ReleasedModel, tuple[tuple[str, str], ...]] = {"R2GenCMN": R2GENCMN_KEYS, "XProNet": XPRONET_KEYS}

_PARTS = {f"<{i}>": name for i, name in enumerate(_LINEARS)} | {
    "<SELF:encoder>": "attention",
    "<SELF:decoder>": "self_attention",
    "<a_2>": "weight",
    "<b_2>": "bias",
    "<gamma>": "weight",
    "<beta>": "bias",
}
_REPEATED = re.compile(r"model\.cmn\.|model\.(src_embed\.0|tgt_embed\.1)\.pe$")


def our_name(released: str, model: ReleasedModel = "R2GenCMN") -> str | None:
    """Our parameter name for a released one; None for what the release stores twice or we compute. Raises
    `CheckpointError` for an unknown name."""
    return renamed(released, _KEYS[model], f"the released {model} encoder-decoder")


def renamed(released: str, keys: Iterable[tuple[str, str]], of: str) -> str | None:
    """As `our_name`, by a table of released names; `of` says whose they are."""
    released = released.removeprefix("encoder_decoder.")
    if _REPEATED.match(released):
        return None
    for pattern, ours in keys:
        if match := re.fullmatch(pattern, released):
            name = match.expand(ours)
            for part, word in _PARTS.items():
                name = name.replace(part, word)
            return name
    raise CheckpointError(f"{released!r} is not a parameter of {of}; is this a checkpoint of another model?")


def from_table(state: Mapping[str, Tensor], keys: Iterable[tuple[str, str]], of: str) -> dict[str, Tensor]:
    """A released state dictionary under our names, by the table that its captioner's file keeps (`RELEASED_NAMES`),
    without the visual extractor's weights. Raises `CheckpointError` for a name that is not in it."""
    keys = tuple(keys)
    return {
        ours: tensor
        for name, tensor in state.items()
        if not name.startswith("visual_extractor.") and (ours := renamed(name, keys, of))
    }


def from_released(
    state: Mapping[str, Tensor], model: ReleasedModel = "R2GenCMN", *, class_order: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """A released state dictionary (with or without the prefix `encoder_decoder.`) under our names. The visual
    extractor's weights are left out.

    `class_order` names the classes of XProNet's prototypes as the release numbers them
    (`rrg_lib.experiments.pseudo_labels.LABEL_ORDERS`); the prototypes are put into the order of `OBSERVATIONS`. None
    leaves them where they are.
    """
    weights = from_table(state, _KEYS[model], f"the released {model} encoder-decoder")
    if class_order is not None:
        if sorted(class_order) != sorted(OBSERVATIONS) or len(weights.get("memory.prototypes", ())) % len(OBSERVATIONS):
            raise CheckpointError(
                f"the class order {', '.join(class_order)} does not fit the prototypes: expected the "
                f"{len(OBSERVATIONS)} observations"
            )
        classes = weights["memory.prototypes"].unflatten(0, (len(OBSERVATIONS), -1))  # (14, N_p, D)
        weights["memory.prototypes"] = classes[[list(class_order).index(name) for name in OBSERVATIONS]].flatten(0, 1)
    return weights
