"""The release's `labels_14.pickle` without what pickle would let it do: no class and no function of any library is ever
called.

A pickle names what is to be called when it is read. Here every name that a dictionary of float arrays needs stands for
a small class of ours, which only takes numbers, and any other name is an error.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rrg_lib.errors import AnnotationError

#: Larger files are no label files: 300,000 studies with 14 numbers each take a tenth of it.
MOST_BYTES = 2**29


class _DType:
    """Stands for `numpy.dtype`; of a float of 2, 4 or 8 bytes."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *_: Any):
        if code not in ("f2", "f4", "f8"):
            raise AnnotationError(f"it holds an array of {code!r}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def read(self, raw: bytes, shape: tuple, fortran: bool) -> np.ndarray:
        return (
            np.frombuffer(bytes(raw), f"{self.order}{self.code}")
            .reshape(tuple(map(int, shape)), order="F" if fortran else "C")
            .astype(np.float64)
        )


class _Array:
    """Stands for `numpy.ndarray`, and takes its numbers as they stand in the file."""

    __slots__ = ("values",)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _DType):
            raise AnnotationError("it holds an array of something else than numbers")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        self.values = dtype.read(raw, shape, bool(fortran))


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(raw: bytes, dtype: _DType, shape: tuple, order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", raw))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise AnnotationError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


_KNOWN = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise AnnotationError(
                f"it wants {module}.{name}, which no label file needs and which could run code; do not open it with "
                f"pickle"
            )
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise AnnotationError("it refers to something outside of itself")


def load_label_pickle(path: Path) -> dict[str, list[float] | np.ndarray]:
    """Numbers by study id from a pickled dictionary of lists or float arrays. Raises `AnnotationError` for any other
    pickle, without running it."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise AnnotationError(f"{path}: has {size:,} bytes; expected a label file of at most {MOST_BYTES:,}")
    try:
        with open(path, "rb") as file:
            labels = _Unpickler(file).load()
    except AnnotationError as error:
        raise AnnotationError(f"{path}: is not a pickled dictionary of labels: {error}") from error
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise AnnotationError(
            f"{path}: is not a readable pickle of labels ({type(error).__name__}: {error}). Get it again"
        ) from error
    if not isinstance(labels, dict):
        raise AnnotationError(f"{path}: holds a {type(labels).__name__}; expected labels by study id")
    return {_id(path, study): _numbers(f"{path}: {study}", values) for study, values in labels.items()}


def _id(path: Path, study: Any) -> str:
    if not isinstance(study, str):
        raise AnnotationError(f"{path}: the id {study!r} is a {type(study).__name__}; expected a text")
    return study


def _numbers(where: str, values: Any) -> list[float] | np.ndarray:
    if isinstance(values, _Array) and getattr(values, "values", None) is not None and values.values.ndim == 1:
        return values.values
    if isinstance(values, list) and all(isinstance(value, (int, float)) and not math.isinf(value) for value in values):
        return [float(value) for value in values]
    raise AnnotationError(f"{where}: is neither a list of numbers nor a float array")
