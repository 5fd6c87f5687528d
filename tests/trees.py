"""Small made trees with the real naming of every layout, for tests: noise for radiographs, and the real reports, loaded
at run time."""

from __future__ import annotations

import csv
import gzip
import json
import struct
import tarfile
import zipfile
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from rrg_lib.data import iu_xray
from rrg_lib.data.prepare import prepare
from rrg_lib.data.prepared_dataset import PreparedDataset
from rrg_lib.data.study import OBSERVATIONS, Study

#: The study whose images are named in another form than all others, and two that are mentioned elsewhere.
PICKED = ("CXR1_1_IM-0001", "CXR2384_IM-0942", "CXR1900_IM-0584")


def picked() -> list[Study]:
    """18 studies of the standard split, in its order: some with three images, some whose header tells the position of
    the views and some not."""
    records = iu_xray.records()
    of = {split: iu_xray.studies(split) for split in ("train", "val", "test")}
    many = [study for study in of["train"] if len(records[uid(study)].images) > 2][:6]
    lateral_first = [study for study in of["train"] if iu_xray.positions().get(keys(study)[0]) == "lateral"][:3]
    chosen = {
        *PICKED,
        *(study.id for study in (*many, *lateral_first, *of["train"][:3], *of["val"][:2], *of["test"][:3])),
    }
    return [study for study in iu_xray.studies() if study.id in chosen]


def uid(study: Study) -> str:
    return study.id.removeprefix("CXR").partition("_")[0]


def images(study: Study) -> tuple[str, ...]:
    """The image names of the collection, all of them."""
    return iu_xray.records()[uid(study)].images


def keys(study: Study) -> list[str]:
    return [iu_xray.image_key(image) for image in images(study)]


def film(name: str) -> np.ndarray:
    """(72, 60) uint8 of its own for every image, whatever layout it is in."""
    return np.random.default_rng(list(name.encode())).integers(0, 256, (72, 60), np.uint8)


def png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@cache
def xml_files() -> dict[str, bytes]:
    """uid -> the XML file of the collection, byte for byte."""
    with tarfile.open(iu_xray._packaged("NLMCXR_reports.tgz")) as tar:
        found = {}
        for member in tar:
            if member.isfile():
                data = tar.extractfile(member).read()
                found[iu_xray.parse_record(data).uid] = data
        return found


def openi(root: Path, studies: list[Study], *, dicom: bool = False, reports: bool = True) -> Path:
    for study in studies:
        for image in images(study):
            key, pixels = iu_xray.image_key(image), film(iu_xray.image_key(image))
            if dicom:
                dicom_file(root / "NLMCXR_dcm" / uid(study) / f"{key}.dcm", pixels)
            else:
                png(root / "NLMCXR_png" / f"{image}.png", pixels)
        if reports:
            path = root / "ecgen-radiology" / f"{uid(study)}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(xml_files()[uid(study)])
    return root


def r2gen(root: Path, studies: list[Study]) -> Path:
    annotation = {"train": [], "val": [], "test": []}
    for study in studies:
        paths = [f"{study.id}/{i}.png" for i in range(len(images(study)))]
        for path, key in zip(paths, keys(study), strict=True):
            png(root / "images" / path, film(key))
        annotation[study.split].append(
            {"id": study.id, "report": study.report, "image_path": paths, "split": study.split}
        )
    (root / "annotation.json").write_text(json.dumps(annotation), encoding="utf-8")
    return root


def kaggle(root: Path, studies: list[Study], projections: dict[str, str] | None = None) -> Path:
    """`projections` is image key -> Frontal or Lateral; by default what the header says, else Frontal."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "indiana_reports.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression"])
        for study in studies:
            codes = ";".join(iu_xray.records()[uid(study)].codes)
            table.writerow([uid(study), codes, "", "Xray Chest PA and Lateral", "", "", study.report, ""])
    with open(root / "indiana_projections.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["uid", "filename", "projection"])
        for study in studies:
            for key in reversed(keys(study)):  # the table's order is not the collection's
                png(root / "images" / "images_normalized" / f"{key}.dcm.png", film(key))
                known = (projections or iu_xray.positions()).get(key, "frontal")
                table.writerow([uid(study), f"{key}.dcm.png", known.capitalize()])
    return root


def dicom_file(
    path: Path, pixels: np.ndarray, *, bits: int | None = None, photometric: str = "MONOCHROME2", **header
) -> Path:
    """Pixels (H, W) or (H, W, 3) as a DICOM file; `header` are further elements."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
        "CR",
    )
    data.Rows, data.Columns, data.SamplesPerPixel = (
        pixels.shape[0],
        pixels.shape[1],
        pixels.shape[2] if pixels.ndim == 3 else 1,
    )
    data.PhotometricInterpretation = photometric
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = pixels.dtype.itemsize * 8
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    for name, value in header.items():
        setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


