"""The Indiana University chest X-ray collection: its reports and expert codes, which come with the `torchxrayvision`
package.

3,955 XML reports (Demner-Fushman et al. 2016; CC BY-NC-ND 4.0, read at run time and never copied). The standard split
is exactly the 2,955 studies with at least two images and a non-empty FINDINGS section; `data/iu_xray_split.csv` says
which is where.
"""

from __future__ import annotations

import csv
import gzip
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import defusedxml.ElementTree as ElementTree
from defusedxml.common import DefusedXmlException

from rrg_lib.data.layouts.collection import Position, position
from rrg_lib.data.mesh_codes import parse_code
from rrg_lib.data.study import Split, Study
from rrg_lib.errors import AnnotationError, DataRootError, UnknownNameError
from rrg_lib.runtime.package_data import table

SOURCE = "Indiana University Chest X-ray Collection (Demner-Fushman et al. 2016), CC BY-NC-ND 4.0"
_ARCHIVE_BYTES_LIMIT = 64 * 2**20  # of one member: a report is about 5 KiB


@dataclass(frozen=True, slots=True)
class Record:
    """One XML file: `uid` is its number, `images` the ids of its pictures, `codes` its MeSH codes as written;
    `impression` is what was concluded, `indication` why the films were made, `comparison` with which they were
    compared."""

    uid: str
    findings: str
    codes: tuple[str, ...]
    images: tuple[str, ...]
    impression: str = ""
    indication: str = ""
    comparison: str = ""


def parse_record(xml: bytes, where: Path | str = "a report") -> Record:
    """One report of the collection. Raises `AnnotationError` naming `where` for what is not well-formed, declares
    entities, or is no such report."""
    try:
        root = ElementTree.fromstring(
            xml, forbid_dtd=True
        )  # no report declares entities; who does may want to fill the memory with them
    except ElementTree.ParseError as error:
        raise AnnotationError(f"{where}: is not well-formed XML ({error}). Get the file again") from error
    except DefusedXmlException as error:
        raise AnnotationError(
            f"{where}: declares a document type or entities, which no report of the collection does. Get the file again"
        ) from error
    uid = root.find("uId")
    if uid is None or not uid.get("id"):
        raise AnnotationError(
            f"{where}: has no uId; expected a report of the Indiana University collection. Take the file away, or get "
            f"it again"
        )
    return Record(
        uid=uid.get("id").removeprefix("CXR"),
        findings=_section(root, "FINDINGS"),
        codes=tuple(code.text.strip() for code in root.iterfind("MeSH/major") if code.text),
        images=tuple(image.get("id", "") for image in root.iterfind("parentImage")),
        impression=_section(root, "IMPRESSION"),
        indication=_section(root, "INDICATION"),
        comparison=_section(root, "COMPARISON"),
    )


def _section(root: ElementTree.Element, label: str) -> str:
    section = root.find(f".//AbstractText[@Label='{label}']")
    return ((section.text if section is not None else "") or "").strip()


@cache
def records() -> dict[str, Record]:
    """All 3,955 records by `uid`. Raises `DataRootError` when the package that ships them is missing."""
    by_uid = {}
    with tarfile.open(_packaged("NLMCXR_reports.tgz")) as tar:  # members are read, never extracted
        for member in tar:
            if member.isfile() and member.name.endswith(".xml") and member.size < _ARCHIVE_BYTES_LIMIT:
                record = parse_record(tar.extractfile(member).read(), member.name)
                by_uid[record.uid] = record
    return by_uid


def _packaged(name: str) -> Path:
    """A file of the package that ships the reports. It is located, not imported: importing it takes seconds."""
    if find_spec("torchxrayvision") is None:
        raise DataRootError(
            "the IU X-Ray reports come with the package torchxrayvision, which is not installed; run: pip install "
            "torchxrayvision"
        )
    return Path(find_spec("torchxrayvision").origin).parent / "data" / name


_IMAGE = re.compile(r"(?:CXR)?(\d+)_(?:\d+_)?(IM-\d+(?:-\d+)*)")


def image_key(name: str) -> str | None:
    """One name for an image of the collection, whoever wrote it: `CXR1_1_IM-0001-3001.png` (Open-i),
    `1_IM-0001-3001.dcm` (its DICOM files) and `1_IM-0001-3001.dcm.png` (Kaggle) are all `1_IM-0001-3001`. None for a
    name of another kind."""
    match = _IMAGE.match(name)
    return f"{match[1]}_{match[2]}" if match else None


