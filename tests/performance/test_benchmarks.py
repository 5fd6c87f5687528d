"""The benchmarks measure what they say: the textbook forms give the same numbers, ratios are of the same round, memory
is what the work added."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from command_line import rrg

from rrg_lib.errors import ConfigurationError, RRGError, UnknownNameError
from rrg_lib.models.contrastive import multi_label_contrastive
from rrg_lib.models.decoding import DecodingConfig, beam_search
from rrg_lib.models.memory.top_k import best_scores, weighted_sum
from rrg_lib.performance import APART, BENCHMARKS, cases, waiting
from rrg_lib.performance.cases import GROUPS, find_group
from rrg_lib.performance.harness import (
    BenchmarkResult,
    Case,
    Group,
    benchmark_markdown,
    matmul_peak,
    measure,
    memory_in_a_process,
)
from rrg_lib.performance.naive import NaiveCMN, WithoutCache, looped_contrastive, masked_dense_read
from rrg_lib.performance.reads import gathered_read
from rrg_lib.performance.sizes import SIZES, find_size
from rrg_lib.performance.training_step import new_training_step

SMALL = SIZES["small"]


# --- the textbook forms compute the same ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [gathered_read, masked_dense_read])
def test_the_textbook_reads_equal_ours(form):
    torch.manual_seed(0)
    query, keys, values = (torch.randn(1, 2, n, 4, dtype=torch.float64) for n in (5, 11, 11))
    best, indices = best_scores(query[0] / 2, keys[0], 3)
    torch.testing.assert_close(
        form(query, keys, values, 3)[0], weighted_sum(best.softmax(-1), indices, values[0]), atol=1e-12, rtol=0
    )


def test_the_written_out_memory_gives_the_same_logits():
    generator, batch = cases.new_generator(SMALL, cases.systems(SMALL)["CMN"]).eval(), cases.new_batch(SMALL)
    with torch.no_grad():
        ours = generator(batch).logits
        generator.memory = NaiveCMN(generator.memory)
        torch.testing.assert_close(generator(batch).logits, ours, atol=1e-5, rtol=0)


def test_reading_the_whole_prefix_again_writes_the_same_reports():
    """Reports that end early and reports that don't."""
    generator = cases.new_generator(SMALL, cases.systems(SMALL)["CMN"]).eval()
    with torch.no_grad():
        generator.logits.weight.mul_(8)
        generator.logits.bias[0] = 5.0
        inputs, config = cases.new_batch(SMALL).inputs, DecodingConfig(max_length=SMALL.length)
        ours = beam_search(generator, generator.start(inputs), config)
        generator.memory = NaiveCMN(generator.memory)
        naive = WithoutCache(generator)
        theirs = beam_search(naive, naive.start(inputs), config)
    assert torch.equal(ours.tokens, theirs.tokens)
    assert 0 < int((ours.tokens == 0).sum()) < ours.tokens.numel()


def test_the_loss_pair_by_pair_equals_the_vectorised_one():
    features, labels = torch.randn(6, 8, dtype=torch.float64), cases.new_batch(find_size("small", batch=6)).labels
    torch.testing.assert_close(
        looped_contrastive(features, labels).float(), multi_label_contrastive(features, labels), atol=1e-6, rtol=0
    )


def test_every_report_is_written_to_full_length():
    for work in (
        cases.report_writing(SMALL, None, 3),
        cases.report_writing(SMALL, None, 1),
        cases.naive_writing(SMALL, 3),
    ):
        tokens = work()
        assert tokens.shape == (SMALL.batch, SMALL.length)
        assert (tokens > 0).all()


@pytest.mark.slow  # importing transformers takes longer than all other tests here
def test_transformers_writes_as_many_words():
    pytest.importorskip("transformers")
    assert cases.hugging_face(SMALL, 3)().shape == (SMALL.batch, SMALL.length + 1)  # and its begin mark


# --- the harness ------------------------------------------------------------------------------------------------------


def ticking(*seconds: float):
    """A clock by which the runs take these times, one after another."""
    times = iter([t for at, took in enumerate(seconds) for t in (100.0 * at, 100.0 * at + took)])
    return lambda: next(times)


