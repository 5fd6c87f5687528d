"""Bad input: what people's folders really hold, each with its documented outcome.

Every row of a table is one fault in an otherwise sound folder. `SET_ASIDE`: the image goes to rejected.csv with that reason and the run goes on.
`READ`: it is no fault, whatever it looks like. `REFUSED`: the run stops before anything is written, and the message says why.
"""

from __future__ import annotations

import gzip
import json
import pickle
import re
import struct
import tarfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image

from rrg_lib.data.archives import unpack
from rrg_lib.data.prepare import prepare
from rrg_lib.errors import AnnotationError, DataRootError, DownloadError, ReportError, RRGError

FILM = trees.film("fault")


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def dicom(**header) -> bytes:
    pixels = header.pop("pixels", FILM)
    without = header.pop("without", ())
    from pydicom import dcmread

    path = trees.dicom_file(Path(header.pop("folder")) / "made.dcm", pixels, **header)
    data = dcmread(path)
    for name in without:
        delattr(data, name)
    out = BytesIO()
    data.save_as(out)
    path.unlink()
    return out.getvalue()


PLAIN = encoded(Image.fromarray(FILM))
JPEG = encoded(Image.fromarray(np.kron(FILM, np.ones((4, 4), np.uint8))), "JPEG")

# ---- images

