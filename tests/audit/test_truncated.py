"""Files that end too soon: the decoder knows it, and the audit says it in one word."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from penumbra.audit.files_check import check_files
from penumbra.audit.scan import scan
from penumbra.data.layouts import open_source
from penumbra.errors import ImageFileError
from penumbra.imaging.files import read_image

PIXELS = np.random.default_rng(2).integers(0, 256, (40, 50), dtype=np.uint8)


def dicom(path: Path) -> None:
    pytest.importorskip("pydicom")
    from penumbra.imaging.dicom import write_dicom

    write_dicom(path, PIXELS)


def tiff(path: Path) -> None:
    tifffile.imwrite(path, PIXELS)


def tiff_lzw(path: Path) -> None:
    tifffile.imwrite(path, PIXELS, compression="lzw", rowsperstrip=10)


def big_tiff(path: Path) -> None:
    tifffile.imwrite(path, PIXELS, bigtiff=True, byteorder=">")


def by_pillow(path: Path) -> None:
    # Its page of tags stands behind the pixels, so that a cut file has none.
    Image.fromarray(PIXELS).save(path)


KINDS = [
    ("dcm", dicom),
    ("tif", tiff),
    ("tif", tiff_lzw),
    ("tif", big_tiff),
    ("tif", by_pillow),
    ("gif", by_pillow),
    ("bmp", by_pillow),
]


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize(("suffix", "write"), KINDS)
def test_a_cut_file_is_truncated(tmp_path: Path, suffix: str, write, share: float) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("cut", "whole"):
        write(images / f"{name}.{suffix}")
    cut = images / f"cut.{suffix}"
    whole = cut.read_bytes()
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageFileError) as told:
        read_image(cut)
    assert told.value.truncated
    assert pickle.loads(pickle.dumps(told.value)).truncated
    found = [
        (finding.kind, finding.severity, finding.samples)
        for finding in check_files(scan(open_source(f"folder:{tmp_path}")).samples)
    ]
    assert found == [("truncated", "error", ("cut",))]


@pytest.mark.parametrize(("suffix", "content"), [("dcm", b""), ("tif", b""), ("gif", b"GIF89")])
def test_what_is_no_image_is_unreadable(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"a.{suffix}").write_bytes(content)
    found = check_files(scan(open_source(f"folder:{tmp_path}")).samples)
    assert [finding.kind for finding in found] == ["unreadable"]


def test_a_damaged_tiff_of_full_length_is_not_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, compression="zlib", metadata=None)
    whole = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as opened:
        place = opened.pages.first.dataoffsets[0]
    whole[place : place + 40] = bytes(40)
    path.write_bytes(whole)
    with pytest.raises(ImageFileError) as told:
        read_image(path)
    assert not told.value.truncated
