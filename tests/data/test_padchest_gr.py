"""PadChest-GR from a made tree: which studies, which split, which words; that a box still covers what it marks when the
image is prepared; and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trees
from trees import padchest_sentence as sentence

from rrg_lib.data.doctor import examine
from rrg_lib.data.images import pixel_box, read_radiograph
from rrg_lib.data.layouts.registry import find_layout
from rrg_lib.data.prepare import prepare
from rrg_lib.data.sources import find_source
from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS, Box
from rrg_lib.errors import AnnotationError, DataRootError
from rrg_lib.runtime.package_data import table

REPORTS, MASTER = "grounded_reports_20240819.json", "master_table.csv"


@pytest.fixture
def root(tmp_path) -> Path:
    return trees.padchest_gr(tmp_path / "root")


def prepared(root: Path, out: Path, **options):
    return prepare("padchest_gr", data_root=root, out=out, workers=1, progress=False, **options)


def test_a_study_is_its_english_sentences_and_one_image_in_the_master_tables_split(root):
    source = find_source("padchest_gr", data_root=root)
    assert [(s.id, s.split, s.report, s.views) for s in source.studies()] == [
        ("2511", "train", "Cardiomegaly. Bilateral pleural effusion. No pneumothorax.", ("2511_a.png",)),
        ("2512", "train", "Aortic elongation. Chronic changes.", ("2512_a.png",)),
        ("2513", "val", "No abnormalities.", ("2513_a.png",)),
        ("2514", "test", "Scoliosis!", ("2514_a.png",)),
    ]
    assert source.left_out() == {"no sentence": 1, "not in the master table": 1}
    assert source.split_source() == "the split of PadChest-GR's master table: train, validation (here val), test"


def test_what_its_sentences_say_is_there_are_its_findings_with_place_side_and_progression(root):
    first, second, third, _ = find_source("padchest_gr", data_root=root).studies()
    assert [(f.drawn, f.observation, f.side) for f in first.findings] == [
        ("Cardiomegaly", "Cardiomegaly", None),
        ("Effusion", "Pleural Effusion", "bilateral"),
        ("Effusion", "Pleural Effusion", "bilateral"),
    ]
    assert first.findings[1].code == "padchest/pleural effusion/left pleural/right pleural/worsened"
    assert first.findings[1].place == ("left pleural", "right pleural")
    assert second.findings[1].code == "padchest/chronic changes/stable"
    assert second.is_coded and not second.is_abnormal  # aortic elongation is none of the 13
    assert third.is_coded and not third.is_abnormal and third.observations[0] == 1


def test_in_spanish_the_words_are_others_and_the_rest_is_the_same(root, tmp_path):
    english = prepared(root, tmp_path / "en")
    spanish = prepared(root, tmp_path / "es", layout="padchest_gr_spanish")
    assert find_layout(root)[0].name == "padchest_gr"
    assert spanish.reports[0] == "Cardiomegalia. Derrame pleural bilateral. No neumotórax."
    assert spanish.cleaned(1) == "elongación aórtica . cambios crónicos ."
    assert [spanish.boxes(i) for i in range(4)] == [english.boxes(i) for i in range(4)]
    assert np.array_equal(spanish.drawn_findings, english.drawn_findings)
    assert spanish.hash == "1c18105b5f60" != english.hash


def test_it_is_prepared_to_the_same_bytes_with_its_boxes(root, tmp_path):
    data = prepared(root, tmp_path / "out")
    assert data.hash == "6cb06e50de1a"
    assert data.manifest["splits"] == {"train": 2, "val": 1, "test": 1} and data.coded.all()
    assert data.boxes(0)[:3] == (
        Box("Cardiomegaly", 0, 64, 128, 192, 224, "padchest/cardiomegaly"),
        Box("Effusion", 0, 0, 192, 64, 256, "padchest/pleural effusion"),  # its lower edge was past the film's, and cut
        Box("Effusion", 0, 192, 192, 256, 256, "padchest/pleural effusion"),
    )
    assert [box.finding for box in data.boxes(1)] == ["aortic elongation"] * 2 and data.boxes(2) == ()
    again = trees.padchest_gr(tmp_path / "again", place="PadChest_GR")
    assert prepared(again, tmp_path / "moved").hash == data.hash


def test_a_view_that_is_repeated_has_its_boxes_again(root, tmp_path):
    data = prepared(root, tmp_path / "out")
    assert data.num_views(0) == 1 and np.array_equal(*data.views(0))
    assert [replace(box, view=1) for box in data.boxes(0) if box.view == 0] == [b for b in data.boxes(0) if b.view == 1]


def test_other_boxes_are_another_dataset_and_other_images_of_one_name_too(root, tmp_path):
    before = find_source("padchest_gr", data_root=root).identity()
    entries = json.loads((root / REPORTS).read_text())
    entries[0]["findings"][0]["boxes"][0][0] = 0.26
    (root / REPORTS).write_text(json.dumps(entries))
    after = find_source("padchest_gr", data_root=root).identity()
    assert [key for key in before if before[key] != after[key]] == ["boxes"]


@pytest.mark.parametrize("shape", [(600, 400), (400, 600), (1000, 1000), (280, 600)])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.31, 0.57), (0.8, 0.8)])
def test_a_box_still_covers_the_mark_that_it_was_drawn_around(shape, corner, tmp_path):
    """A bright mark on a dark film of 16 bits (uneven, or it were a burnt-in letter), its box in shares: squashed to
    the square, the mark lies in the box in pixels, and fills it."""
    height, width = shape
    noise = trees.deep_film("mark", height, width) / 4096
    film = (300 + 1550 * noise).astype(np.uint16)  # of 4,095
    x0, y0 = round(corner[0] * width), round(corner[1] * height)
    x1, y1 = x0 + width // 5, y0 + height // 5
    film[y0:y1, x0:x1] = 2600 + 1400 * noise[y0:y1, x0:x1]
    shares = (x0 / width, y0 / height, x1 / width, y1 / height)
    marked = [sentence("Nodule.", "Nódulo.", "nodule", boxes=[shares])]
    studies = {"1": ("train", marked), "2": ("train", [sentence("No nodule.")])}
    data = prepared(trees.padchest_gr(tmp_path / "root", studies, {"1": film}), tmp_path / "out")
    box, repeated = data.boxes(0)
    assert (box.finding, box.view, repeated.view) == ("Nodule", 0, 1)
    bright = data.views(0)[0] > 128
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    assert box.y0 <= rows[0] <= box.y0 + 1 and box.y1 - 2 <= rows[-1] < box.y1
    assert box.x0 <= columns[0] <= box.x0 + 1 and box.x1 - 2 <= columns[-1] < box.x1
    assert bright[box.y0 + 1 : box.y1 - 1, box.x0 + 1 : box.x1 - 1].all()


def test_boxes_keep_to_the_pixels_that_they_touch():
    assert pixel_box(0.3, 0.1, 0.5, 0.9, size=10) == (3, 1, 5, 9)  # 0.3 * 10 is not 3 to a computer
    assert pixel_box(0.31, 0.0, 0.31, 1.0, size=10) == (3, 0, 4, 10)  # a line is a pixel wide
    assert pixel_box(1.0, 1.0, 1.0, 1.0, size=10) == (9, 9, 10, 10)
    assert pixel_box(0.29, 0.0, 0.31, 0.01, size=10) == (2, 0, 4, 1)


def test_an_image_of_16_bits_is_read_as_the_release_has_it(root):
    assert read_radiograph(root / "Padchest_GR_files" / "PadChest_GR" / "2511_a.png").std() > 30


def test_the_doctor_tells_it_from_the_folder_and_counts_its_boxes(root):
    found = str(examine(root, progress=False))
    assert "padchest_gr in the layout padchest_gr\n" in found and "5 boxes of findings on 3 images" in found
    assert "split: the split of PadChest-GR's master table" in found and "expert codes in" not in found


def test_every_label_of_the_table_is_one_of_padchest_and_every_name_one_of_ours():
    """The vocabulary of PadChest's labels comes with the package that ships the reports of IU X-Ray."""
    import ast
    import csv
    import gzip

    from rrg_lib.data.iu_xray import _packaged

    labels = set()
    with gzip.open(_packaged("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"), "rt") as file:
        for row in csv.DictReader(file):
            labels |= (
                {label.strip() for label in ast.literal_eval(row["Labels"] or "[]") if label}
                if (row["Labels"].startswith("["))
                else set()
            )
    rows = table("padchest_findings")
    assert len({row["label"].lower() for row in rows}) == len(rows) == 90
    assert {row["label"] for row in rows} <= labels
    assert {row["drawn_finding"] for row in rows} - {""} == set(DRAWN_FINDINGS)
    assert {row["chexpert_observation"] for row in rows} - {""} < set(OBSERVATIONS)


