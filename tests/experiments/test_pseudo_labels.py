"""Where labels come from: expert codes, files of every kind and quality, images; and that a pickle can do nothing."""

from __future__ import annotations

import collections
import csv
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rrg_lib.data import iu_xray
from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS
from rrg_lib.errors import AnnotationError, ConfigurationError, UnknownNameError
from rrg_lib.experiments.pseudo_labels import (
    DRAWN_OBSERVATIONS,
    LABEL_ORDERS,
    LABEL_SOURCES,
    PseudoLabels,
    StudyLabels,
    expert_labels,
    image_labels,
    observations_of_drawn,
    read_labels,
    report_labels,
)
from rrg_lib.models.visual.finding_extractor import FindingExtractor, finding_logits
from rrg_lib.runtime.package_data import table

IDS = ["a", "b", "c"]
#: by name: a has two, b is uncertain of one, c has nothing
VALUES = {
    "a": {"Cardiomegaly": 1, "Edema": 1},
    "b": {"Pneumonia": -1},
    "c": {},
}


def expected() -> np.ndarray:
    rows = np.zeros((3, 14), np.uint8)
    for row, names in enumerate((("Cardiomegaly", "Edema"), ("Pneumonia",), ("No Finding",))):
        rows[row, [OBSERVATIONS.index(name) for name in names]] = 1
    return rows


def numbers(order) -> dict[str, np.ndarray]:
    return {key: np.array([float(values.get(name, 0)) for name in order]) for key, values in VALUES.items()}


def write_csv(path, columns, rows) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


# --- one form ---------------------------------------------------------------------------------------------------------


def test_expert_codes_are_the_observations_of_the_dataset():
    observations = np.eye(14, dtype=np.uint8)[:3]
    labels = expert_labels(SimpleNamespace(ids=IDS, observations=observations, coded=np.ones(3, bool)))
    np.testing.assert_array_equal(labels.of(["c", "a"]), observations[[2, 0]])
    assert labels.source == "the expert codes"


def test_of_a_study_that_nobody_coded_the_report_is_read():
    """It is not "No Finding" because nobody looked."""
    observations = np.eye(14, dtype=np.uint8)[[3, 0, 0]]
    reports = ["clear .", "there is a left effusion .", "the lungs are clear ."]
    dataset = SimpleNamespace(ids=IDS, observations=observations, coded=np.array([True, False, False]))
    dataset.study = lambda i: SimpleNamespace(report=reports[i])
    labels = expert_labels(dataset)
    assert [OBSERVATIONS[i] for i in labels.of(IDS).argmax(1)] == ["Lung Opacity", "Pleural Effusion", "No Finding"]
    assert labels.source == "the expert codes, and of 2 of 3 studies that have none the report labeler rules-2"
    dataset.coded[:] = False
    assert expert_labels(dataset).source == "the report labeler rules-2"


def test_reports_are_labelled_by_our_labeler_with_uncertain_as_present(classifier):
    """XProNet Eq. 3, our labeler in CheXbert's place."""
    reports = ["the heart is enlarged . no pneumothorax .", "possible pneumonia .", "the lungs are clear ."]
    dataset = SimpleNamespace(ids=["a", "b", "c"], study=lambda i: SimpleNamespace(report=reports[i]))
    found = report_labels(dataset)
    assert [[OBSERVATIONS[j] for j in np.flatnonzero(row)] for row in found.of(dataset.ids)] == [
        ["Cardiomegaly"],
        ["Pneumonia"],
        ["No Finding"],
    ]
    assert found.source == "the report labeler rules-1"
    assert StudyLabels(dataset, "reports", classifier).hash == found.hash


def test_labels_are_read_from_the_section_that_is_said(monkeypatch, classifier):
    """What the radiologist concluded need not stand in what was seen; of a study without an IMPRESSION nothing is
    known."""
    reports = {"CXR1_IM-1": "Effusion on the left", "CXR2_IM-2": "Heart is enlarged."}
    monkeypatch.setattr(iu_xray, "impressions", lambda: {"CXR1_IM-1": "Pneumonia.", "CXR2_IM-2": ""})
    dataset = SimpleNamespace(ids=list(reports), study=lambda i: SimpleNamespace(report=list(reports.values())[i]))
    read = {
        section: [
            [OBSERVATIONS[j] for j in row.nonzero()[0]] for row in report_labels(dataset, section).of(dataset.ids)
        ]
        for section in LABEL_SOURCES[1:]
    }
    assert read == {
        "reports": [["Pleural Effusion"], ["Cardiomegaly"]],
        "impression": [["Pneumonia"], ["No Finding"]],
        "both": [["Pneumonia", "Pleural Effusion"], ["Cardiomegaly"]],
    }
    assert report_labels(dataset, "impression").source == "the report labeler rules-1 on the IMPRESSION"
    hashes = [StudyLabels(dataset, section, classifier).hash for section in read]
    assert len(set(hashes)) == 3
    with pytest.raises(UnknownNameError, match="unknown section 'findings'"):
        report_labels(dataset, "findings")


