"""Masks and maps come back as they were written, or nothing is written at all."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from penumbra.errors import ImageFileError, SettingsError, StorageError
from penumbra.imaging.files import read_mask_file
from penumbra.imaging.palette import TEAL
from penumbra.imaging.write import read_unit_map, write_mask, write_unit_map

ANY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=12)


@ANY
@given(
    st.integers(2, 255).flatmap(
        lambda n: st.tuples(
            st.just(n),
            arrays(np.uint8, SHAPES, elements=st.integers(0, n - 1) | st.just(255)),
        )
    )
)
def test_any_mask_survives(tmp_path: Path, case: tuple[int, np.ndarray]) -> None:
    n_classes, mask = case
    write_mask(tmp_path / "m.png", mask, n_classes=n_classes)
    np.testing.assert_array_equal(read_mask_file(tmp_path / "m.png"), mask)


def test_a_mask_is_a_palette_image_that_people_can_read(tmp_path: Path) -> None:
    write_mask(tmp_path / "new" / "m.png", np.array([[0, 1]]), n_classes=2)
    with Image.open(tmp_path / "new" / "m.png") as picture:
        assert picture.mode == "P"
        assert picture.convert("RGB").getpixel((1, 0)) == TEAL


@pytest.mark.parametrize(
    ("mask", "n_classes"),
    [([[0, 2]], 2), ([[0, -1]], 2), ([[300]], 2), ([0, 1], 2), ([[0]], 1), ([[0]], 256)],
)
def test_a_wrong_mask_is_refused_and_nothing_is_written(
    tmp_path: Path, mask: list, n_classes: int
) -> None:
    with pytest.raises(SettingsError, match=r"^Expected .* Try .*\.$"):
        write_mask(tmp_path / "m.png", np.array(mask), n_classes=n_classes)
    assert list(tmp_path.iterdir()) == []


@ANY
@given(arrays(np.float64, SHAPES, elements=st.floats(0, 1)), st.floats(1e-3, 1e3))
def test_any_map_survives_to_half_a_step(tmp_path: Path, unit: np.ndarray, scale: float) -> None:
    write_unit_map(tmp_path / "u.png", unit * scale, scale=scale)
    back = read_unit_map(tmp_path / "u.png", scale=scale)
    assert back.dtype == np.float32
    assert np.abs(back - unit * scale).max() <= scale / 131070 * 1.02


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1, np.inf])
def test_a_map_outside_its_scale_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(SettingsError, match="values in"):
        write_unit_map(tmp_path / "u.png", np.array([[0.5, value]]))
    with pytest.raises(SettingsError, match="scale"):
        write_unit_map(tmp_path / "u.png", np.array([[0.5]]), scale=0)


def test_reading_a_map_wants_sixteen_bits(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "l.png")
    with pytest.raises(ImageFileError, match="16-bit grey PNG"):
        read_unit_map(tmp_path / "l.png")


def test_an_unwritable_place_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        write_mask(tmp_path / "file" / "m.png", np.array([[0, 1]]), n_classes=2)
