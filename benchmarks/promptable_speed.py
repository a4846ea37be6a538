"""Seconds that a promptable model takes: to encode an image, to answer one prompt, and ten.

    python benchmarks/promptable_speed.py            measure at ViT-B size, write docs/results.md
    python benchmarks/promptable_speed.py --smoke    well under a minute, keeps nothing

Weights are random: they change no time. The encoder in bfloat16 is compared with transformers'
own in float32, on the same pixels, in turns. A prompt is a box on an image of 1024² pixels; what
is timed is all of `predict`, from the box to probabilities and entropy at the image's size. Beside
it stands the library's way from the same box to the same size. Medians count; processor time is
told too, which other work on the machine stretches less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _record import conditions, put_table, save

from penumbra.promptable.families import family_named
from penumbra.promptable.loading import Loaded
from penumbra.promptable.pixels import Scaling
from penumbra.promptable.segmenter import PromptableSegmenter

TINY: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 96, "output_channels": 64, "num_hidden_layers": 2, "window_size": 7,
        "global_attn_indexes": [1], "num_attention_heads": 4, "image_size": 256,
        "patch_size": 16, "num_pos_feats": 32, "mlp_dim": 384,
    },
    "prompt_encoder_config": {"hidden_size": 64, "image_size": 256, "patch_size": 16},
    "mask_decoder_config": {"hidden_size": 64, "mlp_dim": 128, "iou_head_hidden_dim": 64},
}  # fmt: skip
SIZES: dict[str, tuple[dict[str, Any], int]] = {"ViT-B": ({}, 1024), "tiny": (TINY, 256)}


def model_of(settings: dict[str, Any]) -> Any:
    """Build a `SamModel` with random weights of ordinary size."""
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    model = SamModel(SamConfig(**settings)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            # The library starts encoders at nearly nought, which some processors are slow with.
            if weight.ndim > 1:
                weight.normal_(std=0.02)
    return model


def segmenter_of(settings: dict[str, Any], side: int, precision: str) -> PromptableSegmenter:
    """Make a segmenter of such a model."""
    loaded = Loaded(model_of(settings), family_named("sam"), Scaling(side))
    return PromptableSegmenter(loaded, name="random", precision=precision, device="cpu")


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Do the work once; give its seconds on the clock and those of the processor."""
    clock, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - busy


def in_turns(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """Time each in turns, after one round that is not counted; medians by name."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            spent = timed(work)
            print(f"round {number}: {name} {spent[0]:.3f} s", flush=True)
            if number:
                found[name].append(spent)
    return {
        name: {
            "clock_s": statistics.median(one[0] for one in spent),
            "processor_s": statistics.median(one[1] for one in spent),
        }
        for name, spent in found.items()
    }


@torch.no_grad()
def by_library(segmenter: PromptableSegmenter, features: torch.Tensor, boxes: Any) -> Any:
    """Go the library's own way from boxes (N, 4) of the square to masks at its size."""
    given = torch.tensor(boxes, dtype=torch.float32)[None]
    found = segmenter.model(image_embeddings=features, input_boxes=given, multimask_output=False)
    side = (segmenter.size, segmenter.size)
    large = torch.nn.functional.interpolate(found.pred_masks[0], side, mode="bilinear")
    return torch.sigmoid(large)


def measure(size: str, *, encodes: int, prompts: int) -> dict[str, Any]:
    """Time encoders, then prompts."""
    settings, side = SIZES[size]
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    ours, theirs = (segmenter_of(settings, side, what) for what in ("bfloat16", "float32"))
    pixels, _ = theirs.scaling.pixels(image)

    def library() -> Any:
        return theirs.model.get_image_embeddings(pixels)

    encoders = in_turns(
        {"transformers, float32": library, "Penumbra, bfloat16": lambda: ours.embed(image)},
        encodes,
    )
    embedding = ours.embed(image)
    low = rng.uniform(0, side / 2, (10, 2))
    boxes = np.concatenate([low, low + rng.uniform(side / 8, side / 2, (10, 2))], axis=1)
    answers = in_turns(
        {
            "Penumbra, 1 prompt": lambda: ours.predict(embedding, boxes=boxes[:1]),
            "Penumbra, 10 prompts": lambda: ours.predict(embedding, boxes=boxes),
            "transformers, 1 prompt": lambda: by_library(ours, embedding.features, boxes[:1]),
            "transformers, 10 prompts": lambda: by_library(ours, embedding.features, boxes),
        },
        prompts,
    )
    return {
        "size": size,
        "side": side,
        "encoders": encoders,
        "prompts": answers,
        "conditions": conditions(),
    }


def table(document: dict[str, Any]) -> str:
    """Write the tables for docs/results.md."""
    encoders, prompts = document["encoders"], document["prompts"]
    where = document["conditions"]

    def met(*, holds: bool) -> str:
        return "yes" if holds else "**no**"

    first = encoders["transformers, float32"]
    lines = ["| encoder | s | times as fast | by processor time | wanted | met |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, spent in encoders.items():
        faster = first["clock_s"] / spent["clock_s"]
        busy = first["processor_s"] / spent["processor_s"]
        wanted = f"≥ 1.7 | {met(holds=faster >= 1.7)}" if "bfloat16" in name else " | "
        lines.append(f"| {name} | {spent['clock_s']:.2f} | {faster:.2f} | {busy:.2f} | {wanted} |")
    lines += ["", "| prompts after embedding | ms | processor ms | wanted | met |",
              "| --- | --- | --- | --- | --- |"]  # fmt: skip
    one = prompts["Penumbra, 1 prompt"]["clock_s"]
    wishes = {
        "Penumbra, 1 prompt": ("≤ 120 ms", one <= 0.12),
        "Penumbra, 10 prompts": (
            f"≤ 3 × one ({3e3 * one:.0f} ms)",
            prompts["Penumbra, 10 prompts"]["clock_s"] <= 3 * one,
        ),
    }
    for name, spent in prompts.items():
        wanted, holds = wishes.get(name, ("", None))
        lines.append(
            f"| {name} | {1e3 * spent['clock_s']:.0f} | {1e3 * spent['processor_s']:.0f} | "
            f"{wanted} | {'' if holds is None else met(holds=holds)} |"
        )
    ten = prompts["Penumbra, 10 prompts"]["clock_s"]
    library = prompts["transformers, 1 prompt"]["clock_s"]
    lines += [
        "",
        f"*A SAM of {document['size']} size at {document['side']}², random weights, one image of "
        f"that size; ten prompts take {ten / one:.1f} times one prompt of ours and "
        f"{ten / library:.1f} times one of transformers. {where['threads']} threads, "
        f"{where['machine']}, torch {where['versions']['torch']}, {where['date']}.*",
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--encodes", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=15)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.smoke:
        print(table(measure("tiny", encodes=1, prompts=2)))
        return
    document = measure("ViT-B", encodes=options.encodes, prompts=options.prompts)
    save("promptable_speed", document)
    put_table("promptable-speed", table(document))
    print(table(document))


if __name__ == "__main__":
    main()
