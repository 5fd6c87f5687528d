"""`annotation.json` of the R2Gen release: what it may say, and what each fault is answered with."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from rrg_lib.data import iu_xray
from rrg_lib.data.layouts.r2gen import read_annotation
from rrg_lib.data.prepare import prepare
from rrg_lib.errors import AnnotationError, DataRootError


def entry(study_id="S1", report="The lungs are clear.", paths=("S1/0.png",)):
    return {"id": study_id, "report": report, "image_path": list(paths)}


@pytest.fixture
def root(tmp_path):
    """A data root with `images/S1/0.png`, a picture outside of it, and a link to that."""
    root = tmp_path / "root"
    (root / "images" / "S1").mkdir(parents=True)
    for path in (root / "images" / "S1" / "0.png", tmp_path / "outside.png"):
        Image.fromarray(np.full((64, 64), 90, np.uint8)).save(path)
    (root / "images" / "S1" / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "images" / "S1" / "inner.png").symlink_to("0.png")
    return root


def write(root, value):
    (root / "annotation.json").write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def test_studies_come_in_the_order_of_the_file_with_their_split_and_images(root):
    write(root, {"val": [entry("b")], "train": [entry("a", paths=["S1/0.png", "S1/inner.png"])]})
    studies = read_annotation(root).studies
    assert [(study.id, study.split, study.views) for study in studies] == [
        ("a", "train", ("S1/0.png", "S1/inner.png")),
        ("b", "val", ("S1/0.png",)),
    ]
    assert all(study.findings == () for study in studies)


def test_a_study_of_the_iu_collection_gets_its_expert_codes(root):
    known = iu_xray.study("CXR2384_IM-0942")
    write(root, {"train": [entry(known.id)]})
    (study,) = read_annotation(root).studies
    assert study.findings == known.findings != ()


def test_the_images_folder_itself_may_be_a_link(root, tmp_path):
    (root / "images").rename(tmp_path / "disk")
    (root / "images").symlink_to(tmp_path / "disk")
    write(root, {"train": [entry()]})
    assert len(read_annotation(root).studies) == 1


def test_a_byte_order_mark_is_no_fault(root):
    write(root, "\ufeff" + json.dumps({"train": [entry()]}))
    assert len(read_annotation(root).studies) == 1


FAULTS = {
    "not JSON": ('{"train": [', r"is not JSON: .* line 1, column 12"),
    "a list": ([entry()], "holds a list"),
    "no split": ({"studies": []}, "holds the keys 'studies'"),
    "no study": ({"train": []}, "holds no study"),
    "a split that is no list": ({"train": {"S1": entry()}}, "'train' is a dict; expected a list"),
    "an entry that is no object": ({"train": ["S1"]}, r"train\[0\]: is a str"),
    "no report": (
        {"train": [entry(), {"id": "S2", "image_path": ["S1/0.png"]}]},
        r"train\[1\] \(S2\): has no 'report'",
    ),
    "no id and no path": ({"train": [{"report": "x"}]}, r"train\[0\]: has no 'id' and no 'image_path'"),
    "an id that is a number": ({"train": [entry(7)]}, r"train\[0\]: the id is 7"),
    "a report that is null": ({"train": [entry(report=None)]}, r"\(S1\): the report is None"),
    "no image": ({"train": [entry(paths=())]}, r"image_path is \[\]"),
    "a path that is a text": ({"train": [entry() | {"image_path": "S1/0.png"}]}, r"image_path is 'S1/0\.png'"),
    "an id twice": ({"train": [entry(), entry()]}, r"train\[1\]: the id 'S1' was already used by .*train\[0\]"),
    "an id in two splits": (
        {"train": [entry()], "test": [entry()]},
        r"test\[0\]: the id 'S1' was already used by .*train\[0\]",
    ),
    "an absolute path": ({"train": [entry(paths=["/etc/passwd"])]}, r"\(S1\): image_path '/etc/passwd' is absolute"),
    "a Windows path": ({"train": [entry(paths=["C:\\films\\0.png"])]}, "is absolute"),
    "a path that climbs": (
        {"train": [entry(paths=["../../outside.png"])]},
        r"\(S1\): image_path '../../outside.png' climbs out",
    ),
    "a path that climbs and returns": ({"train": [entry(paths=["S1/../../images/S1/0.png"])]}, "climbs out"),
    "a path that climbs with backslashes": ({"train": [entry(paths=["..\\outside.png"])]}, "climbs out"),
    "a link that leads out": (
        {"train": [entry(paths=["S1/link.png"])]},
        r"\(S1\): image_path 'S1/link.png' is a link to .*outside\.png",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_annotation_is_answered_with_entry_and_value(fault, root):
    value, message = FAULTS[fault]
    write(root, value)
    with pytest.raises(AnnotationError, match=message) as raised:
        read_annotation(root)
    assert "annotation.json" in str(raised.value)


def test_text_that_is_not_utf8_is_named(root):
    (root / "annotation.json").write_bytes(b'{"train": "\xff"}')
    with pytest.raises(AnnotationError, match=r"annotation\.json: is not UTF-8 text \(byte 11\)"):
        read_annotation(root)


def test_missing_images_are_counted_before_anything_is_read(root, tmp_path):
    write(root, {"train": [entry(), entry("S2", paths=["S2/0.png", "S2/1.png"])]})
    with pytest.raises(
        DataRootError, match=r"2 of 3 images are missing, the first 'S2/0\.png'; there is: S1/.*--max-rejected 0\.67"
    ):
        prepare("iu_xray", data_root=root, out=tmp_path / "out", workers=1, progress=False)
    assert not (tmp_path / "out").exists()


def test_a_missing_root_says_what_was_looked_for_what_is_there_and_what_to_do(root, tmp_path):
    with pytest.raises(
        DataRootError, match=r"looked for annotation\.json and images/.*does not exist; .* holds: .*root/"
    ):
        read_annotation(tmp_path / "nowhere")
    with pytest.raises(DataRootError, match=r"looked for annotation\.json .*; there is: images/$"):
        read_annotation(root)
