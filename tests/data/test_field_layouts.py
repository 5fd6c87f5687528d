"""Files as the field hands them on: ReXrank's, a hub's copies, PromptMRG's annotation, MIMIC-CXR's table of sections, a
workbook. What is wrong with them is in `test_bad_tables.py`."""

from __future__ import annotations

import json
import pickle
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import trees

from rrg_lib.data import iu_xray
from rrg_lib.data.doctor import examine
from rrg_lib.data.finding_labels import findings_of
from rrg_lib.data.images import read_radiograph
from rrg_lib.data.layouts import hub, parquet_images
from rrg_lib.data.layouts.collection import position
from rrg_lib.data.layouts.registry import LAYOUTS, find_layout
from rrg_lib.data.prepare import prepare
from rrg_lib.data.sources import find_source
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import AnnotationError, ConfigurationError, ImageError
from rrg_lib.runtime.package_data import table

#: What the standard test split is, without a study.
TEST_IDS = {row["study_id"] for row in table("iu_xray_split") if row["split"] == "test"}


def prepared(name, root, out, **options):
    return prepare(name, data_root=root, out=out, workers=1, progress=False, **options)


@pytest.fixture(scope="module")
def r2gen(tmp_path_factory):
    """The 18 studies in R2Gen's layout, with which the copies are compared, prepared."""
    folder = tmp_path_factory.mktemp("r2gen")
    return prepared("iu_xray", trees.r2gen(folder / "root", trees.picked()), folder / "out")


# ---- the same studies from every copy


COPIES = {"promptmrg": trees.promptmrg, "hub_jsonl": trees.hub_jsonl, "hub_parquet": trees.hub_parquet}


@pytest.mark.parametrize("layout", COPIES)
def test_a_copy_of_iu_xray_gives_the_bytes_of_the_release(layout, r2gen, tmp_path):
    """The same ids, split, reports, expert codes and pixels: the same prepared hash."""
    root = COPIES[layout](tmp_path / "root", trees.picked())
    assert find_layout(root)[0].name == layout
    made = prepared("iu_xray", root, tmp_path / "out")
    assert made.hash == r2gen.hash and made.manifest["splits"] == {"train": 13, "val": 2, "test": 3}
    assert np.array_equal(made.views(5), r2gen.views(5)) and made.rejected == ()
    assert prepared("iu_xray", root, tmp_path / "again").hash == made.hash
    assert prepared("iu_xray", root, tmp_path / "shards", shard_size=4).rejected == ()
    found = examine(root, progress=False)
    assert found.source.layout == layout and f"iu_xray in the layout {layout}" in str(found)
    assert len(found.looks) == sum(len(trees.images(study)) for study in trees.picked())
    assert not any(look.fault for look in found.looks.values())


def test_rexranks_files_are_prepared_without_studies_to_train_on(r2gen, tmp_path):
    """Their vocabulary is that of the collection's training reports; pixels and reports are the release's."""
    root = trees.rexrank(tmp_path / "root", trees.picked())
    data = prepared("iu_xray", root, tmp_path / "out")
    assert data.manifest["splits"] == {"train": 0, "val": 2, "test": 3}
    whole = Vocabulary.build(study.report for study in iu_xray.studies("train"))
    assert data.vocabulary.hash == whole.hash != r2gen.vocabulary.hash
    for i, study in enumerate(data):
        at = r2gen.index(study.id)
        assert np.array_equal(data.views(i), r2gen.views(at)) and data.reports[i] == r2gen.reports[at]
        assert study.findings == r2gen.study(at).findings
    assert "words" in data.manifest["request"] and "words" not in r2gen.manifest["request"]
    assert prepared("iu_xray", root, tmp_path / "again").hash == data.hash
    found = examine(root, progress=False)
    assert found.status == 1 and "none for training" not in str(found)
    assert "iu_xray in the layout rexrank" in str(found)