def test_impressions_of_other_collections_are_not_at_hand():
    dataset = SimpleNamespace(ids=["CXR2384_IM-0942", "p10/s50"], study=lambda i: SimpleNamespace(report="clear ."))
    assert len(report_labels(SimpleNamespace(ids=dataset.ids[:1]), "impression")) == 1  # the real collection's
    with pytest.raises(ConfigurationError, match="'p10/s50' is no study of the Indiana University collection"):
        report_labels(dataset, "both")


def test_a_study_is_found_by_the_number_of_its_id():
    """Every id of the standard split in its short form, as the released file has it: 136 are other than ours."""
    ids = [row["study_id"] for row in table("iu_xray_split")]
    short = ["-".join(name.split("-")[:2]) for name in ids]
    assert sum(a != b for a, b in zip(ids, short, strict=True)) == 136
    rows = np.arange(len(ids) * 14).reshape(-1, 14)
    labels = PseudoLabels(dict(zip(short, rows, strict=True)), "labels.pickle")
    np.testing.assert_array_equal(labels.of(ids), rows)
    with pytest.raises(AnnotationError, match="1 of 2 studies have no labels, the first 'CXR99999_IM-1'"):
        labels.of([ids[0], "CXR99999_IM-1"])


def test_a_number_that_fits_twice_is_refused():
    row = np.zeros(14, np.uint8)
    two = PseudoLabels({"CXR7_IM-1-1": row, "CXR7_IM-1-2": row}, "labels.csv")
    with pytest.raises(AnnotationError, match=r"labels\.csv: 'CXR7_IM-1' may be any of CXR7_IM-1-1, CXR7_IM-1-2"):
        two.of(["CXR7_IM-1"])
    assert two.of(["CXR7_IM-1-2"]).shape == (1, 14)  # its own id says which
    with pytest.raises(AnnotationError, match="'CXR7_IM-1' would be the labels of CXR7_IM-1-1 and CXR7_IM-1-2"):
        PseudoLabels({"CXR7_IM-1": row}, "labels.csv").of(["CXR7_IM-1-1", "CXR7_IM-1-2"])
    with pytest.raises(AnnotationError, match="1 of 1 studies have no labels"):
        PseudoLabels({"CXR70_IM-1": row, "7_IM-1": row}, "labels.csv").of(["CXR7_IM-1"])


def test_missing_studies_are_counted_and_named():
    labels = PseudoLabels({"a": np.zeros(14, np.uint8)}, "labels.csv")
    with pytest.raises(
        AnnotationError,
        match=r"labels\.csv: 2 of 3 studies have no labels, the first 'b' \(it has 1, for example 'a'\)",
    ):
        labels.of(IDS)
    assert labels.of([]).shape == (0, 14)


def test_the_hash_names_the_labels_not_their_order():
    one, two = np.eye(14, dtype=np.uint8)[:2]
    assert PseudoLabels({"a": one, "b": two}, "x").hash == PseudoLabels({"b": two, "a": one}, "y").hash
    assert PseudoLabels({"a": one, "b": two}, "x").hash != PseudoLabels({"a": two, "b": one}, "x").hash


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["id", "study_id", "dicom_id"])
def test_columns_are_found_by_name_in_any_order(tmp_path, key):
    path = tmp_path / "labels.csv"
    columns = ["subject_id", *sorted(OBSERVATIONS, reverse=True), key]
    write_csv(path, columns, [{key: i, "subject_id": "7", **VALUES[i]} for i in IDS])
    np.testing.assert_array_equal(read_labels(path).of(IDS), expected())


def test_uncertain_is_present_and_blank_is_absent_as_released(tmp_path):
    path = tmp_path / "labels.csv"
    cells = {"Edema": "-1.0", "Fracture": "1.0", "Pneumonia": "0.0", "Atelectasis": "nan"}
    write_csv(path, ["id", *OBSERVATIONS], [{"id": "a", **cells}])
    row = read_labels(path).of(["a"])[0]
    assert {name for name, value in zip(OBSERVATIONS, row, strict=True) if value} == {"Edema", "Fracture"}


