"""ReXGradient-160K from a made tree: which studies, which split, which view first; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trees

from rrg_lib.data.doctor import examine
from rrg_lib.data.images import read_radiograph
from rrg_lib.data.prepare import prepare
from rrg_lib.data.sources import find_source
from rrg_lib.errors import AnnotationError, DataRootError

TRAIN = "metadata/train_metadata_view_position.json"


@pytest.fixture
def root(tmp_path) -> Path:
    return trees.rexgradient(tmp_path / "root")


def entries(**change):
    """The first training study with something else in it; without a key where the value is None."""

    def make(root: Path) -> None:
        found = json.loads((root / TRAIN).read_text())
        entry = found["pA_a1_s1"] | change
        found["pA_a1_s1"] = {key: value for key, value in entry.items() if value is not None}
        (root / TRAIN).write_text(json.dumps(found))

    return make


def test_a_study_is_its_findings_and_its_views_a_frontal_one_first(root):
    source = find_source("rexgradient", data_root=root)
    assert [(s.id, s.split, s.report) for s in source.studies()] == [
        ("pA_a1_s1", "train", "The heart is enlarged."),
        ("pA_a2_s1", "train", "Clear lungs. No effusion."),
        ("pC_a5_s1", "val", "Clear lungs."),
        ("pD_a6_s1", "test", "Small left effusion."),
    ]
    assert [[Path(view).stem for view in s.views] for s in source.studies()] == [
        ["2", "1", "3"],
        ["4"],
        ["6", "7"],
        ["8"],
    ]
    assert source.left_out() == {"no findings": 1, "no image": 1} and source.missing() == []
    positions = {Path(view).stem: position for view, position in source.collection.positions.items()}
    assert positions == {"1": "lateral", "2": "frontal", "6": "frontal", "7": "lateral", "8": "frontal"}


def test_it_is_prepared_to_the_same_bytes_and_says_whose_split_it_is(root, tmp_path):
    data = prepare("rexgradient", data_root=root, out=tmp_path / "out", workers=1, progress=False)
    assert data.hash == "0769280107f4"
    assert data.manifest["splits"] == {"train": 2, "val": 1, "test": 1}
    assert [data.num_views(i) for i in range(4)] == [2, 1, 2, 1]
    assert "public test" in data.manifest["split_source"]
    assert np.array_equal(data.views(0)[0], read_radiograph(root / "deid_png" / data.study(0).views[0]))


def test_findings_are_read_from_the_table_beside_when_the_entries_have_none(root, tmp_path):
    other = find_source("rexgradient", data_root=trees.rexgradient(tmp_path / "other", reports="table"))
    assert other.studies() == find_source("rexgradient", data_root=root).studies()
    assert other.left_out() == {"no findings": 1, "no image": 1}


def test_the_files_may_lie_in_the_folder_itself_and_a_part_may_be_missing(root):
    for path in (root / "metadata").iterdir():
        path.rename(root / path.name)
    (root / "train_metadata_view_position.json").rename(root / "train_metadata.json")
    (root / "test_metadata_view_position.json").unlink()
    assert [s.split for s in find_source("rexgradient", data_root=root).studies()] == ["train", "train", "val"]


def test_the_doctor_tells_it_from_the_folder(root):
    found = examine(root, progress=False)
    assert found.source.name == "rexgradient" and "1 study left out: no findings" in str(found)
    assert "split: ReXGradient-160K's own train, valid (here val) and public test" in str(found)


def twice(root: Path) -> None:
    text = (root / TRAIN).read_text()
    (root / TRAIN).write_text(text.replace('"pA_a2_s1"', '"pA_a1_s1"'))


def in_two_files(root: Path) -> None:
    found = json.loads((root / TRAIN).read_text())
    found["pC_a5_s1"] = found.pop("pA_a2_s1") | {"PatientID": "A"}
    (root / TRAIN).write_text(json.dumps(found))


def no_table(root: Path) -> None:
    entries(Findings=None)(root)
    (root / "metadata" / "train_metadata.csv").unlink()


FIRST = "A/1/studies/1/series/1/instances"
REFUSED = {
    "not JSON": (lambda root: (root / TRAIN).write_text('{"p": '), AnnotationError, "is not JSON: .* at line 1"),
    "a list": (lambda root: (root / TRAIN).write_text("[]"), AnnotationError, "holds a list; expected {"),
    "a study twice in a file": (
        twice,
        AnnotationError,
        r"the key 'pA_a1_s1' stands 2 times in one object; expected each once\. Keep the right one",
    ),
    "a study in two files": (in_two_files, AnnotationError, r"the study 'pC_a5_s1' is in two of the files"),
    "fewer positions than images": (
        entries(ImageViewPosition=["PA"]),
        AnnotationError,
        r"'pA_a1_s1': ImageViewPosition is \['PA'\]; expected a list of 3",
    ),
    "one path for a list": (
        entries(ImagePath="../deid_png/a.png"),
        AnnotationError,
        r"ImagePath is '\.\./deid_png/a\.png'; expected a list of paths",
    ),
    "no path": (entries(ImagePath=None), AnnotationError, r"ImagePath is None; expected a list .*give the files"),
    "a path that climbs": (
        entries(ImagePath=["../deid_png/../../x.png", "b", "c"]),
        AnnotationError,
        r"'pA_a1_s1': ImagePath '\.\./\.\./x\.png' climbs out",
    ),
    "an image of two studies": (
        entries(ImagePath=[f"../deid_png/{FIRST.replace('1', '2', 1)}/4.png", f"../deid_png/{FIRST}/2.png", "3"]),
        AnnotationError,
        r"'pA_a2_s1': the image 'A/2/.*4\.png' is also one of 'pA_a1_s1'; expected each once",
    ),
    "a patient in two parts": (
        entries(PatientID="C"),
        AnnotationError,
        r"'pC_a5_s1': patient C is in 'val', and with 'pA_a1_s1' in 'train'; expected each patient in one part",
    ),
    "findings that are a number": (entries(Findings=7), AnnotationError, r"Findings is 7; expected a text"),
    "no findings anywhere": (no_table, AnnotationError, r"looked for them in train_metadata\.csv beside it"),
    "the archive is still in parts": (
        lambda root: (root / "deid_png").rename(root / "deid_png.part00"),
        DataRootError,
        r"looked for deid_png/.*there is: deid_png\.part00/, metadata/.*cat deid_png\.part\*",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_wrong_is_said_with_its_file_and_its_study(fault, root, tmp_path):
    make, error, message = REFUSED[fault]
    make(root)
    with pytest.raises(error, match=message) as raised:
        prepare("rexgradient", data_root=root, out=tmp_path / "out", workers=1, progress=False)
    assert str(root) in str(raised.value) and not (tmp_path / "out").exists()