def test_of_another_collection_rexranks_files_need_a_file_to_train_on(tmp_path):
    study = trees.picked()[0]
    entries = {"50000001": trees.rexrank_entry(study, image_path=["a.jpg"], section_findings="Clear.", split="test")}
    (tmp_path / "files").mkdir()
    trees.png(tmp_path / "files" / "a.jpg", trees.film("a"))
    (tmp_path / "ReXRank_MIMICCXR_test.json").write_text(json.dumps(entries))
    with pytest.raises(AnnotationError, match="none of the 1 studies is in the split 'train'"):
        prepared("mimic_cxr", tmp_path, tmp_path / "out")
    entries = {"50000002": {**entries["50000001"], "split": "train"}}
    (tmp_path / "ReXRank_train.json").write_text(json.dumps(entries))
    assert prepared("mimic_cxr", tmp_path, tmp_path / "out").manifest["splits"] == {"train": 1, "val": 0, "test": 1}


def test_rexranks_missing_findings_and_odd_positions_are_taken_as_they_are(tmp_path):
    """NaN is no report; a list of positions of another length than the images tells nothing."""
    val, test = (next(s for s in trees.picked() if s.split == split) for split in ("val", "test"))
    entries = {
        val.id: trees.rexrank_entry(val, section_findings=float("nan")),
        test.id: trees.rexrank_entry(test, frontal_lateral=["Frontal"]),
    }
    del entries[val.id]["split"]
    (tmp_path / "ReXRank_IUXray_valid.json").write_text(json.dumps(entries))
    collection = LAYOUTS["rexrank"].read(tmp_path, "as_released")
    assert [study.id for study in collection.studies] == [test.id]
    assert collection.positions == {f"{val.id}/0.png": "frontal", f"{val.id}/1.png": "lateral"}
    assert collection.left_out == {"no FINDINGS section": 1}


def test_the_whole_test_split_is_told_by_its_ids_and_everything_else_is_another_split(tmp_path):
    """590 ids of the shipped split, whatever file they come from."""
    entries = {study.id: trees.rexrank_entry(study) for study in iu_xray.studies("test")}
    assert set(entries) == TEST_IDS and len(TEST_IDS) == 590
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "ReXRank_IUXray_test.json").write_text(json.dumps(entries))
    assert find_source("iu_xray", data_root=tmp_path / "whole").split_source() == "the test studies are R2Gen's 590"
    entries.popitem()
    entries["own-1"] = trees.rexrank_entry(iu_xray.studies("test")[0])
    (tmp_path / "less").mkdir()
    (tmp_path / "less" / "ReXRank_IUXray_test.json").write_text(json.dumps(entries))
    words = find_source("iu_xray", data_root=tmp_path / "less").split_source()
    assert words.startswith("another split: 589 of R2Gen's 590 test studies are for testing here, and 1 others.")


@pytest.mark.parametrize("layout", [*COPIES, "rexrank"])
def test_prepare_says_which_split_it_is(layout, tmp_path):
    root = {**COPIES, "rexrank": trees.rexrank}[layout](tmp_path / "root", trees.picked())
    data = prepared("iu_xray", root, tmp_path / "out")
    assert data.manifest["split_source"].startswith("another split: 3 of R2Gen's 590 test studies")


def test_what_lies_beside_a_release_does_not_hide_it(tmp_path):
    root = trees.r2gen(tmp_path / "root", trees.picked()[:3])
    (root / "predictions.jsonl").write_text("{}\n")
    (root / "ReXRank_IUXray_test.json").write_text("{}")
    assert find_layout(root)[0].name == "r2gen"
    trees.rexrank(root, trees.picked())
    assert find_layout(root, "iu_xray", "rexrank")[0].name == "rexrank"
    (root / "annotation.json").unlink()
    with pytest.raises(ConfigurationError, match=r"has the marks of rexrank .* and hub_jsonl .*--layout rexrank"):
        find_layout(root)


# ---- a hub's copies


