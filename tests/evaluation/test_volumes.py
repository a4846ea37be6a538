"""Intervals of volumes: sums over the images of a group, against sums by hand."""

import json

import cv2
import numpy as np
import pytest
import torch

from penumbra.evaluation.areas import volume_section
from penumbra.evaluation.of_run import evaluate_run
from penumbra.evaluation.pixel_risk import doubt_maps
from penumbra.inference.areas import area_case
from penumbra.inference.calibration import AreaInterval, Calibration
from penumbra.inference.prediction import Prediction
from penumbra.inference.preprocess import Preprocess
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet

AREA = AreaInterval(
    level=0.9, class_names=("thing",), quantile=(1.0,), group_quantile=(0.5,), n_groups=12
)


def test_volumes_are_sums_over_the_images_of_a_group():
    rng = np.random.default_rng(0)
    cases, by_hand = [], {}
    for group, count in (("a", 3), ("b", 1), ("c", 2)):
        for _ in range(count):
            p = rng.random((6, 6)).astype(np.float32)
            truth = (rng.random((6, 6)) < p).astype(np.uint8)
            truth[0, 0] = 255
            cases.append(area_case(np.stack([1 - p, p]), truth, group=group))
            known = truth != 255
            q = p[known].astype(float)
            now = np.array([q.sum(), (q * (1 - q)).sum() + 0.001 * 35, (truth == 1).sum()])
            by_hand[group] = by_hand.get(group, 0) + now
    found = volume_section(AREA, cases, resamples=50)["thing"]
    assert found["n_groups"] == 2
    assert set(found["groups"]) == {"a", "c"}
    held = []
    for group, row in found["groups"].items():
        estimate, scale, truth = by_hand[group]
        assert row["estimate"] == pytest.approx(estimate)
        assert row["high"] - row["low"] == pytest.approx(scale)
        assert row["truth"] == truth
        held.append(row["low"] <= truth <= row["high"])
    assert found["coverage"]["mean"] == np.mean(held)


def test_groups_of_one_image_have_no_volume():
    p = np.full((2, 4, 4), 0.5, np.float32)
    cases = [area_case(p, np.eye(4, dtype=np.uint8), group=name) for name in "ab"]
    assert volume_section(AREA, cases) == {}


def make_set(folder):
    rng = np.random.default_rng(1)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for name in ("a", "b"):
        image = (rng.random((32, 32)) * 255).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{name}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), 255 * (image > 128).astype(np.uint8))
    (folder / "groups.csv").write_text("id,group\na,one\nb,one\n", encoding="utf-8")


def test_an_evaluation_says_whether_volumes_hold(tmp_path):
    make_set(tmp_path / "set")
    torch.manual_seed(0)
    details = {
        "preprocess": Preprocess(size=32, channels=1).model_dump(mode="json"),
        "class_names": ["background", "foreground"],
    }
    save_model(tmp_path / "run", UNet(1, 1, width=4, depth=2), details=details)
    area = AREA.model_copy(update={"class_names": ("foreground",)})
    Calibration(area=area).write(tmp_path / "run")
    evaluate_run(tmp_path / "run", f"folder:{tmp_path / 'set'}", tmp_path / "out", split="all")
    document = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert document["areas"]["foreground"]["n_images"] == 2
    assert document["areas"]["foreground"]["volumes"]["n_groups"] == 1
    evaluate_run(
        tmp_path / "run", f"folder:{tmp_path / 'set'}", tmp_path / "other", split="all",
        sampler="dropout:2",
    )  # fmt: skip
    assert "areas" not in json.loads((tmp_path / "other" / "metrics.json").read_text())


def test_the_variance_of_two_passes_reaches_its_bound():
    passes = np.array([[[[1.0]], [[0.0]]], [[[0.0]], [[1.0]]]], dtype=np.float32)
    variance = passes.var(axis=0, ddof=1).sum(axis=0)
    mean = passes.mean(axis=0)
    found = Prediction(
        mean, np.zeros((1, 1), np.uint8), {"variance": variance, "entropy": variance}, passes=2
    )
    values, largest = doubt_maps(found)["variance"]
    assert float(values.max()) <= largest
