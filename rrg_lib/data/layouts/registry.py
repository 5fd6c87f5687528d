"""The layouts that real images come in, and how the one of a folder is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rrg_lib.data.layouts import (
    chexpert_plus,
    hub,
    kaggle,
    mimic_cxr,
    openi,
    own_table,
    padchest_gr,
    promptmrg,
    rexgradient,
    rexrank_json,
)
from rrg_lib.data.layouts.collection import Collection, ViewRule
from rrg_lib.data.layouts.csv_tables import find_table
from rrg_lib.data.layouts.paths import listing
from rrg_lib.data.layouts.r2gen import ANNOTATION, IMAGES, read_annotation
from rrg_lib.data.study import SPLITS
from rrg_lib.errors import ConfigurationError, DataRootError, UnknownNameError


@dataclass(frozen=True)
class Layout:
    """`is_here` looks at a folder, `read` reads it; `datasets` are those that come in it, `looked_for` says by what it
    is told. A layout that `yields` is read where no other has its marks too, unless it is named: its files are often
    put beside another's images."""

    name: str
    datasets: tuple[str, ...]
    looked_for: str
    is_here: Callable[[Path], bool]
    read: Callable[[Path, ViewRule], Collection]
    yields: bool = False


def _is_padchest_gr(root: Path) -> bool:
    return next(root.glob(padchest_gr.REPORTS), None) is not None


#: Of a folder that can be read in two ways the first is taken unless the layout is named: Open-i's PNGs before its
#: DICOM files, English before Spanish.
_SECOND = {"openi_dicom": "openi", "padchest_gr_spanish": "padchest_gr"}
#: In this order they are looked for.
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "r2gen",
            ("iu_xray", "mimic_cxr"),
            f"{ANNOTATION} and {IMAGES}/",
            lambda root: (root / ANNOTATION).is_file(),
            read_annotation,
        ),
        Layout(
            "kaggle",
            ("iu_xray",),
            f"{kaggle.REPORTS}, {kaggle.PROJECTIONS} and images_normalized/",
            lambda root: find_table(root, kaggle.PROJECTIONS) is not None,
            kaggle.read_kaggle,
        ),
        Layout(
            "openi",
            ("iu_xray",),
            f"{openi.PNG}/ and {openi.REPORTS}/",
            lambda root: openi.images_folder(root, openi.PNG) is not None,
            partial(openi.read_openi, name=openi.PNG),
        ),
        Layout(
            "openi_dicom",
            ("iu_xray",),
            f"{openi.DICOM}/ and {openi.REPORTS}/",
            lambda root: openi.images_folder(root, openi.DICOM) is not None,
            partial(openi.read_openi, name=openi.DICOM),
        ),
        Layout(
            "mimic_cxr_jpg",
            ("mimic_cxr",),
            f"{mimic_cxr.SPLIT}[.gz], {mimic_cxr.FILES}/ and {mimic_cxr.ZIP} or {mimic_cxr.SECTIONS}",
            lambda root: find_table(root, mimic_cxr.SPLIT) is not None,
            mimic_cxr.read_mimic_cxr,
        ),
        Layout(
            "chexpert_plus",
            ("chexpert_plus",),
            f"{chexpert_plus.TABLE}, and train/ and valid/ in PNG/",
            lambda root: find_table(root, chexpert_plus.TABLE) is not None,
            chexpert_plus.read_chexpert_plus,
        ),
        Layout(
            "rexgradient",
            ("rexgradient",),
            f"metadata/{rexgradient.FILES.format(part='train')} and {rexgradient.IMAGES}/",
            lambda root: any(rexgradient.metadata_file(root, part) for part in SPLITS),
            rexgradient.read_rexgradient,
        ),
        Layout(
            "padchest_gr",
            ("padchest_gr",),
            f"{padchest_gr.REPORTS}, {padchest_gr.MASTER} and Padchest_GR_files/",
            _is_padchest_gr,
            padchest_gr.read_padchest_gr,
        ),
        Layout(
            "padchest_gr_spanish",
            ("padchest_gr",),
            "the same, read in Spanish",
            _is_padchest_gr,
            partial(padchest_gr.read_padchest_gr, language="es"),
        ),
        Layout(
            "promptmrg",
            ("iu_xray", "mimic_cxr"),
            f"{promptmrg.ANNOTATIONS} and {IMAGES}/",
            lambda root: next(root.glob(promptmrg.ANNOTATIONS), None) is not None,
            promptmrg.read_promptmrg,
            yields=True,
        ),
        Layout(
            "rexrank",
            ("iu_xray", "mimic_cxr"),
            "ReXRank_….json and the images it names",
            lambda root: bool(rexrank_json.rexrank_files(root)),
            rexrank_json.read_rexrank_json,
            yields=True,
        ),
        Layout(
            "hub_jsonl",
            ("iu_xray",),
            "metadata.jsonl, train.jsonl, … and the images they name",
            lambda root: bool(hub.hub_files(root, hub.JSONL)),
            hub.read_hub_jsonl,
            yields=True,
        ),
        Layout(
            "hub_parquet",
            ("iu_xray",),
            "train-….parquet, … with the images as bytes",
            lambda root: bool(hub.hub_files(root, hub.PARQUET)),
            hub.read_hub_parquet,
            yields=True,
        ),
        Layout(
            "table",
            ("own",),
            f"{own_table.TABLE} (or {own_table.WORKBOOK}), a table with the columns {own_table.COLUMNS}",
            lambda root: own_table.own_table(root) is not None,
            own_table.read_own_folder,
        ),
    )
}
_ARCHIVES = (".tgz", ".tar", ".tar.gz", ".zip")


