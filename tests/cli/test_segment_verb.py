"""`penumbra segment` and `penumbra embed`: what they write, say and refuse."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.imaging.files import read_image, read_mask_file
from penumbra.imaging.rle import decode_coco
from penumbra.imaging.write import read_unit_map
from penumbra.promptable import PromptableSegmenter
from penumbra.promptable.cache import EmbeddingCache

RUNNER = CliRunner()


def call(*arguments, code=0):
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result


def call_json(*arguments, code=0):
    return json.loads(call(*arguments, "--json", code=code).stdout)


def save(path, array):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two images and a file that is none."""
    folder = tmp_path_factory.mktemp("segment") / "images"
    drawn = np.random.default_rng(0).integers(0, 60, (48, 64), dtype=np.uint8)
    drawn[10:30, 12:40] += 150
    save(folder / "a.png", drawn)
    save(folder / "b.png", drawn[:, ::-1].copy())
    (folder / "c.png").write_text("I am no image")
    return folder


def ask(tiny_sam, *arguments, **options):
    return call_json("segment", "--model", tiny_sam, "--precision", "fp32", *arguments, **options)


def test_it_writes_what_predict_writes_and_the_prompt(tiny_sam, images, tmp_path):
    out = tmp_path / "out"
    document = ask(tiny_sam, images / "a.png", "--box", "10,8,42,32", "--out", out)
    (one,) = document["predictions"]
    assert {path.name for path in out.iterdir()} == {
        "a.json", "a_mask.png", "a_probability.png", "a_uncertainty.png", "a_overlay.png",
        "a_heatmap.png",
    }  # fmt: skip
    written = json.loads((out / "a.json").read_text())
    assert written == one["details"]
    (found,) = written["objects"]
    assert found["prompt"] == {"box": [10, 8, 42, 32], "mask": False}
    segmenter = PromptableSegmenter.from_pretrained(tiny_sam, precision="float32", device="cpu")
    embedding = EmbeddingCache().embed(segmenter, read_image(images / "a.png"))
    (truth,) = segmenter.predict(embedding, boxes=[10, 8, 42, 32])
    mask = read_mask_file(out / "a_mask.png")
    assert (mask == truth.mask).all()
    assert (decode_coco(found["segmentation"]) == (truth.mask > 0)).all()
    assert np.abs(read_unit_map(out / "a_probability.png") - truth.foreground).max() < 1e-4
    assert found["predicted_iou"] == pytest.approx(truth.predicted_iou)
    assert found["area"] == truth.mask.sum()
    assert written["weights"] == segmenter.weights_digest


def test_points_are_one_object_and_boxes_one_each(tiny_sam, images, tmp_path):
    out = tmp_path / "out"
    points = ["--point", "20,20,+", "--point", "30,25", "--point", "3,3,-"]
    document = ask(tiny_sam, images / "a.png", *points, "--out", out)
    (found,) = document["predictions"][0]["details"]["objects"]
    assert found["prompt"]["points"] == [[20, 20], [30, 25], [3, 3]]
    assert found["prompt"]["labels"] == [1, 1, 0]
    boxes = ["--box", "10,8,42,32", "--box", "0,30,20,48"]
    document = ask(tiny_sam, images / "a.png", *boxes, "--out", out)
    details = document["predictions"][0]["details"]
    masks = [
        decode_coco(one["segmentation"]) if one["segmentation"] else np.zeros((48, 64), bool)
        for one in details["objects"]
    ]
    assert len(masks) == 2
    assert (read_mask_file(out / "a_mask.png") == (masks[0] | masks[1])).all()
    labels = read_image(out / details["labels"])[..., 0]
    assert ((labels > 0) == (masks[0] | masks[1])).all()
    assert set(np.unique(labels)) <= {0, 1, 2}


def test_a_mask_is_a_prompt(tiny_sam, images, tmp_path):
    rough = np.zeros((48, 64), np.uint8)
    rough[12:28, 14:38] = 255
    file = save(tmp_path / "rough.png", rough)
    out = tmp_path / "out"
    document = ask(tiny_sam, images / "a.png", "--mask", file, "--box", "10,8,42,32", "--out", out)
    assert document["predictions"][0]["details"]["objects"][0]["prompt"]["mask"] is True
    other = save(tmp_path / "other.png", rough[:-1])
    document = ask(tiny_sam, images / "a.png", "--mask", other, "--out", out, code=1)
    assert "as large as the image, 48×64" in document["findings"][0]["message"]