@dataclass(frozen=True, slots=True)
class FilmHeader:
    """What the DICOM header of one image of the collection says: pixels down and across, bits a pixel, and how the
    pixels are to be shown.

    `low_is_bright` is MONOCHROME1; `window` (centre, width) the first one there is; `has_table` whether it has a
    look-up table; `program` the scanner's own number of how it processed the film. `position` is what the header says,
    and not always right: of some scanners every film is "PA".
    """

    rows: int
    columns: int
    bits: int
    low_is_bright: bool
    window: tuple[float, float] | None
    has_table: bool
    program: str
    position: Position | None


@cache
def film_headers() -> dict[str, FilmHeader]:
    """image key -> header, for 7,469 of the 7,470 images: a table that comes with the same package as the reports."""
    by_image = {}
    with gzip.open(_packaged("nlmcxr_dicom_metadata.csv.gz"), "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            window = tuple(_first_number(row[f"Window {part}"]) for part in ("Center", "Width"))
            by_image[image_key(row["imageid"])] = FilmHeader(
                rows=int(row["Rows"]),
                columns=int(row["Columns"]),
                bits=int(row["Bits Stored"]),
                low_is_bright=row["Photometric Interpretation"] == "MONOCHROME1",
                window=None if None in window else window,
                has_table=bool(row["LUT Descriptor"]),
                program=row["Acquisition Device Processing Code"],
                position=position(row["View Position"]),
            )
    return by_image


def _first_number(text: str) -> float | None:
    """The number, or the first of a list as the table writes it: "['5292', '5100']"."""
    number = re.search(r"-?\d+(?:\.\d+)?", text)
    return float(number[0]) if number else None


@cache
def positions() -> dict[str, Position]:
    """image key -> "frontal" or "lateral", for those images whose DICOM header says so."""
    return {key: header.position for key, header in film_headers().items() if header.position}


@cache
def studies(split: Split | None = None) -> tuple[Study, ...]:
    """The 2,955 studies of the standard split in its order, or those of one part of it. The views are the names of the
    first two images."""
    by_uid = records()
    chosen = []
    for row in table("iu_xray_split"):
        if split is None or row["split"] == split:
            record = by_uid[row["uid"]]
            codes = tuple(parse_code(code) for code in record.codes)
            chosen.append(Study(row["study_id"], row["split"], record.findings, codes, record.images[:2], SOURCE))
    return tuple(chosen)


@cache
def impressions() -> dict[str, str]:
    """study id -> its IMPRESSION, what the radiologist concluded, for the 2,955 studies of the standard split; "" for
    the few that have none. No system of the book reads or writes it; the released labels of XProNet were made from
    it."""
    by_uid = records()
    return {row["study_id"]: by_uid[row["uid"]].impression for row in table("iu_xray_split")}


@cache
def requests() -> dict[str, tuple[str, str]]:
    """study id -> (its INDICATION, its COMPARISON): what was asked, and which films were there before, for the 2,955
    studies of the standard split; "" for what a report does not say. No system of the book reads them."""
    by_uid = records()
    return {
        row["study_id"]: (by_uid[row["uid"]].indication, by_uid[row["uid"]].comparison)
        for row in table("iu_xray_split")
    }


def split_in_words(chosen: Sequence[Study]) -> str:
    """Whether the studies for testing are those of the standard split, R2Gen's 590, by their ids; "another split" and
    how they differ where they are not."""
    standard = {row["study_id"] for row in table("iu_xray_split") if row["split"] == "test"}
    ours = {study.id for study in chosen if study.split == "test"}
    if ours == standard:
        return f"the test studies are R2Gen's {len(standard)}"
    return (
        f"another split: {len(ours & standard)} of R2Gen's {len(standard)} test studies are for testing here, and "
        f"{len(ours - standard)} others. Scores on it can't be compared with published ones"
    )


@cache
def _by_id() -> dict[str, Study]:
    return {study.id: study for study in studies()}


def known(study_id: str) -> Study | None:
    """The study of that id, None if the collection has none."""
    return _by_id().get(study_id)


def study(study_id: str) -> Study:
    """The study of that id, such as `CXR2384_IM-0942`. Raises `UnknownNameError` naming the nearest ids."""
    if study_id not in _by_id():
        raise UnknownNameError("study", study_id, _by_id())
    return _by_id()[study_id]
