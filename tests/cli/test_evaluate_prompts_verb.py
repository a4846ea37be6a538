"""`penumbra evaluate` of promptable models, and where boxes alone are known."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.data.export import export_source
from penumbra.data.layouts import open_source
from penumbra.data.manifest import Assignment, write_manifest


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result


def assert_page(folder, mean):
    """The page says its figure, shows three pictures, and loads nothing."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"{mean:.3f}" in page
    for role in ("best", "median", "worst"):
        assert page.count(f"<h3>{role}: ") == 1
    assert page.count('<img src="data:image/jpeg;base64,') == 3
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert 'src="http' not in page
    return page


@pytest.fixture(scope="module")
def boxes(phantom, tmp_path_factory):
    """A few phantoms as the challenge ships its images: boxes, and no masks."""
    folder = tmp_path_factory.mktemp("boxes") / "set"
    source = open_source(f"folder:{phantom}").subset(range(6))
    export_source(source, folder, form="rsna", with_masks=True)
    return folder


def test_a_run_is_measured_by_boxes_where_there_are_no_masks(run, boxes, tmp_path):
    result = call(
        "evaluate", run, f"rsna:{boxes}", "--split", "all", "--out", tmp_path, "--json"
    )  # fmt: skip
    document = json.loads(result.stdout)
    assert document["measured_by"] == "boxes"
    where = {"out": str(tmp_path), "report": str(tmp_path / "report.html")}
    assert document == json.loads((tmp_path / "metrics.json").read_text()) | where
    assert 0 <= document["overall"]["map"]["mean"] <= 1
    with_boxes = sum(len(sample.boxes) > 0 for sample in open_source(f"rsna:{boxes}"))
    assert 0 < document["n_with_boxes"] == with_boxes < document["n_images"]
    with (tmp_path / "per_image.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    mean = np.mean([float(row["share_inside"]) for row in rows if row["share_inside"]])
    assert mean == pytest.approx(document["overall"]["share_inside"]["mean"])
    told = call("evaluate", run, f"rsna:{boxes}", "--split", "all", "--out", tmp_path).stdout
    assert "inside the boxes" in told
    assert "none with a mask" in told
    assert_page(tmp_path, document["overall"]["tight_iou"]["mean"])


def test_a_manifest_of_boxes_says_its_own_split(run, boxes, tmp_path):
    manifest = tmp_path / "manifest.csv"
    source = open_source(f"rsna:{boxes}")
    splits = {record.id: "test" if n < 2 else "val" for n, record in enumerate(source.records)}
    write_manifest(manifest, source, Assignment(splits))
    result = call("evaluate", run, manifest, "--out", tmp_path / "out", "--json")
    document = json.loads(result.stdout)
    assert document["measured_by"] == "boxes"
    assert document["n_images"] == 2


def test_boxes_filled_on_request_are_masks_as_before(run, boxes, tmp_path):
    arguments = ("--target", "boxes", "--split", "all", "--out", tmp_path, "--json")
    document = json.loads(call("evaluate", run, f"rsna:{boxes}", *arguments).stdout)
    assert "dice" in document["overall"]
    assert (tmp_path / "report.html").is_file()


def test_a_promptable_model_is_prompted_for_every_object(tiny_sam, phantom, tmp_path):
    result = call(
        "evaluate", f"sam:{tiny_sam}", f"folder:{phantom}", "--split", "all", "--out", tmp_path,
        "--prompt", "box,point2", "--objects", "class", "--json",
    )  # fmt: skip
    document = json.loads(result.stdout)
    assert document["measured_by"] == "masks"
    assert document["kinds"] == ["box", "point2"]
    assert document["settings"]["objects"] == "class"
    with (tmp_path / "per_object.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["kind"] == "point2"]
    assert len(rows) == document["n_objects"]
    assert all(0 <= float(row["predicted_iou"]) <= 1 for row in rows)
    assert (tmp_path / "per_image.csv").is_file()
    page = assert_page(tmp_path, document["overall"]["box"]["dice"]["mean"])
    assert "Prompted by box" in page
    assert all(f">{kind}<" in page for kind in document["kinds"])


def test_a_promptable_model_is_prompted_for_every_box(tiny_sam, boxes, tmp_path):
    arguments = (f"sam:{tiny_sam}", f"rsna:{boxes}", "--split", "all", "--out", tmp_path)
    document = json.loads(call("evaluate", *arguments, "--json").stdout)
    assert set(document["kinds"]) == {"box", "point1"}
    assert (tmp_path / "per_image_point1.csv").is_file()
    assert_page(tmp_path, document["kinds"]["box"]["overall"]["tight_iou"]["mean"])
    told = call("evaluate", *arguments, "--prompt", "point1").stdout
    assert "point1" in told
    assert "jittered" not in told


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--prompt", "scribble"], "box, jittered-box or pointN"),
        (["--sampler", "noise:4"], "--sampler"),
        (["--shift", "blur"], "--shift"),
        (["--objects", "some"], "`objects`"),
        (["--split", "test"], "not tuned here"),
    ],
)
def test_what_a_promptable_model_cannot_do_is_said(tiny_sam, phantom, tmp_path, options, says):
    split = [] if "--split" in options else ["--split", "all"]
    result = call(
        "evaluate", f"sam:{tiny_sam}", f"folder:{phantom}", "--out", tmp_path, *split, *options,
        code=1,
    )  # fmt: skip
    assert says in result.stderr


def test_a_run_is_not_prompted_and_boxes_are_not_shifted(run, phantom, boxes, tmp_path):
    result = call(
        "evaluate", run, f"folder:{phantom}", "--out", tmp_path, "--prompt", "box", code=1
    )
    assert "--prompt" in result.stderr
    result = call(
        "evaluate", run, f"rsna:{boxes}", "--out", tmp_path, "--split", "all", "--shift", "blur",
        code=1,
    )  # fmt: skip
    assert "--shift" in result.stderr


def test_a_model_that_is_not_there_is_an_error(phantom, tmp_path):
    result = call(
        "evaluate", "sam:nowhere.pth", f"folder:{phantom}", "--split", "all", "--out", tmp_path,
        code=1,
    )  # fmt: skip
    assert "nowhere.pth" in result.stderr