def jsonl(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(root, layout="hub_jsonl", rule="as_released"):
    return LAYOUTS[layout].read(root, rule)


def test_a_copy_may_call_its_columns_as_copies_do(tmp_path):
    """`findings` before `report`; images in a list, in two columns or below `images/`; ids in three forms."""
    a, b, c = trees.picked()[:3]
    for name in ("one.png", "two.png", "three.png"):
        trees.png(tmp_path / "images" / name, trees.film(name))
    jsonl(
        tmp_path / "train.jsonl",
        {"id": a.id, "images": ["one.png", "two.png"], "report": "Whole.", "Findings": "Clear."},
        {"uid": int(trees.uid(b)), "frontal_image": "images/one.png", "lateral_image": "two.png", "text": "Edema."},
    )
    jsonl(
        tmp_path / "dev" / "rows.jsonl", {"image_path": "three.png", "caption": "Large heart.", "split": "validation"}
    )
    jsonl(tmp_path / "test.jsonl", {"image": {"path": "three.png"}, "report": "nan", "id": f"CXR{trees.uid(c)}"})
    found = read(tmp_path)
    assert [(s.id, s.split, s.report, s.views) for s in found.studies] == [
        (a.id, "train", "Clear.", ("images/one.png", "images/two.png")),
        (b.id, "train", "Edema.", ("images/one.png", "images/two.png")),
        ("images/three", "val", "Large heart.", ("images/three.png",)),
    ]
    assert found.left_out == {"no report": 1}
    assert found.studies[0].findings == a.findings and found.studies[2].findings == ()


def test_a_copy_without_a_split_goes_where_the_standard_split_has_its_studies(tmp_path):
    known, other = trees.picked()[-1], "CXR9999_IM-0001"
    jsonl(
        tmp_path / "metadata.jsonl",
        {"file_name": f"{known.id}/0.png", "report": known.report},
        {"file_name": f"{other}-1001.png", "report": "Clear."},
    )
    found = read(tmp_path)
    assert [(s.id, s.split) for s in found.studies] == [(known.id, "test")]
    assert found.left_out == {"not in the standard split": 1}


def test_rows_of_one_study_are_its_views_in_the_order_of_a_rule(tmp_path):
    rows = [
        {"study_id": "A", "image": name, "findings": "Clear.", "view": view, "split": "train"}
        for name, view in (("l.png", "Lateral"), ("f.png", "PA"))
    ]
    jsonl(tmp_path / "all.jsonl", *rows)
    assert read(tmp_path).studies[0].views == ("l.png", "f.png")
    assert read(tmp_path, rule="frontal_first").studies[0].views == ("f.png", "l.png")


def picture(name: str, **change) -> dict:
    return {"image": {"bytes": trees.encoded(trees.film(name)), "path": f"{name}.png", **change}}


def test_images_in_parquet_are_read_like_files_in_any_order_and_process(tmp_path, monkeypatch):
    """Blocks of two rows, row groups of five, two files; forwards, backwards and from a copy of the source."""
    monkeypatch.setattr(parquet_images, "_MOST_ROWS", 2)
    names = [f"n{i}" for i in range(23)]
    for part, held in (("train", names[:13]), ("test", names[13:])):
        rows = [{**picture(name), "text": "Clear.", "id": name} for name in held]
        trees.parquet(tmp_path / f"{part}-00000.parquet", rows, row_group_size=5)
    collection = read(tmp_path, "hub_parquet")
    views = {study.id: study.views[0] for study in collection.studies}
    assert list(views) == names
    random = list(np.random.default_rng(0).permutation(names))
    for images in (collection.images, pickle.loads(pickle.dumps(collection.images))):
        for order in (names, names[::-1], random):
            for name in order:
                expected = read_radiograph(trees.png(tmp_path / "films" / f"{name}.png", trees.film(name)))
                assert np.array_equal(read_radiograph(images / views[name]), expected)
    assert (collection.images / views["n3"]).size == len(trees.encoded(trees.film("n3")))


def test_a_row_group_is_never_unpacked_whole(tmp_path, monkeypatch):
    """Blocks hold as many rows as fit, one where an image alone is larger."""
    rows = [{**picture(f"n{i}"), "text": "Clear.", "id": str(i)} for i in range(12)]
    size = len(rows[0]["image"]["bytes"])
    file = trees.parquet(tmp_path / "train.parquet", rows, compression=None)
    for fit, expected in ((3.5, 3), (0.2, 1)):
        monkeypatch.setattr(parquet_images, "BATCH_BYTES", int(fit * size))
        table = parquet_images.open_parquet(file)
        assert max(len(block) for block in parquet_images.blocks(table, ["image"])) == expected
    same = trees.parquet(tmp_path / "same.parquet", [rows[0]] * 64, compression=None)
    monkeypatch.setattr(parquet_images, "BATCH_BYTES", 2**25)
    monkeypatch.setattr(parquet_images, "_MOST_BLOCK", 10 * size)  # one image, stored once, in 64 rows
    table = parquet_images.open_parquet(same)
    assert max(len(block) for block in parquet_images.blocks(table, ["image"])) <= 10


BAD_BYTES = {
    "a page": (b"<html>404</html>", r"0 is an HTML or XML page"),
    "cut short": (trees.encoded(trees.film("x"))[:300], "truncated or damaged"),
    "too many pixels": (trees.png_header(10_000, 8_000), "10000 x 8000 pixels, refused before decoding"),
    "an animated GIF": (b"GIF89a" + b"\0" * 60, "is a GIF"),
    "a DICOM file": (b"\0" * 128 + b"DICM" + b"\0" * 60, "is a DICOM file, which is read from a folder alone"),
    "a pickle": (pickle.dumps({"a": 1}), "is not an image"),
}


@pytest.mark.parametrize("kind", BAD_BYTES)
def test_bytes_that_are_no_radiograph_are_set_aside_with_their_reason(kind, tmp_path):
    data, reason = BAD_BYTES[kind]
    rows = [{**picture(f"n{i}"), "text": "Clear.", "id": f"s{i}"} for i in range(3)]
    rows.append({"image": {"bytes": data, "path": "bad.png"}, "text": "Clear.", "id": "bad"})
    trees.parquet(tmp_path / "root" / "train.parquet", rows)
    data = prepared("iu_xray", tmp_path / "root", tmp_path / "out", max_rejected=0.5)
    [entry] = data.rejected
    assert (entry.study, entry.dropped, len(data)) == ("bad", True, 3)
    with pytest.raises(ImageError, match=reason):
        raise ImageError(entry.reason)
    found = examine(tmp_path / "root", progress=False)
    assert [look.fault != "" for look in found.looks.values()] == [False, False, False, True]


def test_an_image_larger_than_any_is_refused_before_it_is_read(tmp_path, monkeypatch):
    trees.parquet(tmp_path / "train.parquet", [{**picture("n"), "text": "Clear.", "id": "s"}])
    images, view = (lambda c: (c.images, c.studies[0].views[0]))(read(tmp_path, "hub_parquet"))
    monkeypatch.setattr(parquet_images, "MOST_IMAGE_BYTES", 10)
    with pytest.raises(ImageError, match=r"refused before decoding; the limit is 10"):
        read_radiograph(images / view)
    with pytest.raises(ImageError, match="no such image"):
        read_radiograph(images / "elsewhere")


def test_another_picture_in_a_parquet_file_is_another_collection(tmp_path):
    for kind, out in (("PNG", "a"), ("JPEG", "b")):
        held = {"bytes": trees.encoded(trees.film("n"), kind), "path": "n"}
        trees.parquet(tmp_path / out / "train.parquet", [{"image": held, "text": "Clear.", "id": "s"}])
    first, second = (find_source("iu_xray", data_root=tmp_path / out).identity() for out in "ab")
    assert first["images"] != second["images"] and first["annotation"] == second["annotation"]


# ---- PromptMRG


def test_labels_are_findings_where_no_expert_coded_the_study(tmp_path):
    """Class 1 is positive; of MIMIC-CXR's 18 the last four have no name in the label set."""
    labels = [0] * 18
    labels[4], labels[1], labels[9], labels[15] = 1, 2, 3, 1  # Edema; Cardiomegaly no, Effusion perhaps
    root = trees.promptmrg_mimic(tmp_path / "root", labels)
    source = find_source("mimic_cxr", data_root=root)
    assert source.layout == "promptmrg"
    for study in source.studies():
        assert [finding.observation for finding in study.findings] == ["Edema"]
        assert study.drawn[7] == 1 and sum(study.drawn) == 1
    first = prepared("mimic_cxr", root, tmp_path / "out")
    assert first.manifest["splits"] == {"train": 1, "val": 0, "test": 1}
    assert first.hash == prepared("mimic_cxr", root, tmp_path / "again").hash
    labels[13] = 1  # No Finding stands last with CheXbert
    assert [f.observation for f in labels_of(trees.promptmrg_mimic(tmp_path / "none", [0] * 13 + [1]))] == [
        "No Finding"
    ]
    unsure = find_source("mimic_cxr", data_root=trees.promptmrg_mimic(tmp_path / "unsure", [0] * 4 + [3] + [0] * 9))
    read = findings_of(unsure.studies())
    assert read.coded.all() and not read.abnormal.any(), "labelled, and of a doubted edema nothing is read again"
    experts = trees.promptmrg(tmp_path / "iu", trees.picked(), {trees.picked()[0].id: [1] * 14})
    assert [s.findings for s in find_source("iu_xray", data_root=experts).studies()] == [
        s.findings for s in trees.picked()
    ]


def labels_of(root):
    return find_source("mimic_cxr", data_root=root).studies()[0].findings


def test_the_list_without_a_split_joins_views_and_leaves_out_what_the_split_has_not(tmp_path):
    study = trees.picked()[-1]
    entry = {"report": study.report, "labels": [0] * 14}
    entries = [
        {**entry, "image_path": [f"{study.id}/0.png"]},
        {**entry, "image_path": [f"{study.id}/1.png"], "id": study.id},
        {**entry, "image_path": ["CXR9999_IM-0001/0.png"]},
    ]
    (tmp_path / "iu_annotation_promptmrg.json").write_text(json.dumps(entries))
    found = LAYOUTS["promptmrg"].read(tmp_path, "as_released")
    assert [(s.id, s.split, s.views) for s in found.studies] == [
        (study.id, "test", (f"{study.id}/0.png", f"{study.id}/1.png"))
    ]
    assert found.left_out == {"not in the standard split": 1}


# ---- MIMIC-CXR's table of sections


SECTIONED = """study,impression,findings,last_paragraph,comparison
s50000001,Normal.,"Clear
 lungs.",,
s50000002,Normal.,,,
s50000003,,Heart is large.,,
s50000004,,Edema.,,
"""


@pytest.mark.parametrize("packed", [False, True])
def test_the_table_of_sections_stands_in_for_the_reports(packed, tmp_path):
    """The same prepared bytes as from the reports; a study that the table has not has no report."""
    whole = prepared("mimic_cxr", trees.mimic(tmp_path / "whole"), tmp_path / "a")
    root = trees.sections(trees.mimic(tmp_path / "root", reports="none", packed=packed), SECTIONED, packed=packed)
    found = find_source("mimic_cxr", data_root=root)
    assert found.left_out() == {"no FINDINGS section": 1, "no report": 1}
    assert prepared("mimic_cxr", root, tmp_path / "b").hash == whole.hash
    assert examine(root, progress=False).source.layout == "mimic_cxr_jpg"


def test_reports_as_files_come_before_the_table_of_sections(tmp_path):
    root = trees.sections(trees.mimic(tmp_path / "root"), SECTIONED.replace("Edema.", "Other words."))
    assert find_source("mimic_cxr", data_root=root).studies()[2].report == "Edema."


# ---- a workbook


ROWS = [
    ["image", "study", "report", "split", "view"],
    ["a.png", 7, "Clear, normal.", "train", "PA"],
    ["b.png", 8.0, "Edema.", "test", None],
    [None, None, None],
    ["c.png", "NaN", "n/a", "train", ""],
]


def test_a_workbook_is_read_as_the_table_would_be(tmp_path):
    csv = 'image,study,report,split,view\na.png,7,"Clear, normal.",train,PA\nb.png,8,Edema.,test,\nc.png,,,train,\n'
    expected = prepared("own", trees.own(tmp_path / "csv", csv, ("a.png", "b.png", "c.png")), tmp_path / "a")
    root = trees.workbook(tmp_path / "xlsx", ROWS, ("a.png", "b.png", "c.png"))
    data = prepared("own", root, tmp_path / "b")
    assert data.hash == expected.hash and data.ids == ["7", "8"] and data.manifest["left_out"] == {"no report": 1}
    assert examine(root, progress=False).source.layout == "table"


def test_without_the_package_a_workbook_is_told_how_to_be_read(tmp_path, monkeypatch):
    root = trees.workbook(tmp_path / "xlsx", ROWS)
    monkeypatch.setattr(
        "rrg_lib.data.layouts.workbooks.find_spec", lambda name: None if name == "openpyxl" else find_spec(name)
    )
    with pytest.raises(ConfigurationError, match=r"pip install 'rrg-book\[xlsx\]', or save the table as CSV"):
        prepared("own", root, tmp_path / "out")


# ---- words for parts and positions


@pytest.mark.parametrize("word", ["val", "validate", "Validation", "valid"])
def test_an_annotation_may_call_its_parts_otherwise(word, tmp_path):
    root = trees.r2gen(tmp_path / "root", trees.picked())
    data = json.loads((root / "annotation.json").read_text())
    data[word] = data.pop("val")
    (root / "annotation.json").write_text(json.dumps(data))
    assert [s.split for s in find_source("iu_xray", data_root=root).studies()].count("val") == 2


def test_positions_are_told_from_the_words_that_people_write():
    for word in ("PA", "ap", "PA erect", "Chest AP portable", "AP AXIAL", "PA LLD", "frontal view"):
        assert position(word) == "frontal", word
    for word in ("LL", "Lat", "Left lateral", "XTABLE LATERAL", "lateral"):
        assert position(word) == "lateral", word
    for word in ("", None, "LPO", "SWIMMERS", "PA and lateral", "Papa", "flat"):
        assert position(word) is None, word


def test_a_view_that_a_rule_asks_for_and_nobody_understands_is_refused_by_line(tmp_path):
    table = "image,study,report,split,view\na.png,A,Clear.,train,{}\nb.png,A,Clear.,train,PA\n"
    root = trees.own(tmp_path / "own", table.format("Seite"))
    assert find_source("own", data_root=root).studies()[0].views == ("a.png", "b.png")
    with pytest.raises(AnnotationError, match=r"line 2: the view is 'Seite', and the rule frontal_first asks"):
        find_source("own", data_root=root, views="frontal_first").studies()
    shutil.rmtree(root)
    root = trees.own(tmp_path / "own", table.format("RAO"))
    assert find_source("own", data_root=root, views="frontal_first").studies()[0].views == ("b.png", "a.png")


def test_files_in_hidden_folders_are_no_part_of_a_copy(tmp_path):
    jsonl(tmp_path / ".cache" / "train.jsonl", {"a": 1})
    assert hub.hub_files(tmp_path, hub.JSONL) == [] and hub.hub_files(tmp_path / "none", hub.JSONL) == []