SET_ASIDE = {
    "zero bytes": (lambda d: b"", r"is empty \(0 bytes\)"),
    "truncated PNG": (lambda d: PLAIN[: len(PLAIN) // 2], "truncated or damaged"),
    "truncated JPEG": (lambda d: JPEG[: len(JPEG) // 2], "truncated or damaged"),
    "a flipped byte in a PNG": (lambda d: PLAIN[:200] + bytes([PLAIN[200] ^ 255]) + PLAIN[201:], "truncated or damaged"),
    "HTML named .png": (lambda d: b"<!DOCTYPE html><html>404</html>", "an HTML or XML page"),
    "a PDF named .png": (lambda d: b"%PDF-1.7\n", "is a PDF"),
    "a text named .png": (lambda d: b"see the other folder\n", "is not an image"),
    "a zip named .png": (lambda d: b"PK\x03\x04rest", "a zip archive"),
    "a GIF named .png": (lambda d: encoded(Image.fromarray(FILM), "GIF"), "is a GIF"),
    "a TIFF named .png": (lambda d: encoded(Image.fromarray(FILM), "TIFF"), "is a TIFF"),
    "a WebP named .png": (lambda d: encoded(Image.fromarray(FILM), "WEBP"), "a WebP"),
    "a Git LFS pointer": (lambda d: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "a pickle with code, named .png": (lambda d: b"cos\nsystem\n(S'touch pwned'\ntR.", "is not an image"),
    "an animated PNG": (
        lambda d: encoded(Image.fromarray(FILM), save_all=True, append_images=[Image.fromarray(255 - FILM)]),
        r"is animated \(2 pictures\)",
    ),
    "1 x 1": (lambda d: encoded(Image.new("L", (1, 1))), "is 1 x 1 pixels; expected a radiograph of at least 32 x 32"),
    "a header of 30,000 x 30,000": (lambda d: png_header(30_000, 30_000), "refused before decoding"),
    "a header of 10,000 x 8,000": (lambda d: png_header(10_000, 8_000), "10000 x 8000 pixels, refused before decoding"),
    "a PNG without pixels": (lambda d: png_header(100, 100), "truncated or damaged"),
    "a text chunk that unpacks to 100 MB": (
        lambda d: (
            PLAIN[:33]
            + (lambda body: struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body)))(
                b"k\0\0" + zlib.compress(b"\0" * 100_000_000, 9)
            )
            + PLAIN[33:]
        ),
        "truncated or damaged",
    ),
    "DICOM without pixels": (lambda d: dicom(folder=d, without=("PixelData",)), r"without pixels \(CR\)"),
    "DICOM with several frames": (lambda d: dicom(folder=d, NumberOfFrames=3), "has 3 frames"),
    "DICOM of 30,000 x 30,000": (lambda d: dicom(folder=d, Rows=30_000, Columns=30_000), "30000 x 30000 pixels, refused before decoding"),
    "DICOM whose pixels end early": (lambda d: dicom(folder=d, Rows=700), "damaged|could not be decoded"),
    "DICOM cut in the header": (lambda d: dicom(folder=d)[:180], "without pixels|damaged"),
    "a name that is a folder": (None, "is a folder"),
    "a name that is a dead link": (None, "no such file"),
    "a file that is missing": (None, "no such file"),
}

READ = {
    "16 bits": lambda d: encoded(Image.fromarray(FILM.astype(np.uint16) * 257)),
    "12 bits in 16": lambda d: encoded(Image.fromarray(FILM.astype(np.uint16) * 16)),
    "RGB": lambda d: encoded(Image.fromarray(FILM).convert("RGB")),
    "alpha": lambda d: encoded(Image.fromarray(FILM).convert("RGBA")),
    "a palette": lambda d: encoded(Image.fromarray(FILM).convert("P")),
    "a JPEG named .png": lambda d: encoded(Image.fromarray(FILM), "JPEG", quality=100, subsampling=0),
    "CMYK": lambda d: encoded(Image.fromarray(FILM).convert("CMYK"), "JPEG", quality=100, subsampling=0),
    "DICOM named .png": lambda d: dicom(folder=d),
    "DICOM of 12 bits with a window": lambda d: dicom(folder=d, pixels=FILM.astype(np.uint16) * 16, bits=12, WindowCenter=2048, WindowWidth=4096),
    "DICOM, MONOCHROME1": lambda d: dicom(folder=d, pixels=255 - FILM, photometric="MONOCHROME1"),
    "DICOM in RGB": lambda d: dicom(folder=d, pixels=np.repeat(FILM[..., None], 3, axis=2), photometric="RGB"),
}


@pytest.fixture
def root(tmp_path) -> Path:
    """R2Gen's layout with two studies of one image each and one of two; the faults are made in `images/bad/0.png`."""
    root = tmp_path / "root"
    entries = []
    for name, count in (("good", 1), ("bad", 2), ("also", 1)):
        paths = [f"{name}/{i}.png" for i in range(count)]
        for path in paths:
            trees.png(root / "images" / path, FILM)
        entries.append({"id": name, "report": "The lungs are clear.", "image_path": paths})
    (root / "annotation.json").write_text(json.dumps({"train": entries}))
    return root


def prepared(root, name="iu_xray", **options):
    return prepare(name, data_root=root, out=root.parent / "out", workers=1, progress=False, **{"max_rejected": 1, **options})


@pytest.mark.parametrize("fault", SET_ASIDE)
def test_a_bad_image_is_set_aside_with_its_reason(fault, root, monkeypatch):
    make, reason = SET_ASIDE[fault]
    bad = root / "images" / "bad" / "0.png"
    bad.unlink()
    if make:
        bad.write_bytes(make(root))
    elif "folder" in fault:
        bad.mkdir()
    elif "link" in fault:
        bad.symlink_to("nowhere.png")
    monkeypatch.chdir(root)
    data = prepared(root)
    (entry,) = data.rejected
    assert (entry.study, entry.file, entry.dropped) == ("bad", "bad/0.png", False)
    assert re.search(reason, entry.reason), entry.reason
    assert str(root) not in entry.reason
    assert data.ids == ["good", "bad", "also"] and [data.num_views(i) for i in range(3)] == [1, 1, 1]
    assert not (root / "pwned").exists()


@pytest.mark.parametrize("kind", READ)
def test_a_film_of_any_kind_is_read(kind, root):
    (root / "images" / "bad" / "0.png").write_bytes(READ[kind](root))
    data = prepared(root)
    assert data.rejected == ()
    difference = np.abs(data.views(1)[0].astype(int) - data.views(1)[1])
    assert difference.max() <= 8 and difference.mean() <= 2


# ---- annotations, tables, reports, archives

OWN = "image,study,report,split\n"


def in_annotation(**change):
    def make(root: Path) -> str:
        data = json.loads((root / "annotation.json").read_text())
        data["train"][1] |= change
        (root / "annotation.json").write_text(json.dumps(data))
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


BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)) + b"]><x>&j;</x>"
)
SECRET = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><eCitation><uId id="CXR9"/>&a;</eCitation>'

