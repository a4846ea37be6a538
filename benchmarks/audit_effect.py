"""Does it pay to resolve duplicates? The U-Net on raw and on corrected training masks.

    python benchmarks/audit_effect.py                      nerve frames, 3 seeds, every policy
    python benchmarks/audit_effect.py --seeds 0            one seed more or again; others stay
    python benchmarks/audit_effect.py --tables             write docs/results.md from what is kept
    python benchmarks/audit_effect.py --smoke              a minute on phantoms, keeps nothing

The set is audited, and subjects are split with their duplicates together, by the seed. Validation
and test are the same for every arm: one frame of each group of duplicates, and none of a group
whose masks agree less than Dice 0.7. The arms differ in the training frames alone: as they are, or
with duplicates resolved by a policy. Each makes the same number of steps from the same first
weights. Differences are paired by image; intervals are 95 % bootstrap intervals over subjects, all
seeds together.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from _record import ROOT, conditions, load, put_table, save

from penumbra.audit.apply import apply
from penumbra.audit.audit import audit
from penumbra.audit.placement import Duplicate
from penumbra.data.assignment import Assignment, select
from penumbra.data.layouts import open_source
from penumbra.data.manifest import read_manifest, write_manifest
from penumbra.data.phantom import make_phantom
from penumbra.data.source import Source
from penumbra.data.split import split_source
from penumbra.data.together import keep_together
from penumbra.evaluation.bootstrap import bootstrap
from penumbra.evaluation.of_run import open_for_run, score_run
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.run import Run

DATA = Path(os.environ.get("PENUMBRA_REAL_DATA", ROOT.parent / "shared" / "data"))
NAME = "audit-effect"
RAW = "raw"
POLICIES = ("union", "drop-conflicts:0.7")
CLEAN = "drop-conflicts:0.7"
METRICS = ("dice", "iou", "boundary_f1", "hd95", "nll")


@dataclass(frozen=True)
class Case:
    """How much is trained."""

    size: int = 128
    width: int = 16
    epochs: int = 4
    samples_per_epoch: int = 1200
    learning_rate: float = 2e-3
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)


def arms_of(
    source: Source, pairs: Sequence[Duplicate], seed: int, folder: Path, case: Case
) -> dict[str, tuple[Path, dict[str, int]]]:
    """Write one manifest per arm; all share validation and test. Give the training frames' counts.

    `source` has the groups of duplicates merged, so that no pair straddles the split.
    """
    split = split_source(source, seed=seed, fractions=case.fractions)
    parts = {name: select(source, split, name) for name in ("train", "val", "test")}

    def corrected(part: str, policy: str) -> tuple[Source, dict[str, int]]:
        out = folder / f"{part}-{policy.replace(':', '-')}.csv"
        done = apply(parts[part], out, policy=policy, pairs=pairs)
        return read_manifest(out, class_names=source.class_names)[0], done.account.counts

    clean = {part: corrected(part, CLEAN)[0] for part in ("val", "test")}
    arms = {}
    for policy in (RAW, *POLICIES):
        frames, counts = (
            (parts["train"], {"samples": len(parts["train"]), "kept": len(parts["train"])})
            if policy == RAW
            else corrected("train", policy)
        )
        together = {"train": frames, **clean}
        records = tuple(record for part in together.values() for record in part.records)
        splits = {r.id: name for name, part in together.items() for r in part.records}
        manifest = folder / f"arm-{policy.replace(':', '-')}.csv"
        write_manifest(manifest, replace(source, records=records), Assignment(splits))
        arms[policy] = (manifest, counts)
    return arms


def run_arm(manifest: Path, seed: int, threads: int, folder: Path, case: Case) -> dict[str, Any]:
    """Train and test one arm."""
    document = {
        "source": str(manifest),
        "image": {"size": case.size},
        "model": {"name": "unet", "arguments": {"width": case.width}},
        "training": {
            "epochs": case.epochs, "samples_per_epoch": case.samples_per_epoch, "batch_size": 8,
            "learning_rate": case.learning_rate, "seed": seed, "threads": threads,
        },
    }  # fmt: skip
    started = time.perf_counter()
    trained = train(Experiment.parse(document), folder)
    run = Run(folder)
    samples = open_for_run(run, manifest, split="test")
    scored = score_run(run, samples, split="test", seed=seed).evaluation
    return {
        "overall": {name: scored.overall[name]["mean"] for name in METRICS},
        "per_image": [{"id": i.id, "group": i.group, "dice": i.dice} for i in scored.images],
        "validation_dice": trained.validation_dice,
        "epochs": trained.epochs,
        "seconds": round(time.perf_counter() - started),
    }


def run_seed(
    source: Source, pairs: Sequence[Duplicate], seed: int, threads: int, case: Case
) -> dict[str, Any]:
    """Train and test every arm of one seed."""
    row: dict[str, Any] = {"seed": seed, "arms": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for policy, (manifest, counts) in arms_of(source, pairs, seed, folder, case).items():
            runs = folder / "runs" / policy.replace(":", "-")
            row["arms"][policy] = run_arm(manifest, seed, threads, runs, case) | {"counts": counts}
            print(f"seed {seed} {policy}: Dice {row['arms'][policy]['overall']['dice']:.4f}, "
                  f"{row['arms'][policy]['seconds']} s", flush=True)  # fmt: skip
    return row


def over_groups(pairs: list[tuple[str, float]]) -> tuple[float, float, float]:
    """Give a mean over images with its 95 % interval over groups."""
    groups = sorted({group for group, _ in pairs})
    place = {group: index for index, group in enumerate(groups)}
    sums, counts = np.zeros(len(groups)), np.zeros(len(groups))
    for group, value in pairs:
        sums[place[group]] += value
        counts[place[group]] += 1
    value, low, high = bootstrap(lambda w: (w @ sums) / (w @ counts), n_groups=len(groups))
    return float(value), float(low), float(high)


def gain(rows: list[dict[str, Any]], policy: str) -> tuple[float, float, float]:
    """Give the paired difference in Dice of a policy and of the raw masks, all seeds together."""
    found = []
    for row in rows:
        raw = {each["id"]: each["dice"] for each in row["arms"][RAW]["per_image"]}
        found += [
            (each["group"], each["dice"] - raw[each["id"]])
            for each in row["arms"][policy]["per_image"]
        ]
    return over_groups(found)


def table() -> str:
    """Write the table from what is kept."""
    try:
        kept = load(NAME)
    except FileNotFoundError:
        return "Not measured yet: `python benchmarks/audit_effect.py`."
    rows, where = kept["rows"], kept["conditions"]
    lines = [
        "| training masks | training frames by seed | Dice by seed | mean Dice (95 %) "
        "| against raw, paired (95 %) | IoU | boundary F1 | HD95 px |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_line(rows, policy) for policy in rows[0]["arms"]),
    ]
    first = rows[0]["arms"][RAW]
    note = (
        f"*{len(rows)} seeds, {kept['pairs']} pairs of duplicates, "
        f"{sum(len(r['arms'][RAW]['per_image']) for r in rows)} test frames in all, "
        f"U-Net of width {kept['case']['width']} at {kept['case']['size']} pixels, "
        f"{first['epochs']} epochs of {kept['case']['samples_per_epoch']} crops, on "
        f"{kept['threads']} thread{'s' if kept['threads'] > 1 else ''}, {where['machine']}, "
        f"Penumbra {where['versions']['penumbra']}, torch {where['versions']['torch']}, "
        f"{where['date']}.*"
    )
    return "\n".join(lines) + "\n\n" + note


def _line(rows: list[dict[str, Any]], policy: str) -> str:
    arms = [row["arms"][policy] for row in rows]
    every = [(each["group"], each["dice"]) for arm in arms for each in arm["per_image"]]
    mean, low, high = over_groups(every)
    against = "–"
    if policy != RAW:
        value, least, most = gain(rows, policy)
        against = f"**{value:+.4f}** ({least:+.4f} to {most:+.4f})"
    others = " | ".join(
        f"{np.mean([arm['overall'][m] for arm in arms]):.{digits}f}"
        for m, digits in (("iou", 3), ("boundary_f1", 3), ("hd95", 1))
    )
    frames = ", ".join(str(arm["counts"]["kept"]) for arm in arms)
    by_seed = ", ".join(f"{arm['overall']['dice']:.3f}" for arm in arms)
    return (
        f"| {policy} | {frames} | {by_seed} | {mean:.3f} ({low:.3f}–{high:.3f}) "
        f"| {against} | {others} |"
    )


def audited(source: Source) -> tuple[Source, tuple[Duplicate, ...]]:
    """Audit a source; give it with duplicates in one group, and the pairs."""
    found = audit(source)
    pairs = tuple(
        Duplicate(each.a, each.b, each.level, each.rms, (each.turn, *each.shift))
        for each in found.compared
    )
    return keep_together(source, [(pair.a, pair.b) for pair in pairs]), pairs


def measure(*, seeds: list[int], threads: int) -> None:
    """Measure and keep; each finished seed is kept at once."""
    source, pairs = audited(open_source(f"nerve:{DATA / 'nerve'}"))
    case = Case()
    for seed in seeds:
        row = run_seed(source, pairs, seed, threads, case)
        try:
            others = [each for each in load(NAME)["rows"] if each["seed"] != seed]
        except FileNotFoundError:
            others = []
        rows = sorted([*others, row], key=lambda each: each["seed"])
        save(NAME, {"rows": rows, "pairs": len(pairs), "threads": threads, "case": vars(case),
                    "conditions": conditions()})  # fmt: skip


def smoke() -> None:
    """Go the whole way on a few phantoms, some of which lie twice with masks that disagree."""
    with tempfile.TemporaryDirectory() as folder:
        root = make_phantom(Path(folder) / "set", count=48, size=48, seed=0, kinds=("xray",))
        lines = (root / "groups.csv").read_text(encoding="utf-8").splitlines()
        for number in range(0, 48, 3):
            old, new = f"xray_{number:05d}", f"copy_{number:05d}"
            (root / "images" / f"{new}.png").write_bytes(
                (root / "images" / f"{old}.png").read_bytes()
            )
            mask = cv2.imread(str(root / "masks" / f"{old}.png"), cv2.IMREAD_GRAYSCALE)
            cv2.imwrite(str(root / "masks" / f"{new}.png"), np.roll(mask, 8, axis=1))
            lines.append(f"{new},xray_{number // 4:04d}")
        (root / "groups.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        source, pairs = audited(open_source(root))
        case = Case(size=48, width=4, epochs=4, samples_per_epoch=96, learning_rate=0.02,
                    fractions=(0.5, 0.2, 0.3))  # fmt: skip
        row = run_seed(source, pairs, 0, 1, case)
        for policy in POLICIES:
            value, low, high = gain([row], policy)
            print(f"{policy}: {value:+.3f} ({low:+.3f} to {high:+.3f}) against raw")
        print(_line([row], RAW))


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tables", action="store_true", help="only write docs/results.md")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.smoke:
        smoke()
        return
    if not options.tables:
        measure(seeds=options.seeds, threads=options.threads)
    put_table(NAME, table())


if __name__ == "__main__":
    main()
