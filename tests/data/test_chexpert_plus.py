"""CheXpert Plus from a made tree: which studies, which split, which file of an image; and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import trees

from rrg_lib.data.doctor import examine
from rrg_lib.data.images import read_radiograph
from rrg_lib.data.layouts.chexpert_plus import COLUMNS
from rrg_lib.data.prepare import prepare
from rrg_lib.data.sources import find_source
from rrg_lib.errors import AnnotationError, DataRootError

TABLE = "df_chexpert_plus_240401.csv"
FIRST = "train/patient00001/study1/view1_frontal"


@pytest.fixture
def root(tmp_path) -> Path:
    return trees.chexpert_plus(tmp_path / "root")


def changed(root: Path, change) -> None:
    """Rewrite the table with `change` done to its rows."""
    with open(root / TABLE, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with open(root / TABLE, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def test_a_study_is_a_report_and_one_frontal_view_in_the_collections_own_split(root):
    source = find_source("chexpert_plus", data_root=root)
    assert [(s.id, s.split, s.report, s.views) for s in source.studies()] == [
        ("patient00001_study1", "train", "The heart is enlarged. No effusion.", (f"{FIRST}.png",)),
        (
            "patient00002_study2",
            "train",
            "Clear lungs. The heart is normal, no effusion.",
            ("train/patient00002/study2/view1_frontal.png",),
        ),
        ("patient00003_study1", "val", "Small left effusion.", ("valid/patient00003/study1/view1_frontal.png",)),
    ]
    assert source.left_out() == {"no FINDINGS section": 1, "no frontal view": 1}
    assert "Impression" not in "".join(study.report for study in source.studies())
    released = find_source("chexpert_plus", data_root=root, views="as_released").studies()
    assert [len(study.views) for study in released] == [2, 1, 1, 1]


def test_it_is_prepared_to_the_same_bytes_and_says_whose_split_it_is(root, tmp_path):
    data = prepare("chexpert_plus", data_root=root, out=tmp_path / "out", workers=1, progress=False)
    assert data.hash == "96577bfb9711"
    assert data.manifest["splits"] == {"train": 2, "val": 1, "test": 0}
    assert data.vocabulary.protocol.name == "r2gen_mimic" and not data.coded.any()
    assert "no test studies" in data.manifest["split_source"] and "another split" in data.manifest["split_source"]
    assert np.array_equal(data.views(0)[0], read_radiograph(root / "PNG" / "PNG" / f"{FIRST}.png"))


@pytest.mark.parametrize(("place", "ending"), [("PNG", ".png"), (".", ".png"), ("CheXpert-v1.0-small", ".jpg")])
def test_the_images_are_found_where_the_archives_unpack_to(place, ending, tmp_path):
    root = trees.chexpert_plus(tmp_path / "root", place=place, ending=ending)
    source = find_source("chexpert_plus", data_root=root)
    assert source.missing() == [] and source.studies()[0].views == (f"{FIRST}{ending}",)


def test_an_image_that_is_missing_is_missed_under_its_name_in_the_archive(root):
    (root / "PNG" / "PNG" / f"{FIRST}.png").unlink()
    assert find_source("chexpert_plus", data_root=root).missing() == [f"{FIRST}.png"]


def test_rows_of_a_study_that_disagree_leave_it_out_and_an_empty_one_does_not(root):
    changed(root, lambda rows: rows[0].update(section_findings=""))
    assert find_source("chexpert_plus", data_root=root).studies()[0].id == "patient00001_study1"
    changed(root, lambda rows: rows[0].update(section_findings="Clear lungs."))
    source = find_source("chexpert_plus", data_root=root)
    assert source.studies()[0].id == "patient00002_study2"
    assert source.left_out()["different FINDINGS in its rows"] == 1


def test_the_doctor_tells_it_from_the_folder_and_says_what_is_missing_for_testing(root):
    found = examine(root, progress=False)
    assert found.source.name == "chexpert_plus"
    assert "split: CheXpert Plus's own train and valid (here val)" in str(found)
    assert "3 studies, and none for testing" in str(found)


def rows(**change):
    return lambda root: changed(root, lambda table: table[1].update(change))


def no_images(root: Path) -> None:
    (root / "PNG").rename(root / "PNG.zip")


REFUSED = {
    "a column is missing": (
        lambda root: (root / TABLE).write_text((root / TABLE).read_text().replace("section_findings", "findings")),
        AnnotationError,
        r"has no column 'section_findings'; there is .*Name the columns so",
    ),
    "another split": (rows(split="fold1"), AnnotationError, r"line 5: the split is 'fold1'; expected train or valid"),
    "a path that climbs": (rows(path_to_image="../patient1/study1/x.jpg"), AnnotationError, r"climbs out with '\.\.'"),
    "a path of another form": (
        rows(path_to_image="train/p1/s1/a.jpg"),
        AnnotationError,
        r"path_to_image is 'train/p1/s1/a\.jpg'; expected train/patient12345/study1/view1_frontal\.jpg",
    ),
    "an image twice": (
        lambda root: changed(root, lambda table: table.append(dict(table[0]))),
        AnnotationError,
        r"line 11: 'train/patient00001/study1/view2_lateral\.jpg' stands in line 3 already\. Remove one",
    ),
    "a patient in two parts": (
        lambda root: changed(root, lambda table: table[-1].update(deid_patient_id="patient00001")),
        AnnotationError,
        r"line 9: patient patient00001 is in 'val' and in line 3 in 'train'; expected each patient in one part\. Get",
    ),
    "a study of two patients": (
        rows(deid_patient_id="patient00009"),
        AnnotationError,
        r"the study is of patient patient00009, in line 3 of patient00001",
    ),
    "no FINDINGS at all": (
        lambda root: changed(root, lambda table: [row.update(section_findings="") for row in table]),
        DataRootError,
        r"none of its 5 studies can be used .*expected some with section_findings",
    ),
    "no images": (no_images, DataRootError, r"looked for the images .* train/ and valid/.*there is: .*PNG\.zip"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_wrong_is_said_with_its_file_and_its_line(fault, root, tmp_path):
    make, error, message = REFUSED[fault]
    make(root)
    with pytest.raises(error, match=message) as raised:
        prepare("chexpert_plus", data_root=root, out=tmp_path / "out", workers=1, progress=False)
    assert str(root) in str(raised.value) and not (tmp_path / "out").exists()


def test_the_columns_that_are_needed_are_those_of_the_release(root):
    header = (root / TABLE).read_text().splitlines()[0].split(",")
    assert len(header) == 28 and set(COLUMNS) < set(header)  # 27 columns, and the rows' numbers