def test_no_finding_is_set_where_nothing_else_is_and_kept_where_the_file_has_it(tmp_path):
    path = tmp_path / "labels.json"
    both = {name: 0 for name in OBSERVATIONS} | {"No Finding": 1, "Support Devices": 1}
    path.write_text(json.dumps({"a": {name: 0 for name in OBSERVATIONS[1:]}, "b": both}))
    rows = read_labels(path).of(["a", "b"])
    assert rows[0].tolist() == [1] + [0] * 13
    assert rows[1, 0] == 1 and rows[1].sum() == 2


@pytest.mark.parametrize("form", ["names", "lists"])
def test_json_holds_names_or_lists(tmp_path, form):
    path = tmp_path / "labels.json"
    by_name = {i: {name: VALUES[i].get(name, 0) for name in OBSERVATIONS} for i in IDS}
    path.write_text(json.dumps(by_name if form == "names" else {i: list(v.values()) for i, v in by_name.items()}))
    np.testing.assert_array_equal(read_labels(path).of(IDS), expected())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["<f8", "<f4", ">f8"])
def test_the_released_kind_of_pickle_is_read(tmp_path, protocol, dtype):
    path = tmp_path / "labels_14.pickle"
    path.write_bytes(
        pickle.dumps({i: row.astype(dtype) for i, row in numbers(LABEL_ORDERS["iu_xray"]).items()}, protocol=protocol)
    )
    np.testing.assert_array_equal(read_labels(path).of(IDS), expected())


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_pickles_of_older_and_newer_numpy_are_read(tmp_path, module):
    content = pickle.dumps(numbers(LABEL_ORDERS["iu_xray"]), protocol=0)
    content = content.replace(b"numpy._core.multiarray", module.encode()).replace(
        b"numpy.core.multiarray", module.encode()
    )
    path = tmp_path / "labels.pkl"
    path.write_bytes(content)
    np.testing.assert_array_equal(read_labels(path).of(IDS), expected())


@pytest.mark.parametrize("order", LABEL_ORDERS)
def test_unnamed_values_are_numbered_as_said(tmp_path, order):
    """Both releases end with "No Finding"; otherwise one is in CheXbert's order, the other alphabetical."""
    path = tmp_path / "labels.pickle"
    path.write_bytes(pickle.dumps({i: row.tolist() for i, row in numbers(LABEL_ORDERS[order]).items()}))
    np.testing.assert_array_equal(read_labels(path, order=order).of(IDS), expected())
    assert sorted(LABEL_ORDERS[order]) == sorted(OBSERVATIONS)
    assert LABEL_ORDERS["iu_xray"][8] == "Pneumothorax" and LABEL_ORDERS["mimic_cxr"][:2] == (
        "Atelectasis",
        "Cardiomegaly",
    )


BAD_FILES = {
    "labels.csv|study,text\na,b\n": r"expected the columns id and .*; missing are Enlarged Cardiomediastinum",
    "columns.csv|x,y\na,b\n": "missing are id, Enlarged",
    "twice.csv|"
    + "id,"
    + ",".join(OBSERVATIONS)
    + "\na"
    + ",0" * 14
    + "\na"
    + ",0" * 14
    + "\n": "line 3: the id 'a' is there twice",
    "value.csv|" + "id," + ",".join(OBSERVATIONS) + "\na,2" + ",0" * 13 + "\n": "a: No Finding is '2'; expected 1",
    "short.csv|" + "id," + ",".join(OBSERVATIONS) + "\n": "no study in it",
    "empty.csv|": "missing are id",
    "broken.json|{": "not a readable label file",
    "list.json|[1]": "holds a list",
    "twice.json|" + '{"a": [], "a": []}': "'a' is there twice",
    "short.json|" + '{"a": [1, 0]}': r"a: has 2 values; expected 14",
    "text.json|" + '{"a": "yes"}': "a: has a str",
    "names.json|" + '{"a": {"Edema": 1}}': r"a: has no Enlarged Cardiomediastinum",
    "value.json|" + json.dumps({"a": [0.5] + [0] * 13}): r"a: No Finding is 0\.5",
    "labels.txt|a": r"ending in \.csv, \.json",
}


@pytest.mark.parametrize("case", BAD_FILES, ids=lambda case: case.split("|")[0])
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, case):
    name, content = case.split("|")
    (tmp_path / name).write_text(content)
    with pytest.raises(AnnotationError, match=f"{name}.*{BAD_FILES[case]}"):
        read_labels(tmp_path / name)


