"""A folder of one's own, from `studies.csv` to scores with every setting at its default: with codes, without, with
some; and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import trees
from PIL import Image

from rrg_lib import cli
from rrg_lib.cli.options import app
from rrg_lib.data.finding_labels import findings_of, findings_of_dataset
from rrg_lib.data.study import DRAWN_FINDINGS, Study
from rrg_lib.evaluation.efficacy import efficacy_key
from rrg_lib.evaluation.evaluate import evaluate_reports
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.evaluation.score_table import without_nan
from rrg_lib.experiments.extractors import extractor_scores, finding_weights
from rrg_lib.experiments.presets import experiment
from rrg_lib.experiments.run import Run, prepared
from rrg_lib.models.visual.pretrained import read_tensors

REPORTS = {
    "ill": "there is a large left pleural effusion . the heart is enlarged .",
    "well": "the heart is normal in size . the lungs are clear .",
    "ribs": "there is a fracture of a right rib . the lungs are clear .",
}
CODES = {"ill": "Pleural Effusion/left/large; Cardiomegaly", "well": "normal", "ribs": "Fractures, Bone/ribs/right"}
SPLITS = ["train"] * 9 + ["val"] * 3 + ["test"] * 3
EFFUSION, HEART, FRACTURE = (DRAWN_FINDINGS.index(name) for name in ("Effusion", "Cardiomegaly", "Fracture"))


def folder(root, coded=(), splits=SPLITS):
    """Fifteen studies of one film: ill, well, ribs, ill, …; `coded` are the numbers of those with expert codes."""
    rows = [
        f'{i}.png,s{i},{REPORTS[kind]},{split},"{CODES[kind] if i in coded else "nan"}"'
        for i, (split, kind) in enumerate(zip(splits, list(REPORTS) * 5, strict=True))
    ]
    return trees.own(
        root, "\n".join(["image,study,report,split,codes", *rows]) + "\n", tuple(f"{i}.png" for i in range(len(rows)))
    )


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("RRG_HOME", str(tmp_path / "home"))


def command(*arguments: str) -> str:
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_all_defaults_train_write_and_are_measured_without_any_code(tmp_path):
    """In edition 0.1 the epoch was chosen by a finding-F1 that is not a number, so none ever was."""
    root = str(folder(tmp_path / "own"))
    said = command("train", "own/base", "--data-root", root, "--quiet")
    assert "note: the extractor learns the findings of the training studies from the report labeler rules-2" in said
    assert (
        "note: finding-F1 cannot be computed (3 validation studies, none of them has an expert code): the epoch is "
        "chosen by BLEU-4 alone" in said
    )
    assert "best epoch" in said and "nan" not in said
    curves = tmp_path / "home" / "runs" / "own-base-ci-seed7580" / "curves.png"
    assert curves.read_bytes().startswith(b"\x89PNG"), "the command draws the curves that training itself does not"
    assert command("generate", "own/base", "--data-root", root, "--image", f"{root}/0.png", "--quiet").endswith("\n")
    assert "reference: the heart is normal" in command(
        "generate", "own/base", "--data-root", root, "--study", "s13", "--quiet"
    )
    run = Run.of(experiment("own/base", "ci"), data_root=tmp_path / "own", progress=False, trained=True)
    evaluation = run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False)
    told = evaluation.markdown()
    assert "3 studies, 2 of them abnormal by the report labeler rules-2" in told
    assert "finding-F1 is not defined: 0 of 3 studies have expert codes" in told and "nan" not in told
    kept = json.loads((run.folder / "scores-test.json").read_text())
    assert kept["run"]["checkpoint"]["monitor"] == {"BLEU-4": 1.0} and len(kept["run"]["remarks"]) == 2
    assert json.loads((run.folder / "experiment.json").read_text())["remarks"] == kept["run"]["remarks"]


@pytest.mark.parametrize(
    ("preset", "profile"),
    [("cmn", "ci"), ("xpronet", "ci"), ("mcsam", "ci"), ("cmn_pair", "ci"), ("base", "laptop"), ("xpronet", "laptop")],
)
def test_every_kind_of_memory_trains_on_ones_own(tmp_path, preset, profile):
    what = experiment(f"own/{preset}", profile, ["training.epochs=1", "extractor.weights=null", "generator.layers=1"])
    run = Run.of(what, data_root=folder(tmp_path / "own"), progress=False)
    assert run.train().monitor.weights == {"BLEU-4": 1.0}
    if preset == "xpronet":
        assert "the memory's labels of the training studies are from the report labeler rules-2" in run.remarks
        row = run.labels.pseudo_labels.of(["s0"])[0]
        assert row[0] == 0 and row.sum() == 2  # not "No Finding": what its report says
        decoding = replace(run.experiment.decoding, labels_at_test="none")
    assert set(run.write("test", decoding=decoding if preset == "xpronet" else None)) == {"s12", "s13", "s14"}


def test_with_codes_nothing_is_said_and_findings_count(tmp_path):
    run = Run.of(
        experiment("own/base", "ci", ["training.epochs=1", "extractor.weights=null"]),
        data_root=folder(tmp_path / "own", coded=range(15)),
        progress=False,
    )
    assert run.remarks == ()
    result = run.train()
    assert result.monitor.weights == {"BLEU-4": 1.0, "finding-F1": 1.0} and result.history[0]["finding-F1"] >= 0
    evaluation = run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False)
    assert "abnormal" not in evaluation.provenance and evaluation.references_finding_f1 == 1.0


def test_codes_are_believed_where_there_are_some_and_reports_are_read_where_not(tmp_path):
    dataset = prepared("own", data_root=folder(tmp_path / "own", coded=(1, 2, 14)), progress=False)
    found = findings_of_dataset(dataset, range(15))
    assert found.coded.tolist() == [i in (1, 2, 14) for i in range(15)]
    assert found.drawn[:3].any(axis=1).tolist() == found.abnormal[:3].tolist() == [True, False, True]
    assert found.drawn[0, [EFFUSION, HEART]].all() and found.drawn[2, FRACTURE] == found.drawn[5, FRACTURE] == 1
    np.testing.assert_array_equal(found.drawn, findings_of(list(dataset)).drawn)
    assert found.source == "the expert codes, and of 12 of 15 studies that have none the report labeler rules-2"
    disagrees = Study("x", "test", "large pneumothorax .", dataset.study(1).findings)
    assert not findings_of([disagrees]).drawn.any()  # "normal" is a code


def test_the_extractor_says_who_labelled_and_is_found_by_it(tmp_path):
    names = {}
    for name, coded in (("none", ()), ("all", range(15))):
        dataset = prepared("own", data_root=folder(tmp_path / name, coded=coded), progress=False)
        path = finding_weights("small", dataset, "ci", progress=False)
        names[name], made = path.name, read_tensors(path)[1]
        assert made["labels"] == {"none": "the report labeler rules-2", "all": "the expert codes"}[name]
        assert extractor_scores(path, dataset, "test")["micro"] >= 0
    assert "-rules-2-" in names["none"] and "rules" not in names["all"]


def test_where_every_validation_report_is_the_same_cider_is_left_out_and_said(tmp_path):
    root = folder(
        tmp_path / "own", splits=["val" if i in (1, 4, 7) else "train" if i < 12 else "test" for i in range(15)]
    )
    settings = ["training.epochs=1", "extractor.weights=null", 'training.monitor={"CIDEr": 1, "BLEU-4": 1}']
    run = Run.of(experiment("own/base", "ci", settings), data_root=root, progress=False)
    assert any("CIDEr cannot be computed (3 validation studies, whose reports are all alike" in r for r in run.remarks)
    result = run.train()
    assert result.monitor.weights == {"BLEU-4": 1} and "CIDEr" not in result.history[0]


def test_a_picture_that_is_no_film_is_said_before_its_report(tmp_path, monkeypatch, capsys):
    """What the doctor says of it, on standard error; the report is written all the same."""
    root = folder(tmp_path / "own")
    settings = ["--set", "training.epochs=1", "--set", "extractor.weights=null", "--set", "generator.layers=1"]
    command("train", "own/base", "--data-root", str(root), "--quiet", *settings)
    colours = np.zeros((200, 180, 3), np.uint8)
    colours[..., 0], colours[:100, :, 1] = 200, 90
    Image.fromarray(colours).save(tmp_path / "photo.png")
    Image.new("L", (200, 180)).save(tmp_path / "black.png")
    Image.linear_gradient("L").save(tmp_path / "film.png")
    for name, why in {"photo.png": "in colour", "black.png": "nearly of one gray", "film.png": None}.items():
        image = str(tmp_path / name)
        monkeypatch.setattr("sys.argv", ["rrg", "generate", "own/base", "--image", image, *settings])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert ended.value.code in (0, None) and out.strip()
        said = f"warning: {image} does not look like a film of a chest: {why}"
        assert (said in err) if why else ("warning" not in err)


def test_the_command_that_trains_the_extractor_says_who_labelled(tmp_path):
    assert "what a study has is said by the report labeler rules-2" in command(
        "pretrain", "own", "--data-root", str(folder(tmp_path / "own")), "--quiet"
    )


@pytest.mark.parametrize("overrides", [[], ["extractor.weights=null"]])
def test_without_validation_studies_one_message_comes_before_anything_is_trained(
    tmp_path, overrides, monkeypatch, capsys
):
    root = folder(tmp_path / "own", splits=[split.replace("val", "train") for split in SPLITS])
    settings = [part for text in overrides for part in ("--set", text)]
    monkeypatch.setattr("sys.argv", ["rrg", "train", "own/base", "--data-root", str(root), "--quiet", *settings])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "has no validation study (12 train, 0 val, 3 test)" in capsys.readouterr().err
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_two_folders_of_ones_own_do_not_block_each_other(tmp_path):
    first = prepared("own", data_root=folder(tmp_path / "a"), progress=False)
    second = prepared("own", data_root=folder(tmp_path / "b", coded=(0,)), progress=False)
    assert first.folder != second.folder and first.hash != second.hash
    assert prepared("own", data_root=tmp_path / "a", progress=False).folder == first.folder


def test_findings_are_scored_over_the_studies_that_experts_coded(tmp_path):
    """Of the others nobody can say what is right; normal or abnormal they are by their report."""
    dataset = prepared("own", data_root=folder(tmp_path / "own", coded=(12, 13)), progress=False)
    tested = [dataset.study(i) for i in (12, 13, 14)]  # ill, well, and ribs that nobody coded
    said = {"s12": REPORTS["ribs"], "s13": REPORTS["well"], "s14": REPORTS["ill"]}
    options = {"metrics": ["BLEU-4"], "baselines": False, "intervals": False}
    found = evaluate_reports(said, tested, dataset.vocabulary, **options)
    alone = evaluate_reports({i: said[i] for i in ("s12", "s13")}, tested[:2], dataset.vocabulary, **options)
    assert without_nan(found.rows[0].findings) == without_nan(alone.rows[0].findings)
    key = efficacy_key("CheXpert-14")
    assert found.rows[0].efficacy[key] == alone.rows[0].efficacy[key]  # none of them is not a number
    assert (found.rows[0].parts["normal"].n, found.rows[0].parts["abnormal"].n) == (1, 2)
    assert "over the 2 studies that have some" in found.markdown() and "abnormal" not in alone.provenance
