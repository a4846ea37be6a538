"""What everything-mode takes in memory as its grid grows: the same.

    python benchmarks/promptable_memory.py                  a SAM of ViT-B size, minutes
    python benchmarks/promptable_memory.py --smoke          a tiny one, keeps nothing
    python benchmarks/promptable_memory.py --table          write docs/results.md from what is kept

Weights are random, and every mask passes, which is the worst case: all are scaled up, encoded and
held until suppression. Each grid runs in a process of its own; the peak is the largest resident
set that the system counted, less that of the process before anything was asked.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
from _record import conditions, load, put_table, save

from penumbra.promptable import PromptableSegmenter
from penumbra.promptable.everything import EverythingSettings, segment_everything
from penumbra.promptable.families import family_named
from penumbra.promptable.loading import Loaded
from penumbra.promptable.pixels import Scaling

NAME = "promptable-memory"
GRIDS = (4, 8, 16, 32)
TINY: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 64, "patch_size": 8, "window_size": 4, "global_attn_indexes": [1],
        "mlp_dim": 64, "num_pos_feats": 16,
    },
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 8},
    "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2},
}  # fmt: skip


def build(*, smoke: bool) -> PromptableSegmenter:
    """Make a model with random weights; without a configuration, transformers' is ViT-B's."""
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    model = SamModel(SamConfig(**TINY) if smoke else SamConfig()).eval()
    scaling = Scaling(int(model.config.vision_config.image_size))
    loaded = Loaded(model, family_named("sam"), scaling)
    return PromptableSegmenter(loaded, name="random", device="cpu")


def peak() -> float:
    """Give the largest resident set of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(per_side: int, *, smoke: bool) -> dict[str, Any]:
    """Run one grid; called in a process of its own."""
    torch.set_num_threads(1)
    segmenter = build(smoke=smoke)
    side = 128 if smoke else 1024
    image = np.random.default_rng(0).integers(0, 255, (side, side, 1), dtype=np.uint8)
    embedding = segmenter.embed(image)
    segmenter.predict(embedding, points=[[[5, 5]]] * 16)
    before, started = peak(), time.perf_counter()
    settings = EverythingSettings(
        points_per_side=per_side, least_iou=0, least_stability=0, most_overlap=1, most_share=1
    )
    found = segment_everything(segmenter, image, settings=settings)
    return {
        "per_side": per_side,
        "asked": found.asked,
        "regions": len(found.regions),
        "seconds": time.perf_counter() - started,
        "before_mib": before,
        "added_mib": peak() - before,
    }


def run(grids: tuple[int, ...], *, smoke: bool) -> list[dict[str, Any]]:
    rows = []
    for per_side in grids:
        command = [sys.executable, __file__, "--one", str(per_side), *(["--smoke"] * smoke)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    return rows


def table() -> str:
    found = load(NAME)
    lines = ["| grid | masks judged | regions held | seconds | peak above that of 16 prompts |",
             "| ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    lines += [
        f"| {row['per_side']} × {row['per_side']} | {3 * row['asked']:,} | {row['regions']:,} "
        f"| {row['seconds']:.0f} | {row['added_mib']:.0f} MiB |"
        for row in found["rows"]
    ]
    made = found["conditions"]
    lines += [
        "",
        f"SAM of ViT-B size with random weights, image 1024 × 1024, every mask passes; "
        f"{made['machine']}, one thread, torch {made['versions']['torch']}, {made['date']}, "
        "`benchmarks/promptable_memory.py`.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--grids", type=int, nargs="+")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, smoke=options.smoke)))
        return
    if not options.table:
        grids = options.grids or (GRIDS[:2] if options.smoke else GRIDS)
        rows = run(tuple(grids), smoke=options.smoke)
        if options.smoke:
            return
        save(NAME, {"conditions": conditions(), "rows": rows})
    put_table(NAME, table())


if __name__ == "__main__":
    main()
