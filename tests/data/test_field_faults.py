"""What people bring, by the kinds of faults that public reports tell of, each with its right value."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import trees
from PIL import Image

from rrg_lib.data.doctor import examine
from rrg_lib.data.images import RANGE_TAILS, open_radiograph, read_radiograph
from rrg_lib.data.layouts.own_table import plain_text, read_own_folder
from rrg_lib.data.prepare import go_on_without, prepare
from rrg_lib.data.remarks import remarks_on_reports
from rrg_lib.data.text.sections import findings_section
from rrg_lib.data.text.vocabulary import PROTOCOLS, Vocabulary
from rrg_lib.errors import AnnotationError, DataRootError, ImageError

FILM = trees.SOUND_FILM
DEEP = np.random.default_rng(0).integers(200, 3800, (300, 300), dtype=np.uint16)  # of 12 bits


def own(root, rows, header="image,study,report,split,patient"):
    return trees.own(root, "\n".join([header, *rows]) + "\n", ("a.png", "b.png", "films/c.png", "films/d.png"))


def prepared_own(root, tmp_path, **options):
    return prepare("own", data_root=root, out=tmp_path / "out", workers=1, progress=False, **options)


# --- films ------------------------------------------------------------------------------------------------------------


def png16(path, pixels) -> np.ndarray:
    Image.fromarray(pixels).save(path)
    return read_radiograph(path, 300).astype(int)


def marked(share: float, value: int, of=DEEP) -> np.ndarray:
    pixels = of.copy()
    side = int((share * pixels.size) ** 0.5)
    pixels[20 : 20 + side, 30 : 30 + side] = value
    return pixels


def colour_png16(path, channels: np.ndarray):
    """A PNG of 16 bits a channel, (H, W, 2 to 4), as the standard lays it out; Pillow writes none."""
    height, width, count = channels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in channels)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[count], 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return path


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_film_of_12_bits_in_colour_of_16_is_read_with_all_its_grays(channels, tmp_path):
    """By the high byte alone it has 16 grays and is nearly black."""
    colours = np.repeat(DEEP[:, :, None], channels, axis=2)
    if channels != 3:
        colours[:, :, -1] = 65535  # nothing transparent
    found = read_radiograph(colour_png16(tmp_path / "a.png", colours), 300).astype(int)
    assert np.abs(found - png16(tmp_path / "b.png", DEEP)).max() <= 1
    assert len(np.unique(found)) > 200
    clear = np.concatenate([colours[:, :, : max(channels - 1, 1)], np.zeros_like(colours[:, :, :1])], axis=2)
    if channels != 3:
        assert read_radiograph(colour_png16(tmp_path / "c.png", clear), 300).max() == 0


def test_green_is_brighter_than_blue_in_colour_of_16_bits(tmp_path):
    colours = np.zeros((64, 90, 3), np.uint16)
    colours[:, :30, 0] = colours[:, 30:60, 1] = colours[:, 60:, 2] = 4000
    red, green, blue = read_radiograph(colour_png16(tmp_path / "a.png", colours), 90)[45, [10, 45, 80]].astype(int)
    assert (green, blue) == (255, 0) and abs(red - 255 * (0.299 - 0.114) / (0.587 - 0.114)) <= 1


def test_two_images_in_a_cell_are_the_views_of_one_study(tmp_path):
    root = own(tmp_path / "own", ['"a.png; b.png",,Clear.,test,', '"films/c.png|films/d.png",S,Clear.,train,'])
    assert {study.id: study.views for study in read_own_folder(root, "as_released").studies} == {
        "S": ("films/c.png", "films/d.png"),
        "a": ("a.png", "b.png"),
    }


def test_views_of_images_in_a_cell_stand_in_the_same_order(tmp_path):
    header = "image,study,report,split,view"
    root = own(tmp_path / "own", ['"a.png, b.png",S,Clear.,test,"lateral, PA"'], header)
    [study] = read_own_folder(root, "frontal").studies
    assert study.views == ("b.png",)
    root = own(tmp_path / "other", ['"a.png, b.png",S,Clear.,test,lateral'], header)
    with pytest.raises(
        AnnotationError, match=r"line 2: names 2 images and 1 views \('lateral'\); expected a view each"
    ):
        read_own_folder(root, "as_released")


def test_a_file_whose_name_holds_a_comma_is_one_image(tmp_path):
    root = own(tmp_path / "own", ['"a, b.png",S,Clear.,test,'])
    (root / "a.png").rename(root / "a, b.png")
    [study] = read_own_folder(root, "as_released").studies
    assert study.views == ("a, b.png",)


@pytest.mark.parametrize("share", [0.0005, 0.002, 0.008, 0.03, 0.1])
def test_a_burnt_in_mark_leaves_the_film_visible(share, tmp_path):
    plain, found = png16(tmp_path / "a.png", DEEP), png16(tmp_path / "b.png", marked(share, 65535))
    rest = marked(share, 65535) == DEEP
    assert np.abs(found - plain)[rest].max() <= 2
    assert (found[~rest] == 255).all()


def test_a_white_frame_leaves_the_film_visible(tmp_path):
    framed = DEEP.copy()
    framed[:12], framed[-12:], framed[:, :12], framed[:, -12:] = (65535,) * 4
    found, plain = png16(tmp_path / "a.png", framed), png16(tmp_path / "b.png", DEEP)
    assert np.abs(found - plain)[12:-12, 12:-12].max() <= 2


def test_borders_far_below_the_film_leave_it_visible(tmp_path):
    """-2000 where no ray fell, without a word of it in the header."""
    pixels = DEEP.astype(np.int16)
    pixels[:, :150] = -30000
    image = np.asarray(open_radiograph(trees.dicom_file(tmp_path / "a.dcm", pixels))).astype(int)
    assert np.abs(image - png16(tmp_path / "b.png", DEEP))[:, 150:].max() <= 2
    assert (image[:, :150] == 0).all()


@pytest.mark.parametrize(
    "pixels",
    [
        DEEP,
        np.where(np.arange(300) < 150, 0, DEEP).astype(np.uint16),  # collimated: half of it black
        np.tile(np.linspace(0, 65535, 300).astype(np.uint16), (300, 1)),
        np.where(DEEP > 2000, 65535, 0).astype(np.uint16),  # two grays alone
    ],
)
def test_a_film_without_a_mark_keeps_its_range(pixels, tmp_path):
    low, high = np.quantile(pixels, (RANGE_TAILS, 1 - RANGE_TAILS), method="nearest").astype(float)
    expected = np.rint(np.clip((pixels - low) / (high - low), 0, 1) * 255)
    assert np.abs(png16(tmp_path / "a.png", pixels) - expected).max() == 0


@pytest.mark.parametrize(
    ("photometric", "film", "padding", "header"),
    [
        ("MONOCHROME2", DEEP, 65535, {"PixelPaddingValue": 65535}),
        ("MONOCHROME2", DEEP, 0, {"PixelPaddingValue": 0}),
        ("MONOCHROME1", 4095 - DEEP, 0, {"PixelPaddingValue": 0}),
        ("MONOCHROME1", 4095 - DEEP, 0, {"PixelPaddingValue": 0, "WindowCenter": 2048, "WindowWidth": 4096}),
        ("MONOCHROME2", DEEP, 60001, {"PixelPaddingValue": 60000, "PixelPaddingRangeLimit": 65535}),
    ],
)
def test_padding_is_black_and_the_film_is_as_without_it(photometric, film, padding, header, tmp_path):
    framed = film.copy()
    framed[:, :100] = padding
    shown = np.asarray(open_radiograph(trees.dicom_file(tmp_path / "a.dcm", framed, photometric=photometric, **header)))
    header = {name: value for name, value in header.items() if "Padding" not in name}
    plain = np.asarray(open_radiograph(trees.dicom_file(tmp_path / "b.dcm", film, photometric=photometric, **header)))
    assert (shown[:, :100] == 0).all()
    assert np.abs(shown.astype(int) - plain)[:, 100:].max() <= 3


def with_window(path, center: str, width: str):
    """A window as it stands in the file, whatever it says."""
    trees.dicom_file(path, DEEP, bits=12, WindowCenter="111111", WindowWidth="222222")
    data = path.read_bytes()
    for placeholder, text in (("111111", center), ("222222", width)):
        assert data.count(placeholder.encode()) == 1
        data = data.replace(placeholder.encode(), text.ljust(6).encode())
    path.write_bytes(data)
    return path


def test_a_window_with_a_decimal_comma_is_read_and_one_that_is_no_number_is_named(tmp_path):
    right = np.asarray(open_radiograph(with_window(tmp_path / "a.dcm", "2048.0", "4096.0")))
    comma = np.asarray(open_radiograph(with_window(tmp_path / "b.dcm", "2048,0", "4096,0")))
    np.testing.assert_array_equal(comma, right)
    with pytest.raises(ImageError, match=r"the header's WindowWidth is 'wide'; expected a number, for example 2048"):
        open_radiograph(with_window(tmp_path / "c.dcm", "2048", "wide"))


@pytest.mark.parametrize("center", ["0", "-9999", "60000"])
def test_a_window_in_which_nothing_is_seen_is_none(center, tmp_path):
    found = np.asarray(open_radiograph(with_window(tmp_path / "a.dcm", center, "1")))
    np.testing.assert_array_equal(found, np.asarray(open_radiograph(trees.dicom_file(tmp_path / "b.dcm", DEEP))))


def test_a_file_without_a_preamble_is_dicom_whatever_its_name(tmp_path):
    data = trees.dicom_file(tmp_path / "a.dcm", DEEP).read_bytes()
    for name, start in (("without", 132), ("film.png", 132)):
        (tmp_path / name).write_bytes(data[start:])
        np.testing.assert_array_equal(read_radiograph(tmp_path / name), read_radiograph(tmp_path / "a.dcm"))


def test_dicom_that_lies_or_unpacks_without_end_is_refused_by_its_header(tmp_path):
    import pydicom

    for name, value in {"Rows": 65000, "Columns": 65000, "BitsAllocated": 3, "SamplesPerPixel": 200}.items():
        path = trees.dicom_file(tmp_path / f"{name}.dcm", DEEP)
        data = pydicom.dcmread(path)
        setattr(data, name, value)
        data.save_as(path)
        with pytest.raises(ImageError, match=f"{name}.dcm: .*(damaged|could not be decoded|refused before decoding)"):
            read_radiograph(path)
    path = trees.dicom_file(tmp_path / "bomb.dcm", np.zeros((3000, 3000), np.uint16))
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(path)
    assert path.stat().st_size < 100_000  # 18 MB of pixels
    with pytest.raises(ImageError, match="is deflated as a whole"):
        read_radiograph(path)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_patient_in_two_splits_is_told_by_prepare_and_doctor(tmp_path):
    rows = ["a.png,A,Clear. Clear. Clear.,train,p1", "b.png,B,Clear.,test,p1", "films/c.png,C,Clear.,val,p2"]
    root = own(tmp_path / "own", rows)
    (told,) = prepared_own(root, tmp_path).manifest["remarks"]
    assert told.startswith(
        "1 patient is in several splits: 'p1' in train and test. A system is measured on whom it has"
    )
    assert any("'p1' in train and test" in str(complaint) for complaint in examine(root, progress=False).complaints)
    own(root, [row.replace("p1", f"p{i}9") for i, row in enumerate(rows)])
    assert "remarks" not in prepare("own", data_root=root, out=tmp_path / "2", workers=1, progress=False).manifest


def test_paths_of_windows_are_found_and_two_spellings_are_one_picture(tmp_path):
    rows = ["films\\c.png,A,Clear.,train,", "./films//d.png,B,Clear.,test,"]
    data = prepared_own(own(tmp_path / "own", rows), tmp_path)
    assert [data.study(i).views for i in range(2)] == [("films/c.png",), ("films/d.png",)]
    for other in ("films\\c.png", "./films/c.png", "films//c.png", "films/./c.png"):
        root = own(tmp_path / "own", ["films/c.png,A,Clear.,train,", f"{other},B,Clear.,test,"])
        with pytest.raises(AnnotationError, match=r"line 3: 'films/c\.png' stands in line 2 already"):
            prepare("own", data_root=root, out=tmp_path / "no", workers=1, progress=False)


def test_no_advice_leads_to_a_dataset_of_nothing(tmp_path):
    root = own(tmp_path / "own", ["x.png,A,Clear.,train,", "y.png,B,Clear.,test,"])
    with pytest.raises(DataRootError, match="2 of 2 images are missing") as refused:
        prepared_own(root, tmp_path)
    assert "--max-rejected" not in str(refused.value)
    assert "--max-rejected" not in str(examine(root, progress=False))
    with pytest.raises(ImageError, match=r"of 2 studies 0 have an image that can be used.*rejected\.csv"):
        prepared_own(root, tmp_path, max_rejected=1)
    root = own(tmp_path / "own", ["x.png,A,Clear.,train,", "b.png,B,Clear.,test,"])
    with pytest.raises(ImageError, match="of 2 studies 1 have an image that can be used, none of them for training"):
        prepare("own", data_root=root, out=tmp_path / "3", max_rejected=0.5, workers=1, progress=False)
    assert [go_on_without(*numbers)[-19:] for numbers in ((1, 3), (501, 1000))] == [
        "--max-rejected 0.34",
        "--max-rejected 0.51",
    ]  # enough for it
    assert go_on_without(999, 1000) == go_on_without(3, 3) == ""


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("Heart&nbsp;normal.<br>Lungs clear.", "Heart normal.\nLungs clear."),
        ("<p>Clear.</p><br/>", "Clear."),
        ("Effusion &lt; 1 cm &amp; edema &#8211; mild", "Effusion < 1 cm & edema – mild"),
        ("A 3 < 5 cm > 2 cm mass, R&D, A&P; ok", "A 3 < 5 cm > 2 cm mass, R&D, A&P; ok"),
    ],
)
def test_the_marks_of_a_web_page_are_no_words(report, expected):
    assert plain_text(report) == expected


def remarks(reports, name="r2gen"):
    return " / ".join(map(str, remarks_on_reports(reports, Vocabulary.build(reports, PROTOCOLS[name]))))


def test_what_cleaning_and_vocabulary_do_to_ones_own_reports_is_told():
    assert remarks(["the lungs are clear ."] * 3) == ""
    assert "3 reports have a decimal number, whose point goes" in remarks(["a nodule of 1.5 cm ."] * 3)
    assert "3 reports have words with a slash" in remarks(["no effusion/pneumothorax ."] * 3)
    assert remarks(["no effusion/pneumothorax, 1.5 cm ."] * 3, "clinical") == ""
    assert "4 of 4 words of the training reports are too rare" in remarks(["the lungs are clear ."])
    for script in ("双肺清晰，心影不大。", "両肺野に異常を認めません。", "ปอดทั้งสองข้างปกติ"):
        assert "3 reports have no blanks between their words" in remarks([script] * 3)
    assert remarks(["сердце не увеличено ."] * 3) == ""


# --- MIMIC-CXR's headings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "heading",
    [
        "CHEST, TWO VIEWS",
        "PORTABLE AP CHEST",
        "PORTABLE CHEST",
        "PA AND LATERAL VIEWS OF THE CHEST",
        "CHEST (PA AND LAT)",
        "SINGLE FRONTAL VIEW OF THE CHEST",
        "FIDNINGS",
        "FINDNGS",
        "FINIDINGS",
        "FINDINGSS",
        "FINDINGS",
    ],
)
def test_headings_under_which_the_findings_stand(heading):
    report = f"FINAL REPORT\n INDICATION: Cough.\n\n {heading}: The lungs are clear.\n\n IMPRESSION: Normal.\n"
    assert findings_section(report) == "The lungs are clear."


@pytest.mark.parametrize(
    "heading", ["EXAMINATION", "TECHNIQUE", "COMPARISON", "CHEST", "FILLINGS", "READINGS", "FINAL"]
)
def test_headings_that_are_others(heading):
    assert findings_section(f"FINAL REPORT\n {heading}: The lungs are clear.\n\n IMPRESSION: Normal.\n") == ""


def test_findings_of_that_name_go_before_those_under_the_views():
    report = "CHEST, TWO VIEWS: PA and lateral.\n\n FINDINGS: The lungs are clear.\n\n IMPRESSION: Normal.\n"
    assert findings_section(report) == "The lungs are clear."
