"""DICOM radiographs look as their headers say: bone bright, through the window or table, whatever the depth."""

from __future__ import annotations

import numpy as np
import pytest
import trees
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from rrg_lib.data.images import open_radiograph
from rrg_lib.errors import ImageError

RAMP = np.tile(np.arange(256, dtype=np.uint16), (64, 1))  # (64, 256): dark at the left


def shown(path, pixels, **header) -> np.ndarray:
    return np.asarray(open_radiograph(trees.dicom_file(path, pixels, **header)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "film.dcm"


@pytest.mark.parametrize("bits", [10, 12, 14, 15, 16])
def test_a_full_window_of_any_depth_is_the_same_film(bits, path):
    deep = RAMP * (2**bits // 256)
    image = shown(path, deep, bits=bits, WindowCenter=2 ** (bits - 1), WindowWidth=2**bits)
    assert np.abs(image.astype(int) - RAMP).max() <= 1


def test_a_window_clips_what_is_outside_it_and_stretches_what_is_in(path):
    image = shown(path, RAMP * 16, bits=12, WindowCenter=2048, WindowWidth=1024)  # 1536 to 2560: columns 96 to 160
    assert image[0, 95] == 0 and image[0, 160] == 255 and 125 <= image[0, 128] <= 130


def test_of_several_windows_the_first_is_used(path):
    both = shown(path, RAMP * 16, bits=12, WindowCenter=[2048, 100], WindowWidth=[1024, 50])
    assert np.array_equal(both, shown(path, RAMP * 16, bits=12, WindowCenter=2048, WindowWidth=1024))


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
def test_monochrome1_is_turned_over(window, path):
    plain = shown(path, RAMP * 16, bits=12, **window)
    turned = shown(path, 4095 - RAMP * 16, bits=12, photometric="MONOCHROME1", **window)
    assert np.abs(plain.astype(int) - turned).max() <= 1 and plain[0, 0] == 0 and plain[0, -1] >= 254


def test_a_lookup_table_goes_before_a_window(path):
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4096, 0, 16], np.linspace(65535, 0, 4096).astype(np.uint16).tolist()
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    image = shown(path, RAMP * 16, bits=12, VOILUTSequence=Items([item]), WindowCenter=10, WindowWidth=5)
    assert np.abs(image.astype(int) - RAMP[:, ::-1]).max() <= 1


def test_eight_bits_without_a_window_are_taken_as_they_are(path):
    pixels = RAMP.astype(np.uint8) // 2 + 40
    assert np.array_equal(shown(path, pixels), pixels)


def test_deep_films_without_a_window_are_scaled_by_their_own_range(path):
    image = shown(path, RAMP * 4 + 500, bits=12)
    assert image.min() == 0 and image.max() == 255 and np.abs(image.astype(int) - RAMP).max() <= 2


def test_rescaled_values_are_windowed_after_rescaling(path):
    """The window counts in the rescaled unit; a negative slope turns the film over once, not twice."""
    image = shown(path, RAMP * 16, bits=12, RescaleSlope=-1, RescaleIntercept=4095, WindowCenter=2048, WindowWidth=4096)
    assert np.abs(image.astype(int) - RAMP[:, ::-1]).max() <= 1


def test_signed_pixels_are_read(path):
    image = shown(path, (RAMP.astype(np.int16) - 128) * 16, bits=12, WindowCenter=0, WindowWidth=4096)
    assert np.abs(image.astype(int) - RAMP).max() <= 1


@pytest.mark.parametrize("width", [0, ""])
def test_a_window_of_no_width_is_no_window(width, path):
    assert shown(path, RAMP * 4, bits=12, WindowCenter=100, WindowWidth=width).max() == 255


def test_an_encoding_without_a_decoder_names_what_to_install(path):
    from pydicom import dcmread
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGLosslessSV1

    trees.dicom_file(path, RAMP)
    data = dcmread(path)
    data.file_meta.TransferSyntaxUID, data.PixelData = JPEGLosslessSV1, encapsulate([b"\xff\xd8\xff\xd9"])
    data["PixelData"].is_undefined_length = True
    data.save_as(path)
    with pytest.raises(ImageError, match=r"JPEG Lossless.*pip install pylibjpeg|damaged"):
        open_radiograph(path)


def test_what_is_only_named_dicom_is_refused(path):
    path.write_bytes(b"<html>404</html>" * 20)
    with pytest.raises(ImageError, match=r"without pixels|not a DICOM|damaged"):
        open_radiograph(path)
