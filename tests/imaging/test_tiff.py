"""Reading TIFF: depths, compressions, photometrics, planes, pages."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from penumbra.errors import ImageFileError
from penumbra.imaging.files import read_image, read_mask_file, read_size

RNG = np.random.default_rng(2)


@pytest.mark.parametrize("compression", [None, "lzw", "packbits", "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip(tmp_path: Path, compression: str | None, dtype: type, channels: int) -> None:
    shape = (9, 11) if channels == 1 else (9, 11, 3)
    array = (RNG.random(shape) * 250).astype(dtype)
    tifffile.imwrite(
        tmp_path / "a.tif",
        array,
        compression=compression,
        photometric="minisblack" if channels == 1 else "rgb",
    )
    image = read_image(tmp_path / "a.tif")
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, array.reshape(9, 11, channels))
    assert read_size(tmp_path / "a.tif") == (9, 11)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    arrays(np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=9)),
    st.sampled_from(["<", ">"]),
    st.sampled_from([None, "lzw"]),
)
def test_any_sixteen_bit_array_survives(
    tmp_path: Path, array: np.ndarray, order: str, compression: str | None
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, array, byteorder=order, compression=compression, photometric="minisblack"
    )
    image = read_image(path)
    np.testing.assert_array_equal(image[..., 0], array)
    assert image.dtype == np.dtype(np.uint16)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_is_inverted(tmp_path: Path, dtype: type) -> None:
    top = np.iinfo(dtype).max
    tifffile.imwrite(
        tmp_path / "a.tif", np.array([[0, 1, top]], dtype=dtype), photometric="miniswhite"
    )
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [top, top - 1, 0]


def test_planar_colour_and_alpha(tmp_path: Path) -> None:
    planes = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "p.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "p.tif"), np.moveaxis(planes, 0, -1))
    rgba = RNG.integers(0, 256, (4, 5, 4), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), rgba[..., :3])


def test_a_palette_gives_colours_and_indices(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 0]], dtype=np.uint8)
    palette = np.zeros((3, 256), dtype=np.uint16)
    palette[:, 1] = [255 * 257, 0, 10 * 257]
    palette[:, 2] = [0, 128 * 257, 0]
    tifffile.imwrite(tmp_path / "p.tif", indices, photometric="palette", colormap=palette)
    assert read_image(tmp_path / "p.tif")[0, 1].tolist() == [255, 0, 10]
    np.testing.assert_array_equal(read_mask_file(tmp_path / "p.tif"), indices)


def test_cmyk(tmp_path: Path) -> None:
    inks = np.array([[[0, 255, 255, 0], [0, 0, 0, 255], [0, 0, 0, 0]]], dtype=np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", inks, photometric="separated")
    assert read_image(tmp_path / "c.tif")[0].tolist() == [[255, 0, 0], [0, 0, 0], [255] * 3]


def test_orientation(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    tifffile.imwrite(
        tmp_path / "o.tif", array, photometric="minisblack", extratags=[(274, 3, 1, 6, True)]
    )
    np.testing.assert_array_equal(read_image(tmp_path / "o.tif")[..., 0], np.rot90(array, -1))
    assert read_size(tmp_path / "o.tif") == (3, 2)


def test_the_first_page_is_read_and_odd_depths_become_float(tmp_path: Path) -> None:
    pages = RNG.integers(-5, 900, (3, 4, 5)).astype(np.int32)
    tifffile.imwrite(tmp_path / "s.tif", pages, photometric="minisblack")
    image = read_image(tmp_path / "s.tif")
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[..., 0], pages[0])


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "many.tif",
        np.zeros((4, 4, 7), np.uint8),
        photometric="minisblack",
        planarconfig="contig",
    )
    with pytest.raises(ImageFileError, match="grey, palette, RGB or CMYK"):
        read_image(tmp_path / "many.tif")
    tifffile.imwrite(tmp_path / "nan.tif", np.full((4, 4), np.nan, np.float32))
    with pytest.raises(ImageFileError, match="finite"):
        read_image(tmp_path / "nan.tif")
    tifffile.imwrite(tmp_path / "wave.tif", np.full((4, 4), 3 + 4j, np.complex64))
    for read in (read_image, read_mask_file):
        with pytest.raises(ImageFileError, match=r"complex ones \(complex64\)\. Try"):
            read(tmp_path / "wave.tif")
    tifffile.imwrite(tmp_path / "half.tif", np.full((4, 4), 0.5, np.float32))
    with pytest.raises(ImageFileError, match="whole number"):
        read_mask_file(tmp_path / "half.tif")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nan, "finite"), (np.inf, "finite"), (1e300, "finite"), (1e30, "whole number 0–255")],
)
def test_what_no_mask_can_hold_is_refused_without_a_warning(
    tmp_path: Path, photometric: str, value: float, said: str
) -> None:
    array = np.zeros((4, 4))
    array[1, 2] = value
    tifffile.imwrite(tmp_path / "m.tif", array, photometric=photometric)
    with pytest.raises(ImageFileError, match=said):
        read_mask_file(tmp_path / "m.tif")
