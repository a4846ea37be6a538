"""Reading PNG, JPEG, GIF and BMP: every mode gives the array that the docstring promises."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from penumbra.errors import ImageFileError
from penumbra.imaging.files import read_image, read_mask_file, read_size, sniff_format
from penumbra.imaging.orientation import apply_orientation

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def saved(folder: Path, picture: Image.Image, name: str, **options: object) -> Path:
    path = folder / name
    picture.save(path, **options)
    return path


def with_alpha(array: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([array, ALPHA]))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_lossless_grey_and_colour_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    grey = read_image(saved(tmp_path, Image.fromarray(GREY), f"g.{suffix}"))
    colour = read_image(saved(tmp_path, Image.fromarray(COLOUR), f"c.{suffix}"))
    np.testing.assert_array_equal(grey, GREY[..., None])
    np.testing.assert_array_equal(colour, COLOUR)
    assert colour.flags.writeable
    assert colour.flags.c_contiguous


def test_alpha_is_dropped_and_not_composited(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read_image(saved(tmp_path, with_alpha(COLOUR), "rgba.png")), COLOUR
    )
    np.testing.assert_array_equal(
        read_image(saved(tmp_path, with_alpha(GREY), "la.png")), GREY[..., None]
    )


def test_a_colour_palette_becomes_rgb_and_keeps_its_indices_as_mask(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).convert("L")
    picture.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 50])
    for name in ("p.png", "p.gif", "p.bmp"):
        path = saved(tmp_path, picture, name)
        assert read_image(path)[1].tolist() == [[200, 100, 50], [10, 20, 30]]
        assert read_mask_file(path).tolist() == [[0, 1], [2, 1]]


def test_a_grey_palette_becomes_one_channel(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8)).convert("L")
    picture.putpalette([9, 9, 9, 70, 70, 70, 200, 200, 200])
    assert read_image(saved(tmp_path, picture, "p.png"))[0].tolist() == [[9], [70], [200]]


@pytest.mark.parametrize("white_first", [False, True])
def test_a_black_and_white_palette_mask_means_its_colours(
    tmp_path: Path, *, white_first: bool
) -> None:
    indices = np.array([[0, 1, 1]], dtype=np.uint8)
    picture = Image.fromarray(indices).convert("L")
    picture.putpalette([255] * 3 + [0] * 3 if white_first else [0] * 3 + [255] * 3)
    expected = [[255, 0, 0]] if white_first else [[0, 255, 255]]
    assert read_mask_file(saved(tmp_path, picture, "p.png")).tolist() == expected


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "gif"])
def test_one_bit_is_black_and_white(tmp_path: Path, suffix: str) -> None:
    bits = np.array([[True, False, True]])
    path = saved(tmp_path, Image.fromarray(bits), f"b.{suffix}")
    assert read_image(path)[..., 0].tolist() == [[255, 0, 255]]
    assert read_mask_file(path).tolist() == [[255, 0, 255]]


def test_a_gif_mask_of_zero_and_white_survives_palette_packing(tmp_path: Path) -> None:
    mask = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(mask), "m.gif", optimize=True)
    np.testing.assert_array_equal(read_mask_file(path), mask)


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("L", (3, 2), value) for value in (40, 90)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert set(np.unique(read_image(path))) == {40}


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "c.jpg", quality=95)
    image = read_image(path)
    assert image.shape == (8, 8, 3)
    assert np.abs(image.astype(int) - [255, 0, 0]).max() <= 3


def test_sixteen_bits_are_kept_in_grey_and_in_colour(tmp_path: Path) -> None:
    grey = RNG.integers(0, 65536, (4, 6), dtype=np.uint16)
    colour = RNG.integers(0, 65536, (4, 6, 3), dtype=np.uint16)
    fours = np.dstack([colour, colour[..., :1]])
    np.testing.assert_array_equal(
        read_image(saved(tmp_path, Image.fromarray(grey), "g.png"))[..., 0], grey
    )
    for name, array in (("c.png", colour), ("rgba.png", fours)):
        (tmp_path / name).write_bytes(imagecodecs.png_encode(array))
        np.testing.assert_array_equal(read_image(tmp_path / name), colour)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_like_pillow_does(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[274] = orientation
    path = saved(tmp_path, Image.fromarray(COLOUR), f"{orientation}.png", exif=exif)
    with Image.open(path) as picture:
        upright = np.array(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(read_image(path), upright)
    assert read_size(path) == upright.shape[:2]


def test_exif_orientation_of_a_jpeg(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = saved(tmp_path, Image.new("L", (20, 10)), "r.jpg", exif=exif)
    assert read_image(path).shape == (20, 10, 1)
    assert read_mask_file(path).shape == (20, 10)


@given(st.integers(1, 8), arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 4))))
def test_every_orientation_keeps_the_pixels_and_four_turns_undo(
    orientation: int, array: np.ndarray
) -> None:
    turned = apply_orientation(array, orientation)
    assert sorted(turned.ravel()) == sorted(array.ravel())
    back = {6: 8, 8: 6}.get(orientation, orientation)
    np.testing.assert_array_equal(apply_orientation(turned, back), array)


def test_a_grey_mask_in_rgb_is_one_channel_and_colours_are_refused(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    rgba = np.dstack([mask] * 3 + [np.full_like(mask, 255)])
    np.testing.assert_array_equal(
        read_mask_file(saved(tmp_path, Image.fromarray(rgba), "m.png")), mask
    )
    with pytest.raises(ImageFileError, match=r"grey or a palette image.*but got a colour"):
        read_mask_file(saved(tmp_path, Image.fromarray(COLOUR), "c.png"))


def test_sixteen_bit_masks(tmp_path: Path) -> None:
    drawn = np.array([[0, 65535]], dtype=np.uint16)
    indices = np.array([[0, 3, 255]], dtype=np.uint16)
    instances = np.array([[0, 300]], dtype=np.uint16)
    read = [
        read_mask_file(saved(tmp_path, Image.fromarray(array), "m.png")).tolist()
        for array in (drawn, indices)
    ]
    assert read == [[[0, 255]], [[0, 3, 255]]]
    with pytest.raises(ImageFileError, match="whole number 0–255, but got values from 0 to 300"):
        read_mask_file(saved(tmp_path, Image.fromarray(instances), "m.png"))


def test_the_content_tells_the_format_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(GREY).save(path, format="BMP")
    assert sniff_format(path) == "bmp"
    np.testing.assert_array_equal(read_image(path)[..., 0], GREY)
    assert read_size(path) == (5, 7)