def find_layout(root: Path, dataset: str | None = None, layout: str | None = None) -> tuple[Layout, Path]:
    """The layout of a folder and where in it it begins: the folder itself, or the only folder in it (archives often
    have one around all).

    `dataset` leaves only the layouts it comes in; `layout` names one and ends the search.

    Raises:
        UnknownNameError: no such layout.
        ConfigurationError: not a layout of that dataset; or marks of several, which one is for the user to say.
        DataRootError: no mark of any: says what was looked for, what there is, and what to do.
    """
    known = [each for each in LAYOUTS.values() if dataset is None or dataset in each.datasets]
    if layout is not None:
        if layout not in LAYOUTS:
            raise UnknownNameError("layout", layout, LAYOUTS)
        if LAYOUTS[layout] not in known:
            raise ConfigurationError(
                f"the layout {layout!r} is none of {dataset}; expected {' or '.join(each.name for each in known)}"
            )
        known = [LAYOUTS[layout]]
    for place in _places(root):
        here = [each for each in known if each.is_here(place)]
        here = [each for each in here if not each.yields] or here
        if len({_SECOND.get(each.name, each.name) for each in here}) > 1:
            names = " and ".join(f"{each.name} ({each.looked_for})" for each in here)
            raise ConfigurationError(f"{place}: has the marks of {names}. Say which to read: --layout {here[0].name}")
        if here:
            return here[0], place
    wanted = "; or ".join(f"{each.looked_for} ({each.name})" for each in known)
    others = [
        each
        for each in LAYOUTS.values()
        if layout is None and each not in known and any(map(each.is_here, _places(root)))
    ]
    packed = root.is_dir() and any(entry.name.endswith(_ARCHIVES) for entry in root.iterdir())
    if others:
        advice = (
            f"It is {others[0].name}, a layout of {others[0].datasets[0]}. Run: rrg prepare {others[0].datasets[0]} "
            f"--data-root {root}"
        )
    elif packed:
        advice = "Unpack the archives first"
    else:
        advice = (
            "Give the folder that holds these: --data-root "
            f"FOLDER{' --layout NAME' * (layout is None and len(known) > 1)}"
        )
    raise DataRootError(f"{root}: looked for {wanted}; {listing(root)}. {advice}")


def _places(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    inner = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return [root, *(inner if len(inner) == 1 else [])]
