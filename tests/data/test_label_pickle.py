"""Pickles that are no label files: none of them gets to do anything."""

from __future__ import annotations

import collections
import os
import pickle

import numpy as np
import pytest

from rrg_lib.errors import AnnotationError
from rrg_lib.experiments.pseudo_labels import read_labels


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Builds(Runs):
    def __reduce__(self):
        return eval, (f"open({str(self.path)!r}, 'w')",)


@pytest.mark.parametrize("kind", [Runs, Builds])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused_without_running_it(tmp_path, kind, protocol):
    path, trace = tmp_path / "labels.pickle", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"a": kind(trace)}, protocol=protocol))
    with pytest.raises(
        AnnotationError, match=r"labels\.pickle: is not a pickled dictionary of labels: it wants .*\.(system|eval)"
    ):
        read_labels(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # the ordinary way it would have run


class Attribute:
    """The first step of most ways out."""

    def __reduce__(self):
        return getattr, ("text", "upper")


REFUSED = {
    "ordered": ({"a": collections.OrderedDict()}, "collections.OrderedDict"),
    "attribute": ({"a": Attribute()}, "getattr"),
    "integers": ({"a": np.zeros(14, int)}, "array of 'i8'"),
    "objects": ({"a": np.array([{}] * 14, object)}, "array of 'O8'"),
    "texts": ({"a": np.array(["x"] * 14)}, "array of 'U1'"),
    "set": ({"a": {1, 2}}, r"wants (builtins|__builtin__)\.set"),
    "tuple": ({"a": (0.0,) * 14}, "neither a list of numbers"),
    "nested": ({"a": [[0.0]] * 14}, "neither a list of numbers"),
    "matrix": ({"a": np.zeros((2, 7))}, "neither a list of numbers"),
    "scalar": ({"a": [np.float64(1)] * 14}, "numpy.*scalar"),
    "number": ({1: [0.0] * 14}, "the id 1 is a int"),
    "list": ([0.0], "holds a list"),
    "length": ({"a": np.zeros(13)}, "has 13 values; expected 14"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_but_dictionaries_of_numbers_is_refused(tmp_path, name):
    content, says = REFUSED[name]
    path = tmp_path / "labels.pickle"
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(AnnotationError, match=rf"labels\.pickle.*({says})"):
        read_labels(path)


def test_damaged_pickles_are_refused(tmp_path):
    path = tmp_path / "labels.pickle"
    whole = pickle.dumps({"a": np.zeros(14)}, protocol=2)
    for content in (
        b"",
        b"garbage",
        whole[: len(whole) // 2],
        b"\x80\x02Pmoduleid\n.",
        b"\x80\x02X\x01\x00\x00\x00aQ.",
    ):
        path.write_bytes(content)
        with pytest.raises(AnnotationError, match=r"labels\.pickle"):
            read_labels(path)


def test_an_array_larger_than_its_numbers_is_refused(tmp_path):
    """A shape of a terabyte in a file of a kilobyte takes no memory."""
    content = pickle.dumps({"a": np.zeros(14)}, protocol=0)
    assert content.count(b"I14\n") == 1
    path = tmp_path / "labels.pickle"
    path.write_bytes(content.replace(b"I14\n", b"I1000000000000\n"))
    with pytest.raises(AnnotationError, match="not a readable pickle of labels"):
        read_labels(path)