#: study -> (patient, split, [(image, ViewPosition)], report or None)
MIMIC = {
    "50000001": (
        "10000011",
        "train",
        [("a" * 8, "LATERAL"), ("b" * 8, "PA")],
        " FINAL REPORT\n FINDINGS:  Clear\n lungs.\n\n IMPRESSION: Normal.\n",
    ),
    "50000002": ("10000011", "train", [("c" * 8, "AP")], " FINAL REPORT\n IMPRESSION: Normal.\n"),
    "50000003": ("10000012", "validate", [("d" * 8, "")], " FINAL REPORT\n FINDINGS AND IMPRESSION: Heart is large.\n"),
    "50000004": (
        "11000013",
        "test",
        [("e" * 8, "LL"), ("f" * 8, "AP"), ("0" * 8, "PA")],
        " FINAL REPORT\n FINDINGS: Edema.\n",
    ),
    "50000005": ("11000013", "test", [("1" * 8, "LATERAL")], " FINAL REPORT\n FINDINGS: Edema.\n"),
}


def mimic(
    root: Path,
    studies: dict[str, tuple] | None = None,
    *,
    packed: bool = False,
    reports: str = "tree",
    version: str = "2.0.0",
    labels: bool = True,
) -> Path:
    """MIMIC-CXR-JPG of five studies, or of others told as in `MIMIC`; `reports` is "tree", "zip" or "none", `packed`
    gzips the tables; without `labels` there is no table of what a labeler found."""
    rows = {
        "split": [["dicom_id", "study_id", "subject_id", "split"]],
        "metadata": [["dicom_id", "subject_id", "study_id", "ViewPosition"]],
    }
    if labels:
        rows["chexpert"] = [["subject_id", "study_id", *OBSERVATIONS]]
    texts = {}
    for study, (patient, split, views, report) in (studies or MIMIC).items():
        folder = f"p{patient[:2]}/p{patient}"
        for image, view in views:
            rows["split"].append([image, study, patient, split])
            rows["metadata"].append([image, patient, study, view])
            path = root / "files" / folder / f"s{study}" / f"{image}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(film(image)).save(path, quality=95)
        if labels:
            values = dict.fromkeys(OBSERVATIONS, "") | {
                "Edema": "1.0" if "Edema" in report else "",
                "Cardiomegaly": "-1.0",
                "Fracture": "0.0",
            }
            rows["chexpert"].append([patient, study, *values.values()])
        texts[f"files/{folder}/s{study}.txt"] = report
    for name, table in rows.items():
        text = "".join(",".join(row) + "\n" for row in table).encode()
        path = root / f"mimic-cxr-{version}-{name}.csv{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(text) if packed else text)
    if reports == "zip":
        with zipfile.ZipFile(root / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
    elif reports == "tree":
        for name, text in texts.items():
            (root / name).write_text(text)
    return root


#: patient/study -> (split, [(image, frontal_lateral, ap_pa)], section_findings)
CHEXPERT_PLUS = {
    "patient00001/study1": (
        "train",
        [("view2_lateral", "Lateral", ""), ("view1_frontal", "Frontal", "AP")],
        "The heart is\nenlarged. No effusion.",
    ),
    "patient00001/study2": ("train", [("view1_lateral", "Lateral", "")], "Clear lungs."),
    "patient00002/study1": ("train", [("view1_frontal", "Frontal", "AP")], ""),
    "patient00002/study2": ("train", [("view1_frontal", "", "PA")], "Clear lungs. The heart is normal, no effusion."),
    "patient00003/study1": ("valid", [("view1_frontal", "Frontal", "PA")], "Small left effusion."),
}


def chexpert_plus(root: Path, *, place: str = "PNG/PNG", ending: str = ".png") -> Path:
    """CheXpert Plus: the table names JPEG files, whatever `ending` those in `place` have."""
    sections = ("narrative", "clinical_history", "history", "comparison", "technique", "procedure_comments")
    sections += ("findings", "impression", "end_of_impression", "summary", "accession_number")
    names = ["path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order"]
    names += ["report", *(f"section_{name}" for name in sections), "age", "sex", "race", "ethnicity"]
    names += ["interpreter_needed", "insurance_type", "recent_bmi", "deceased", "split"]
    rows = []
    for name, (split, views, findings) in CHEXPERT_PLUS.items():
        for image, frontal, position in views:
            path = f"{split}/{name}/{image}"
            png(root / place / f"{path}{ending}", film(path))
            given = {"path_to_image": f"{path}.jpg", "frontal_lateral": frontal, "ap_pa": position, "split": split}
            given |= {"deid_patient_id": name.partition("/")[0], "section_findings": findings}
            rows.append(given | {"section_impression": "Impressions are not read."})
    with open(root / "df_chexpert_plus_240401.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["", *names], restval="")
        table.writeheader()
        table.writerows({"": i} | row for i, row in enumerate(rows))
    return root


#: part -> study -> ([(image, ImageViewPosition)], Findings)
REXGRADIENT = {
    "train": {
        "pA_a1_s1": ([("1", "LATERAL"), ("2", "POSTERO_ANTERIOR"), ("3", "OBLIQUE")], "The heart is\nenlarged."),
        "pA_a2_s1": ([("4", "UNKNOWN")], "Clear lungs. No effusion."),
        "pB_a3_s1": ([("5", "AP")], "None"),
        "pB_a4_s1": ([], "Clear lungs."),
    },
    "valid": {"pC_a5_s1": ([("6", "PA"), ("7", "LAT")], "Clear lungs.")},
    "test": {"pD_a6_s1": ([("8", "AP")], "Small left effusion.")},
}


def rexgradient(root: Path, *, reports: str = "entry") -> Path:
    """ReXGradient-160K, its `Findings` in the entries or in the "table" beside them."""
    (root / "metadata").mkdir(parents=True)
    for part, studies in REXGRADIENT.items():
        entries, rows = {}, []
        for name, (views, findings) in studies.items():
            patient, accession, study = (word[1:] for word in name.split("_"))
            paths = [f"{patient}/{accession}/studies/{study}/series/1/instances/{image}.png" for image, _ in views]
            for path in paths:
                png(root / "deid_png" / path, film(path))
            entries[name] = {
                "PatientID": patient,
                "AccessionNumber": accession,
                "StudyInstanceUid": study,
                "Indication": "Cough.",
                "Findings": findings,
                "Impression": "Impressions are not read.",
                "ImagePath": [f"../deid_png/{path}" for path in paths],
                "ImageViewPosition": [view for _, view in views],
            }
            rows.append({"id": name, "Findings": findings, "Impression": "Impressions are not read."})
        if reports == "table":
            entries = {name: {k: v for k, v in entry.items() if k != "Findings"} for name, entry in entries.items()}
        (root / "metadata" / f"{part}_metadata_view_position.json").write_text(json.dumps(entries))
        with open(root / "metadata" / f"{part}_metadata.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, ["id", "Findings", "Impression"])
            table.writeheader()
            table.writerows(rows)
    return root


def padchest_sentence(english: str, spanish: str = "Frase.", *labels: str, boxes: tuple = (), **more) -> dict:
    """A sentence of PadChest-GR: with labels it says that they are there."""
    plain = {"extra_boxes": [], "locations": [], "progression": None}
    said = {"sentence_en": english, "sentence_es": spanish, "abnormal": bool(labels), "labels": list(labels)}
    return {**said, "boxes": [list(box) for box in boxes], **plain, **more}


#: study -> (split, sentences)
PADCHEST_GR = {
    "2511": (
        "train",
        [
            padchest_sentence("Cardiomegaly", "Cardiomegalia.", "cardiomegaly", boxes=[(0.25, 0.5, 0.75, 0.875)]),
            padchest_sentence(
                "Bilateral pleural effusion.",
                "Derrame pleural bilateral.",
                "pleural effusion",
                "costophrenic angle blunting",
                boxes=[(0.0, 0.75, 0.25, 1.004), (0.75, 0.75, 1, 1)],
                locations=["left pleural", "right pleural"],
                progression="worsened",
            ),
            padchest_sentence("No pneumothorax.", "No neumotórax."),
        ],
    ),
    "2512": (
        "train",
        [
            padchest_sentence(
                "Aortic elongation.", "Elongación aórtica.", "aortic elongation", boxes=[(0.5, 0, 1, 0.5)]
            ),
            padchest_sentence("Chronic changes.", "Cambios crónicos.", "chronic changes", progression=["stable"]),
        ],
    ),
    "2513": ("validation", [padchest_sentence("No abnormalities.", "Sin alteraciones.")]),
    "2514": (
        "test",
        [
            padchest_sentence("", "", "scoliosis", boxes=[(0.4, 0.1, 0.6, 0.9)]),
            padchest_sentence("Scoliosis!", "¡Escoliosis!"),
        ],
    ),
    "2515": ("train", [padchest_sentence("", "")]),
    "2516": ("", [padchest_sentence("Not in the master table.", "Falta.")]),
}


def deep_film(name: str, height: int = 90, width: int = 60) -> np.ndarray:
    """(height, width) uint16 of 12 bits of its own for every name, as the PNGs of PadChest are."""
    return np.random.default_rng(list(name.encode())).integers(0, 4096, (height, width), np.uint16)


def padchest_gr(
    root: Path,
    studies: dict[str, tuple] | None = None,
    films: dict[str, np.ndarray] | None = None,
    *,
    place: str = "Padchest_GR_files/PadChest_GR",
) -> Path:
    """PadChest-GR of six studies, or of others told as in `PADCHEST_GR`; the master table has a row for each label."""
    entries, rows = [], []
    for name, (split, sentences) in (studies or PADCHEST_GR).items():
        image = f"{name}_a.png"
        png(root / place / image, (films or {}).get(name, deep_film(name)))
        earlier = {"PreviousStudyID": None, "PreviousImageID": None}
        entries.append({"StudyID": name, "ImageID": image, **earlier, "findings": sentences})
        labels = [label for sentence in sentences for label in sentence["labels"]] or ["Normal"]
        rows += [[name, image, label, split, f"P{name}"] for label in labels if split]
    (root / "grounded_reports_20240819.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    with open(root / "master_table.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["StudyID", "ImageID", "label", "split", "PatientID"])
        table.writerows(rows)
    return root


def sections(root: Path, text: str, *, packed: bool = False) -> Path:
    """Beside MIMIC-CXR-JPG the table of sections that the collection's own script writes."""
    path = root / f"mimic_cxr_sectioned.csv{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return root


def promptmrg(root: Path, studies: list[Study], labels: dict[str, list[int]] | None = None) -> Path:
    """IU X-Ray as PromptMRG has it: one list without a split; `labels` by study id, else all blank."""
    entries = []
    for study in studies:
        paths = [f"{study.id}/{i}.png" for i in range(len(images(study)))]
        for path, key in zip(paths, keys(study), strict=True):
            png(root / "images" / path, film(key))
        given = (labels or {}).get(study.id, [0] * 14)
        entries.append({"id": study.id, "report": study.report, "image_path": paths, "labels": given})
    (root / "iu_annotation_promptmrg.json").write_text(json.dumps(entries), encoding="utf-8")
    return root


def promptmrg_mimic(root: Path, labels: list[int]) -> Path:
    """Two studies of MIMIC-CXR as PromptMRG has them; `labels` are those of both."""
    lists = {}
    for i, split in enumerate(("train", "test")):
        path = f"p10/p1000001{i}/s5000000{i}/{'ab'[i] * 8}.jpg"
        (root / "images" / path).parent.mkdir(parents=True)
        Image.fromarray(film(path)).save(root / "images" / path, quality=95)
        lists[split] = [{"id": "ab"[i] * 8, "report": "Edema.", "image_path": [path], "labels": labels}]
    (root / "mimic_annotation_promptmrg.json").write_text(json.dumps(lists), encoding="utf-8")
    return root


def rexrank_entry(study: Study, **change) -> dict:
    """A study as ReXrank's files have it, with its images as the R2Gen release names them."""
    return {
        "key_image_path": f"{study.id}/0.png",
        "image_path": [f"{study.id}/{i}.png" for i in range(len(study.views))],
        "report": f"Findings: {study.report} Impression: None.",
        "section_findings": study.report,
        "section_impression": "None.",
        "split": study.split,
        "frontal_lateral": ["Frontal", "Lateral"],
        "context": "Indication: Cough. Comparison: None",
        **change,
    }


def rexrank(root: Path, studies: list[Study]) -> Path:
    """IU X-Ray as ReXrank has it: a file of test and one of validation studies, none to train on."""
    for split, name in (("test", "test"), ("val", "valid")):
        chosen = [study for study in studies if study.split == split]
        for study in chosen:
            for i, key in enumerate(keys(study)[:2]):
                png(root / "images" / study.id / f"{i}.png", film(key))
        entries = {study.id: rexrank_entry(study) for study in chosen}
        (root / f"ReXRank_IUXray_{name}.json").write_text(json.dumps(entries), encoding="utf-8")
    return root


def hub_jsonl(root: Path, studies: list[Study]) -> Path:
    """IU X-Ray as a folder of images with `SPLIT/metadata.jsonl`, a row an image, as hubs of data sets have it."""
    rows = {"train": [], "validation": [], "test": []}
    for study in studies:
        split = "validation" if study.split == "val" else study.split
        for image, key in zip(images(study), keys(study), strict=True):
            png(root / split / f"{image}.png", film(key))
            rows[split].append({"file_name": f"{image}.png", "findings": study.report, "impression": "None."})
    for split, held in rows.items():
        (root / split / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    return root


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large, and has no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", b"")
        + chunk(b"IEND", b"")
    )


def parquet(path: Path, rows: list[dict], *, columns: tuple[str, ...] = ("image",), **options) -> Path:
    """Rows as the hub writes them: `columns` hold bytes and path, or a list of these; the others are texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    many = any(isinstance(row[column], list) for row in rows for column in columns)
    kinds = {name: (pa.list_(image) if many else image) if name in columns else pa.string() for name in rows[0]}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(kinds.items()))), path, **options)
    return path


def hub_parquet(root: Path, studies: list[Study], **options) -> Path:
    """IU X-Ray as Parquet files of its splits, a row a study with all its images as bytes."""
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        rows = []
        for study in studies:
            if study.split == split:
                held = [{"bytes": encoded(film(key)), "path": f"{key}.png"} for key in keys(study)]
                rows.append({"images": held, "report": study.report})
        parquet(root / "data" / f"{name}-00000-of-00001.parquet", rows, columns=("images",), **options)
    return root


def workbook(root: Path, rows: list[list], films: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    """A folder of one's own whose table is an Excel workbook."""
    from openpyxl import Workbook

    root.mkdir(parents=True, exist_ok=True)
    for name in films:
        png(root / name, film(name))
    book = Workbook()
    for row in rows:
        book.active.append(row)
    book.save(root / "studies.xlsx")
    return root


def own(root: Path, table: str | bytes, films: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in films:
        png(root / name, film(name))
    (root / "studies.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return root


def tar_of(members: list[tuple[str, bytes | tarfile.TarInfo]]) -> bytes:
    """A .tgz of files, or of whatever a TarInfo says it is."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            tar.addfile(info, BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


# ---- a sound folder in which one thing will be made wrong

SOUND_FILM = film("fault")


def sound_release(root: Path) -> Path:
    """R2Gen's layout with three studies, `good` and `also` of one image and `bad` of two, all alike."""
    entries = []
    for name, count in (("good", 1), ("bad", 2), ("also", 1)):
        paths = [f"{name}/{i}.png" for i in range(count)]
        for path in paths:
            png(root / "images" / path, SOUND_FILM)
        entries.append({"id": name, "report": "The lungs are clear.", "image_path": paths})
    (root / "annotation.json").write_text(json.dumps({"train": entries}))
    return root


def prepared(root: Path, name: str = "iu_xray", **options) -> PreparedDataset:
    """Prepared to `out` beside the root, whatever share of its images is bad."""
    return prepare(
        name, data_root=root, out=root.parent / "out", workers=1, progress=False, **{"max_rejected": 1, **options}
    )
