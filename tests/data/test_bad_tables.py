"""Bad annotations, tables, reports and archives, each with its documented outcome.

`REFUSED`: the run stops before anything is written, and the message says why. `SOUND`: it is no fault, only written
otherwise. Images have a table of their own in `test_bad_images.py`; the two together name more than 130 faults.
"""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import trees
from trees import SOUND_FILM as FILM
from trees import prepared, sound_release

from rrg_lib.data.download import unpack
from rrg_lib.errors import AnnotationError, DataRootError, DownloadError, ReportError, RRGError


@pytest.fixture
def root(tmp_path) -> Path:
    return sound_release(tmp_path / "root")


OWN = "image,study,report,split\n"


def in_annotation(**change):
    def make(root: Path) -> str:
        data = json.loads((root / "annotation.json").read_text())
        data["train"][1] |= change
        (root / "annotation.json").write_text(json.dumps(data))
        return "iu_xray"

    return make


def split_called(name: str):
    def make(root: Path) -> str:
        data = json.loads((root / "annotation.json").read_text())
        (root / "annotation.json").write_text(json.dumps(data | {"val": [], name: data["train"]}))
        return "iu_xray"

    return make


def annotation(content: bytes):
    def make(root: Path) -> str:
        (root / "annotation.json").write_bytes(content)
        return "iu_xray"

    return make


def own(table: str | bytes):
    def make(root: Path) -> str:
        (root / "annotation.json").unlink()
        trees.own(root, table)
        return "own"

    return make


def link_out(root: Path) -> str:
    trees.png(root.parent / "outside.png", FILM)
    (root / "images" / "bad" / "0.png").unlink()
    (root / "images" / "bad" / "0.png").symlink_to(root.parent / "outside.png")
    return "iu_xray"


def openi_xml(content: bytes):
    def make(root: Path) -> str:
        (root / "annotation.json").unlink()
        trees.openi(root, trees.picked()[:2])
        (root / "ecgen-radiology" / "99999.xml").write_bytes(content)
        return "iu_xray"

    return make


def kaggle_with(name: str, change):
    def make(root: Path) -> str:
        (root / "annotation.json").unlink()
        trees.kaggle(root, trees.picked()[:2])
        (root / name).write_bytes(change((root / name).read_bytes()))
        return "iu_xray"

    return make


def mimic_with(name: str, change, **options):
    def make(root: Path) -> str:
        (root / "annotation.json").unlink()
        trees.mimic(root, **options)
        (root / name).write_bytes(change((root / name).read_bytes()))
        return "mimic_cxr"

    return make


def linked_out(name: str, make_root, dataset: str):
    """The file `name` is a link to one outside the root."""

    def make(root: Path) -> str:
        (root / "annotation.json").unlink()
        make_root(root)
        (root.parent / "outside").write_bytes((root / name).read_bytes())
        (root / name).unlink()
        (root / name).symlink_to(root.parent / "outside")
        return dataset

    return make


def fresh(make):
    """A made root in the place of the release's; `make` says the dataset."""

    def made(root: Path) -> str:
        (root / "annotation.json").unlink()
        return make(root)

    return made


def rexrank(name: str = "ReXRank_IUXray_test.json", content: bytes | None = None, **change):
    """ReXrank's file of one study, changed, or with other content."""

    @fresh
    def make(root: Path) -> str:
        study = trees.picked()[-1]
        entry = trees.rexrank_entry(study, **change)
        entry = {key: value for key, value in entry.items() if value is not ...}
        (root / name).write_bytes(json.dumps({study.id: entry}).encode() if content is None else content)
        return "iu_xray"

    return make


def rexrank_twice(root: Path) -> str:
    rexrank()(root)
    shutil.copy(root / "ReXRank_IUXray_test.json", root / "ReXRank_more.json")
    return "iu_xray"


def jsonl(*lines: bytes | dict, name: str = "train.jsonl"):
    @fresh
    def make(root: Path) -> str:
        trees.png(root / "a.png", FILM)
        (root / name).write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines))
        return "iu_xray"

    return make


def parquet(*rows: dict, change=lambda data: data, name: str = "train.parquet", **options):
    @fresh
    def make(root: Path) -> str:
        path = trees.parquet(root / name, list(rows), **options)
        path.write_bytes(change(path.read_bytes()))
        return "iu_xray"

    return make