REFUSED = {
    "annotation: not JSON": (annotation(b'{"train": ['), AnnotationError, "is not JSON"),
    "annotation: a pickle with code": (annotation(pickle.dumps({"train": []})), AnnotationError, "is not UTF-8 text|is not JSON"),
    "annotation: nested too deep": (annotation(b"[" * 200_000), AnnotationError, "nested too deep|is not JSON"),
    "annotation: UTF-16": (annotation('{"train": []}'.encode("utf-16")), AnnotationError, "is not UTF-8 text"),
    "annotation: an id twice": (in_annotation(id="good"), AnnotationError, "the id 'good' was already used by"),
    "annotation: a path that climbs": (in_annotation(image_path=["../../outside.png"]), AnnotationError, r"climbs out with '\.\.'"),
    "annotation: an absolute path": (in_annotation(image_path=["/etc/passwd"]), AnnotationError, "is absolute"),
    "annotation: a Windows path": (in_annotation(image_path=["C:\\film.png"]), AnnotationError, "is absolute"),
    "annotation: a NUL in a path": (in_annotation(image_path=["bad/0.png\0.jpg"]), AnnotationError, "is absolute"),
    "annotation: an empty report": (in_annotation(report=" "), ReportError, "the report is empty"),
    "annotation: a report that is a number": (in_annotation(report=7), AnnotationError, "the report is 7"),
    "a link out of the root": (link_out, AnnotationError, "is a link to .*outside"),
    "table: a missing column": (own("file,report\na.png,Clear.\n"), AnnotationError, "has no column 'image'; there is 'file', 'report'"),
    "table: semicolons": (own("image;report\na.png;Clear.\n"), AnnotationError, "separated by semicolons; expected commas"),
    "table: tabs": (own("image\treport\na.png\tClear.\n"), AnnotationError, "separated by tabs"),
    "table: a column twice": (own("image,image,report\na.png,b.png,Clear.\n"), AnnotationError, "the column 'image' stands there 2 times"),
    "table: empty": (own(""), AnnotationError, "is empty; expected a header"),
    "table: a comma without quotes": (own(OWN + "a.png,A,Clear, normal.,train\n"), AnnotationError, "line 2: has 5 values, the header 4"),
    "table: a quote that never ends": (own(OWN + 'a.png,A,"Clear.,train\n'), AnnotationError, "line 2: is no row"),
    "table: Latin-1": (own((OWN + "a.png,A,Übersicht.,train\n").encode("latin-1")), AnnotationError, "is not UTF-8 text"),
    "table: a NUL byte": (own(OWN + "a\0.png,A,Clear.,train\n"), AnnotationError, r"is no row|is absolute"),
    "table: an image twice": (own(OWN + "a.png,A,Clear.,train\na.png,B,Clear.,test\n"), AnnotationError, "line 3: 'a.png' stands in line 2 already"),
    "table: two reports of a study": (own(OWN + "a.png,A,Clear.,train\nb.png,A,Edema.,train\n"), AnnotationError, "line 3: says another report"),
    "table: a study in two splits": (own(OWN + "a.png,A,Clear.,train\nb.png,A,Clear.,test\n"), AnnotationError, "line 3: says another split"),
    "table: an unknown split": (own(OWN + "a.png,A,Clear.,dev\n"), AnnotationError, "the split is 'dev'; expected one of train, val, test"),
    "table: a path that climbs": (own(OWN + "../a.png,A,Clear.,train\n"), AnnotationError, "line 2: image '../a.png' climbs out"),
    "table: no report at all": (own("image\na.png\n"), DataRootError, "none of its 1 studies has a report .*rrg generate"),
    "XML: an entity bomb": (openi_xml(BOMB), AnnotationError, "99999.xml: declares a document type or entities"),
    "XML: a file pulled in": (openi_xml(SECRET), AnnotationError, "99999.xml: declares a document type or entities"),
    "XML: cut short": (openi_xml(b"<eCitation><uId"), AnnotationError, "99999.xml: is not well-formed XML"),
    "XML: of something else": (openi_xml(b"<html/>"), AnnotationError, "99999.xml: has no uId"),
    "XML: the same study twice": (
        openi_xml(b'<eCitation><uId id="CXR2384"/></eCitation>'),
        AnnotationError,
        "99999.xml: is a second report of .*CXR2384",
    ),
    "XML: larger than any report": (openi_xml(b"<a>" + b" " * 2**21), AnnotationError, "99999.xml: has 2,097,155 bytes"),
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
    "MIMIC: no reports": (mimic_with("mimic-cxr-2.0.0-split.csv", lambda t: t, reports="none"), DataRootError, "looked for the reports of MIMIC-CXR"),
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
    "a table gzipped under a plain name": own(gzip.compress((OWN + "a.png,A,Clear.,train\nb.png,B,Clear.,test\n").encode())),
    "empty lines and blanks around names": own(" image , study,report,split\n\na.png,A,Clear.,train\n,,,\nb.png,B,Clear.,test\n"),
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
    "a link": (trees.tar_of([("a", member("a", type=tarfile.SYMTYPE, linkname="/etc"))]), "'a' is neither a file nor a folder"),
    "a hard link": (trees.tar_of([("a", member("a", type=tarfile.LNKTYPE, linkname="../../etc/passwd"))]), "is neither a file nor a folder"),
    "a device": (trees.tar_of([("a", member("a", type=tarfile.CHRTYPE))]), "is neither a file nor a folder"),
    "a name twice": (trees.tar_of([("a", b"1"), ("a", b"2")]), "'a' is there twice"),
    "cut short": (trees.tar_of([("a.png", np.random.default_rng(0).bytes(50_000))])[:20_000], "is cut short, damaged, or no archive"),
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


def test_the_table_has_at_least_forty_faults():
    assert len(SET_ASIDE) + len(REFUSED) + len(ARCHIVES) >= 40
