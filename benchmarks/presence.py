"""Is anything there? What a presence head buys where half of the frames show nothing.

    python benchmarks/presence.py --out FOLDER         three seeds; again, it goes on
    python benchmarks/presence.py --tables             write docs/results.md from what is kept
    python benchmarks/presence.py --smoke              a minute on fewer frames, keeps nothing

Generated ultrasound frames, half of them without an object. Groups are whole; each seed decides the
split and the training. Four ways, all chosen on validation frames and counted on test frames by
the rule of the nerve challenge (nothing against nothing is 1, one false pixel costs the frame):

    plain          the network as it is
    plain, area    its masks below a chosen area emptied, islands taken off: what a sceptic would do
    head           a network trained with a presence head, its rule left aside
    head, rule     the same with the rule that its training chose

Differences are paired by frame; intervals are 95 % bootstrap intervals over groups.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _options import run_benchmark
from _record import conditions, load, save

from penumbra.data.layouts import open_source
from penumbra.data.manifest import write_manifest
from penumbra.data.phantom import make_phantom
from penumbra.data.source import Source
from penumbra.data.split import split_source
from penumbra.evaluation.bootstrap import bootstrap
from penumbra.evaluation.of_run import open_for_run
from penumbra.evaluation.presence import PRESENCE, challenge_dice, presence_scores, tally
from penumbra.inference.predictor import Predictor
from penumbra.inference.presence import PresenceRule
from penumbra.inference.presence_run import choose_presence
from penumbra.pages.words import count
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.run import Run

NAME = "presence"
WAYS = ("plain", "plain, area", "head", "head, rule")
AGAINST = "plain, area"
SETTINGS: dict[str, Any] = {
    "model": {"name": "unet", "arguments": {"width": 16}},
    "image": {"size": 128},
    "training": {"batch_size": 8},
}
Rows = list[dict[str, Any]]


def make_set(out: Path, *, count: int, size: int) -> Path:
    """Make frames and list as many with an object as without, whole groups or not."""
    file = out / "half.csv"
    if not file.is_file():
        made = make_phantom(out / "frames", count=count, size=size, kinds=("ultrasound",))
        source = open_source(f"folder:{made}")
        shown = [_shows(source, index) for index in range(len(source))]
        empty = [r for r, there in zip(source.records, shown, strict=True) if not there]
        there = [r for r, there in zip(source.records, shown, strict=True) if there]
        every = max(1, len(there) // max(1, len(empty)))
        records = tuple(sorted([*empty, *there[::every][: len(empty)]], key=lambda r: r.id))
        half = replace(source, records=records)
        write_manifest(file, half, split_source(half))
    return file


def _shows(source: Source, index: int) -> bool:
    mask = source[index].mask
    return mask is not None and bool((mask > 0).any())


def run_seed(half: Path, out: Path, seed: int, *, minutes: float, threads: int) -> Rows:
    """Train both networks with one seed and count the test frames in all ways."""
    manifest = out / f"split-{seed}.csv"
    if not manifest.is_file():
        source = open_source(str(half))
        write_manifest(manifest, source, split_source(source, seed=seed))
    rows: Rows = []
    for arm in ("plain", "head"):
        run = Run(out / f"{arm}-{seed}")
        if run.info().get("status") != "finished":
            model = {**SETTINGS["model"], "presence": arm == "head"}
            budget = {"max_minutes": minutes, "seed": seed, "threads": threads}
            document = {**SETTINGS, "source": str(manifest), "model": model}
            document["training"] = {**SETTINGS["training"], **budget}
            train(Experiment.parse(document), run.folder, resume=run.exists)
        rows += counted(run, manifest, arm, seed)
    return rows


def counted(run: Run, manifest: Path, arm: str, seed: int) -> Rows:
    """Count the test frames of one network, without its rule and with it."""
    if arm == "plain":
        rule = choose_presence(run.folder, open_for_run(run, manifest, split="val"), seed=seed)
    else:
        rule = PresenceRule.read(run.folder) or PresenceRule()
    test = open_for_run(run, manifest, split="test")
    predictor = Predictor.load(run.folder, presence=False)
    rows: Rows = [
        {"way": way, "seed": seed, "rule": rule.model_dump(mode="json", exclude={"weights"}),
         "frames": []}
        for way in WAYS if way.startswith(arm)
    ]  # fmt: skip
    for index in range(len(test)):
        sample = test[index]
        if sample.mask is None:
            continue
        (found,) = predictor([sample.image], seed=seed)
        judged = rule.apply(found.mask, probability=found.presence).mask
        for row, mask in zip(rows, (found.mask, judged), strict=True):
            row["frames"].append(
                [test.records[index].id, sample.group, *_counts(mask, sample.mask)]
            )
    return rows


def _counts(mask: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> tuple[int, int, float]:
    there, predicted = truth > 0, mask > 0
    total = int(there.sum()) + int(predicted.sum())
    dice = 2 * int((there & predicted).sum()) / total if total else 1.0
    return int(there.sum()), int(predicted.sum()), round(dice, 6)


def scores(rows: Rows) -> tuple[np.ndarray[Any, Any], ...]:
    """Give the mean of every score over the frames of all seeds, with its interval."""
    sums, n_groups = _sums(rows)
    return bootstrap(lambda weights: presence_scores(weights @ sums), n_groups=n_groups)


def gain(rows: Rows, others: Rows) -> tuple[float, float, float]:
    """Give the paired difference of the challenge's Dice, with its interval."""
    (mine, n_groups), (theirs, _) = _sums(rows), _sums(others)
    value, low, high = bootstrap(
        lambda w: presence_scores(w @ mine)[..., 0] - presence_scores(w @ theirs)[..., 0],
        n_groups=n_groups,
    )
    return float(value), float(low), float(high)