def promptmrg(content: bytes | None = None, **change):
    """PromptMRG's list with one study, changed, or other content."""

    @fresh
    def make(root: Path) -> str:
        trees.promptmrg(root, trees.picked()[:1])
        path = root / "iu_annotation_promptmrg.json"
        entry = {key: value for key, value in (json.loads(path.read_text())[0] | change).items() if value is not ...}
        path.write_bytes(json.dumps([entry]).encode() if content is None else content)
        return "iu_xray"

    return make


def promptmrg_twice(root: Path) -> str:
    promptmrg()(root)
    (root / "mimic_annotation_promptmrg.json").write_text("{}")
    return "iu_xray"


def promptmrg_two_reports(root: Path) -> str:
    promptmrg()(root)
    path = root / "iu_annotation_promptmrg.json"
    [entry] = json.loads(path.read_text())
    path.write_text(json.dumps([entry, entry | {"report": "Other words."}]))
    return "iu_xray"


def sections(text: str):
    @fresh
    def make(root: Path) -> str:
        trees.sections(trees.mimic(root, reports="none"), text)
        return "mimic_cxr"

    return make


def workbook(*rows: list, change=lambda data: data):
    @fresh
    def make(root: Path) -> str:
        path = trees.workbook(root, list(rows)) / "studies.xlsx"
        path.write_bytes(change(path.read_bytes()))
        return "own"

    return make


def workbook_and_table(root: Path) -> str:
    workbook(["image", "report"], ["a.png", "Clear."])(root)
    (root / "studies.csv").write_text("image,report\na.png,Clear.\n")
    return "own"


def zip_of_zeros(data: bytes) -> bytes:
    """A workbook with a member of 300 MB in 300 KB."""
    out = BytesIO(data)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/zeros.bin", "w") as member:
        for _ in range(300):
            member.write(bytes(10**6))
    return out.getvalue()


EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
PICTURE = {"bytes": trees.encoded(FILM), "path": "a.png"}
ROW = {"image": PICTURE, "report": "Clear.", "id": "A"}
LINE = {"file_name": "a.png", "report": "Clear.", "id": "A"}


MIMIC_STUDY = "files/p10/p10000011/s50000001"
BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    + b"]><x>&j;</x>"
)
SECRET = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><eCitation><uId id="CXR9"/>&a;</eCitation>'