def test_a_bad_file_or_a_box_outside_one_image_stops_no_other(tiny_sam, images, tmp_path):
    small = save(tmp_path / "in" / "small.png", np.zeros((8, 8), np.uint8))
    out = tmp_path / "out"
    document = ask(tiny_sam, images, small, "--box", "10,8,42,32", "--out", out, code=1)
    assert [one["image"] for one in document["predictions"]] == [
        str(images / "a.png"), str(images / "b.png"),
    ]  # fmt: skip
    kinds = {finding["image"]: finding["kind"] for finding in document["findings"]}
    assert kinds == {str(images / "c.png"): "unreadable", str(small): "prompt"}
    assert not list(out.glob("small*"))
    shown = call(
        "segment", "--model", tiny_sam, images, "--box", "10,8,42,32", "--out", out, code=1
    )
    lines = shown.stdout.splitlines()
    assert lines[0] == f"2 of 3 images segmented into {out}: 2 objects."
    assert lines[1].startswith(f"Look first at {out}")
    assert lines[2].startswith("Next: ")
    assert len(lines) == 3
    assert "c.png" in shown.stderr


def test_samples_give_doubt(tiny_sam, images, tmp_path):
    out = tmp_path / "out"
    options = ["--box", "10,8,42,32", "--samples", "5", "--keep-samples", "2", "--out", out]
    first = ask(tiny_sam, images / "a.png", *options)
    details = first["predictions"][0]["details"]
    assert details["passes"] == 5
    assert 0 <= details["objects"][0]["pairwise_iou"] <= 1
    assert (out / "a_mutual_information.png").is_file()
    assert (out / "a_samples.tif").is_file()
    again = ask(tiny_sam, images / "a.png", *options)["predictions"][0]["details"]
    timeless = [{k: v for k, v in one.items() if k != "timings"} for one in (details, again)]
    assert timeless[0] == timeless[1]
    other = ask(tiny_sam, images / "a.png", *options, "--seed", "1")["predictions"][0]["details"]
    assert other["uncertainty"] != details["uncertainty"]


def test_everything(tiny_sam, images, tmp_path):
    out = tmp_path / "out"
    options = ["--everything", "--points-per-side", "4", "--least-iou", "0.1"]
    options += ["--least-stability", "0.1", "--least-area", "2", "--out", out]
    document = ask(tiny_sam, images, *options, code=1)
    assert len(document["predictions"]) == 2
    details = document["predictions"][0]["details"]
    assert details["asked"] == 16
    labels = read_image(out / details["files"]["labels"])[..., 0]
    assert details["regions"]
    largest = decode_coco(details["regions"][0]["segmentation"])
    assert largest.sum() == details["regions"][0]["area"]
    assert ((labels > 0) <= read_mask_file(out / "a_mask.png").astype(bool)).all()
    assert read_image(out / "a_overlay.png").shape == (48, 64, 3)
    strict = ["--everything", "--points-per-side", "2", "--least-iou", "1", "--out", out]
    lines = call("segment", images / "a.png", "--model", tiny_sam, *strict).stdout
    assert "Nothing passed" in lines
    named = re.findall(r"(--least-(?:iou|stability)) ([\d.]*\d)", lines.split("Try")[1])
    lower = [word for pair in named for word in pair]
    again = [*lower, "--least-area", "0", "--everything", "--points-per-side", "2", "--out", out]
    assert (
        "Nothing passed"
        not in call("segment", images / "a.png", "--model", tiny_sam, *again).stdout
    )


@pytest.mark.parametrize("extra", [[], ["--samples", "3"]])
def test_tiles(tiny_sam, images, tmp_path, extra):
    out = tmp_path / "out"
    options = ["--point", "20,20", "--tile", "32", *extra, "--out", out]
    document = ask(tiny_sam, images / "a.png", *options)
    assert document["predictions"][0]["details"]["size"] == {"height": 48, "width": 64}


def test_filters_change_the_embedding_or_become_a_prompt(tiny_sam, images, tmp_path):
    kept = tmp_path / "kept"
    base = [images / "a.png", "--out", tmp_path / "out", "--embeddings", kept]
    plain = ask(tiny_sam, *base, "--box", "10,8,42,32")
    assert plain["predictions"][0]["details"]["filters"] == []
    edges = ask(tiny_sam, *base, "--filter", "clahe", "--filter", "sobel: {mode: prompt}")
    (found,) = edges["predictions"][0]["details"]["objects"]
    assert found["prompt"]["mask"] is True
    assert len(list(kept.rglob("*.safetensors"))) == 2