def test_ratios_are_of_the_same_round_and_medians_are_of_ratios():
    group = Group(
        "g",
        "title",
        (Case("a", lambda: lambda: None), Case("b", lambda: lambda: None), Case("c", lambda: lambda: None, once=True)),
        "a",
    )
    #                                   a  b   c   a   b   a  b     the second round is disturbed, for both
    result = measure(group, repeats=3, clock=ticking(1, 2, 50, 10, 20, 1, 3))
    assert [(row.case, row.seconds, row.ratio) for row in result.rows] == [("a", 1, 1), ("b", 3, 2), ("c", 50, 50)]
    assert result.rows[1].rounds == [2, 20, 3]
    assert "| b    | 3.00 s  | 2.00  |" in result.markdown()


def test_what_is_built_is_not_timed_and_what_takes_minutes_is_not_warmed_up():
    calls = []
    group = Group(
        "g",
        "title",
        (
            Case("a", lambda: calls.append("build a") or (lambda: calls.append("a"))),
            Case("b", lambda: calls.append("build b") or (lambda: calls.append("b")), once=True),
        ),
        "a",
    )
    measure(group, repeats=2, clock=ticking(1, 6, 1))
    assert calls == ["build a", "a", "build b", "a", "b", "a"]
    calls.clear()
    result = measure(group, repeats=2, clock=ticking(1, 4, 1, 3))  # seconds, here: then it runs in every round
    assert calls == ["build a", "a", "build b", "a", "b", "a", "b"] and result.rows[1].rounds == [4, 3]


def test_on_a_gpu_the_first_rounds_are_thrown_away(monkeypatch):
    group = Group("g", "title", (Case("a", lambda: lambda: None), Case("b", lambda: lambda: None, once=True)), "a")
    monkeypatch.setattr("rrg_lib.performance.harness.this_device", lambda: torch.device("cuda", 0))
    result = measure(group, repeats=2, clock=ticking(9, 5, 1, 2, 1, 2))
    assert [(row.case, row.rounds) for row in result.rows] == [("a", [1, 1]), ("b", [2, 2])]


def test_a_measurement_that_is_stopped_leaves_the_groups_that_are_done(tmp_path, monkeypatch, capsys):
    def measured(group, **options):
        if group.name == "beam":
            raise RRGError("stopped")
        return BenchmarkResult(group.name, group.title, group.reference, [], {})

    monkeypatch.setattr("rrg_lib.performance.harness.measure", measured)
    assert (
        rrg(monkeypatch, capsys, "bench", "memory", "beam", "--size", "small", "--out", str(tmp_path / "out.json"))[0]
        == 2
    )
    assert [group["group"] for group in json.loads((tmp_path / "out.json").read_text())] == ["memory"]


def test_bad_settings_are_named():
    one = Group("g", "title", (Case("a", lambda: lambda: None, once=True),), "a")
    for group, repeats, message in ((one, 0, "repeats is 0"), (one, 1, "runs once: every round needs it")):
        with pytest.raises(ConfigurationError, match=message):
            measure(group, repeats=repeats)
    with pytest.raises(ConfigurationError, match=r"has no case 'z'; it has a"):
        one.case("z")
    for wrong in (
        lambda: find_group("training2", SMALL),
        lambda: find_size("huge"),
        lambda: find_size("small", slot=3),
    ):
        with pytest.raises(UnknownNameError):
            wrong()


