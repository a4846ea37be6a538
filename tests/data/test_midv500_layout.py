"""MIDV-500: frames in clips, a quadrilateral each, which may leave the frame."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penumbra.data.layouts import open_source, recognise
from penumbra.data.layouts.midv500 import quad_of, read_quad
from penumbra.errors import SourceError


def put_frame(path: Path, size: tuple[int, int] = (30, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, compression="packbits")
    return path


def put_quad(path: Path, quad: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"quad": quad}))
    return path


QUADS = {
    "CA01_01": [[2, 3], [12, 3], [12, 23], [2, 23]],
    "CA01_02": [[-5, -5], [10, -5], [10, 10], [-5, 10]],
    "CA01_10": [[100, 100], [110, 100], [110, 110], [100, 110]],
    "CA01_11": [[2, 3], [12, 23], [12, 3], [2, 23]],
}


def make(root: Path) -> Path:
    document = root / "01_alb id, “v2” 🪪"
    for name, quad in QUADS.items():
        put_frame(document / "images" / "CA" / f"{name}.tif")
        put_quad(document / "ground_truth" / "CA" / f"{name}.json", quad)
    put_frame(document / "images" / "CA" / "CON.tif")
    put_frame(document / "images" / "01_alb_id.tif")
    put_quad(document / "ground_truth" / "01_alb_id.json", QUADS["CA01_01"])
    put_quad(document / "ground_truth" / "TS" / "TS01_01.json", QUADS["CA01_01"])
    other = root / "deeper" / "02_aut"
    put_frame(other / "images" / "HA" / "HA02_01.tif")
    (other / "ground_truth" / "HA").mkdir(parents=True)
    (other / "ground_truth" / "HA" / "HA02_01.json").write_text('{"quad": [[1, 2]]')
    put_frame(root / "loose.tif")
    (root / "loop").symlink_to(root / "loop")
    (document / "images" / "back").symlink_to(document)
    return root


def test_quadrilaterals_become_masks_and_stay_as_they_were(tmp_path: Path) -> None:
    root = make(tmp_path)
    assert recognise(root).name == "midv500"
    source = pickle.loads(pickle.dumps(open_source(root)))
    records = {record.id: record for record in source.records}
    assert {"CA01_01", "CA01_02", "CA01_10", "CA01_11", "CON", "HA02_01"} <= records.keys()
    assert records["CA01_01"].group == "01_alb id, “v2” 🪪"
    assert records["HA02_01"].group == "02_aut"
    samples = {sample.id: sample for sample in source}
    assert samples["CA01_01"].image.shape == (30, 20, 3)

    expected = np.zeros((30, 20), dtype=np.uint8)
    expected[3:23, 2:12] = 1
    np.testing.assert_array_equal(samples["CA01_01"].mask, expected)
    np.testing.assert_array_equal(samples["CA01_01"].boxes, [[2, 3, 12, 23]])

    leaving = samples["CA01_02"]
    assert leaving.mask.sum() == 100
    assert leaving.mask[:10, :10].all()
    np.testing.assert_array_equal(quad_of(records["CA01_02"]), QUADS["CA01_02"])
    np.testing.assert_array_equal(leaving.boxes, [[0, 0, 10, 10]])

    assert not samples["CA01_10"].mask.any()
    assert samples["CA01_10"].boxes.shape == (0, 4)
    assert samples["CON"].mask is None
    assert samples["CON"].boxes is None
    assert quad_of(records["CON"]) is None
    assert samples["HA02_01"].mask is None


def test_what_is_wrong_is_found_and_stops_nothing(tmp_path: Path) -> None:
    source = open_source(make(tmp_path))
    told = {finding.kind: finding for finding in source.findings}
    assert told["odd-quad"].samples == ("CA01_11",)
    assert told["missing-image"].samples == ("TS01_01.json",)
    assert told["unreadable"].samples == ("HA02_01",)
    assert told["unreadable"].severity == "error"
    assert told["unknown-place"].samples == ("loose.tif",)
    assert set(told["missing-mask"].samples) == {"CON", "HA02_01"}


def test_one_document_opens_too(tmp_path: Path) -> None:
    document = next(path for path in make(tmp_path).iterdir() if path.name.startswith("01"))
    source = open_source(document)
    assert {record.group for record in source.records} == {document.name}


def test_the_wrong_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "01" / "ground_truth" / "CA").mkdir(parents=True)
    with pytest.raises(SourceError, match=r"DOCUMENT/images/CLIP/FRAME\.tif.*but got no frame"):
        open_source(f"midv500:{tmp_path}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"quad": null}',
        '{"quad": [[1, 2], [3, 4], [5, 6]]}',
        '{"quad": [[1, 2], [3, 4], [5, 6], [7, "8"]]}',
        '{"quad": [[1, 2], [3, 4], [5, 6], [7, true]]}',
        '{"quad": [[1, 2], [3, 4], [5, 6], [7, NaN]]}',
        '{"quad": [[1, 2], [3, 4], [5, 6], [7, 1e999]]}',
        '{"quad": [[1, 2], [3, 4], [5, 6], [7, 1' + "0" * 400 + "]]}",
        '{"quad": [[1, 2], [3, 4], [5, 6], [7, 1' + "0" * 5000 + "]]}",
        "[" * 100_000,
        " " * (2**20 + 1),
        "\udcff",
    ],
    ids=lambda text: text[:24],
)
def test_no_quadrilateral_is_said_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(SourceError, match=r"^Expected .*a\.json to be an object such as .* Try "):
        read_quad(path)
    with pytest.raises(SourceError, match="No such file"):
        read_quad(tmp_path / "b.json")
