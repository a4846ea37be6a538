import functools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from penumbra.errors import ModelError, RunError, SettingsError, SourceError, StorageError
from penumbra.imaging.files import read_image
from penumbra.inference.predictor import Predictor
from penumbra.training.batches import EpochSampler
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.module import SegmentationModule
from penumbra.training.plan import make_plan
from penumbra.training.run import Run


def weights(run):
    """Best and last weights; the last ones are those a resumed run goes on with."""
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return load_file(run / "model.safetensors") | {f"last.{k}": v for k, v in last.items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_folder_holds_what_the_design_says(tiny, tmp_path):
    before = torch.random.get_rng_state()
    trained = train(tiny, tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    run = Run(tmp_path / "run")
    names = {path.name for path in run.folder.iterdir()}
    assert {
        "experiment.yaml",
        "model.safetensors",
        "model.json",
        "manifest.csv",
        "run.json",
    } <= names
    assert {"history.jsonl", "tensorboard", "checkpoints"} <= names
    assert [row["epoch"] for row in run.history()] == [0, 1]
    assert all(np.isfinite(row["loss"]) for row in run.history())
    assert trained.validation_dice == max(row["validation_dice"] for row in run.history())
    assert run.info()["status"] == "finished"
    assert run.experiment().image.fit == "crop"
    assert any((run.folder / "tensorboard").iterdir())
    assert not list(run.folder.rglob("*.part*"))


def test_the_loss_falls_and_the_predictor_loads(tiny, tmp_path, phantom):
    longer = tiny.with_settings(["training.epochs=12", "training.samples_per_epoch=48"])
    train(longer, tmp_path / "run")
    history = Run(tmp_path / "run").history()
    assert history[-1]["loss"] < 0.85 * history[0]["loss"]
    image = read_image(next((phantom / "images").iterdir()))
    prediction = Predictor.load(tmp_path / "run")([image])[0]
    assert prediction.mask.shape == image.shape[:2]


def test_a_deterministic_run_repeats_bit_for_bit(tiny, tmp_path):
    for name in ("a", "b"):
        train(tiny, tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    other = tiny.with_settings(["training.seed=1"])
    train(other, tmp_path / "c")
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_dropout_and_gates_repeat_too(tiny, tmp_path):
    noisy = tiny.with_settings(["model.name=noise-unet", "model.arguments.dropout=0.2"])
    for name in ("a", "b"):
        train(noisy, tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    gates = [key for key in weights(tmp_path / "a") if "gate" in key]
    assert gates


def test_a_raised_bound_goes_on(tiny, tmp_path):
    train(tiny, tmp_path / "run")
    more = train(Experiment.parse({"training": {"epochs": 3}}), tmp_path / "run", resume=True)
    assert more.epochs == 3
    assert [row["epoch"] for row in Run(tmp_path / "run").history()] == [0, 1, 2]


def test_a_finished_run_is_left_as_it_is(tiny, tmp_path):
    train(tiny, tmp_path / "run")
    before = weights(tmp_path / "run")
    again = train(Experiment(), tmp_path / "run", resume=True)
    assert again.epochs == 2
    assert same(weights(tmp_path / "run"), before)


@pytest.mark.slow
def test_killed_at_any_time_and_resumed_gives_the_same_bits(tiny, tmp_path):
    longer = tiny.with_settings(["training.epochs=5", "training.samples_per_epoch=32"])
    train(longer, tmp_path / "whole")
    path = tmp_path / "experiment.yaml"
    path.write_text(longer.to_yaml(), encoding="utf-8")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "penumbra", "train", "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    kills = 0
    stops = ((1, signal.SIGTERM, 143), (3, signal.SIGKILL, -signal.SIGKILL))
    for attempt, (epochs, stop, status) in enumerate(stops):
        extra = ["--resume"] if attempt else ["--experiment", str(path)]
        process = subprocess.Popen(
            [*command, *extra],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if _wait_for_epochs(out, epochs, process):
            process.send_signal(stop)
            kills += 1
            assert process.wait() == status
        process.wait()
    assert kills == 2
    train(Experiment(), out, resume=True)
    assert same(weights(tmp_path / "whole"), weights(out))
    assert [row["epoch"] for row in Run(out).history()] == [0, 1, 2, 3, 4]


def test_cut_off_within_the_first_epoch_it_begins_anew(tiny, tmp_path, monkeypatch):
    train(tiny, tmp_path / "whole")
    step = SegmentationModule.training_step

    def cut(module, batch, index):
        if index == 2:
            raise KeyboardInterrupt
        return step(module, batch, index)

    run = Run(tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", cut)
        with pytest.raises(KeyboardInterrupt):
            train(tiny, run.folder)
    assert run.exists
    assert not run.checkpoint.exists()
    kept = run.experiment()
    train(Experiment.parse({"training": {"epochs": 2}}), run.folder, resume=True)
    assert same(weights(tmp_path / "whole"), weights(run.folder))
    assert run.experiment() == kept
    run.checkpoint.unlink()
    with pytest.raises(RunError, match="checkpoint"):
        train(Experiment(), run.folder, resume=True)


def _wait_for_epochs(out, epochs, process):
    """Watch the history until so many epochs are written; False if the process ended first."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        history = out / "history.jsonl"
        begun = (out / "checkpoints" / "last.ckpt").is_file() and history.is_file()
        if begun and len(history.read_text(encoding="utf-8").splitlines()) >= epochs:
            return process.poll() is None
        if process.poll() is not None:
            return False
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_ctrl_c_says_how_to_go_on(tiny, tmp_path):
    longer = tiny.with_settings(["training.epochs=500"])
    path, out = tmp_path / "experiment.yaml", tmp_path / "run"
    path.write_text(longer.to_yaml(), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "penumbra",
        "train",
        "--experiment",
        str(path),
        "--out",
        str(out),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests themselves run in the background, the signal would be ignored.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert _wait_for_epochs(out, 1, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors


def test_the_clock_bounds_a_run(tiny, tmp_path):
    bounded = Experiment.parse(
        tiny.model_dump(mode="json")
        | {
            "training": {
                "max_minutes": 0.05,
                "samples_per_epoch": 16,
                "batch_size": 4,
                "threads": 1,
            }
        }
    )
    trained = train(bounded, tmp_path / "run")
    assert trained.seconds < 6
    assert trained.validation_dice is not None
    rates = [row["learning_rate"] for row in Run(tmp_path / "run").history()]
    assert rates[-1] < 0.2 * max(*rates, 2e-3)


@pytest.mark.slow
def test_an_epoch_that_the_clock_cut_short_stays_short(tiny, tmp_path):
    bounded = Experiment.parse(
        tiny.model_dump(mode="json")
        | {
            "training": {
                "max_minutes": 0.02,
                "samples_per_epoch": 1200,
                "batch_size": 4,
                "threads": 1,
            }
        }
    )
    train(bounded, tmp_path / "run")
    before = Run(tmp_path / "run").history()
    more = Experiment.parse({"training": {"max_minutes": 5, "epochs": len(before) + 1}})
    train(more, tmp_path / "run", resume=True)
    after = Run(tmp_path / "run").history()
    assert after[:-1] == before
    assert after[-1]["step"] - before[-1]["step"] == 300


def test_patience_stops(tiny, tmp_path):
    stuck = tiny.with_settings(
        ["training.epochs=20", "training.patience=2", "training.learning_rate=1e-12"]
    )
    assert train(stuck, tmp_path / "run").epochs < 20


def test_a_full_folder_is_not_touched(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="--resume"):
        train(tiny, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_to_resume(tiny, tmp_path):
    with pytest.raises(RunError, match="run folder"):
        train(tiny, tmp_path / "none", resume=True)


def test_an_experiment_from_a_future_version(tiny, tmp_path):
    train(tiny, tmp_path / "run")
    path = tmp_path / "run" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))
    with pytest.raises(RunError, match="upgrading"):
        Predictor.load(tmp_path / "run")


def test_damaged_samples_are_findings(tiny, tmp_path, phantom):
    import shutil

    copy = tmp_path / "set"
    shutil.copytree(phantom, copy)
    source = tiny.with_settings([f"source=folder:{copy}"])
    victim = make_plan(source).train.records[0]
    victim.image.write_bytes(victim.image.read_bytes()[:60])
    trained = train(source, tmp_path / "run")
    assert victim.id in {name for finding in trained.findings for name in finding.samples}
    assert trained.epochs == 2


def test_no_source_and_no_masks(tmp_path, phantom):
    import shutil

    (tmp_path / "set").mkdir()
    shutil.copytree(phantom / "images", tmp_path / "set" / "images")
    with pytest.raises(SourceError, match="mask"):
        make_plan(Experiment(source=f"folder:{tmp_path / 'set'}"))


@pytest.mark.parametrize(("model", "workers"), [("unet", 0), ("unet", 2), ("noise-unet", 0)])
def test_every_epoch_has_crops_of_its_own_also_after_a_resume(
    tiny, tmp_path, monkeypatch, model, workers
):
    seen = []
    batches = EpochSampler.__iter__

    def watched(sampler):
        chosen = list(batches(sampler))
        seen.append(chosen)
        return iter(chosen)

    monkeypatch.setattr(EpochSampler, "__iter__", watched)
    tiny = tiny.with_settings(
        [f"model.name={model}", f"training.workers={workers}", "training.schedule=constant"]
    )
    train(tiny.with_settings(["training.epochs=3"]), tmp_path / "whole")
    whole, seen[:] = list(seen), []
    train(tiny, tmp_path / "cut")
    train(Experiment.parse({"training": {"epochs": 3}}), tmp_path / "cut", resume=True)
    assert seen == whole
    assert len({str(epoch) for epoch in whole}) == 3
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_crops_are_no_larger_than_the_images(tiny, tmp_path):
    plan = make_plan(tiny.with_settings(["image.size=256"]))
    assert plan.preprocess.size == 32
    assert plan.experiment.image.size == 32
    assert make_plan(tiny.with_settings(["image.size=16"])).preprocess.size == 16


@pytest.mark.parametrize(("channels", "classes"), [(3, 1), (1, 5)])
def test_a_network_that_does_not_fit_leaves_no_run_behind(tiny, tmp_path, channels, classes):
    keywords = {"in_channels": channels, "out_channels": classes, "kernel_size": 1}
    arguments = {"target": "torch.nn.Conv2d", "keywords": keywords}
    unfit = Experiment.parse(
        tiny.model_dump(mode="json") | {"model": {"name": "wrap", "arguments": arguments}}
    )
    with pytest.raises(ModelError, match="Try"):
        train(unfit, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_or_history_is_said(tiny, tmp_path):
    train(tiny, tmp_path / "run")
    run = Run(tmp_path / "run")
    run.checkpoint.write_bytes(b"junk")
    with pytest.raises(RunError, match="fresh copy"):
        train(Experiment(), run.folder, resume=True)
    (run.folder / "history.jsonl").write_text("{bad\n")
    with pytest.raises(RunError, match="one JSON object a line"):
        run.history()


@pytest.mark.parametrize(
    "change", ["training.seed=5", "model.arguments.width=9", "training.loss=ce"]
)
def test_a_resume_with_other_settings_is_refused(tiny, tmp_path, change):
    train(tiny, tmp_path / "run")
    before = weights(tmp_path / "run")
    with pytest.raises(SettingsError, match="the run's own"):
        train(Experiment().with_settings([change]), tmp_path / "run", resume=True)
    assert same(weights(tmp_path / "run"), before)
    train(tiny, tmp_path / "run", resume=True)
    assert same(weights(tmp_path / "run"), before)


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tiny, tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="freeing space"):
        train(tiny, tmp_path / "run")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "run").rglob("*.part*")] == []
    assert not (tmp_path / "run" / "experiment.yaml").exists()