def test_embeddings_are_kept_for_the_next_call(tiny_sam, images, tmp_path, phantom):
    kept = tmp_path / "kept"
    first = call_json("embed", f"folder:{phantom}", "--model", tiny_sam, "--out", kept)
    assert (first["computed"], first["present"]) == (24, 0)
    assert first["bytes"] == sum(file.stat().st_size for file in kept.rglob("*.safetensors"))
    again = call("embed", f"folder:{phantom}", "--model", tiny_sam, "--out", kept)
    assert again.stdout.startswith("24 of 24 images embedded: 0 now, 24 before.")
    assert "Next: penumbra segment IMAGE --box X0,Y0,X1,Y1 --model" in again.stdout
    before = {file: file.stat().st_mtime_ns for file in kept.rglob("*.safetensors")}
    image = min((phantom / "images").iterdir())
    call("segment", image, "--model", tiny_sam, "--point", "9,9", "--embeddings", kept,
         "--out", tmp_path / "out")  # fmt: skip
    assert {file: file.stat().st_mtime_ns for file in kept.rglob("*.safetensors")} == before


def test_embed_goes_on_past_a_bad_file(tiny_sam, images, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "images").symlink_to(images)
    source = f"folder:{tmp_path / 'set'}"
    document = call_json("embed", source, "--model", tiny_sam, "--out", tmp_path / "kept", code=1)
    assert document["computed"] == 2
    assert [finding["kind"] for finding in document["findings"]] == ["unreadable"]


WRONG = {
    "no prompt": ([], "a prompt to be given"),
    "no box": (["--box", "1,2,3"], "--box to be x0,y0,x1,y1"),
    "words": (["--box", "a,b,c,d"], "--box to be x0,y0,x1,y1"),
    "nan": (["--box", "nan,2,3,4"], "--box to be x0,y0,x1,y1"),
    "no sign": (["--point", "3,4,?"], "--point to be x,y,+"),
    "one number": (["--point", "3"], "--point to be x,y,+"),
    "boxes and points": (
        ["--box", "1,2,3,4", "--box", "1,2,3,4", "--point", "1,1"],
        "about one object",
    ),
    "everything and more": (["--everything", "--box", "1,2,3,4"], "--everything to be alone"),
    "everything in tiles": (["--everything", "--tile", "64"], "without --tile"),
    "kept": (["--box", "1,2,9,9", "--keep-samples", "3"], "--keep-samples to be beside --samples"),
    "share": (["--everything", "--least-iou", "2"], "--least-iou to be less than or equal to 1"),
    "filter": (["--box", "1,2,3,4", "--filter", "clah"], "every filter to be one of"),
    "precision": (["--box", "1,2,3,4", "--precision", "int8"], "--precision to be auto"),
    "model": (["--box", "1,2,3,4", "--model", "no/such/folder"], "Expected"),
    "out": (["--box", "1,2,3,4", "--out", "HERE"], "another folder than the images'"),
    "a mask in versions": (["--mask", "HERE/a.png", "--samples", "4"], "boxes or points"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_said_in_one_sentence(tiny_sam, images, tmp_path, name):
    arguments, text = WRONG[name]
    arguments = [word.replace("HERE", str(images)) for word in arguments]
    chosen = ["segment", images / "a.png", "--offline"]
    chosen += [] if "--model" in arguments else ["--model", tiny_sam]
    chosen += [] if "--out" in arguments else ["--out", tmp_path / "out"]
    document = call_json(*chosen, *arguments, code=1)
    assert text in document["error"]["message"]
    assert document["error"]["message"].startswith("Expected ")
    assert not (tmp_path / "out").exists()


def test_a_model_that_takes_boxes_alone_says_so(make_tiny_sam, images, tmp_path):
    medsam = make_tiny_sam(tmp_path / "medsam-tiny")
    document = call_json(
        "segment", images / "a.png", "--model", medsam, "--point", "3,3", "--out", tmp_path / "o",
        code=1,
    )  # fmt: skip
    assert "to be box, but got point" in document["error"]["message"]