REFUSED = {
    "annotation: not JSON": (annotation(b'{"train": ['), AnnotationError, "is not JSON"),
    "annotation: a pickle with code": (
        annotation(pickle.dumps({"train": []})),
        AnnotationError,
        "is not UTF-8 text|is not JSON",
    ),
    "annotation: nested too deep": (annotation(b"[" * 200_000), AnnotationError, "nested too deep|is not JSON"),
    "annotation: UTF-16": (annotation('{"train": []}'.encode("utf-16")), AnnotationError, "is not UTF-8 text"),
    "annotation: an id twice": (in_annotation(id="good"), AnnotationError, "the id 'good' was already used by"),
    "annotation: a path that climbs": (
        in_annotation(image_path=["../../outside.png"]),
        AnnotationError,
        r"climbs out with '\.\.'",
    ),
    "annotation: an absolute path": (in_annotation(image_path=["/etc/passwd"]), AnnotationError, "is absolute"),
    "annotation: a Windows path": (in_annotation(image_path=["C:\\film.png"]), AnnotationError, "is absolute"),
    "annotation: a NUL in a path": (in_annotation(image_path=["bad/0.png\0.jpg"]), AnnotationError, "is absolute"),
    "annotation: an empty report": (in_annotation(report=" "), ReportError, "the report is empty"),
    "annotation: a report that is a number": (in_annotation(report=7), AnnotationError, "the report is 7"),
    "a link out of the root": (link_out, AnnotationError, "is a link to .*outside"),
    "table: a missing column": (
        own("file,report\na.png,Clear.\n"),
        AnnotationError,
        "has no column 'image'; there is 'file', 'report'",
    ),
    "table: semicolons": (
        own("image;report\na.png;Clear.\n"),
        AnnotationError,
        "separated by semicolons; expected commas",
    ),
    "table: tabs": (own("image\treport\na.png\tClear.\n"), AnnotationError, "separated by tabs"),
    "table: a column twice": (
        own("image,image,report\na.png,b.png,Clear.\n"),
        AnnotationError,
        "the column 'image' stands there 2 times",
    ),
    "table: empty": (own(""), AnnotationError, "is empty; expected a header"),
    "table: a comma without quotes": (
        own(OWN + "a.png,A,Clear, normal.,train\n"),
        AnnotationError,
        "line 2: has 5 values, the header 4",
    ),
    "table: a quote that never ends": (own(OWN + 'a.png,A,"Clear.,train\n'), AnnotationError, "line 2: is no row"),
    "table: Latin-1": (
        own((OWN + "a.png,A,Übersicht.,train\n").encode("latin-1")),
        AnnotationError,
        "is not UTF-8 text",
    ),
    "table: a NUL byte": (own(OWN + "a\0.png,A,Clear.,train\n"), AnnotationError, r"is no row|is absolute"),
    "table: an image twice": (
        own(OWN + "a.png,A,Clear.,train\na.png,B,Clear.,test\n"),
        AnnotationError,
        "line 3: 'a.png' stands in line 2 already",
    ),
    "table: two reports of a study": (
        own(OWN + "a.png,A,Clear.,train\nb.png,A,Edema.,train\n"),
        AnnotationError,
        "line 3: says another report",
    ),
    "table: a study in two splits": (
        own(OWN + "a.png,A,Clear.,train\nb.png,A,Clear.,test\n"),
        AnnotationError,
        "line 3: says another split",
    ),
    "table: an unknown split": (
        own(OWN + "a.png,A,Clear.,dev\n"),
        AnnotationError,
        "the split is 'dev'; expected one of train, val, test",
    ),
    "table: a path that climbs": (
        own(OWN + "../a.png,A,Clear.,train\n"),
        AnnotationError,
        "line 2: image '../a.png' climbs out",
    ),
    "table: no report at all": (
        own("image\na.png\n"),
        DataRootError,
        "none of its 1 studies has a report .*rrg generate",
    ),
    "XML: an entity bomb": (openi_xml(BOMB), AnnotationError, "99999.xml: declares a document type or entities"),
    "XML: a file pulled in": (openi_xml(SECRET), AnnotationError, "99999.xml: declares a document type or entities"),
    "XML: cut short": (openi_xml(b"<eCitation><uId"), AnnotationError, "99999.xml: is not well-formed XML"),
    "XML: of something else": (openi_xml(b"<html/>"), AnnotationError, "99999.xml: has no uId"),
    "XML: the same study twice": (
        openi_xml(b'<eCitation><uId id="CXR2384"/></eCitation>'),
        AnnotationError,
        "99999.xml: is a second report of .*CXR2384",
    ),
    "XML: larger than any report": (
        openi_xml(b"<a>" + b" " * 2**21),
        AnnotationError,
        "99999.xml: has 2,097,155 bytes",
    ),
    "Kaggle: a projection of another study": (
        kaggle_with("indiana_projections.csv", lambda t: t + b"7,8_IM-0001-1001.dcm.png,Frontal\n"),
        AnnotationError,
        "'8_IM-0001-1001.dcm.png' is no image of study '7'",
    ),
    "Kaggle: a report twice": (
        kaggle_with("indiana_reports.csv", lambda t: t + t.splitlines(keepends=True)[1]),
        AnnotationError,
        "is a second report of study",
    ),
    "Kaggle: a path that climbs": (
        kaggle_with("indiana_projections.csv", lambda t: t + b"1,../1_IM-0001-9001.dcm.png,Frontal\n"),
        AnnotationError,
        "is no image of study '1'",
    ),
    "annotation: a part of another name": (
        split_called("holdout"),
        AnnotationError,
        r"'holdout' is a list of 3, and no part of a split is called so; expected .* Call it train, val or test",
    ),
    "ReXrank: not JSON": (rexrank(content=b'{"CXR1": '), AnnotationError, "ReXRank_IUXray_test.json: is not JSON"),
    "ReXrank: a list": (rexrank(content=b"[]"), AnnotationError, "holds a list; expected .*image_path"),
    "ReXrank: a study twice in a file": (
        rexrank(content=b'{"CXR1_IM-0001": {}, "CXR1_IM-0001": {}}'),
        AnnotationError,
        "the key 'CXR1_IM-0001' stands 2 times",
    ),
    "ReXrank: a study in two files": (
        rexrank_twice,
        AnnotationError,
        r"ReXRank_more.json: 'CXR\d+_IM-\d+(-\d+)*' stands in ReXRank_IUXray_test.json already",
    ),
    "ReXrank: the old form": (
        rexrank(image_path=..., section_findings=...),
        AnnotationError,
        "has no 'image_path' and no 'section_findings'; there is 'key_image_path'",
    ),
    "ReXrank: findings that are a number": (
        rexrank(section_findings=7),
        AnnotationError,
        "section_findings is 7; expected a text",
    ),
    "ReXrank: one image as a text": (
        rexrank(image_path="a.png"),
        AnnotationError,
        "image_path is 'a.png'; expected a list",
    ),
    "ReXrank: a path that climbs": (
        rexrank(image_path=["../../outside.png"]),
        AnnotationError,
        r"image_path '\.\./\.\./outside.png' climbs out",
    ),
    "ReXrank: an unknown split": (
        rexrank(split="holdout"),
        AnnotationError,
        "the split is 'holdout'; expected train, val or test",
    ),
    "ReXrank: no findings at all": (
        rexrank(section_findings=float("nan")),
        DataRootError,
        "none of the 1 studies of ReXRank_IUXray_test.json can be used .*'no FINDINGS section': 1",
    ),
    "JSON lines: a line that is no JSON": (
        jsonl(LINE, b"{'id': 1}"),
        AnnotationError,
        "train.jsonl, line 2: is no JSON",
    ),
    "JSON lines: not UTF-8": (jsonl(b'{"file_name": "\xff"}'), AnnotationError, "line 1: is no JSON .*utf-8"),
    "JSON lines: a line that is a list": (jsonl(b"[1]"), AnnotationError, "line 1: is a list; expected .*file_name"),
    "JSON lines: nested too deep": (jsonl(b"[" * 200_000), AnnotationError, "line 1: is no JSON"),
    "JSON lines: no column of images": (
        jsonl({"report": "Clear.", "film": "a.png"}),
        AnnotationError,
        "has no column of images; there is 'report', 'film'. Expected .*file_name",
    ),
    "JSON lines: an image that is a number": (
        jsonl(LINE | {"file_name": 7}),
        AnnotationError,
        "'file_name' is 7; expected a path",
    ),
    "JSON lines: no column of reports": (
        jsonl({"file_name": "a.png", "words": "Clear."}),
        AnnotationError,
        "has no column of reports; there is 'words'. Expected one of findings, .*report",
    ),
    "JSON lines: a report that is a list": (
        jsonl(LINE | {"report": ["Clear."]}),
        AnnotationError,
        "'report' is .*a text",
    ),
    "JSON lines: a path that climbs": (
        jsonl(LINE | {"file_name": "../../outside.png"}),
        AnnotationError,
        r"line 1: image '\.\./\.\./outside.png' climbs out",
    ),
    "JSON lines: an absolute path": (jsonl(LINE | {"file_name": "/etc/passwd"}), AnnotationError, "is absolute"),
    "JSON lines: a NUL in a path": (jsonl(LINE | {"file_name": "a.png\0"}), AnnotationError, "is absolute"),
    "JSON lines: two reports of a study": (
        jsonl(LINE, LINE | {"report": "Edema."}),
        AnnotationError,
        "line 2: says another report of the study 'A' than .*line 1",
    ),
    "JSON lines: a study in two splits": (
        jsonl(LINE | {"split": "train"}, LINE | {"split": "test"}),
        AnnotationError,
        "line 2: the study 'A' is in test, by .*line 1 in train",
    ),
    "JSON lines: an unknown split": (
        jsonl(LINE | {"split": "holdout"}),
        AnnotationError,
        "the split is 'holdout'; expected train, val or test",
    ),
    "JSON lines: no split and studies of nobody": (
        jsonl(LINE, name="data.jsonl"),
        AnnotationError,
        "says no split, neither by a column nor by the names",
    ),
    "JSON lines: no report at all": (
        jsonl(LINE | {"report": None}),
        DataRootError,
        "none of the 1 studies of train.jsonl",
    ),
    "Parquet: cut short": (
        parquet(ROW, change=lambda data: data[:-20]),
        AnnotationError,
        "train.parquet: is no Parquet file, or damaged",
    ),
    "Parquet: a page under the name": (
        parquet(ROW, change=lambda data: b"<html>404</html>"),
        AnnotationError,
        "train.parquet: is no Parquet file, or damaged",
    ),
    "Parquet: damaged inside": (
        parquet(ROW, change=lambda data: data[:10] + b"\xff" * 200 + data[210:], compression="zstd"),
        AnnotationError,
        "train.parquet: is damaged after row 0",
    ),
    "Parquet: paths without bytes": (
        parquet({"image": {"bytes": None, "path": "a.png"}, "report": "Clear."}),
        AnnotationError,
        "row 0: 'image' holds the path 'a.png' and no bytes. Get the copy with its images",
    ),
    "Parquet: no column of bytes": (
        parquet({"image": "a.png", "report": "Clear."}, columns=()),
        AnnotationError,
        r"has no column of image bytes; there is 'image' \(string\), 'report' \(string\)",
    ),
    "Parquet: no column of reports": (
        parquet({"image": PICTURE, "label": "normal"}),
        AnnotationError,
        "row 0: has no column of reports; there is 'label'",
    ),
    "Parquet: two reports of a study": (
        parquet(ROW, ROW | {"report": "Edema."}),
        AnnotationError,
        "row 1: says another report of the study 'A' than .*row 0",
    ),
    "Parquet: no split": (parquet(ROW, name="data.parquet"), AnnotationError, "row 0: says no split"),
    "Parquet: a bomb": (
        parquet(ROW | {"image": {"bytes": bytes(10**8), "path": "a.png"}}, compression="zstd"),
        AnnotationError,
        "bytes and unpacks to 1.*, which no table of images does",
    ),
    "PromptMRG: not JSON": (promptmrg(b"[{"), AnnotationError, "iu_annotation_promptmrg.json: is not JSON"),
    "PromptMRG: no labels": (
        promptmrg(labels=...),
        AnnotationError,
        "the labels are None; expected a list of at least 14",
    ),
    "PromptMRG: thirteen labels": (
        promptmrg(labels=[0] * 13),
        AnnotationError,
        "expected a list of at least 14 classes",
    ),
    "PromptMRG: a label that is no class": (promptmrg(labels=[0] * 13 + [-1]), AnnotationError, "0 blank, 1 positive"),
    "PromptMRG: labels that are true": (promptmrg(labels=[True] * 14), AnnotationError, "the labels are .True"),
    "PromptMRG: a path that climbs": (
        promptmrg(image_path=["../x.png"]),
        AnnotationError,
        "image_path '../x.png' climbs",
    ),
    "PromptMRG: a study of another collection in the list": (
        promptmrg(id="patient1"),
        AnnotationError,
        r"\[0\]: 'patient1' is no study of IU X-Ray, and a list says no split",
    ),
    "PromptMRG: no id and no folder": (
        promptmrg(id=..., image_path=["0.png"]),
        AnnotationError,
        r"\[0\]: the id is ''; expected a text",
    ),
    "PromptMRG: two reports of a study": (
        promptmrg_two_reports,
        AnnotationError,
        r"\[1\]: the id .* was already used by .*\[0\], with another report or other labels",
    ),
    "PromptMRG: two annotations": (
        promptmrg_twice,
        AnnotationError,
        "holds iu_annotation_promptmrg.json and mimic_annotation_promptmrg.json; expected one",
    ),
    "workbook: a missing column": (
        workbook(["file", "report"], ["a.png", "Clear."]),
        AnnotationError,
        "studies.xlsx, sheet 'Sheet': has no column 'image'; there is 'file', 'report'",
    ),
    "workbook: empty": (workbook(), AnnotationError, "sheet 'Sheet': is empty; expected a header"),
    "workbook: a column twice": (
        workbook(["image", "image"], ["a.png", "b.png"]),
        AnnotationError,
        "the column 'image' stands there 2 times",
    ),
    "workbook: a cell beside the table": (
        workbook(["image", "report"], ["a.png", "Clear.", "a note"]),
        AnnotationError,
        "row 2: has the cell 'a note' beside the table; the header has 2 columns",
    ),
    "workbook: an image twice": (
        workbook(["image", "report"], ["a.png", "Clear."], ["a.png", "Edema."]),
        AnnotationError,
        "line 3: 'a.png' stands in line 2 already",
    ),
    "workbook: an old one": (
        workbook(["image"], change=lambda data: b"\xd0\xcf\x11\xe0" + data),
        AnnotationError,
        "is an old workbook .* or one behind a password; expected .xlsx. Save it as .xlsx",
    ),
    "workbook: a table under the name": (
        workbook(["image"], change=lambda data: b"image,report\na.png,Clear.\n"),
        AnnotationError,
        "studies.xlsx: is no workbook, or damaged",
    ),
    "workbook: another archive": (
        workbook(["image"], change=lambda data: EMPTY_ZIP),
        AnnotationError,
        "studies.xlsx: is no workbook that can be read",
    ),
    "workbook: a bomb": (
        workbook(["image"], change=zip_of_zeros),
        AnnotationError,
        "unpacks to 300,.* bytes; expected at",
    ),
    "workbook: beside a table": (
        workbook_and_table,
        AnnotationError,
        "holds studies.csv and studies.xlsx; expected one table",
    ),
    "MIMIC sections: a missing column": (
        sections("study,impression\ns50000001,Normal.\n"),
        AnnotationError,
        "mimic_cxr_sectioned.csv: has no column 'findings'; there is 'study', 'impression'",
    ),
    "MIMIC sections: a study that is none": (
        sections("study,findings\np50000001,Clear.\n"),
        AnnotationError,
        "line 2: 'p50000001' is no study; expected s and eight digits",
    ),
    "MIMIC sections: a study twice": (
        sections("study,findings\ns50000001,Clear.\n50000001,Edema.\n"),
        AnnotationError,
        "line 3: is a second report of study s50000001",
    ),
    "MIMIC sections: a comma without quotes": (
        sections("study,findings\ns50000001,Clear, normal.\n"),
        AnnotationError,
        "line 2: has 3 values, the header 2",
    ),
    "MIMIC sections: no study of the split": (
        sections("study,findings\ns59999999,Clear.\n"),
        DataRootError,
        "none of its 5 studies can be used .*'no report': 5",
    ),
    "MIMIC: gzip cut short": (
        mimic_with("mimic-cxr-2.0.0-split.csv.gz", lambda t: t[: len(t) // 2], packed=True),
        AnnotationError,
        "compression is cut short or damaged",
    ),
    "MIMIC: gzip that is none": (
        mimic_with("mimic-cxr-2.0.0-metadata.csv.gz", lambda t: b"\x1f\x8b" + b"x" * 40, packed=True),
        AnnotationError,
        "compression is cut short or damaged",
    ),
    "MIMIC: an id that climbs": (
        mimic_with("mimic-cxr-2.0.0-split.csv", lambda t: t + b"../../x,50000009,10000019,train\n"),
        AnnotationError,
        r"line 10: \('\.\./\.\./x', .*is no row of the split",
    ),
    "MIMIC: a study in two splits": (
        mimic_with("mimic-cxr-2.0.0-split.csv", lambda t: t + b"abcdefab,50000001,10000011,test\n"),
        AnnotationError,
        "study 50000001 was in 'train' of patient 10000011",
    ),
    "MIMIC: a label that is no number": (
        mimic_with("mimic-cxr-2.0.0-chexpert.csv", lambda t: t.replace(b"-1.0", b"maybe")),
        AnnotationError,
        "line 2: could not convert .*maybe",
    ),
    "MIMIC: the archive of reports damaged": (
        mimic_with("mimic-cxr-reports.zip", lambda t: t[:-30], reports="zip"),
        AnnotationError,
        "is no zip archive, or damaged",
    ),
    "MIMIC: a report in the archive damaged": (
        mimic_with("mimic-cxr-reports.zip", lambda t: t[:60] + b"\xff" * 30 + t[90:], reports="zip"),
        AnnotationError,
        "s50000001.txt is damaged",
    ),
    "MIMIC: an image that is a link out of the root": (
        linked_out(f"{MIMIC_STUDY}/bbbbbbbb.jpg", trees.mimic, "mimic_cxr"),
        AnnotationError,
        "is a link to .*outside",
    ),
    "MIMIC: a report that is a link out of the root": (
        linked_out(f"{MIMIC_STUDY}.txt", trees.mimic, "mimic_cxr"),
        AnnotationError,
        "is a link to .*outside",
    ),
    "XML: a link out of the root": (
        linked_out("ecgen-radiology/2384.xml", lambda root: trees.openi(root, trees.picked()[:2]), "iu_xray"),
        AnnotationError,
        "is a link to .*outside",
    ),
    "Open-i: an image that is a link out of the root": (
        linked_out(
            "NLMCXR_png/CXR2384_IM-0942-1001.png", lambda root: trees.openi(root, trees.picked()[:2]), "iu_xray"
        ),
        AnnotationError,
        "is a link to .*outside",
    ),
    "MIMIC: no reports": (
        mimic_with("mimic-cxr-2.0.0-split.csv", lambda t: t, reports="none"),
        DataRootError,
        "looked for the reports of MIMIC-CXR",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_bad_table_or_report_is_refused_before_anything_is_written(fault, root):
    make, error, message = REFUSED[fault]
    name = make(root)
    with pytest.raises(error, match=message) as raised:
        prepared(root, name)
    assert isinstance(raised.value, RRGError) and len(str(raised.value)) < 1000
    assert not (root.parent / "out").exists()


SOUND = {
    "CRLF": own((OWN + "a.png,A,Clear.,train\nb.png,B,Clear.,test\n").replace("\n", "\r\n")),
    "a byte order mark": own((OWN + "a.png,A,Clear.,train\nb.png,B,Clear.,test\n").encode("utf-8-sig")),
    "a table gzipped under a plain name": own(
        gzip.compress((OWN + "a.png,A,Clear.,train\nb.png,B,Clear.,test\n").encode())
    ),
    "empty lines and blanks around names": own(
        " image , study,report,split\n\na.png,A,Clear.,train\n,,,\nb.png,B,Clear.,test\n"
    ),
    "a report of several lines": own(OWN + 'a.png,A,"Clear.\nNormal, ""heart"".",train\nb.png,B,Clear.,test\n'),
    "names in other scripts": own(OWN + "a.png,研究-Ä,Clear.,train\nb.png,B é,Clear.,test\n"),
}


@pytest.mark.parametrize("kind", SOUND)
def test_a_table_written_otherwise_is_read(kind, root):
    data = prepared(root, SOUND[kind](root))
    assert len(data) == 2 and data.manifest["splits"] == {"train": 1, "val": 0, "test": 1}


def test_images_with_names_in_other_scripts_are_found(root):
    trees.png(root / "images" / "胸部 é" / "0.png", FILM)
    in_annotation(id="胸部", image_path=["胸部 é/0.png"])(root)
    data = prepared(root)
    assert data.ids[1] == "胸部" and data.rejected == () and data.study(1).views == ("胸部 é/0.png",)


def member(name: str, **fields) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


ARCHIVES = {
    "a path that climbs": (trees.tar_of([("../evil.png", b"x")]), "'../evil.png' leads out of its folder"),
    "an absolute path": (trees.tar_of([("/tmp/evil.png", b"x")]), "leads out of its folder"),
    "a path of Windows": (trees.tar_of([("C:\\evil.png", b"x")]), "leads out of its folder"),
    "a link": (
        trees.tar_of([("a", member("a", type=tarfile.SYMTYPE, linkname="/etc"))]),
        "'a' is neither a file nor a folder",
    ),
    "a hard link": (
        trees.tar_of([("a", member("a", type=tarfile.LNKTYPE, linkname="../../etc/passwd"))]),
        "is neither a file nor a folder",
    ),
    "a device": (trees.tar_of([("a", member("a", type=tarfile.CHRTYPE))]), "is neither a file nor a folder"),
    "a name twice": (trees.tar_of([("a", b"1"), ("a", b"2")]), "'a' is there twice"),
    "cut short": (
        trees.tar_of([("a.png", np.random.default_rng(0).bytes(50_000))])[:20_000],
        "is cut short, damaged, or no archive",
    ),
    "no archive": (b"<html>404</html>", "is cut short, damaged, or no archive"),
    "more than there is room for": (trees.tar_of([("zeros", b"\0" * 3_000_000)]), "unpacks to more than"),
}


@pytest.mark.parametrize("fault", ARCHIVES)
def test_a_bad_archive_is_refused_before_anything_is_unpacked(fault, tmp_path):
    content, message = ARCHIVES[fault]
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(DownloadError, match=message):
        unpack(tmp_path / "a.tgz", tmp_path / "out" / "a", max_bytes=2_000_000)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tgz"]