def test_memory_is_what_the_work_adds_at_its_largest():
    """In a process of its own, as it is measured: in this one, memory that other tests gave back would be used again
    and nothing added."""
    program = """
import torch
from rrg_lib.performance.harness import added_memory

def work():
    first = torch.ones(8, 2**18)  # 8 MiB
    del first
    torch.ones(24, 2**18)  # 24 MiB, after the first was given back

torch.ones(3)
print(added_memory(work))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    if done.stdout.strip() == "None":
        pytest.skip("this system does not tell a process' largest size")
    assert 20 < float(done.stdout) < 36


def test_a_process_that_dies_says_why():
    with pytest.raises(RRGError, match=r"measuring the memory of 'nobody' ended with 1: .*has no case 'nobody'"):
        memory_in_a_process("memory", "nobody", "1", "small")


def test_the_peak_is_a_machines():
    assert 1e8 < matmul_peak(size=256) < 1e15


def test_flops_of_a_step_are_those_of_its_matrix_products():
    """Three times the forward pass', as every product has two gradients, but for the inputs', which nobody asks for."""
    generator, batch = cases.new_generator(SMALL, None), cases.new_batch(SMALL)
    forward = cases.flops(lambda: generator(batch))
    first = 2 * SMALL.batch * SMALL.patches * SMALL.d_vf * SMALL.d_model  # the patch embedding has one gradient
    assert cases.flops(new_training_step(SMALL, None)) == 3 * forward - first


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_named_groups_are_the_defined_ones():
    assert tuple(GROUPS) == BENCHMARKS + APART
    assert (
        len({case.name for name in GROUPS for case in find_group(name, SMALL).cases if name == "growth"})
        == 2 * (4 + 4) + 3 + 1
    )


def test_the_command_prints_a_table_and_writes_every_time(monkeypatch, capsys, tmp_path):
    threads = torch.get_num_threads()
    arguments = (
        "memory",
        "contrastive",
        "--size",
        "small",
        "--repeats",
        "2",
        "--threads",
        "1",
        "--no-memory",
        "--out",
        str(tmp_path / "b.json"),
    )
    try:
        code, out, _ = rrg(monkeypatch, capsys, "bench", *arguments, "--quiet")
    finally:
        torch.set_num_threads(threads)
    assert code == 0
    assert "1 thread," in out and "| two matrix products" in out and "| pair by pair" in out
    written = json.loads((tmp_path / "b.json").read_text())
    assert [result["group"] for result in written] == ["memory", "contrastive"]
    assert [len(row["rounds"]) for row in written[0]["rows"]] == [2, 2, 2, 2, 2]  # at this size none takes seconds
    assert benchmark_markdown([]) == ""


def test_the_command_refuses_what_it_cannot_measure(monkeypatch, capsys):
    for arguments, message in (
        (("bench", "memori"), "memory"),
        (("bench", "memory", "--threads", "0"), "--threads is 0"),
    ):
        code, _, err = rrg(monkeypatch, capsys, *arguments)
        assert (code, message in err) == (2, True)


@pytest.mark.slow
def test_threads_that_wait_are_measured_each_way_alone_and_beside_others(monkeypatch, capsys):
    threads = torch.get_num_threads()
    try:
        code, out, _ = rrg(
            monkeypatch, capsys, "bench", "waiting", "--size", "small", "--repeats", "1", "--threads", "2", "--quiet"
        )
        assert code == 0
        cases = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")][1:]
        assert [name for name in cases if not name.startswith("-")] == [
            "passive, quiet",
            "default, quiet",
            "passive, busy",
            "default, busy",
        ]
        code, _, err = rrg(monkeypatch, capsys, "bench", "waiting", "--size", "small", "--threads", "1", "--quiet")
        assert (code, "one thread has no other to wait for" in err) == (2, True)
    finally:
        torch.set_num_threads(threads)


def test_each_way_of_waiting_has_what_it_says_in_its_environment():
    """Whatever the one who measures has set."""
    code = (
        "import os, sys; print('done', flush=True); [print('done' if os.environ.get('OMP_WAIT_POLICY') == WANTED else "
        "'no', flush=True) for _ in sys.stdin]"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_WAIT_POLICY", "active")
        for how, wanted in (("passive", "passive"), ("default", None)):
            patch.setattr(waiting, "_SERVING", code.replace("WANTED", repr(wanted)))
            waiting._Trainer(how, 2, 1).steps()
            patch.setattr(waiting, "_SERVING", code.replace("WANTED", "'other'"))
            with pytest.raises(RRGError, match="the process that trains"):
                waiting._Trainer(how, 2, 1).steps()


def test_stored_benchmarks_name_their_machine_and_are_read_back_whole():
    from rrg_lib.performance.stored import stored_benchmarks

    found = {one.name: one for one in stored_benchmarks()}
    assert {one.machine["device"] for one in found.values()} >= {"NVIDIA H100 80GB HBM3"}
    for one in found.values():
        training = one.group("training")
        assert one.group("no such group") is None
        assert next(row.ratio for row in training.rows if row.case == "BASE") == 1.0
