"""`rrg doctor`: what is in a folder, what is wrong with it, what to do, and an exit status for scripts."""

from __future__ import annotations

import json
import shutil
import sys
from unittest.mock import Mock

import numpy as np
import pytest
import trees
from PIL import Image

from rrg_lib import cli
from rrg_lib.data import iu_xray
from rrg_lib.data.doctor import COLUMNS, TILE, examine, sheet_of
from rrg_lib.data.images import read_radiograph
from rrg_lib.data.phantom import draw
from rrg_lib.errors import ConfigurationError, DataRootError
from rrg_lib.runtime.package_data import table


def smooth(name: str, shape=(200, 180)) -> np.ndarray:
    """Dark above and bright below, as an upright film."""
    return np.asarray(
        Image.fromarray(np.sort(trees.film(name)[:8, :8], axis=0)).resize(shape[::-1], Image.Resampling.BICUBIC)
    )


@pytest.fixture
def own(tmp_path):
    """Three studies of one image each, with nothing wrong."""
    root = tmp_path / "own"
    for name in "abc":
        trees.png(root / f"{name}.png", smooth(name))
    (root / "studies.csv").write_text(
        "image,study,report,split\na.png,A,Clear. Clear. Clear.,train\nb.png,B,Clear.,val\nc.png,C,Clear.,test\n"
    )
    return root


def complaints(root, **options) -> list[str]:
    return [str(complaint) for complaint in examine(root, progress=False, **options).complaints]


def test_a_sound_folder_has_nothing_to_complain_of(own):
    found = examine(own, progress=False)
    assert found.status == 0 and found.complaints == [] and set(found.looks) == {"a.png", "b.png", "c.png"}
    assert "3 studies: 1 train, 1 val, 1 test" in str(
        found
    ) and f"nothing to complain of. Run: rrg prepare own --data-root {own}" in str(found)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, ""),
        ({"layout": "padchest_gr"}, ""),
        ({"layout": "padchest_gr_spanish"}, " --layout padchest_gr_spanish"),
        ({"views": "as_released"}, ""),
        (
            {"layout": "padchest_gr_spanish", "views": "frontal"},
            " --layout padchest_gr_spanish --views frontal",
        ),
    ],
)
def test_the_command_reads_the_folder_as_the_doctor_did(options, told, tmp_path):
    root = trees.padchest_gr(tmp_path / "root")
    said = str(examine(root, progress=False, **options)).splitlines()[-1]
    assert said.endswith(f": rrg prepare padchest_gr --data-root {root}{told}")


def test_a_layout_is_named_where_the_folder_has_the_marks_of_another_too(own, monkeypatch):
    two = ConfigurationError("the marks of two")
    monkeypatch.setattr("rrg_lib.data.doctor.find_layout", Mock(side_effect=two))
    said = str(examine(own, dataset="own", layout="table", progress=False))
    assert said.endswith(f"rrg prepare own --data-root {own} --layout table")


@pytest.mark.parametrize(("split", "what"), [("val", "validation"), ("test", "testing")])
def test_a_split_that_training_or_measuring_needs_is_missed(own, split, what):
    """Before hours are spent on preparing what can't be trained on."""
    (own / "studies.csv").write_text((own / "studies.csv").read_text().replace(f",{split}\n", ",train\n"))
    found = examine(own, progress=False)
    assert found.status == 1
    [complaint] = found.complaints
    assert f"3 studies, and none for {what}" in str(complaint) and f"Give some the split '{split}'" in str(complaint)


def test_who_says_what_a_study_has_is_told_where_it_is_not_the_experts(own):
    told = "expert codes in {} studies; what the others have is read in their reports (rules-2)"
    assert told.format(0) in str(examine(own, progress=False))
    rows = [
        "image,study,report,split,codes",
        "a.png,A,Clear.,train,normal",
        "b.png,B,Clear.,val,normal",
        "c.png,C,Clear.,test,",
    ]
    (own / "studies.csv").write_text("\n".join(rows))
    assert told.format(2) in str(examine(own, progress=False))
    (own / "studies.csv").write_text("\n".join(rows) + "normal\n")
    assert "expert codes" not in str(examine(own, progress=False))


def test_missing_unreadable_doubled_and_odd_images_are_told_apart(own):
    extra = {
        "strip.png": np.asarray(Image.fromarray(smooth("s")).resize((180, 500))),
        "small.png": smooth("t", (64, 64)),
        "gray.png": np.full((200, 200), 90, np.uint8),
        "colour.png": np.stack([smooth("r"), smooth("g"), smooth("b")], axis=2),
        "twin.png": smooth("a"),
    }
    for name, pixels in extra.items():
        trees.png(own / name, pixels)
    (own / "page.png").write_text("<html>")
    rows = "".join(f"{name},{name},Clear.,train\n" for name in (*extra, "page.png", "gone.png", "gone too.png"))
    (own / "studies.csv").write_text((own / "studies.csv").read_text() + rows)
    found = examine(own, progress=False)
    said = [str(complaint) for complaint in found.complaints]
    assert len(said) == 4 and found.status == 2  # 2 of 11 images missing: prepare would stop
    assert said[0].startswith("2 images are missing: gone too.png; gone.png\n") and "--max-rejected 0.19" in said[0]
    assert said[1].startswith("1 image can't be read: page.png is an HTML")
    assert (
        said[2].startswith("4 images do not look like films of a chest") and "strip.png (180 x 500: longer" in said[2]
    )
    assert {name: look.oddness for name, look in found.looks.items() if look.oddness}.keys() == {
        "strip.png",
        "small.png",
        "gray.png",
        "colour.png",
    }
    assert said[3].startswith("1 image is there more than once, pixel for pixel: a.png of A = twin.png of twin.png\n")


