"""Per-study terms of scores as small text: what a stored result keeps so that two systems can be compared study by
study, long after they are gone.

Every score is a function of sums over studies (`Additive`), so its terms are all that a paired test, a bootstrap or the
score of a part needs. BLEU-1 to BLEU-4 share theirs, micro- and macro-F1 too. An array is kept as zlib-compressed
little-endian numbers in base64: whole numbers exactly, others as 32-bit floats (a relative error of 6e-8).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rrg_lib.errors import AnnotationError
from rrg_lib.evaluation.metrics import REGISTRY
from rrg_lib.evaluation.resampling import Additive

_WHOLE = (np.uint8, np.uint16, np.int32)


def pack_text(text: str) -> str:
    """A text, compressed, as ASCII; `unpack_text` gives it back."""
    return _packed(text.encode("utf-8"))


def unpack_text(packed: str) -> str:
    """The text that `pack_text` was given."""
    return _unpacked(packed).decode("utf-8")


def pack_array(values: np.ndarray) -> dict[str, Any]:
    """An array as a JSON object; `unpack_array` gives it back. Raises `AnnotationError` for what is not finite, or no
    array of numbers."""
    values = np.asarray(values)
    if not np.isfinite(values).all():
        raise AnnotationError("terms of scores must be finite numbers")
    stored = np.ascontiguousarray(values, dtype=_smallest(values).newbyteorder("<"))
    return {"dtype": stored.dtype.str, "shape": list(stored.shape), "zlib": _packed(stored.tobytes())}


def unpack_array(data: Mapping[str, Any]) -> np.ndarray:
    """The array that `pack_array` was given."""
    return np.frombuffer(_unpacked(data["zlib"]), dtype=np.dtype(data["dtype"])).reshape(data["shape"])


def _smallest(values: np.ndarray) -> np.dtype:
    """The smallest kind of whole number that holds them all, 32-bit floats for others."""
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    for kind in _WHOLE:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max and (values == np.round(values)).all():
            return np.dtype(kind)
    return np.dtype(np.float32)


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def pack_terms(terms: Mapping[str, Additive]) -> dict[str, dict[str, Any]]:
    """The terms of a system's scores, by what they are the terms of."""
    packed = {}
    for name, metric in REGISTRY.items():
        if name in terms and (kept := metric.kept(terms[name])) is not None:
            packed[metric.kept_as] = kept
    return {name: pack_array(values) for name, values in packed.items()}


def unpack_terms(packed: Mapping[str, Mapping[str, Any]]) -> dict[str, Additive]:
    """Score name -> its terms, as they were given to `pack_terms`; terms of what is no registered metric are passed
    over."""
    arrays = {name: unpack_array(data).astype(float) for name, data in packed.items()}
    return {
        name: metric.additive_of(arrays[metric.kept_as])
        for name, metric in REGISTRY.items()
        if metric.kept_as in arrays
    }