def _sums(rows: Rows) -> tuple[np.ndarray[Any, Any], int]:
    frames = [frame for row in rows for frame in row["frames"]]
    names, place = np.unique([frame[1] for frame in frames], return_inverse=True)
    truth, predicted, dice = np.array([frame[2:] for frame in frames], dtype=np.float64).T
    counted = challenge_dice(truth, predicted, dice)
    return tally(truth, predicted, counted, place, len(names)), len(names)


def table() -> str:
    """Write the table: a row per way."""
    try:
        kept = load(NAME)
    except FileNotFoundError:
        return "*Not measured yet.*"
    return write_table(kept["rows"], kept)


def write_table(rows: Rows, kept: dict[str, Any]) -> str:
    """Write the table of the rows that were counted."""
    by_way = {way: [row for row in rows if row["way"] == way] for way in WAYS}
    lines = [
        "| way | Dice of the challenge, by seed | mean (95 %) | over *plain, area*, paired | where "
        "something is | found | nothing said of nothing |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way, mine in by_way.items():
        value, low, high = scores(mine)
        by_seed = ", ".join(f"{scores([row])[0][0]:.3f}" for row in mine)
        found = dict(zip(PRESENCE, value, strict=True))
        difference = "–"
        if way != AGAINST:
            d, d_low, d_high = gain(mine, by_way[AGAINST])
            sure = "**" if d_low > 0 or d_high < 0 else ""
            difference = f"{sure}{d:+.3f}{sure} ({d_low:+.3f} to {d_high:+.3f})"
        lines.append(
            f"| {way} | {by_seed} | {found['dice']:.3f} ({low[0]:.3f}–{high[0]:.3f}) "
            f"| {difference} | {found['dice_present']:.3f} | {found['sensitivity']:.3f} "
            f"| {found['specificity']:.3f} |"
        )
    frames = sum(len(row["frames"]) for row in by_way["plain"])
    empty = sum(frame[2] == 0 for row in by_way["plain"] for frame in row["frames"])
    where = kept["conditions"]
    return "\n".join(lines) + (
        f"\n\n*{frames} test frames over {len(by_way['plain'])} seeds, {empty} of them empty; at "
        f"most {kept['minutes']:g} min of training each on {count(where['threads'], 'thread')}, "
        f"U-Net of width {SETTINGS['model']['arguments']['width']}, {where['machine']}, Penumbra "
        f"{where['versions']['penumbra']}, torch {where['versions']['torch']}, {where['date']}.*"
    )


def measure(out: Path, *, seeds: list[int], minutes: float, threads: int) -> None:
    """Measure every seed and keep what was counted."""
    half = make_set(out, count=3000, size=128)
    rows: Rows = []
    for seed in seeds:
        rows += run_seed(half, out, seed, minutes=minutes, threads=threads)
        kept = {"rows": rows, "minutes": minutes, "settings": SETTINGS, "conditions": conditions()}
        save(NAME, kept, compact=True)
        print("seed", seed, {row["way"]: scores([row])[0].round(3).tolist() for row in rows[-4:]})


def smoke() -> None:
    """Go the whole way on fewer frames."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        half = make_set(out, count=160, size=48)
        SETTINGS["model"]["arguments"] = {"width": 6, "depth": 3}
        SETTINGS["image"] = {"size": 48}
        rows = run_seed(half, out, 0, minutes=0.1, threads=1)
        print(write_table(rows, {"minutes": 0.1, "conditions": conditions()}))
    if [row["way"] for row in rows] != list(WAYS) or not rows[0]["frames"]:
        raise SystemExit("a way is missing, or frames")


if __name__ == "__main__":
    run_benchmark(
        __doc__, name=NAME, holds="the set, the splits and the runs", measure=measure, table=table,
        smoke=smoke, seeds=(0, 1, 2), minutes=4, threads=1,
    )  # fmt: skip
