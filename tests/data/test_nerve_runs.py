"""The nerve challenge's run lengths: its table of training masks, and submissions."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from penumbra.data.layouts import open_source, recognise
from penumbra.data.submission import read_submission, write_submission
from penumbra.errors import SettingsError, SourceError

KAGGLE = (420, 580)


def put_lzw(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path, compression="tiff_lzw")
    return path


def ellipse(size: tuple[int, int] = KAGGLE) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    inside = ((y - size[0] / 2) / 50) ** 2 + ((x - size[1] / 2) / 90) ** 2 < 1
    return inside.astype(np.uint8)


def runs_of(mask: np.ndarray) -> str:
    """Write the runs by looking at one pixel after the other, down the columns, from 1."""
    pairs: list[list[int]] = []
    before = 0
    for place, pixel in enumerate(mask.ravel(order="F").tolist(), start=1):
        if pixel and not before:
            pairs.append([place, 0])
        if pixel:
            pairs[-1][1] += 1
        before = pixel
    return " ".join(f"{start} {length}" for start, length in pairs)


def make(root: Path, *, rows: str | None = None) -> Path:
    frame = np.random.default_rng(2).integers(0, 256, KAGGLE)
    for name in ("1_1", "1_2", "2_1", "3_1"):
        put_lzw(root / "train" / f"{name}.tif", frame)
    put_lzw(root / "train" / "1_2_mask.tif", ellipse() * 255)
    table = f"subject,img,pixels\n1,1,{runs_of(ellipse())}\n1,2,1 1\n2,1,\n9,9,1 2\n"
    (root / "train_masks.csv").write_text(table if rows is None else f"subject,img,pixels\n{rows}")
    return root


def test_kaggle_frames_take_their_masks_from_files_or_from_the_table(tmp_path: Path) -> None:
    root = make(tmp_path)
    assert recognise(root).name == "nerve"
    source = pickle.loads(pickle.dumps(open_source(root)))
    samples = {sample.id: sample for sample in source}
    assert samples["1_1"].image.shape == (*KAGGLE, 1)
    np.testing.assert_array_equal(samples["1_1"].mask, ellipse())
    np.testing.assert_array_equal(samples["1_2"].mask, ellipse())
    assert samples["2_1"].mask is not None
    assert not samples["2_1"].mask.any()
    assert samples["3_1"].mask is None
    told = {finding.kind: finding.samples for finding in source.findings}
    assert told == {"missing-mask": ("3_1",), "orphan-mask": ("9_9",)}


def test_smaller_copies_are_refused_even_where_a_row_would_fit(tmp_path: Path) -> None:
    root = make(tmp_path)
    put_lzw(root / "train" / "2_1.tif", np.zeros((256, 256)))
    source = open_source(root)
    small = next(i for i, record in enumerate(source.records) if record.id == "2_1")
    with pytest.raises(SourceError, match=r"2_1\.tif to be at least .* train_masks\.csv.*256×256"):
        source[small]


@pytest.mark.parametrize(
    "runs", ["5", "0 3", "a b", "5 2 3 1", "-1 2", "243600 2", "1 " + "9" * 40]
)
def test_rows_that_make_no_sense_name_their_frame(tmp_path: Path, runs: str) -> None:
    source = open_source(make(tmp_path, rows=f"1,1,{runs}\n2,1,1 1\n"))
    with pytest.raises(SourceError, match=r"Expected .* Try "):
        source[0]


def test_a_frame_with_two_rows_has_no_mask(tmp_path: Path) -> None:
    source = open_source(make(tmp_path, rows="1,1,1 1\n1,1,2 2\n"))
    assert source[0].mask is None
    told = {finding.kind: finding.samples for finding in source.findings}
    assert told["repeated-mask"] == ("1_1",)
    (tmp_path / "train_masks.csv").write_text("subject,img\n")
    with pytest.raises(SourceError, match="adding pixels"):
        open_source(tmp_path)


def test_a_submission_is_written_as_the_challenge_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "out" / "submission.csv"
    masks = [(1, ellipse()), ("2", np.zeros(KAGGLE, bool)), (10, ellipse() > 0)]
    write_submission(path, iter(masks))
    assert path.read_text() == f"img,pixels\n1,{runs_of(ellipse())}\n2,\n10,{runs_of(ellipse())}\n"
    read = read_submission(path)
    assert list(read) == ["1", "2", "10"]
    assert len(read) == 3
    for image, mask in masks:
        np.testing.assert_array_equal(read[str(image)], mask)
    with pytest.raises(KeyError):
        read["3"]


@given(st.lists(arrays(np.bool_, (5, 7)), max_size=4))
def test_submissions_of_any_masks_return(tmp_path_factory, masks: list[np.ndarray]) -> None:
    path = tmp_path_factory.mktemp("s") / "submission.csv"
    write_submission(path, enumerate(masks))
    read = read_submission(path, size=(5, 7))
    assert len(read) == len(masks)
    for image, mask in enumerate(masks):
        assert read.runs[str(image)] == runs_of(mask)
        np.testing.assert_array_equal(read[str(image)], mask)


def test_submissions_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    mask = np.eye(3, dtype=bool)
    with pytest.raises(SourceError, match="image 1 again"):
        write_submission(path, [(1, mask), ("1", mask)])
    with pytest.raises(SourceError, match=r"of shape \(2, 2\)"):
        write_submission(path, [(1, mask), (2, mask[:2, :2])])
    with pytest.raises(SettingsError):
        write_submission(path, [(1, np.full((3, 3), 7))])
    for name in ("=1+1", "+1", -1, "@SUM(A1)", " =1", "\t-2"):
        with pytest.raises(SourceError, match="no spreadsheet takes for a formula"):
            write_submission(path, [(1, mask), (name, mask)])
    assert not path.exists()
    path.write_text("img,pixels\n1,1 1\n1,2 1\n")
    with pytest.raises(SourceError, match="'1' again"):
        read_submission(path)
    path.write_text("img,pixels\n,1 1\n")
    with pytest.raises(SourceError, match="a row without img"):
        read_submission(path)
    path.write_text("img,pixels\n4,243600 2\n")
    with pytest.raises(SourceError, match=r"image 4 of .*submission\.csv cannot be drawn"):
        read_submission(path)["4"]


def test_the_example_of_the_layouts_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "layouts.md"
    example = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert "write_submission" in example
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(page), "exec"), {})
    rows = (tmp_path / "submission.csv").read_text(encoding="utf-8").splitlines()
    # The first run of image 1: row 100, column 200, counted from 1 down columns of 420 pixels.
    assert rows[0] == "img,pixels"
    assert rows[1].startswith(f"1,{200 * 420 + 100 + 1} 50 ")
    assert len(rows) == 3
