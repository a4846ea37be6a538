"""What an audit corrected is what a training learns from: `audit apply`, then `train`."""

import io
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from penumbra.audit.apply import apply
from penumbra.audit.placement import Duplicate
from penumbra.data.assignment import Assignment
from penumbra.data.layouts import open_source
from penumbra.data.manifest import read_manifest, write_manifest
from penumbra.data.phantom import make_phantom
from penumbra.errors import SettingsError
from penumbra.imaging.write import write_mask
from penumbra.inference.preprocess import Preprocess
from penumbra.training.batches import usable
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.losses import make_loss
from penumbra.training.plan import make_plan
from penumbra.training.soft_masks import averaged, soften

QUICK = (
    "model.arguments.width=4", "model.arguments.depth=2", "image.size=32", "training.epochs=1",
    "training.samples_per_epoch=8", "training.threads=1",
)  # fmt: skip


@pytest.fixture
def conflicting(tmp_path):
    """A set in which one frame is there twice, once with a mask of nothing."""
    folder = make_phantom(tmp_path / "set", count=14, size=32, seed=5, kinds=("ultrasound",))
    source = open_source(f"folder:{folder}")
    first = next(record for record, sample in zip(source.records, source, strict=True)
                 if sample.mask.any())  # fmt: skip
    twin = first.image.with_stem("twin")
    shutil.copy(first.image, twin)
    write_mask(first.masks[0].with_stem("twin"), np.zeros((32, 32), np.uint8), n_classes=2)
    return open_source(f"folder:{folder}"), first.id


@pytest.mark.parametrize("copies", ["one", "all"])
def test_train_takes_the_corrected_manifest(conflicting, tmp_path, copies):
    source, first = conflicting
    manifest = tmp_path / "corrected" / "manifest.csv"
    pair = [Duplicate(first, "twin")]
    apply(source, manifest, policy="union", pairs=pair, copies=copies)
    experiment = Experiment().with_settings([f"source={manifest}", *QUICK])
    plan = make_plan(experiment)
    ids = {record.id for record in plan.source.records}
    assert len(ids) == len(source) - (copies == "one")
    assert sum(len(plan.assignment.ids(split)) for split in ("train", "val", "test")) == len(ids)
    own = next(sample.mask for sample in source if sample.id == first)
    for sample in plan.source:
        if sample.id in (first, "twin"):
            assert np.array_equal(sample.mask, own)
    trained = train(experiment, tmp_path / "run")
    # The run pins the corrected masks, so that it is evaluated on them too.
    kept, assignment = read_manifest(trained.run / "manifest.csv")
    assert {record.id for record in kept.records} == ids
    assert set(assignment.splits) == ids
    for sample in kept:
        if sample.id in (first, "twin"):
            assert np.array_equal(sample.mask, own)


def test_conflicting_copies_share_their_mean(conflicting):
    source, first = conflicting
    preprocess = Preprocess(size=32, fit="crop", channels=1)
    samples, _, _ = usable(source, preprocess)
    before = {samples[i].id: samples[i].mask.copy() for i in range(len(samples))}
    assert soften(samples, n_classes=2) == 1
    after = {samples[i].id: samples[i].mask for i in range(len(samples))}
    assert np.array_equal(after[first], np.where(before[first] == 1, 128, 0))
    assert np.array_equal(after["twin"], after[first])
    for name in set(before) - {first, "twin"}:
        assert np.array_equal(after[name], before[name])
    with pytest.raises(SettingsError, match="more than two classes"):
        soften(samples, n_classes=3)


@pytest.mark.parametrize("readers", [2, 3, 5])
def test_cross_entropy_of_the_mean_is_the_mean_of_cross_entropies(readers):
    rng = np.random.default_rng(readers)
    masks = rng.integers(0, 2, (readers, 6, 7)).astype(np.uint8)
    masks[:, 0, :3] = 255
    soft = torch.from_numpy(averaged(masks)).long()[None]
    logits = torch.from_numpy(rng.normal(size=(1, 1, 6, 7))).float()
    loss = make_loss("ce")
    each = [float(loss(logits, torch.from_numpy(mask).long()[None])) for mask in masks]
    assert float(loss(logits, soft)) == pytest.approx(np.mean(each), abs=2e-3)
    for name in ("dice", "dice_ce", "dice_focal", "tversky", "boundary"):
        assert torch.isfinite(make_loss(name)(logits, soft))


def test_training_on_soft_masks_says_so(conflicting, tmp_path):
    source, _ = conflicting
    experiment = Experiment().with_settings(
        [f"source={source.name}", "split.fractions=[1.0,0.0,0.0]",
         "training.soft_duplicates=true", *QUICK]
    )  # fmt: skip
    trained = train(experiment, tmp_path / "run")
    assert [f.message for f in trained.findings if f.kind == "soft-masks"] == [
        "Conflicting masks of equal images were averaged: 1 group."
    ]


def test_train_warns_of_a_split_with_no_validation_and_of_groups_on_both_sides(
    conflicting, tmp_path
):
    source, _ = conflicting
    subjects = tuple(
        replace(record, group=f"p{number // 2}") for number, record in enumerate(source.records)
    )
    # Three subjects lie on both sides: the last image of each is tested on.
    splits = {r.id: "test" if n in (1, 3, 5) else "train" for n, r in enumerate(subjects)}
    manifest = tmp_path / "given.csv"
    write_manifest(manifest, replace(source, records=subjects), Assignment(splits))
    said = io.StringIO()
    experiment = Experiment().with_settings([f"source={manifest}", *QUICK])
    trained = train(experiment, tmp_path / "run", console=Console(file=said, width=80))
    kinds = {f.kind: f for f in trained.findings}
    assert set(kinds) == {"no-validation", "group-in-several-splits"}
    assert set(kinds["group-in-several-splits"].samples) == {r.id for r in subjects[:6]}
    lines = [line for line in said.getvalue().splitlines() if line.startswith("warning: ")]
    assert len(lines) == 2
    assert "no validation part" in lines[0]
    assert "3 of 8 groups have samples in several parts of the split: p0, p1, p2;" in lines[1]
