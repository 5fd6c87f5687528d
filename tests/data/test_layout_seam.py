"""How to add a layout of real images: one reader, one entry in `LAYOUTS`, and no edit anywhere else.

This file is that layout, whole: a folder a split, a film and its report beside each other. Then what it gets for it:
the folder is told by its marks, prepared, and read again, and what is wrong with it is said in words.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trees

from rrg_lib.data.images import read_radiograph
from rrg_lib.data.layouts.collection import Collection
from rrg_lib.data.layouts.paths import listing
from rrg_lib.data.layouts.registry import LAYOUTS, Layout, find_layout
from rrg_lib.data.prepare import prepare
from rrg_lib.data.study import SPLITS, Study
from rrg_lib.errors import DataRootError

# --- the new file: rrg_lib/data/layouts/beside.py ---------------------------------------------------------------------


def read_beside(root: Path, rule: str) -> Collection:
    """Each `SPLIT/NAME.png` whose report is `SPLIT/NAME.txt` is a study of one view. No image is opened. A film without
    its report is left out and counted.

    Raises `DataRootError` when no film has a report.
    """
    films = {split: sorted((root / split).glob("*.png")) for split in SPLITS}
    studies = tuple(
        Study(film.stem, split, film.with_suffix(".txt").read_text(encoding="utf-8"), views=(f"{split}/{film.name}",))
        for split, of in films.items()
        for film in of
        if film.with_suffix(".txt").is_file()
    )
    if not studies:
        raise DataRootError(f"{root}: looked for films with a report beside them; {listing(root)}")
    return Collection(studies, root, left_out={"no report": sum(map(len, films.values())) - len(studies)})


# --- the new entry: rrg_lib/data/layouts/registry.py ------------------------------------------------------------------

BESIDE = Layout(
    "beside", ("own",), "train/NAME.png and train/NAME.txt", lambda root: (root / "train").is_dir(), read_beside
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(LAYOUTS, BESIDE.name, BESIDE)


# --- the small tree: tests/trees.py -----------------------------------------------------------------------------------

REPORTS = {
    "train/a": "The heart is large. No effusion.",
    "train/b": "No effusion. The heart is normal.",
    "val/c": "The heart is normal.",
    "test/d": "Small left effusion.",
}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, report in {**REPORTS, "test/silent": None}.items():
        film = trees.png(tmp_path / "films" / f"{name}.png", trees.film(name))
        if report:
            film.with_suffix(".txt").write_text(report, encoding="utf-8")
    return tmp_path / "films"


# --- what it gets -----------------------------------------------------------------------------------------------------


def test_it_is_told_by_its_marks(folder):
    assert find_layout(folder) == (BESIDE, folder)
    assert find_layout(folder.parent, "own") == (BESIDE, folder)  # one folder around it, as archives have


def test_it_is_prepared_as_every_other(folder, tmp_path):
    data = prepare("own", data_root=folder, out=tmp_path / "made", workers=1, progress=False)
    of = dict(zip(data.ids, zip(data.splits, data.reports, strict=True), strict=True))
    assert of == {name.split("/")[1]: (name.split("/")[0], report) for name, report in REPORTS.items()}
    assert np.array_equal(data.views(0)[0], read_radiograph(folder / "train" / "a.png"))
    assert data.manifest["request"]["layout"] == "beside"
    assert prepare("own", data_root=folder, out=tmp_path / "made", workers=1, progress=False).hash == data.hash


def test_a_folder_without_it_is_told_what_was_looked_for(folder):
    with pytest.raises(DataRootError, match=r"looked for .*train/NAME\.png and train/NAME\.txt \(beside\)"):
        find_layout(folder / "val", "own")
    for report in folder.glob("*/*.txt"):
        report.unlink()
    with pytest.raises(DataRootError, match="films with a report beside them"):
        prepare("own", data_root=folder, workers=1, progress=False)
