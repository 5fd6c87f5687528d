"""A memory or generator of one's own: a right one passes, each usual mistake is told by its name, and a file that can't
be asked is told why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from places import ROOT
from toy import MEMORY, generator

from rrg_lib.book import own_module, seam_checks
from rrg_lib.book.checks import CheckError
from rrg_lib.book.own_module import OwnModuleError, check_own_module, load_own_module, own_promises
from rrg_lib.errors import ConfigurationError, RRGError, UnknownNameError
from rrg_lib.experiments.presets import PRESETS
from rrg_lib.models.generator import ReportGenerator
from rrg_lib.models.interface import GeneratorConfig
from rrg_lib.models.memory import MemoryConfig

RIGHT = (ROOT / "tests" / "own_modules" / "right.py").read_text(encoding="utf-8")
BEST = "best, indices = scores.topk(self.top_k, dim=-1)"
SOFTMAX = "weights = best.softmax(dim=-1)"
QUERY = "query = self.split(self.ask(features))"


@pytest.fixture(autouse=True)
def _kinds_as_before():
    before = [(kinds, dict(kinds)) for kinds in (MemoryConfig._kinds, GeneratorConfig._kinds)]
    yield
    for kinds, old in before:
        kinds.clear()
        kinds.update(old)


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    """The right memory with some of its text changed."""
    text = RIGHT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "mine.py"
    path.write_text(text, encoding="utf-8")
    return path


def problem(path: Path) -> str:
    with pytest.raises(CheckError) as found:
        check_own_module(load_own_module(path))
    return str(found.value)


def test_a_right_memory_keeps_every_promise_in_a_process_of_its_own():
    kept = own_promises(ROOT / "tests" / "own_modules" / "right.py")
    assert "its numbers are those of cmn" in kept and len(kept) == len(set(kept)) == 14


WRONG = {
    "softmax over the wrong axis": (
        [(SOFTMAX, "weights = best.softmax(dim=-2)")],
        "sum to 1 over the queries.*wrong axis",
    ),
    "scale forgotten": ([(" / math.sqrt(query.shape[-1])", "")], "not the numbers of cmn; the scale is forgotten"),
    "top-k over queries": (
        [(BEST, BEST.replace("-1", "-2")), ("scatter(-1,", "scatter(-2,")],
        r"3 of the 6 queries were chosen for each slot.*topk over the last axis",
    ),
    "a state leaks from call to call": (
        [
            ("super().__init__()\n", "super().__init__()\n        self.seen = 0.0\n"),
            (QUERY, "features, self.seen = features + self.seen, features.mean()\n        " + QUERY),
        ],
        r"after other studies have asked.*a state leaks from one call to the next",
    ),
    "a study sees its batch": (
        [(QUERY, "features = features - features.mean(0)\n        " + QUERY)],
        "alone in its batch is answered otherwise.*leaks between the studies",
    ),
    "top-k over queries, put back slot by slot": (
        [
            (BEST, "best, indices = scores.topk(self.top_k, dim=-2)"),
            (
                SOFTMAX,
                "only = torch.full_like(scores, -1e9).scatter(-2, indices, best)\n"
                "        weights = only.softmax(-1) * (only > -1e9)\n"
                "        indices = torch.arange(scores.shape[-1]).expand_as(scores)",
            ),
        ],
        "every slot answers 3 queries.*chosen among the queries",
    ),
    "queries mixed": (
        [(QUERY, "features = features - features.mean(1, keepdim=True)\n        " + QUERY)],
        "the queries of a study mix",
    ),
    "divided by d_k": ([("math.sqrt(query.shape[-1])", "query.shape[-1]")], "divide them by its root"),
    "all slots answer": ([("scores.topk(self.top_k", "scores.topk(scores.shape[-1]")], "all slots answer"),
    "keys for values": (
        [("self.split(self.value(self.matrix))", "self.split(self.key(self.matrix))")],
        "the answer is made of keys",
    ),
    "answer instead of sum": ([("features + response.vectors", "response.vectors")], "fuse.*it adds the answer"),
    "cut off": ([("every @ slots.values", "every @ slots.values.detach()")], "no gradient reaches memory.value"),
    "half cut off": (
        [(SOFTMAX, "weights = 0.5 * best.softmax(-1) + 0.5 * best.softmax(-1).detach()")],
        "by finite differences",
    ),
    "fuse looks at the words to come": (
        [
            ('EQUALS = "cmn"', ""),
            ("features + response.vectors", "features + response.vectors.flip(1).cumsum(1).flip(1)"),
        ],
        "words one by one give other logits than all at once.*a `fuse` that mixes the words",
    ),
    "another shape": (
        [(".transpose(1, 2).flatten(-2))", ".transpose(1, 2).flatten(-2))[:, :1]")],
        "expected that of the features",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_has_a_message_of_its_own(name, tmp_path):
    changes, says = WRONG[name]
    message = problem(written(tmp_path, *changes))
    assert re.search(says, message), message
    others = [other for other, (_, pattern) in WRONG.items() if other != name and re.search(pattern, message)]
    assert others == []


def test_parameters_that_are_called_otherwise_need_their_names(tmp_path):
    message = problem(written(tmp_path, ("WEIGHTS = {", "_OTHER = {")))
    assert "matrix (9, 32)" in message and "matrices.shared (9, 32)" in message and "WEIGHTS = {" in message


@pytest.mark.parametrize("name", ["mem", "cmn", "cmn_as_printed", "mcsam"])
def test_the_librarys_memories_keep_them_too(name):
    kept: list[str] = []
    memory = PRESETS[name].memory
    seam_checks.run_checks(seam_checks.memory_checks(memory, memory), kept.append)
    assert len(kept) == 14


@pytest.mark.parametrize("name", ["st", "adaatt", "r2gen"])
def test_the_librarys_generators_keep_theirs(name):
    seam_checks.run_checks(seam_checks.generator_checks(PRESETS[name].generator), lambda _: None)


def test_a_generator_whose_state_does_not_follow_its_hypothesis_is_told(monkeypatch):
    from rrg_lib.models.transformer import LayerCache

    model = seam_checks.stirred(generator(MEMORY))
    patches = seam_checks.small_patches()
    seam_checks.found_reports_score_as_read(model, patches)
    right = LayerCache.reorder
    monkeypatch.setattr(LayerCache, "reorder", lambda self, parents: right(self, parents * 0))
    with pytest.raises(CheckError, match="does not follow its hypothesis"):
        seam_checks.found_reports_score_as_read(model, patches)


def test_a_loss_that_counts_padding_is_told(monkeypatch):
    model = seam_checks.stirred(generator(MEMORY))
    monkeypatch.setattr(model.memory, "losses", lambda i, text, mask, labels: {"mean": text.vectors.mean()})
    with pytest.raises(CheckError, match=r"the loss 'mean' is another one.*no words"):
        seam_checks.padding_changes_nothing(model, seam_checks.small_batch())


def test_a_step_that_differs_from_forward_is_told_with_its_place(monkeypatch):
    model = seam_checks.stirred(generator(MEMORY))
    right = ReportGenerator.step
    monkeypatch.setattr(ReportGenerator, "step", lambda self, t, state: right(self, t * (state.position != 2), state))
    with pytest.raises(CheckError, match="from word 3 on"):
        seam_checks.cached_equals_teacher_forced(model, seam_checks.small_patches())


# --- files that can't be asked ----------------------------------------------------------------------------------------

TWO = "\n\n@dataclass(frozen=True)\nclass Second(MemoryConfig):\n    kind: ClassVar[str] = 'second'\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import torhc\n", r"mine.py:1: it does not run: ModuleNotFoundError.*'torhc'; spell it as it is called"),
        ("x = 1\ndef f(:\n", r"mine.py:2: it does not run: SyntaxError.*try it alone"),
        ("x = 1\n", "neither a memory nor a generator.*subclass of MemoryConfig"),
        (RIGHT[: RIGHT.index("@dataclass")], "it has the memory MyMemory and no settings"),
        (RIGHT + TWO, "2 settings classes, MyConfig, Second; leave one"),
        (RIGHT.replace('"my_memory"', '"cmn"'), "kind 'cmn' of MyConfig is one of the library's"),
        (RIGHT.replace("slots: int = 2048", "slots: int").replace(" = 32", ""), "every setting a default"),
        (RIGHT.replace("@dataclass(frozen=True)", ""), "MyConfig is no dataclass.*write @dataclass"),
        (RIGHT.replace("WEIGHTS = {", "WEIGHTS = 5\nOTHER = {"), r"WEIGHTS is int; expected \{\"your name\""),
    ],
)
def test_a_file_that_cannot_be_asked_is_told_why(text, says, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OwnModuleError, match=f"(?s){says}"):
        load_own_module(path)


def test_no_file_and_no_such_target(tmp_path):
    with pytest.raises(OwnModuleError, match=r"mine.py: there is no such file; name the Python file"):
        load_own_module(tmp_path / "mine.py")
    (tmp_path / "notes.txt").write_text(RIGHT, encoding="utf-8")
    with pytest.raises(OwnModuleError, match=r"notes.txt: expected a Python file, NAME.py"):
        load_own_module(tmp_path / "notes.txt")
    with pytest.raises(UnknownNameError, match=r"nearest: .*cmn.*EQUALS in .*mine.py"):
        load_own_module(written(tmp_path), "cnm")
    with pytest.raises(ConfigurationError, match="name a preset that has one"):
        load_own_module(written(tmp_path, ("my_memory", "my_other")), "base")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "seconds", "says"),
    [
        ("while True: pass\n", 15, "nothing came of it in 15 seconds.*a loop without end"),
        ("while True: print('again' * 100)\n", 120, "printed more than 64 KiB.*again"),
        ("import os; print('bye', flush=True); os._exit(3)\n", 120, r"ended Python itself \(code 3\).*bye"),
        ("import torhc\n", 120, "does not run"),
    ],
)
def test_one_that_hangs_prints_without_end_or_ends_python_is_stopped_and_named(text, seconds, says, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OwnModuleError, match=f"(?s)mine.py.*{says}"):
        own_promises(path, seconds=seconds)


def test_a_method_that_is_not_written_yet_is_named(tmp_path):
    path = written(tmp_path, ("return features + response.vectors", "raise NotImplementedError"))
    own_module._child(str(path), "check", str(tmp_path / "out.json"), "")
    assert "`fuse` does nothing yet" in json.loads((tmp_path / "out.json").read_text())["problem"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("return MyMemory(self, d_model, heads)", "MyMemory(self, d_model, heads)", "MyConfig.build gives nothing"),
        ("class MyMemory(CrossModalMemory)", "class MyMemory(nn.Module)", "MyConfig.build gives a MyMemory; return"),
    ],
)
def test_settings_that_build_no_memory_are_told(old, new, says, tmp_path):
    assert says in problem(written(tmp_path, (old, new)))


def test_every_problem_is_an_error_of_ours():
    assert issubclass(OwnModuleError, RRGError)