def first(**change):
    """The first sentence of the first study with something else in it; without a key where the value is None."""

    def make(root: Path) -> None:
        entries = json.loads((root / REPORTS).read_text())
        said = entries[0]["findings"][0] | change
        entries[0]["findings"][0] = {key: value for key, value in said.items() if value is not None}
        (root / REPORTS).write_text(json.dumps(entries))

    return make


def study(**change):
    def make(root: Path) -> None:
        entries = json.loads((root / REPORTS).read_text())
        entries[1] |= change
        (root / REPORTS).write_text(json.dumps([{k: v for k, v in e.items() if v != "gone"} for e in entries]))

    return make


def master(change):
    def make(root: Path) -> None:
        (root / MASTER).write_text(change((root / MASTER).read_text()))

    return make


def packed(root: Path) -> None:
    for path in (root / "Padchest_GR_files" / "PadChest_GR").iterdir():
        path.unlink()
    (root / "Padchest_GR_files" / "PadChest_GR.zip.001").write_bytes(b"")


def another_release(root: Path) -> None:
    (root / "grounded_reports_20250101.json").write_text("[]")


WHERE = r"entry 0 \(study 2511\): findings\[0\]: "
REFUSED = {
    "a box in pixels": (
        first(boxes=[[120, 300, 480, 700]]),
        AnnotationError,
        WHERE + r"the box \[120, 300, 480, 700\] is no box; expected \[x0, y0, x1, y1\] in shares .* divide by the",
    ),
    "a box of three numbers": (
        first(boxes=[[0.1, 0.2, 0.3]]),
        AnnotationError,
        WHERE + r"the box \[0\.1, 0\.2, 0\.3\]",
    ),
    "a box of words": (first(boxes=[["a", 0, 1, 1]]), AnnotationError, WHERE + r"the box \['a', 0, 1, 1\] is no box"),
    "a box that is not a number": (
        first(boxes=[[float("nan"), 0, 1, 1]]),
        AnnotationError,
        WHERE + r"the box \[nan, 0, 1, 1\] is no box",
    ),
    "a box that ends before it begins": (
        first(boxes=[[0.6, 0.2, 0.3, 0.4]]),
        AnnotationError,
        WHERE + r"the box \[0\.6, 0\.2, 0\.3, 0\.4\] ends before it begins; expected .*Put the corners in that order",
    ),
    "boxes that are none": (first(boxes="none"), AnnotationError, WHERE + r"boxes is 'none'; expected a list"),
    "no English sentence": (first(sentence_en=None), AnnotationError, WHERE + r"has no 'sentence_en'; there is"),
    "a sentence that is a number": (
        first(sentence_en=5),
        AnnotationError,
        WHERE + r"sentence_en is 5; expected a text",
    ),
    "abnormal in words": (first(abnormal="yes"), AnnotationError, WHERE + r"abnormal is 'yes'; expected true"),
    "labels that are numbers": (first(labels=[1]), AnnotationError, WHERE + r"labels is \[1\]; expected words"),
    "a study twice": (
        study(StudyID="2511"),
        AnnotationError,
        r"entry 1 \(study 2511\): the study '2511' is in entry 0 already\. Remove one of the two",
    ),
    "an image twice": (study(ImageID="2511_a.png"), AnnotationError, r"the image '2511_a\.png' is in entry 0 already"),
    "an image that climbs": (study(ImageID="../x.png"), AnnotationError, r"ImageID '\.\./x\.png' climbs out"),
    "no findings": (study(findings="gone"), AnnotationError, r"entry 1: has no 'findings'; expected \["),
    "an object": (
        lambda root: (root / REPORTS).write_text("{}"),
        AnnotationError,
        r"grounded_reports_20240819\.json: holds a dict; expected \[",
    ),
    "another split": (
        master(lambda text: text.replace("validation", "fold2")),
        AnnotationError,
        r"master_table\.csv, line \d: study '2513' is in 'fold2'; expected a study in train, validation or test",
    ),
    "a study in two parts": (
        master(lambda text: text + "2511,2511_a.png,nodule,test,P2511\r\n"),
        AnnotationError,
        r"master_table\.csv, line 10: study 2511 is in 'test', in line 2 in 'train'",
    ),
    "no master table": (
        lambda root: (root / MASTER).rename(root / "master_table.csv.zip"),
        DataRootError,
        r"looked for master_table\.csv, .*there is: .*master_table\.csv\.zip\. Put it there \(it may come zipped",
    ),
    "another table": (
        master(lambda text: text.replace("251", "999")),
        DataRootError,
        r"none of its 6 studies can be used \(.*not in the master table.*expected studies that stand in master_table",
    ),
    "two releases": (another_release, DataRootError, r"looked for one grounded_reports_\*\.json .*Keep one"),
    "images still packed": (packed, DataRootError, r"looked for the images .*cat .*PadChest_GR\.zip\.0\* > .*; unzip"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_wrong_is_said_with_its_file_its_study_and_its_value(fault, root, tmp_path):
    make, error, message = REFUSED[fault]
    make(root)
    with pytest.raises(error, match=message) as raised:
        prepared(root, tmp_path / "out")
    assert str(root) in str(raised.value) and len(str(raised.value)) < 1000 and not (tmp_path / "out").exists()
