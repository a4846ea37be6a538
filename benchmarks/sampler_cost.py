"""What samplers cost beside one pass: 8 noisy passes, and 64 samples behind one pass.

    python benchmarks/sampler_cost.py            measure and write docs/results.md
    python benchmarks/sampler_cost.py --smoke    a few seconds, keeps nothing

Whole predictions are timed, preprocessing and maps included, in turns in one process; the median
of the rounds counts. Weights and calibration are made up: they change no time. The long way lays
noise out and convolves it; the short way carries it through its nodes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import numpy as np
import torch
from _record import conditions, put_table, save

from penumbra.inference.calibration import (
    Calibration,
    FeatureNoise,
    LinearMap,
    LogitNoise,
    NoiseSite,
)
from penumbra.inference.doubt import DOUBT_TAPS, doubt_levels
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess
from penumbra.models.unet.unet import UNet

ROWS = (
    ("one pass", "deterministic", None),
    ("8 passes with noise on skips and bottleneck", "noise:8", 5.6),
    ("the same, noise laid out", "noise:8", None),
    ("64 samples of noise in logit space", "logit-noise:64", 6.0),
    ("8 symmetries", "augmentation", None),
)
LENGTHS = (0.0, 0.0, 32.0, 32.0, 16.0, 16.0, 8.0)


def made_up(net: UNet) -> Calibration:
    """Write a calibration with noise of both kinds at its usual shape."""
    sites = {
        name: NoiseSite(gate=0.5, std=(1.0,) * channels)
        for name, channels in zip(net.site_names, net.channels, strict=True)
    }
    rng = np.random.default_rng(0)
    counts = [level.features.shape[1] for level in doubt_levels(torch.zeros(1, 1, 32, 32))]
    taps = LinearMap(
        taps=DOUBT_TAPS,
        mean=tuple((0.0,) * n for n in counts),
        std=tuple((1.0,) * n for n in counts),
        weight=tuple(tuple(tuple(rng.normal(size=n).tolist()) for _ in LENGTHS) for n in counts),
        bias=(0.0,) * len(LENGTHS),
    )
    noise = LogitNoise(map=taps, log_scale=-2.0, lengths=LENGTHS)
    return Calibration(noise=FeatureNoise(sites=sites), logit_noise=noise)


def measure(width: int, size: int, *, rounds: int) -> dict[str, Any]:
    """Time every row; give seconds and the ratio to one pass."""
    net = UNet(3, 1, width=width).eval()
    preprocess = Preprocess(size=size, fit="crop", channels=3)
    image = (np.random.default_rng(0).random((size, size, 3)) * 255).astype(np.uint8)
    calls = []
    for name, sampler, _ in ROWS:
        predictor = Predictor(
            net, preprocess=preprocess, class_names=("background", "thing"), sampler=sampler,
            calibration=made_up(net), symmetry="dihedral",
        )  # fmt: skip
        if "laid out" in name:
            predictor.members[0].short = None
        calls.append(predictor)
        predictor([image])
    seconds: list[list[float]] = [[] for _ in ROWS]
    for _ in range(rounds):
        for times, predictor in zip(seconds, calls, strict=True):
            started = time.perf_counter()
            predictor([image])
            times.append(time.perf_counter() - started)
    medians = [statistics.median(times) for times in seconds]
    return {
        "width": width,
        "size": size,
        "precision": calls[0].engine.precision,
        "rows": [
            {
                "name": name, "sampler": sampler, "wanted": wanted, "cost": str(call.cost),
                "milliseconds": 1000 * median, "passes": median / medians[0],
            }
            for (name, sampler, wanted), call, median in zip(ROWS, calls, medians, strict=True)
        ],
    }  # fmt: skip


def table(document: dict[str, Any]) -> str:
    """Write the table."""
    lines = [
        "| network | prediction | runs | ms | in passes | wanted | met |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for case in document["cases"]:
        for row in case["rows"]:
            wanted = row["wanted"]
            met = "" if wanted is None else "yes" if row["passes"] <= wanted else "**no**"
            lines.append(
                f"| width {case['width']}, {case['size']}² | {row['name']} | {row['cost']} "
                f"| {row['milliseconds']:.0f} | **{row['passes']:.2f}** "
                f"| {'' if wanted is None else f'≤ {wanted:g}'} | {met} |"
            )
    where = document["conditions"]
    lines += [
        "",
        f"*U-Net in {document['cases'][0]['precision']}, {where['threads']} threads on "
        f"{where['machine']}, torch {where['versions']['torch']}, median of "
        f"{document['rounds']} rounds, {where['date']}.*",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shapes = [(8, 64)] if options.smoke else [(64, 256), (16, 128)]
    rounds = 2 if options.smoke else options.rounds
    cases = [measure(width, size, rounds=rounds) for width, size in shapes]
    document = {"cases": cases, "rounds": rounds, "conditions": conditions()}
    print(table(document))
    if not options.smoke:
        save("sampler-cost", document)
        put_table("sampler-cost", table(document))


if __name__ == "__main__":
    main()
