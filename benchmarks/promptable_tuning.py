"""Images per second of tuning a promptable model's decoder: on kept embeddings, and encoding anew.

    python benchmarks/promptable_tuning.py            measure at ViT-B size, write docs/results.md
    python benchmarks/promptable_tuning.py --smoke    well under a minute, keeps nothing

One model, one set of images, one process, the steps of `penumbra train --model sam:NAME`, in
turns; the median of the rounds counts, of processor time as well, which other work on the machine
does not stretch. Both ways compute the same losses of the same prompts and change the same
weights, those of the mask decoder. Weights are random: they change no time. The
encoder runs as it does when images are embedded, in bfloat16 where the machine has it. With
`--encoders` LoRA and tuning of all weights stand beside it: they have to encode in every step, and
take some 20 GB at this size.

What the cache costs is told too: the seconds in which each image is encoded once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from _record import conditions, put_table, save

from penumbra.data.layouts import open_source
from penumbra.data.phantom import make_phantom
from penumbra.inference.backend import has_fast_bf16
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.families import family_named
from penumbra.promptable.loading import Loaded
from penumbra.promptable.pixels import Scaling
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.promptable.tuning.examples import Batch, ExampleSet, collated, prepared
from penumbra.promptable.tuning.parts import select_parts
from penumbra.promptable.tuning.settings import TuneSettings, TuneTrainingSettings
from penumbra.promptable.tuning.step import TuningModule
from penumbra.training.batches import CropKey

WANTED = 20.0
_ANEW = "decoder, encoding in every step"
SIZES: dict[str, dict[str, Any]] = {
    "ViT-B": {},
    "tiny": {
        "vision_config": {
            "hidden_size": 192, "output_channels": 64, "num_hidden_layers": 4,
            "global_attn_indexes": [1, 3], "num_attention_heads": 4, "image_size": 256,
            "patch_size": 16, "window_size": 7,
            "num_pos_feats": 32, "mlp_dim": 768,
        },
        "prompt_encoder_config": {"hidden_size": 64, "image_size": 256, "patch_size": 16},
        "mask_decoder_config": {
            "hidden_size": 64, "mlp_dim": 128, "num_attention_heads": 4, "iou_head_hidden_dim": 64
        },
    },
}  # fmt: skip


@dataclass
class Way:
    """One way to tune, ready to take steps."""

    name: str
    module: TuningModule
    examples: ExampleSet
    optimizer: torch.optim.Optimizer
    autocast: bool
    steps: int = 0

    def step(self, batch_size: int) -> tuple[float, float]:
        """Take one step; gives the seconds on the clock and those of the processor."""
        keys = [
            CropKey((self.steps * batch_size + i) % len(self.examples), self.steps * 7 + i)
            for i in range(batch_size)
        ]
        self.steps += 1
        started, busy = time.perf_counter(), time.process_time()
        batch: Batch = collated([self.examples[key] for key in keys])
        if batch.pixels is not None and self.module.settings.mode == "decoder":
            with torch.no_grad():
                features, extra = self.module.answering.features(batch)
            batch = replace(batch, features=features, extra=extra, pixels=None)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss = self.module.training_step(batch, 0)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return time.perf_counter() - started, time.process_time() - busy


def build(size: str, *, precision: str) -> PromptableSegmenter:
    """Make a model with random weights."""
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    model = SamModel(SamConfig(**SIZES[size])).eval()
    side = int(model.config.vision_config.image_size)
    loaded = Loaded(model, family_named("sam"), Scaling(side))
    return PromptableSegmenter(loaded, name=size, precision=precision, device="cpu")


def way(name: str, mode: str, size: str, folder: Path, *, kept: bool) -> tuple[Way, float]:
    """Prepare one way; gives it and the seconds in which its images were prepared or encoded."""
    settings = TuneSettings.model_validate({"mode": mode})
    segmenter = build(size, precision="auto" if mode == "decoder" else "float32")
    select_parts(segmenter.model, settings)
    training = TuneTrainingSettings()
    module = TuningModule(segmenter, settings=settings, training=training)
    module.set_modes()
    cache = EmbeddingCache() if kept else None
    source = open_source(f"folder:{folder}")
    started = time.perf_counter()
    examples, _ = prepared(source, segmenter, cache=cache, settings=settings)
    seconds = time.perf_counter() - started
    # As `tune` does with ``training.precision: auto``.
    autocast = has_fast_bf16(torch.device("cpu"))
    return Way(name, module, examples, module.configure_optimizers(), autocast), seconds


def measure(size: str, *, images: int, rounds: int, cheap: int, encoders: bool) -> dict[str, Any]:
    """Measure every way in turns.

    Args:
        size: of the model.
        images: in the set.
        rounds: how often each way takes a step.
        cheap: steps on kept embeddings per round, since one alone is short.
        encoders: measure LoRA and tuning of all weights too, which take much memory.
    """
    batch = TuneTrainingSettings().batch_size
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "set"
        make_phantom(folder, count=images, size=256, seed=0, kinds=("xray",))
        kept, encoding = way("decoder, embeddings kept", "decoder", size, folder, kept=True)
        ways = [kept]
        modes = [(_ANEW, "decoder")]
        modes += [("LoRA", "lora"), ("all weights", "full")] if encoders else []
        ways += [way(name, mode, size, folder, kept=False)[0] for name, mode in modes]
        times: dict[str, list[tuple[float, float]]] = {one.name: [] for one in ways}
        for one in ways:
            one.step(batch)
        for number in range(rounds):
            for one in ways:
                for _ in range(cheap if one is kept else 1):
                    times[one.name].append(one.step(batch))
                print(f"round {number + 1}: {one.name} {times[one.name][-1][0]:.2f} s", flush=True)
        count = len(kept.examples)
    clock, busy = (
        {name: batch / statistics.median(one[i] for one in found) for name, found in times.items()}
        for i in (0, 1)
    )
    return {
        "size": size,
        "side": kept.module.answering.segmenter.size,
        "encoder_precision": kept.module.answering.segmenter.precision,
        "batch": batch,
        "prompts_per_image": kept.module.settings.prompts,
        "images": count,
        "encode_once_s_per_image": encoding / count,
        "images_per_s": clock,
        "images_per_processor_s": busy,
        "seconds": times,
        "ratio": clock[kept.name] / clock[_ANEW],
        "ratio_by_processor": busy[kept.name] / busy[_ANEW],
        "conditions": conditions(),
    }


def table(document: dict[str, Any]) -> str:
    """Write the table for docs/results.md."""
    rates, where = document["images_per_s"], document["conditions"]
    first, busy = rates[_ANEW], document["images_per_processor_s"]
    met = "yes" if document["ratio"] >= WANTED else "**no**"
    lines = [
        "| what is tuned | images/s | times | by processor time | wanted | met |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, rate in rates.items():
        wanted = f"≥ {WANTED:.0f} | {met}" if "kept" in name else "| "
        processor = busy[name] / busy[_ANEW]
        lines.append(f"| {name} | {rate:.3g} | {rate / first:.2f} | {processor:.2f} | {wanted} |")
    lines += [
        "",
        f"*A SAM of {document['size']} size at {document['side']}², random weights; batches of "
        f"{document['batch']} images with {document['prompts_per_image']} prompts each. To encode "
        f"an image once takes {document['encode_once_s_per_image']:.2f} s (encoder in "
        f"{document['encoder_precision']}). {where['threads']} threads, {where['machine']}, torch "
        f"{where['versions']['torch']}, {where['date']}.*",
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--encoders", action="store_true", help="LoRA and all weights too; takes some 20 GB"
    )
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.smoke:
        print(table(measure("tiny", images=2, rounds=1, cheap=2, encoders=True)))
        return
    document = measure("ViT-B", images=8, rounds=options.rounds, cheap=4, encoders=options.encoders)
    save("promptable_tuning", document)
    put_table("promptable-tuning", table(document))
    print(table(document))


if __name__ == "__main__":
    main()
