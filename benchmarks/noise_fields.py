"""What noise costs: Perlin fields beside three packages, the noise of one pass beside the pass.

    python benchmarks/noise_fields.py            measure and write docs/results.md
    python benchmarks/noise_fields.py --smoke    a few seconds, keeps nothing

Fields are 256×256 with cells of 32 pixels. Ours are drawn 64 channels at a time, as the features
of a network have them, and alone; the packages give one value per call (`noise`, `perlin-noise`)
or an array (`opensimplex`). The noise of one pass is that at all skips and the bottleneck of a
U-Net, added to bfloat16 features in channels-last memory; the pass is that of the predictor.
All are measured in turns in one process and the median of the rounds counts. The radial spectrum
of each pattern stands beside its cost, since patterns are to be compared at matched variance with
their frequencies in view.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, get_args

import torch
from _record import conditions, put_table, save
from torch import Tensor

from penumbra.inference.backend import Engine, choose_precision
from penumbra.models.unet.unet import UNet
from penumbra.noise.fields import draw
from penumbra.noise.injector import NeuralNoiseInjector
from penumbra.noise.patterns import Pattern, PatternName
from penumbra.noise.spectrum import radial_spectrum, spectral_centroid

CELL = 32
WANTED_TIMES = 50
WANTED_SHARE = 0.03
Call = Callable[[], object]


def in_turns(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Time the calls in turns, so that a slow moment of the machine hits all; medians."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(kept[1:]) for name, kept in times.items()}


def _noise(size: int) -> Call:
    package = importlib.import_module("noise")
    at = [(i + 0.5) / CELL for i in range(size)]
    return lambda: [[package.pnoise2(x, y) for x in at] for y in at]


def _opensimplex(size: int) -> Call:
    import numpy as np

    package = importlib.import_module("opensimplex")
    at = (np.arange(size) + 0.5) / CELL
    return lambda: package.noise2array(at, at)


def _perlin_noise(size: int) -> Call:
    made = importlib.import_module("perlin_noise").PerlinNoise(octaves=1, seed=1)
    at = [(i + 0.5) / CELL for i in range(size)]
    return lambda: [[made([y, x]) for x in at] for y in at]


PACKAGES = {"noise": _noise, "opensimplex": _opensimplex, "perlin-noise": _perlin_noise}


def field_seconds(size: int, rounds: int) -> dict[str, float]:
    """Measure seconds per Perlin field (opensimplex: its own kind), for ours and the packages."""
    pattern, keys, channels = Pattern(name="perlin", length=CELL), torch.tensor([1]), 64
    few: dict[str, Call] = {}
    for name, make in PACKAGES.items():
        try:
            few[name] = make(size)
        except ImportError:
            print(f"{name} is not installed (the extra `bench` brings it): left out")
    ours: dict[str, Call] = {
        "ours, 64 at a time": lambda: draw(pattern, keys, channels, (size, size)),
        "ours, alone": lambda: draw(pattern, keys, 1, (size, size)),
    }
    seconds = in_turns({**ours, **few}, rounds)
    seconds["ours, 64 at a time"] /= channels
    return seconds


def pass_seconds(width: int, size: int, rounds: int) -> dict[str, float]:
    """Measure seconds of one pass and of its noise, by pattern."""
    model = UNet(3, 1, width=width).eval()
    engine, x = Engine.of(model, device="cpu"), torch.randn(1, 3, size, size)
    features = _features(model, size)
    keys = torch.tensor([1])

    def noise(injector: NeuralNoiseInjector) -> Call:
        for site, h in zip(model.site_names, features, strict=True):
            injector.add_site(site, channels=h.shape[1])

        @torch.inference_mode()
        def call() -> None:
            for level, (site, h) in enumerate(zip(model.site_names, features, strict=True)):
                injector(h, site, keys=keys, mode="monte_carlo", stride=2.0**level)

        return call

    calls: dict[str, Call] = {"pass": lambda: engine.logits(x)}
    for name in get_args(PatternName):
        calls[name] = noise(NeuralNoiseInjector(noise_patterns=[name]))
    return in_turns(calls, rounds)


def _features(model: UNet, size: int) -> list[Tensor]:
    shapes = [(1, c, size >> level, size >> level) for level, c in enumerate(model.channels)]
    return [
        torch.randn(shape).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        for shape in shapes
    ]


def spectra(size: int, count: int) -> dict[str, dict[str, float]]:
    """Measure deviation and mean radial frequency of each pattern with cells of 32 pixels."""
    found = {}
    for name in get_args(PatternName):
        field = draw(Pattern(name=name, length=CELL), torch.arange(count), 4, (size, size))
        found[name] = {
            "deviation": float(field.square().mean().sqrt()),
            "centroid": spectral_centroid(*radial_spectrum(field)),
        }
    return found


def measure(*, width: int, size: int, rounds: int, count: int) -> dict[str, Any]:
    """Measure everything."""
    return {
        "size": size,
        "width": width,
        "precision": choose_precision("auto", torch.device("cpu")),
        "fields": field_seconds(size, max(1, rounds // 5)),
        "pass": pass_seconds(width, size, rounds),
        "spectra": spectra(size, count),
        "conditions": conditions(),
    }


def field_table(document: dict[str, Any]) -> str:
    """Write the table of fields."""
    seconds, size = document["fields"], document["size"]
    ours = seconds["ours, 64 at a time"]
    others = {name: value for name, value in seconds.items() if not name.startswith("ours")}
    lines = [
        f"| one field of {size}×{size} | ms | ours, 64 at a time, is faster by |",
        "| --- | --- | --- |",
    ]
    for name, value in seconds.items():
        times = f"{value / ours:.0f} ×" if name in others else ""
        lines.append(f"| {name} | {value * 1e3:.3f} | {times} |")
    if others:
        times = min(others.values()) / ours
        met = "met" if times >= WANTED_TIMES else "**not met**"
        lines += ["", f"Wanted: {WANTED_TIMES} × the fastest package; **{times:.0f} ×**, {met}."]
    return "\n".join(lines)


def pass_table(document: dict[str, Any]) -> str:
    """Write the table of patterns."""
    seconds, spectra_ = document["pass"], document["spectra"]
    lines = [
        "| pattern | noise of one pass, ms | share of the pass | wanted | met "
        "| deviation | mean frequency, cycles per pixel |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in ("lattice", "perlin", "simplex", "gaussian"):
        share, of = seconds[name] / seconds["pass"], spectra_[name]
        met = "yes" if share <= WANTED_SHARE else "**no**"
        lines.append(
            f"| {name} | {seconds[name] * 1e3:.1f} | {share:.1%} | ≤ {WANTED_SHARE:.0%} | {met} "
            f"| {of['deviation']:.3f} | {of['centroid']:.4f} |"
        )
    where = document["conditions"]
    lines += [
        "",
        f"*One pass takes {seconds['pass'] * 1e3:.0f} ms: U-Net of width {document['width']}, "
        f"1×3×{document['size']}×{document['size']}, {document['precision']}, "
        f"threads: {where['threads']}, {where['machine']}, torch {where['versions']['torch']}, "
        f"{where['date']}.{where.get('note', '')}*",
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--note", default="", help="what else ran on the machine")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.smoke:
        document = measure(width=4, size=64, rounds=1, count=2)
    else:
        document = measure(width=64, size=256, rounds=options.rounds, count=16)
    if options.note:
        document["conditions"]["note"] = f" {options.note}"
    text = f"{field_table(document)}\n\n{pass_table(document)}"
    print(text)
    if not options.smoke:
        save("noise_fields", document)
        put_table("noise-fields", text)


if __name__ == "__main__":
    main()
