"""Errors that were planted into labels are ranked first; what was trained on is refused."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from penumbra.audit.label_noise import label_noise
from penumbra.data.layouts import open_source
from penumbra.data.manifest import read_assignment
from penumbra.data.phantom import make_phantom
from penumbra.errors import RunError, SettingsError, SourceError
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train

SIZE = 32


def erase(mask):
    return np.zeros_like(mask)


def shift(mask):
    return np.roll(mask, SIZE // 3, axis=1)


def flip(mask):
    return mask[:, ::-1]


def add(mask):
    return cv2.circle(mask.copy(), (SIZE // 2, SIZE // 4), SIZE // 6, 255, -1)


def spoil(root, names):
    """Spoil every fourth mask in one of four ways; give what was done to whom."""
    planted = {}
    for number, name in enumerate(sorted(names)[::4]):
        path = root / "masks" / f"{name}.png"
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        how = (erase, shift, flip, add)[number % 4]
        if (how(mask) != mask).mean() > 0.01:
            planted[name] = how.__name__
            cv2.imwrite(str(path), how(mask))
    return planted


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on clean labels, of which those it was not trained on are then spoilt."""
    place = tmp_path_factory.mktemp("label_noise")
    root = make_phantom(place / "set", count=96, size=SIZE, seed=0, kinds=("xray",))
    settings = {
        "source": f"folder:{root}",
        "split": {"seed": 0, "fractions": [0.5, 0.1, 0.4]},
        "image": {"size": SIZE},
        "model": {"arguments": {"width": 8, "depth": 2}},
        "training": {
            "epochs": 8, "samples_per_epoch": 128, "batch_size": 8, "threads": 1,
            "learning_rate": 0.01, "deterministic": True,
        },
    }  # fmt: skip
    train(Experiment.parse(settings), place / "run")
    splits = read_assignment(place / "run" / "manifest.csv")
    planted = spoil(root, [*splits.ids("test"), *splits.ids("val")])
    return root, place / "run", planted


@pytest.fixture(scope="module")
def judged(trained):
    root, run, _ = trained
    return label_noise(open_source(root), [run])


def test_planted_errors_come_first(trained, judged, record_property):
    _, _, planted = trained
    assert len(planted) >= 8
    wrong = [image.id in planted for image in judged.images]
    found = roc_auc_score(wrong, [image.score for image in judged.images])
    record_property("AUROC of planted errors", found)
    assert found > 0.95
    scores = [image.score for image in judged.images]
    assert scores == sorted(scores, reverse=True)


def test_components_point_at_the_planted_error(trained, judged):
    _, _, planted = trained
    pixels = {
        image.id: sum(c.score * c.pixels for c in image.components) for image in judged.images
    }
    wrong = [image.id in planted for image in judged.images]
    assert roc_auc_score(wrong, [pixels[image.id] for image in judged.images]) > 0.9
    erased = next(name for name, how in planted.items() if how == "erase")
    image = next(image for image in judged.images if image.id == erased)
    worst = image.components[0]
    assert (worst.labelled, worst.predicted) == ("background", "foreground")
    assert worst.score > 0.5
    assert judged.components[0].sample in planted


def test_what_the_run_was_trained_on_is_refused(trained, judged):
    _, run, _ = trained
    splits = read_assignment(run / "manifest.csv")
    assert {image.id for image in judged.images} == {*splits.ids("test"), *splits.ids("val")}
    (inside,) = [finding for finding in judged.findings if finding.kind == "in-fold"]
    assert set(inside.samples) == set(splits.ids("train"))
    roles = {image.id: image.role for image in judged.images}
    assert all(roles[name] == "val" for name in splits.ids("val"))


def test_a_duplicate_of_what_was_trained_on_is_refused_too(trained):
    root, run, _ = trained
    splits = read_assignment(run / "manifest.csv")
    inside, outside = splits.ids("train")[0], splits.ids("test")[0]
    source = open_source(root)
    found = label_noise(source, [run], together=[(outside, inside)])
    assert outside not in {image.id for image in found.images}
    only = source.subset([i for i, r in enumerate(source.records) if r.id == inside])
    with pytest.raises(SourceError, match="trained on"):
        label_noise(only, [run])


def test_runs_of_all_folds_judge_all(trained, judged, tmp_path):
    root, run, _ = trained
    other = tmp_path / "other fold"
    shutil.copytree(run, other)
    with (run / "manifest.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        row["split"] = {"train": "test", "test": "train", "val": "val"}[row["split"]]
    with (other / "manifest.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    found = label_noise(open_source(root), [run, other])
    assert len(found.images) == 96
    assert not [finding for finding in found.findings if finding.kind == "in-fold"]
    by_run = {image.id: image.run for image in found.images if image.role == "test"}
    splits = read_assignment(run / "manifest.csv")
    assert all(by_run[name] == str(run) for name in splits.ids("test"))
    assert all(by_run[name] == str(other) for name in splits.ids("train"))
    first = {image.id: image.scores for image in judged.images}
    assert all(image.scores == first.get(image.id, image.scores) for image in found.images)


def test_a_label_error_is_a_finding(trained, judged):
    _, _, planted = trained
    found = {f.samples[0]: f for f in judged.findings if f.kind == "label-error"}
    assert len(set(found) & set(planted)) > 0.7 * len(planted)
    finding = next(iter(found.values()))
    assert 0 <= finding.details["score"] <= 1
    assert json.dumps(finding.to_json())
    json.dumps(judged.to_json())


def test_tables(judged):
    frame = judged.to_frame()
    assert len(frame) == len(judged.images)
    assert {"id", "score", "self_confidence", "softmin", "role"} <= set(frame.columns)
    parts = judged.components_frame()
    assert {"sample", "labelled", "predicted", "pixels", "score", "confident"} <= set(parts.columns)
    assert set(judged.thresholds) == {"background", "foreground"}


def test_a_bad_file_is_a_finding(trained, tmp_path):
    root, run, _ = trained
    shutil.copytree(root, tmp_path / "set")
    name = read_assignment(run / "manifest.csv").ids("test")[0]
    (tmp_path / "set" / "masks" / f"{name}.png").write_bytes(b"broken")
    found = label_noise(open_source(tmp_path / "set"), [run])
    assert [f.samples for f in found.findings if f.kind == "unreadable"] == [(name,)]


def test_runs_that_cannot_judge_are_refused(trained, tmp_path):
    root, run, _ = trained
    with pytest.raises(SettingsError, match="one run"):
        label_noise(open_source(root), [])
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "manifest.csv").unlink()
    with pytest.raises(RunError, match="trained on"):
        label_noise(open_source(root), [tmp_path / "run"])
    three = open_source(root, class_names=("background", "one", "two"))
    with pytest.raises(SourceError, match="classes"):
        label_noise(three, [run])