def test_no_file_and_no_order_are_named(tmp_path):
    for name in ("none.csv", "none.json", "none.pickle"):
        with pytest.raises(AnnotationError, match=f"{name}: is not a readable label file"):
            read_labels(tmp_path / name)
    with pytest.raises(UnknownNameError, match="unknown order of labels 'mimic'"):
        read_labels(tmp_path / "none.csv", order="mimic")


# --- images -----------------------------------------------------------------------------------------------------------


def test_drawn_findings_count_as_the_observation_of_most_of_their_codes():
    """The map is the majority of the expert codes (data/mesh_findings.csv), and nothing else."""
    votes = collections.Counter()
    for row in table("mesh_findings"):
        if row["drawn_finding"]:
            votes[row["drawn_finding"], row["chexpert_observation"]] += int(row["count"] or 0)
    majority = {drawn: max((n, name) for (d, name), n in votes.items() if d == drawn)[1] for drawn in DRAWN_FINDINGS}
    assert {drawn: name for drawn, name in majority.items() if name} == DRAWN_OBSERVATIONS


def test_findings_without_an_observation_leave_no_finding():
    drawn = np.zeros((3, 13), np.uint8)
    drawn[0, DRAWN_FINDINGS.index("Scoliosis")] = 1
    drawn[1, [DRAWN_FINDINGS.index("Effusion"), DRAWN_FINDINGS.index("Spine")]] = 1
    found = observations_of_drawn(drawn)
    assert [[OBSERVATIONS[i] for i in row.nonzero()[0]] for row in found] == [
        ["No Finding"],
        ["Pleural Effusion"],
        ["No Finding"],
    ]


@pytest.fixture(scope="module")
def classifier() -> FindingExtractor:
    torch.manual_seed(0)
    model = FindingExtractor().eval()
    model.thresholds = torch.linspace(-2.3, -1.7, 13)
    return model


def views(seed: int, count: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (count, 2, 32, 32)).astype(np.uint8)


def test_images_are_labelled_above_the_thresholds(classifier):
    batches = [views(0), views(1)]
    found = image_labels(classifier, batches)
    expected = [(finding_logits(classifier, batch) >= classifier.thresholds).numpy() for batch in batches]
    np.testing.assert_array_equal(found, observations_of_drawn(np.concatenate(expected)))
    assert found.shape == (8, 14) and 0 < found.mean() < 1
    assert image_labels(classifier, []).shape == (0, 14)


def test_a_classifier_of_other_findings_is_refused():
    with pytest.raises(ConfigurationError, match="the classifier knows Cardiomegaly, Opacity; the labels are made of"):
        image_labels(FindingExtractor(findings=("Cardiomegaly", "Opacity")), [views(0)])


def test_labels_at_test_come_from_where_it_is_said(classifier):
    observations = np.eye(14, dtype=np.uint8)[[3, 4, 5, 6]]
    dataset = SimpleNamespace(
        ids=list("abcd"), observations=observations, coded=np.ones(4, bool), views_array=lambda i: views(0)[list(i)]
    )
    dataset.study = lambda i: SimpleNamespace(report="rib fracture ." if i == 0 else "clear .")
    loaded = []
    labels = StudyLabels(dataset, "expert", lambda: loaded.append(1) or classifier)
    assert labels.at_test([0, 2], "none") is None
    np.testing.assert_array_equal(labels.at_test([0, 2], "reference"), observations[[0, 2]])
    said = labels.at_test([0, 2], "reference_reports")  # the same weights, labels of another source
    assert [OBSERVATIONS[j] for row in said for j in row.nonzero()[0]] == ["Fracture", "No Finding"]
    np.testing.assert_array_equal(
        StudyLabels(dataset, "reports", lambda: classifier).at_test([0, 2], "reference_expert"), observations[[0, 2]]
    )
    assert loaded == []  # no classifier is loaded, or trained, for those
    seen = labels.at_test([0, 2, 3], "classifier", batch_size=2)
    np.testing.assert_array_equal(seen, image_labels(classifier, [views(0)[[0, 2, 3]]]))
    assert loaded == [1]


def test_a_file_takes_the_place_of_the_expert_codes(tmp_path, classifier):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({i: numbers(OBSERVATIONS)[i].tolist() for i in IDS}))
    dataset = SimpleNamespace(ids=IDS[::-1], observations=np.zeros((3, 14), np.uint8))
    np.testing.assert_array_equal(StudyLabels(dataset, str(path), lambda: classifier).observations, expected()[::-1])
    with pytest.raises(AnnotationError, match="1 of 2 studies have no labels, the first 'z'"):
        _ = StudyLabels(SimpleNamespace(ids=["a", "z"]), str(path), lambda: classifier).observations
