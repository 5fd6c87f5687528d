"""MIMIC-CXR-JPG 2.x: the official tables of split, metadata and labels, the images in `files/`, and the reports of
MIMIC-CXR as a tree, a zip or the table of sections that the collection's own script writes."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

from rrg_lib.data.layouts.collection import Collection, ViewRule, ordered, position
from rrg_lib.data.layouts.csv_tables import find_table, given, read_table
from rrg_lib.data.layouts.paths import check_inside, listing
from rrg_lib.data.study import OBSERVATIONS, SPLITS, Finding, Study
from rrg_lib.data.text.sections import findings_section
from rrg_lib.errors import AnnotationError, DataRootError
from rrg_lib.runtime.package_data import table

SOURCE = "MIMIC-CXR-JPG (Johnson et al. 2019), PhysioNet Credentialed Health Data License"
SPLIT, METADATA, LABELS = (
    "mimic-cxr-2*-split.csv",
    "mimic-cxr-2*-metadata.csv",
    ("mimic-cxr-2*-chexpert.csv", "mimic-cxr-2*-negbio.csv"),
)
ZIP, FILES, SECTIONS = "mimic-cxr-reports.zip", "files", "mimic_cxr_sectioned.csv"
_SPLITS = {"train": "train", "validate": "val", "test": "test"}
_NUMBER, _DICOM = re.compile(r"\d{8}"), re.compile(r"[0-9a-f-]{8,64}")
_REPORT_LIMIT = 2**20  # bytes; a report has a few thousand
#: The code of a study in whose report a labeler was sure of nothing: without one it would pass for a study that nobody
#: labelled, and its report would be read again by another labeler's rules.
_NORMAL = Finding("labeler/normal", "normal")


def read_mimic_cxr(root: Path, rule: ViewRule) -> Collection:
    """The studies of the official split that have FINDINGS, train then val then test; ids are `s` and the number of the
    study.

    Views are all images of a study in the order of the split table, or by the rule where the metadata tells their
    position. Reports as files come before the table of sections, in which FINDINGS are as the collection's own script
    cut them out. The labels of the CheXpert labeler (else NegBio's) stand as findings where they are positive; what it
    was not sure of counts as absent, and a study of the table without a positive is coded "normal". A study whose
    report has no FINDINGS section is left out and counted.

    Raises:
        DataRootError: the split table, the images or the reports are not there.
        AnnotationError: a broken table, an id that is none, a study in two splits; names file and line.
    """
    split = find_table(root, SPLIT)
    if split is None or not (root / FILES).is_dir():
        raise DataRootError(
            f"{root}: looked for {SPLIT}[.gz] and {FILES}/ (the layout of MIMIC-CXR-JPG); {listing(root)}"
        )
    findings_of = _findings_reader(root)
    positions = _positions(find_table(root, METADATA))
    findings = _coded_findings(next(filter(None, (find_table(root, name) for name in LABELS)), None))
    images = (root / FILES).resolve()
    members: dict[str, tuple[str, str, list[str]]] = {}  # study -> split, patient, images
    for line, row in read_table(split, ["dicom_id", "study_id", "subject_id", "split"]):
        dicom, study, patient, part = (row[name].strip() for name in ("dicom_id", "study_id", "subject_id", "split"))
        if (
            not (_DICOM.fullmatch(dicom) and _NUMBER.fullmatch(study) and _NUMBER.fullmatch(patient))
            or part not in _SPLITS
        ):
            raise AnnotationError(
                f"{split}, line {line}: ({dicom!r}, {study!r}, {patient!r}, {part!r}) is no row of the split; "
                "expected the id of an image, eight digits of study and patient, and train, validate or test"
            )
        known = members.setdefault(study, (part, patient, []))
        if known[:2] != (part, patient):
            raise AnnotationError(
                f"{split}, line {line}: study {study} was in {known[0]!r} of patient {known[1]} before. Get the file "
                f"again"
            )
        known[2].append(dicom)
    studies, left_out = [], Counter()
    for part in SPLITS:
        for study, (official, patient, dicoms) in members.items():
            if _SPLITS[official] != part:
                continue
            folder = f"p{patient[:2]}/p{patient}"
            section = findings_of(f"{folder}/s{study}.txt")
            paths = [f"{folder}/s{study}/{dicom}.jpg" for dicom in dicoms]
            views = ordered(
                paths,
                {path: positions[dicom] for path, dicom in zip(paths, dicoms, strict=True) if dicom in positions},
                rule,
            )
            if section and views:
                for path in views:
                    check_inside(f"{images}:", path, images)
                studies.append(Study(f"s{study}", part, section, findings.get(study, ()), views, SOURCE))
            else:
                left_out[
                    "no report" if section is None else "no FINDINGS section" if not section else "no frontal view"
                ] += 1
    if not studies:
        raise DataRootError(
            f"{root}: none of its {len(members)} studies can be used ({dict(left_out)}); are the reports there? "
            f"{listing(root)}"
        )
    places = {
        path: positions[Path(path).stem] for study in studies for path in study.views if Path(path).stem in positions
    }
    return Collection(tuple(studies), images, places, left_out)


def _findings_reader(root: Path) -> Callable[[str], str | None]:
    """From `p10/p10000032/s50414267.txt` to the FINDINGS of the report, "" for one that has none, None where there is
    no report."""
    for place in (root / "mimic-cxr-reports" / FILES, root / "reports" / FILES, root / FILES):
        if next(place.glob("p1?/p*/s*.txt"), None) is not None:
            return _in_report(partial(_report, place.resolve()))
    if (root / ZIP).is_file():
        return _in_report(_zip_reader(root))
    if (sections := find_table(root, SECTIONS)) is not None:
        findings = _sections(sections)
        return lambda name: findings.get(Path(name).stem)
    raise DataRootError(
        f"{root}: looked for the reports of MIMIC-CXR, {ZIP}, {FILES}/p10/p…/s….txt or {SECTIONS}[.gz]; "
        f"{listing(root)}. Put one of them there"
    )


def _in_report(report: Callable[[str], str | None]) -> Callable[[str], str | None]:
    return lambda name: None if (text := report(name)) is None else findings_section(text)


def _sections(path: Path) -> dict[str, str]:
    """`s` and the number of the study -> the text of its column `findings`, its white space collapsed."""
    findings: dict[str, str] = {}
    for line, row in read_table(path, ["study", "findings"]):
        study = row["study"].strip()
        if not _NUMBER.fullmatch(study.removeprefix("s")):
            raise AnnotationError(
                f"{path}, line {line}: {study!r} is no study; expected s and eight digits, such as s50414267. Mend the "
                f"line, or write the table again"
            )
        study = f"s{study.removeprefix('s')}"
        if study in findings:
            raise AnnotationError(f"{path}, line {line}: is a second report of study {study}. Remove one of the two")
        findings[study] = " ".join(given(row["findings"]).split())
    return findings


def _zip_reader(root: Path) -> Callable[[str], str | None]:
    """From `p10/p10000032/s50414267.txt` to the text of the report in the archive, None where there is none."""
    try:
        archive = zipfile.ZipFile(root / ZIP)
    except (zipfile.BadZipFile, OSError) as error:
        raise AnnotationError(f"{root / ZIP}: is no zip archive, or damaged ({error}). Get the file again") from error
    names = {info.filename: info for info in archive.infolist()}

    def read(name: str) -> str | None:
        if (info := names.get(f"{FILES}/{name}")) is None:
            return None
        if info.file_size > _REPORT_LIMIT:
            raise AnnotationError(
                f"{root / ZIP}: {info.filename} says it has {info.file_size:,} bytes, a report at most "
                f"{_REPORT_LIMIT:,}"
            )
        try:
            return _text(archive.read(info), root / ZIP / info.filename)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
            raise AnnotationError(
                f"{root / ZIP}: {info.filename} is damaged ({error}). Get the archive again"
            ) from error

    return read


def _report(place: Path, name: str) -> str | None:
    if not (place / name).is_file():
        return None
    check_inside(f"{place}:", name, place)
    return _text((place / name).read_bytes(), place / name)


def _text(data: bytes, path: Path) -> str:
    if len(data) > _REPORT_LIMIT:
        raise AnnotationError(
            f"{path}: has {len(data):,} bytes, a report at most {_REPORT_LIMIT:,}. Get the file again"
        )
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n")


def _positions(metadata: Path | None) -> dict[str, str]:
    """image -> "frontal" or "lateral", where the metadata tells; nothing without the table."""
    if metadata is None:
        return {}
    rows = read_table(metadata, ["dicom_id", "ViewPosition"])
    return {row["dicom_id"].strip(): known for _, row in rows if (known := position(row["ViewPosition"]))}


@cache
def _drawn_names() -> dict[str, str]:
    """CheXpert observation -> the one of the 13 findings that most codes of it stand for."""
    counts: dict[str, Counter] = {}
    for row in table("mesh_findings"):
        if row["chexpert_observation"] and row["drawn_finding"]:
            counts.setdefault(row["chexpert_observation"], Counter())[row["drawn_finding"]] += int(row["count"] or 0)
    return {observation: drawn.most_common(1)[0][0] for observation, drawn in counts.items()}


def _coded_findings(path: Path | None) -> dict[str, tuple[Finding, ...]]:
    """study -> what the labeler found in its report; nothing without the table."""
    if path is None:
        return {}
    findings = {}
    for line, row in read_table(path, ["study_id", *OBSERVATIONS]):
        try:
            positive = [name for name in OBSERVATIONS if row[name].strip() and float(row[name]) == 1]
        except ValueError as error:
            raise AnnotationError(
                f"{path}, line {line}: {error}; expected 1.0, 0.0, -1.0 or nothing for every observation"
            ) from error
        findings[row["study_id"].strip().removesuffix(".0")] = labeler_findings(positive)
    return findings


def labeler_findings(positive: Iterable[str]) -> tuple[Finding, ...]:
    """The codes of a study that a labeler read, by the names in `OBSERVATIONS` of what it was sure is there; "normal"
    where that is nothing."""
    return tuple(map(_labeler_finding, positive)) or (_NORMAL,)


@cache
def _labeler_finding(name: str) -> Finding:
    return Finding(f"labeler/{name}", name, _drawn_names().get(name), name)
