"""`penumbra submit`: a challenge's table, and the same masks back."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.data.layouts import open_source
from penumbra.errors import NotFiniteError
from penumbra.imaging.files import read_mask_file
from penumbra.inference.classical.predictor import ClassicalPredictor
from penumbra.inference.predictor import Predictor
from penumbra.inference.submit import NamedImage, submit


def penumbra(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def table(run, phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("submit") / "submission.csv"
    # A low threshold, so that a network of two epochs marks something.
    result = penumbra("submit", run, f"folder:{phantom}", "--out", out, "--threshold", 0.3)
    assert result.exit_code == 0, result.output
    return out


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def drawn(text, shape):
    """Draw run lengths the slow way: one pixel at a time, down the columns, from 1."""
    mask = np.zeros(shape, dtype=np.uint8)
    numbers = [int(word) for word in text.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for pixel in range(start - 1, start - 1 + length):
            mask[pixel % shape[0], pixel // shape[0]] = 1
    return mask


def test_every_image_has_a_row_with_its_own_mask(table, run, phantom):
    source, predictor = open_source(f"folder:{phantom}"), Predictor.load(run, threshold=0.3)
    rows = rows_of(table)
    assert [row["img"] for row in rows] == [record.id for record in source.records]
    assert table.read_bytes().startswith(b"img,pixels\n")
    for row, sample in zip(rows, source, strict=True):
        mask = predictor([sample.image])[0].mask
        assert np.array_equal(drawn(row["pixels"], mask.shape), mask)
    assert any(row["pixels"] for row in rows)


@pytest.mark.parametrize("by", ["source", "size"])
def test_and_back_to_masks(by, table, phantom, tmp_path):
    sized = [f"folder:{phantom}"] if by == "source" else ["--size", "40x40"]
    result = penumbra("submit", table, *sized, "--to-masks", tmp_path / "masks")
    assert result.exit_code == 0, result.output
    rows = rows_of(table)
    assert len(list((tmp_path / "masks").iterdir())) == len(rows)
    for row in rows:
        mask = read_mask_file(tmp_path / "masks" / f"{row['img']}_mask.png")
        assert np.array_equal(mask, drawn(row["pixels"], (40, 40)))


def test_a_bare_folder_is_read_by_number_and_a_bad_file_keeps_its_row(run, phantom, tmp_path):
    test = tmp_path / "test"
    test.mkdir()
    images = sorted((phantom / "images").iterdir())
    for number, image in zip((10, 9, 2), images, strict=False):
        shutil.copy(image, test / f"{number}{image.suffix}")
    (test / f"3{images[0].suffix}").write_bytes(b"not an image")
    Image.new("L", (31, 47)).save(test / "11.png")
    out = tmp_path / "submission.csv"
    result = penumbra("submit", run, test, "--out", out, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [finding["samples"] for finding in document["findings"]] == [["3"]]
    assert [row["img"] for row in rows_of(out)] == ["2", "3", "9", "10", "11"]
    assert rows_of(out)[1]["pixels"] == ""
    assert document["rows"] == 5
    assert sorted(map(tuple, document["sizes"])) == [(40, 40), (47, 31)]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("2", ["--split", "test"], "a bare folder of images, which has no splits, but got test"),
        ("=1+1", [], "no spreadsheet takes for a formula"),
        ("-3", [], "no spreadsheet takes for a formula"),
    ],
)
def test_what_a_bare_folder_cannot_have_is_refused(phantom, tmp_path, name, options, said):
    (tmp_path / "test").mkdir()
    shutil.copy(min((phantom / "images").iterdir()), tmp_path / "test" / "1.png")
    shutil.copy(tmp_path / "test" / "1.png", tmp_path / "test" / f"{name}.png")
    method, out = "classical:otsu,foreground=bright", tmp_path / "s.csv"
    result = penumbra("submit", method, tmp_path / "test", "--out", out, *options)
    assert result.exit_code == 1
    assert said in result.output
    assert not out.exists()


def test_rows_that_do_not_fit_are_findings_and_the_others_are_drawn(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("img,pixels\n1,1 2\n../2,1 1\n3,12 2\n4,\n")
    out = tmp_path / "deep" / "masks"
    result = penumbra("submit", table, "--to-masks", out, "--size", "4x3")
    assert result.exit_code == 1
    assert sorted(path.name for path in out.iterdir()) == ["1_mask.png", "4_mask.png"]
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == ["1_mask.png", "4_mask.png"]
    assert read_mask_file(out / "1_mask.png")[:, 0].tolist() == [1, 1, 0]
    assert "file name without folders" in result.output


def test_a_classical_method_fills_the_table_too(phantom, tmp_path):
    method, out = "classical:otsu,foreground=bright", tmp_path / "submission.csv"
    result = penumbra("submit", method, f"folder:{phantom}", "--out", out, "--threshold", 0.7)
    assert result.exit_code == 0, result.output
    predictor = ClassicalPredictor(method, threshold=0.7)
    for row, sample in zip(rows_of(out), open_source(f"folder:{phantom}"), strict=True):
        mask = predictor([sample.image])[0].mask
        assert np.array_equal(drawn(row["pixels"], mask.shape), mask)
    part = tmp_path / "test.csv"
    result = penumbra("submit", method, f"folder:{phantom}", "--out", part, "--split", "test")
    assert result.exit_code == 0, result.output
    assert 0 < len(rows_of(part)) < len(rows_of(out))


def test_a_classical_method_is_told_what_is_foreground(phantom, tmp_path):
    result = penumbra("submit", "classical:otsu", f"folder:{phantom}", "--out", tmp_path / "s.csv")
    assert result.exit_code == 1
    assert "foreground=bright" in result.output
    assert not list(tmp_path.iterdir())


def test_an_image_that_gives_nan_keeps_its_row_and_stops_nothing(tmp_path):
    class Sour:
        class_names, threshold = ("background", "foreground"), 0.5

        def __call__(self, images, *, seed=0):
            if images[0].max() > 200:
                raise NotFiniteError("Expected what the network gives to be finite.")
            return [SimpleNamespace(mask=np.ones(images[0].shape[:2], np.uint8))]

    images = [NamedImage(str(value), lambda value=value: np.full((2, 3, 1), value, np.uint8))
              for value in (10, 250, 20)]  # fmt: skip
    done = submit(Sour(), images, tmp_path / "s.csv")
    assert [row["pixels"] for row in rows_of(tmp_path / "s.csv")] == ["1 6", "", "1 6"]
    ((kind, samples),) = [(finding.kind, finding.samples) for finding in done.findings]
    assert (kind, samples, done.empty) == ("not-finite", ("250",), 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "RUN SOURCE --out FILE"),
        (["run", "folder:x", "--size", "3x3"], "RUN SOURCE --out FILE"),
        (["t.csv", "--to-masks", "m", "--out", "x"], "left out with --to-masks"),
        (["t.csv", "folder:x", "--to-masks", "m", "--size", "3x3"], "left out where SOURCE"),
        (["t.csv", "--to-masks", "m", "--split", "test"], "--split to be left out with --to-masks"),
        (["t.csv", "--to-masks", "m", "--size", "3"], "WIDTHxHEIGHT"),
        (["t.csv", "--to-masks", "m", "--size", "0x4"], "WIDTHxHEIGHT"),
        (["t.csv", "--to-masks", "m", "--size", "9" * 5000 + "x4"], "WIDTHxHEIGHT"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = penumbra("submit", *arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert not list(tmp_path.iterdir())
