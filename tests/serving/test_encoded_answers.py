"""What travels can be read back to what was predicted."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from penumbra.imaging.rle import decode_coco
from penumbra.inference.prediction import Prediction, entropy
from penumbra.serving.answers import answer_of
from penumbra.serving.encode import map_png, mask_png, npz, png
from penumbra.serving.messages import Job, media_type
from penumbra.serving.requests import OUTPUTS, SegmentRequest

IMAGE = np.random.default_rng(1).integers(0, 255, (20, 30, 1), np.uint8)


def read(data):
    return np.array(Image.open(io.BytesIO(data)))


def predicted(n_classes=2, *, several=True, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(n_classes), (20, 30)).transpose(2, 0, 1).astype(np.float32)
    maps = {"entropy": entropy(p)}
    if several:
        names = ("expected_entropy", "mutual_information", "variance", "standard_error")
        maps |= {name: (rng.random((20, 30)) / 10).astype(np.float32) for name in names}
    names = tuple(f"c{n}" for n in range(n_classes))
    mask = p.argmax(axis=0).astype(np.uint8)
    return Prediction(p, mask, maps, class_names=names, passes=8 if several else 1, seed=5)


def answer(prediction, **options):
    request = SegmentRequest.of(options, max_samples=64)
    job = Job(id="j1", kind="segment", model="m", options=options)
    return answer_of(job, request, IMAGE, prediction, threshold=0.5, decode_seconds=0.1)


@settings(max_examples=40, deadline=None)
@given(
    values=hnp.arrays(np.float32, (5, 7), elements=st.floats(0, 1, width=32)),
    lo=st.sampled_from([-1.0, 0.0]), hi=st.sampled_from([1.0, 2.5]), bits=st.sampled_from([8, 16]),
)  # fmt: skip
def test_a_map_is_read_back_by_its_scale(values, lo, hi, bits):
    stored = read(map_png(values, (lo, hi), bits))
    assert stored.dtype == (np.uint8 if bits == 8 else np.uint16)
    back = lo + stored / (2**bits - 1) * (hi - lo)
    np.testing.assert_allclose(back, values, atol=0.51 * (hi - lo) / (2**bits - 1))


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_keep_their_channels_in_order(shape, dtype):
    from penumbra.serving.uploads import UploadLimits, decode

    picture = np.random.default_rng(0).integers(0, 250, shape).astype(dtype)
    back = decode(png(picture), UploadLimits())
    assert np.array_equal(back, picture.reshape(*shape[:2], -1))


@pytest.mark.parametrize("n_classes", [2, 5])
def test_masks_come_as_run_lengths_or_as_a_picture(n_classes):
    prediction = predicted(n_classes)
    rows = answer(prediction).document["masks"]
    assert [row["name"] for row in rows] == [f"c{n}" for n in range(1, n_classes)]
    for row in rows:
        found = decode_coco(row["rle"])
        assert np.array_equal(found, prediction.mask == row["class"])
        assert row["area_px"] == found.sum()
    linked = answer(prediction, masks_as="links")
    assert {row["href"] for row in linked.document["masks"]} == {"/v1/results/j1/mask.png"}
    assert np.array_equal(read(linked.files["mask.png"]), prediction.mask)
    assert np.array_equal(read(mask_png(prediction.mask, n_classes)), prediction.mask)


@pytest.mark.parametrize("bits", [8, 16])
def test_every_output_is_linked_and_says_how_it_is_scaled(bits):
    prediction = replace(predicted(), mask_probabilities=predicted(seed=1).probabilities)
    said = answer(prediction, outputs=list(OUTPUTS), bits=bits)
    assert said.document["notes"] == []
    assert set(said.files) == {f"{name}.png" for name in OUTPUTS} - {"mask.png"}
    for name, row in said.document["maps"].items():
        assert row["href"] == f"/v1/results/j1/{name}.png"
        assert row["bits"] == bits
        lo, hi = row["scale"]
        back = lo + read(said.files[f"{name}.png"]) / (2**bits - 1) * (hi - lo)
        truth = {
            "probability": prediction.probabilities[1],
            "mask_probability": prediction.mask_probabilities[1],
            "confidence": prediction.probabilities.max(axis=0),
        }
        wanted = truth.get(name, prediction.uncertainty.get(name))
        np.testing.assert_allclose(back, wanted, atol=0.51 * (hi - lo) / (2**bits - 1))
    assert said.document["maps"]["entropy"]["scale"] == [0.0, math.log(2)]
    assert said.document["maps"]["entropy"]["unit"] == "nat"
    assert read(said.files["overlay.png"]).shape == read(said.files["image.png"]).shape
    assert np.array_equal(read(said.files["image.png"])[..., 0], IMAGE[..., 0])
    assert list(said.timings) == ["decode", "prepare", "network", "finish", "encode"]


def test_what_one_pass_cannot_say_is_noted():
    said = answer(predicted(several=False), outputs=["entropy", "variance"])
    assert list(said.document["maps"]) == ["entropy"]
    assert said.document["notes"] == ["deterministic makes one pass, which has no variance."]


def test_all_arrays_come_as_npz_without_pickles():
    prediction = predicted(3)
    said = answer(prediction, accept="npz")
    assert list(said.files) == ["arrays.npz"]
    assert media_type("arrays.npz") == "application/x-npz"
    found = np.load(io.BytesIO(said.files["arrays.npz"]), allow_pickle=False)
    assert np.array_equal(found["probabilities"], prediction.probabilities)
    assert np.array_equal(found["mask"], prediction.mask)
    assert np.array_equal(found["variance"], prediction.uncertainty["variance"])
    assert int(found["seed"]) == 5
    with pytest.raises(ValueError, match="allow_pickle"):
        npz({"a": np.array([object()], dtype=object)})


def test_a_png_answer_is_the_one_output():
    said = answer(predicted(), accept="png", outputs=["mask"])
    assert list(said.files) == ["mask.png"]
    assert list(answer(predicted(), accept="png", outputs=["entropy"]).files) == ["entropy.png"]