def test_negatives_and_films_that_lie_upside_down_are_noted(own):
    """Of drawn frontal films; a note, which stops nothing."""
    film = draw(next(iter(trees.picked()))).views[0]
    for name, pixels in (("upright", film), ("negative", 255 - film), ("over", film[::-1])):
        trees.png(own / f"{name}.png", pixels)
    rows = "".join(f"{name}.png,{name},Clear.,train\n" for name in ("upright", "negative", "over"))
    (own / "studies.csv").write_text((own / "studies.csv").read_text() + rows)
    found = examine(own, progress=False)
    odd = {name: look.oddness for name, look in found.looks.items() if look.oddness}
    assert odd.keys() == {"negative.png", "over.png"} and found.status == 1
    assert "perhaps a negative" in odd["negative.png"] and "perhaps upside down" in odd["over.png"]


def test_reports_that_are_empty_or_not_the_collections_are_counted(tmp_path):
    studies = trees.picked()
    root = trees.r2gen(tmp_path / "r2gen", studies)
    data = json.loads((root / "annotation.json").read_text())
    data["train"][0]["report"] = "."
    data["train"][1]["report"] += " Also this."
    data["test"].append(data["train"].pop(2))
    (root / "annotation.json").write_text(json.dumps(data))
    found = examine(root, progress=False)
    text = str(found)
    assert found.status == 2 and "iu_xray in the layout r2gen" in text
    assert f"1 report is empty: {data['train'][0]['id']}" in text
    assert f"2 reports are not those of the collection: {data['train'][0]['id']}; {data['train'][1]['id']}" in text
    assert f"1 study is in another split than published: {data['test'][-1]['id']}" in text


def test_the_published_number_of_studies_is_compared_by_split(tmp_path):
    found = examine(trees.openi(tmp_path / "openi", trees.picked()), progress=False)
    split = [row["split"] for row in table("iu_xray_split")]
    assert (
        f"2,937 studies more or fewer than published: train 13 instead of {split.count('train'):,}, val 2 instead of"
        in str(found)
    )
    assert found.status == 1 and "2,937 studies left out: in the standard split, but no report" in str(found)
    frontal = sum(iu_xray.positions().get(trees.keys(study)[0]) == "frontal" for study in trees.picked())
    assert f"the first one is frontal in {frontal}, lateral in 4, unknown in {14 - frontal}" in str(found)


def test_mimic_cxr_is_told_from_iu_xray_by_layout_and_by_ids(tmp_path):
    found = examine(trees.mimic(tmp_path / "mimic"), progress=False)
    assert found.source.name == "mimic_cxr" and "1 study left out: no FINDINGS section" in str(found)
    assert "train 1 instead of 222,800" in str(found)
    root = trees.r2gen(tmp_path / "r2gen", trees.picked()[:2])
    assert examine(root, progress=False).source.name == "iu_xray"
    (root / "annotation.json").write_text(
        (root / "annotation.json").read_text().replace('"CXR', '"s').replace("s/", "CXR/")
    )
    for folder in list((root / "images").iterdir()):
        shutil.copytree(folder, root / "images" / folder.name.replace("CXR", "s"))
    assert examine(root, progress=False).source.name == "mimic_cxr"


def test_a_sample_is_spread_over_all_and_all_are_opened_on_demand(tmp_path):
    root = trees.openi(tmp_path / "openi", trees.picked())
    images = sum(len(trees.images(study)) for study in trees.picked())
    assert (
        len(examine(root, sample=7, progress=False).looks) == 7
        and len(examine(root, sample=None, progress=False).looks) == images
    )


def test_nothing_is_changed_in_the_folder_and_none_is_an_error(own, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*")}
    examine(own, progress=False)
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*")} == before
    with pytest.raises(
        DataRootError,
        match=r"looked for .*studies\.csv \(or studies\.xlsx\), a table .*columns image .*\(table\).*does not exist",
    ):
        examine(tmp_path / "nowhere")


def test_the_page_of_pictures_shows_the_films_and_frames_what_is_wrong(own, tmp_path):
    (own / "b.png").write_text("<html>")
    looks = examine(own, progress=False).looks
    page = np.asarray(
        Image.open(sheet_of(looks, own, tmp_path / "page.png"))
    )  # what is wrong comes first: b, then a and c
    assert page.shape[:2] == (TILE + 28, COLUMNS * TILE)
    red = (page == [255, 0, 0]).all(axis=2)
    assert red[1, 10 : TILE - 10].all() and not red[:, TILE:].any()
    tile = read_radiograph(own / "a.png", TILE - 6)
    assert np.array_equal(page[3 : TILE - 3, TILE + 3 : 2 * TILE - 3, 0], tile)


@pytest.mark.parametrize(("change", "status"), [(None, 0), ("twin", 1), ("html", 2), ("none", 2)])
def test_the_exit_status_is_for_scripts(change, status, own, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RRG_HOME", str(tmp_path / "home"))
    if change == "twin":
        shutil.copy(own / "a.png", own / "b.png")
    elif change == "html":
        (own / "a.png").write_text("<html>")
    elif change == "none":
        (own / "studies.csv").unlink()
    monkeypatch.setattr(sys, "argv", ["rrg", "doctor", str(own), "--quiet"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status
    assert (tmp_path / "home" / "doctor" / "own.png").exists() == (change != "none")
    assert capsys.readouterr().err.startswith("rrg: ") == (change == "none")
