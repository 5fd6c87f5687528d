"""The same studies, split, reports and prepared bytes from every layout; and what tells a layout."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import trees
from PIL import Image

from rrg_lib.data import iu_xray
from rrg_lib.data.finding_labels import CODES, findings_of
from rrg_lib.data.layouts.collection import ordered
from rrg_lib.data.layouts.registry import LAYOUTS, find_layout
from rrg_lib.data.prepare import prepare
from rrg_lib.data.shards import load_rejected
from rrg_lib.data.sources import find_source
from rrg_lib.errors import ConfigurationError, DataRootError, ImageError, UnknownNameError


@pytest.fixture(scope="module")
def iu(tmp_path_factory):
    """The four layouts of IU X-Ray with the same 17 studies and the same pixels."""
    folder, studies = tmp_path_factory.mktemp("iu"), trees.picked()
    return {
        "openi": trees.openi(folder / "openi", studies),
        "openi_dicom": trees.openi(folder / "dicom", studies, dicom=True),
        "r2gen": trees.r2gen(folder / "r2gen", studies),
        "kaggle": trees.kaggle(folder / "kaggle", studies),
    }


def prepared(name, root, out, **options):
    return prepare(name, data_root=root, out=out, workers=1, progress=False, **options)


# ---- IU X-Ray


def test_every_layout_gives_the_same_studies_in_the_same_split(iu):
    expected = [
        (study.id, study.split, study.report, study.findings, len(trees.images(study))) for study in trees.picked()
    ]
    assert (
        len(expected) == 18
        and {views for *_, views in expected} >= {2, 3}
        and {split for _, split, *_ in expected} == {"train", "val", "test"}
    )
    for layout, root in iu.items():
        source = find_source("iu_xray", data_root=root)
        assert source.layout == layout
        assert [(s.id, s.split, s.report, s.findings, len(s.views)) for s in source.studies()] == expected, layout


def test_identical_images_give_the_same_prepared_hash_in_every_layout(iu, tmp_path):
    made = {layout: prepared("iu_xray", root, tmp_path / layout) for layout, root in iu.items()}
    assert len({data.hash for data in made.values()}) == 1
    assert all(np.array_equal(data.views(5), made["openi"].views(5)) for data in made.values())
    by_rule = [
        prepared("iu_xray", iu[name], tmp_path / f"{name}-first", views="frontal_first")
        for name in ("openi", "openi_dicom", "kaggle")
    ]
    assert by_rule[0].hash == by_rule[1].hash != made["openi"].hash


@pytest.mark.slow
def test_all_2955_studies_come_from_the_layouts_whose_tables_hold_them(tmp_path):
    """No image needed: reading a layout opens none. The XML files are the real ones."""
    studies = iu_xray.studies()
    (tmp_path / "openi" / "NLMCXR_png").mkdir(parents=True)
    (tmp_path / "openi" / "NLMCXR_dcm").mkdir()
    (tmp_path / "openi" / "ecgen-radiology").mkdir()
    for number, xml in trees.xml_files().items():
        (tmp_path / "openi" / "ecgen-radiology" / f"{number}.xml").write_bytes(xml)
    (tmp_path / "kaggle" / "images_normalized").mkdir(parents=True)
    with open(tmp_path / "kaggle" / "indiana_reports.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["uid", "MeSH", "findings"])
        table.writerows(
            [number, ";".join(record.codes), record.findings] for number, record in iu_xray.records().items()
        )
    with open(tmp_path / "kaggle" / "indiana_projections.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["uid", "filename", "projection"])
        table.writerows(
            [number, f"{iu_xray.image_key(image)}.dcm.png", "Frontal"]
            for number, record in iu_xray.records().items()
            for image in record.images
        )
    annotation = {
        split: [{"id": s.id, "report": s.report, "image_path": list(s.views)} for s in iu_xray.studies(split)]
        for split in ("train", "val", "test")
    }
    (tmp_path / "r2gen").mkdir()
    (tmp_path / "r2gen" / "annotation.json").write_text(json.dumps(annotation))
    for layout in ("openi", "openi_dicom", "kaggle", "r2gen"):
        found = LAYOUTS[layout].read(tmp_path / layout.removesuffix("_dicom"), "as_released")
        assert [(s.id, s.split, s.report, s.findings) for s in found.studies] == [
            (s.id, s.split, s.report, s.findings) for s in studies
        ], layout
        assert found.left_out == ({} if layout == "r2gen" else {"not in the standard split": 1000})
        first_two = [tuple(iu_xray.image_key(view.rpartition("/")[2]) for view in s.views[:2]) for s in found.studies]
        assert first_two == [tuple(map(iu_xray.image_key, s.views)) for s in studies], layout


def test_without_xml_files_the_reports_of_the_package_are_read(iu, tmp_path):
    root = trees.openi(tmp_path / "images", trees.picked()[:3], reports=False)
    source = find_source("iu_xray", data_root=root)
    assert len(source.studies()) == 2955
    assert len(source.missing()) == 2 * 2955 - 6  # the studies have two views each
    with pytest.raises(DataRootError, match=r"5904 of 5910 images are missing.*Put the images there$"):
        prepared("iu_xray", root, tmp_path / "out")
    data = prepared("iu_xray", root, tmp_path / "out", max_rejected=1, shard_size=512)
    assert len(data) == 3 and len(load_rejected(tmp_path / "out" / "rejected.csv")) == 5904
    assert prepared("iu_xray", iu["openi"], tmp_path / "whole").views(0).tobytes() == data.views(0).tobytes()


# ---- which views


@pytest.mark.parametrize(
    ("known", "as_released", "frontal_first", "frontal"),
    [
        ({}, "abc", "abc", "a"),
        ({"a": "lateral", "b": "frontal"}, "abc", "bac", "b"),
        ({"a": "frontal", "b": "frontal", "c": "lateral"}, "abc", "acb", "a"),
        ({"a": "lateral"}, "abc", "bac", "b"),
        ({"a": "lateral", "b": "lateral", "c": "lateral"}, "abc", "abc", ""),
        ({"c": "frontal"}, "abc", "cab", "c"),
    ],
)
def test_the_rules_for_views(known, as_released, frontal_first, frontal):
    """One frontal, one lateral, then the rest as released; what is not known stands in for either."""
    assert ["".join(ordered("abc", known, rule)) for rule in ("as_released", "frontal_first", "frontal")] == [
        as_released,
        frontal_first,
        frontal,
    ]


def test_frontal_first_asks_the_dicom_headers_and_kaggle_its_own_table(tmp_path):
    known = iu_xray.positions()
    study = next(s for s in trees.picked() if [known.get(key) for key in trees.keys(s)] == ["lateral", "frontal"])
    first, second = trees.keys(study)
    openi = trees.openi(tmp_path / "openi", [study])
    kaggle = trees.kaggle(tmp_path / "kaggle", [study], {first: "frontal", second: "lateral"})
    views = [
        find_source("iu_xray", data_root=root, views="frontal_first").studies()[0].views for root in (openi, kaggle)
    ]
    assert [iu_xray.image_key(view) for view in views[0][:2]] == [second, first]
    assert [iu_xray.image_key(view) for view in views[1][:2]] == [first, second]


# ---- MIMIC-CXR


@pytest.mark.parametrize(("packed", "reports", "version"), [(False, "tree", "2.0.0"), (True, "zip", "2.1.0")])
def test_mimic_cxr_jpg_in_its_split_with_findings_labels_and_one_frontal_view(packed, reports, version, tmp_path):
    root = trees.mimic(tmp_path / "mimic", packed=packed, reports=reports, version=version)
    source = find_source("mimic_cxr", data_root=root)
    assert [(s.id, s.split, s.report) for s in source.studies()] == [
        ("s50000001", "train", "Clear lungs."),
        ("s50000003", "val", "Heart is large."),
        ("s50000004", "test", "Edema."),
    ]
    assert source.collection.left_out == {"no FINDINGS section": 1, "no frontal view": 1}
    assert [s.views for s in source.studies()][2] == ("p11/p11000013/s50000004/ffffffff.jpg",)
    edema = source.studies()[2]
    assert (
        [finding.observation for finding in edema.findings] == ["Edema"]
        and edema.drawn[7] == 1
        and sum(edema.observations) == 1
    )
    data = prepared("mimic_cxr", root, tmp_path / "out")
    assert data.vocabulary.protocol.name == "r2gen_mimic" and [data.num_views(i) for i in range(3)] == [1, 1, 1]
    assert data.manifest["splits"] == {"train": 1, "val": 1, "test": 1}


def test_a_row_of_the_labeler_without_a_positive_is_a_code_and_its_doubts_are_absent(tmp_path):
    """Of every study of the tree Cardiomegaly is -1.0; read by our rules "Heart is large." would have it."""
    studies = find_source("mimic_cxr", data_root=trees.mimic(tmp_path / "labels")).studies()
    assert [(s.is_coded, s.is_abnormal, s.observations[0]) for s in studies] == [
        (True, False, 1),
        (True, False, 1),
        (True, True, 0),
    ]
    found = findings_of(studies)
    assert found.source == CODES and found.abnormal.tolist() == [False, False, True]
    unlabelled = find_source("mimic_cxr", data_root=trees.mimic(tmp_path / "none", labels=False)).studies()
    assert not any(s.is_coded for s in unlabelled), "without the table nobody coded them"


def test_all_views_of_a_mimic_study_can_be_asked_for(tmp_path):
    root = trees.mimic(tmp_path / "mimic")
    views = {
        s.id: [path[-12:-4] for path in s.views]
        for s in find_source("mimic_cxr", data_root=root, views="frontal_first").studies()
    }
    assert views["s50000001"] == ["bbbbbbbb", "aaaaaaaa"]
    assert views["s50000004"] == ["ffffffff", "eeeeeeee", "00000000"]
    assert views["s50000005"] == ["11111111"]


def test_mimic_cxr_in_the_layout_of_r2gen(tmp_path):
    path = "p10/p10000011/s50000001/aaaaaaaa.jpg"
    trees.png(tmp_path / "images" / "unused.png", trees.film("x"))
    (tmp_path / "images" / path).parent.mkdir(parents=True)
    Image.fromarray(trees.film("a")).save(tmp_path / "images" / path)
    entry = {
        "id": "aaaaaaaa",
        "study_id": 50000001,
        "subject_id": 10000011,
        "report": "Clear lungs.",
        "image_path": [path],
        "split": "train",
    }
    (tmp_path / "annotation.json").write_text(json.dumps({"train": [entry]}))
    (study,) = find_source("mimic_cxr", data_root=tmp_path).studies()
    assert (study.id, study.views, study.report) == ("aaaaaaaa", (path,), "Clear lungs.")


# ---- a folder of one's own

TABLE = """image,study,report,split,view
one/lateral.png,A,,,LL
one/frontal.png,A,"Clear lungs, normal heart.",train,PA
two.jpg,B,Edema.,test,
three.dcm,C,,,
"""


def test_a_folder_of_ones_own(tmp_path):
    root = trees.own(
        tmp_path / "own", TABLE.replace("\n", "\r\n").encode("utf-8-sig"), ("one/lateral.png", "one/frontal.png")
    )
    Image.fromarray(trees.film("two")).save(root / "two.jpg")
    trees.dicom_file(root / "three.dcm", trees.film("three"))
    source = find_source("own", data_root=root)
    assert [(s.id, s.split, s.report, s.views) for s in source.studies()] == [
        ("A", "train", "Clear lungs, normal heart.", ("one/lateral.png", "one/frontal.png")),
        ("B", "test", "Edema.", ("two.jpg",)),
    ]
    assert source.collection.left_out == {"no report": 1}
    assert find_source("own", data_root=root, views="frontal_first").studies()[0].views[0] == "one/frontal.png"
    data = prepared("own", root, tmp_path / "out")
    assert data.manifest["studies"] == 2 and [data.num_views(i) for i in range(2)] == [2, 1]


def test_a_cell_that_says_nan_says_nothing(tmp_path):
    """Programs write it where there is nothing: it is no report, and no study that three patients share."""
    rows = (
        'a.png,nan,Clear.,train,P1\nb.png,None,Clear.,N/A,P2\nc.png,,nan,train,P3\nd.png,,n/a,,\ne.png,,"NaN '
        "lines, "
        'none.",train,\n'
    )
    source = find_source("own", data_root=trees.own(tmp_path / "own", "image,study,report,split,patient\n" + rows, ()))
    assert {(s.id, s.report) for s in source.studies()} == {("a", "Clear."), ("b", "Clear."), ("e", "NaN lines, none.")}
    assert source.collection.left_out == {"no report": 2}


def test_ones_own_codes_are_parsed_as_those_of_the_collection(tmp_path):
    rows = "a.png,Ill.,Opacity/lung/base/left; Cardiomegaly/mild\nb.png,Well.,normal\nc.png,Who knows.,\n"
    studies = {
        s.id: s
        for s in find_source("own", data_root=trees.own(tmp_path / "own", "image,report,codes\n" + rows, ())).studies()
    }
    assert [(f.drawn, f.side, f.severity) for f in studies["a"].findings] == [
        ("Opacity", "left", None),
        ("Cardiomegaly", None, "mild"),
    ]
    assert {name: (s.is_coded, s.is_abnormal) for name, s in studies.items()} == {
        "a": (True, True),
        "b": (True, False),
        "c": (False, False),
    }


def test_without_a_split_patients_are_divided_by_name_and_never_in_two(tmp_path):
    rows = "".join(f"{i}.png,{i},Clear lungs.,P{i // 2}\n" for i in range(400))
    root = trees.own(tmp_path / "own", "image,study,report,patient\n" + rows, ())
    studies = find_source("own", data_root=root).studies()
    splits = {s.id: s.split for s in studies}
    assert all(splits[str(i)] == splits[str(i + 1)] for i in range(0, 400, 2))
    shares = {split: sum(s.split == split for s in studies) / 400 for split in ("train", "val", "test")}
    assert abs(shares["train"] - 0.7) < 0.08 and abs(shares["val"] - 0.1) < 0.05 and abs(shares["test"] - 0.2) < 0.08
    again = find_source(
        "own", data_root=trees.own(tmp_path / "more", "image,study,report,patient\nx.png,x,Clear.,Q\n" + rows, ())
    ).studies()
    assert {s.id: s.split for s in again if s.id != "x"} == splits


# ---- telling a layout


def test_a_layout_is_told_one_folder_down_and_can_be_named(iu, tmp_path):
    shutil.copytree(iu["kaggle"], tmp_path / "unpacked" / "archive")
    assert find_layout(tmp_path / "unpacked", "iu_xray")[0].name == "kaggle"
    both = tmp_path / "both"
    shutil.copytree(iu["kaggle"], both)
    shutil.copytree(iu["r2gen"], both, dirs_exist_ok=True)
    with pytest.raises(ConfigurationError, match=r"has the marks of r2gen .* and kaggle .*--layout r2gen"):
        find_source("iu_xray", data_root=both)
    assert find_source("iu_xray", data_root=both, layout="kaggle").layout == "kaggle"
    shutil.copytree(iu["openi"], tmp_path / "png-and-dicom")
    shutil.copytree(iu["openi_dicom"], tmp_path / "png-and-dicom", dirs_exist_ok=True)
    assert find_source("iu_xray", data_root=tmp_path / "png-and-dicom").layout == "openi"
    assert find_source("iu_xray", data_root=tmp_path / "png-and-dicom", layout="openi_dicom").layout == "openi_dicom"


def test_what_is_no_layout_is_answered_with_all_that_was_looked_for(iu, tmp_path):
    (tmp_path / "NLMCXR_png.tgz").write_bytes(b"")
    with pytest.raises(
        DataRootError,
        match=r"looked for annotation\.json.*indiana_reports\.csv.*NLMCXR_png/.*NLMCXR_dcm/.*Unpack the archives first",
    ):
        find_source("iu_xray", data_root=tmp_path)
    mimic = trees.mimic(tmp_path / "mimic", reports="zip")
    with pytest.raises(
        DataRootError,
        match=r"It is mimic_cxr_jpg, a layout of mimic_cxr\. Run: rrg prepare mimic_cxr --data-root .*mimic$",
    ):
        find_source("iu_xray", data_root=mimic)
    with pytest.raises(UnknownNameError, match="unknown layout 'openl'; nearest: openi"):
        find_source("iu_xray", data_root=iu["openi"], layout="openl")
    with pytest.raises(
        ConfigurationError, match="the layout 'kaggle' is none of mimic_cxr; expected r2gen or mimic_cxr_jpg"
    ):
        find_source("mimic_cxr", data_root=iu["kaggle"], layout="kaggle")
    with pytest.raises(UnknownNameError, match="unknown rule for views 'frontal_fist'; nearest: frontal_first"):
        find_source("iu_xray", data_root=iu["openi"], views="frontal_fist")
    with pytest.raises(ConfigurationError, match=r"layout is 'openi' .* but phantom draws"):
        find_source("phantom", layout="openi")


def test_what_was_prepared_by_ones_own_rule_can_be_given_as_the_data(iu, tmp_path):
    made = prepared("iu_xray", iu["kaggle"], tmp_path / "made", views="frontal_first")
    assert prepare("iu_xray", data_root=tmp_path / "made").hash == made.hash
    with pytest.raises(ConfigurationError, match="was prepared from iu_xray, not from mimic_cxr"):
        prepare("mimic_cxr", data_root=tmp_path / "made")


def test_studies_that_were_left_out_are_told_in_the_manifest(tmp_path):
    data = prepared("mimic_cxr", trees.mimic(tmp_path / "mimic"), tmp_path / "out")
    assert data.manifest["left_out"] == {"no FINDINGS section": 1, "no frontal view": 1}


# ---- bad images are set aside


def test_a_bad_image_is_set_aside_with_its_reason_and_only_a_study_without_another_goes(iu, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(iu["r2gen"], root)
    studies = find_source("iu_xray", data_root=root).studies()
    one, two = studies[3], studies[7]
    (root / "images" / one.views[0]).write_text("<html>404</html>")
    (root / "images" / two.views[0]).unlink()
    (root / "images" / two.views[1]).write_bytes(b"")
    with pytest.raises(
        ImageError,
        match=r"3 of 36 images could not be used so far, more than 5% .*the first is of study CXR.* is an HTML",
    ):
        prepared("iu_xray", root, tmp_path / "strict", shard_size=4)
    assert not (tmp_path / "strict" / "manifest.json").exists() and (tmp_path / "strict" / "rejected.csv").exists()
    data = prepared("iu_xray", root, tmp_path / "out", shard_size=4, max_rejected=0.1)
    rejected = load_rejected(tmp_path / "out" / "rejected.csv")
    assert [(entry.study, entry.file, entry.dropped) for entry in rejected] == [
        (one.id, one.views[0], False),
        (two.id, two.views[0], True),
        (two.id, two.views[1], True),
    ]
    assert "HTML" in rejected[0].reason and "no such file" in rejected[1].reason and "0 bytes" in rejected[2].reason
    assert data.ids == [study.id for study in studies if study.id != two.id] and data.manifest["studies"] == 17
    at = data.index(one.id)
    assert data.num_views(at) == 1 and data.provenance(at)["files"] == [one.views[1]]
    whole = prepared("iu_xray", iu["r2gen"], tmp_path / "whole", shard_size=4)
    assert np.array_equal(data.views(at)[0], whole.views(3)[1]) and data.hash != whole.hash


def test_an_image_of_another_size_is_another_collection(iu, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(iu["r2gen"], root)
    prepared("iu_xray", root, tmp_path / "out")
    view = root / "images" / find_source("iu_xray", data_root=root).studies()[0].views[0]
    view.write_bytes(view.read_bytes() + b"more")
    with pytest.raises(ConfigurationError, match=r"images is '.*' there and '.*' here"):
        prepared("iu_xray", root, tmp_path / "out")


def test_what_was_set_aside_is_kept_over_a_restart(iu, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(iu["r2gen"], root)
    (root / "images" / find_source("iu_xray", data_root=root).studies()[0].views[0]).write_bytes(b"\x89PNG")
    whole = prepared("iu_xray", root, tmp_path / "out", shard_size=4)
    before = {path.name: path.read_bytes() for path in whole.folder.iterdir()}
    for name in ("manifest.json", "rejected.csv", "shard-00002.arrow"):
        (whole.folder / name).unlink()
    stamp = (whole.folder / "shard-00000.arrow").stat().st_mtime_ns
    prepared("iu_xray", root, tmp_path / "out", shard_size=4)
    assert {path.name: path.read_bytes() for path in whole.folder.iterdir()} == before
    assert (whole.folder / "shard-00000.arrow").stat().st_mtime_ns == stamp


def test_a_shard_of_which_nothing_is_left_does_no_harm(iu, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(iu["r2gen"], root)
    for study in find_source("iu_xray", data_root=root).studies()[4:8]:
        shutil.rmtree(root / "images" / study.id)
    data = prepared("iu_xray", root, tmp_path / "out", shard_size=4, max_rejected=0.5)
    assert (
        len(data) == 14
        and data.drawn_findings.shape == (14, 13)
        and data.views(4).shape == (2, 256, 256)
        and len(data.coded) == 14
    )
