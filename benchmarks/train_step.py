"""Images per second of one training step and one inference at 256×256, beside plain float32.

    python benchmarks/train_step.py            measure and write docs/results.md
    python benchmarks/train_step.py --smoke    a few seconds, keeps nothing

The plain loop is what a first version would be: the same network in float32 with torch's default
memory layout. Ours is what `penumbra train` and `penumbra predict` do on this machine. Both are
measured in turns in one process; the median of the rounds counts. GFLOP are multiply–adds times
two of the convolutions; a training step counts three times the forward pass. For scale stands a
matrix product of 2048³ in each precision.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _record import conditions, put_table, save
from torch import Tensor, nn

from penumbra.inference.backend import Engine, choose_precision
from penumbra.models.unet.unet import UNet
from penumbra.training.losses import make_loss

SIZE = 256
BATCH = 8


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def gflop(model: nn.Module, size: int) -> float:
    """Count the forward pass of one image: 2 × multiply–adds of all convolutions."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # A convolution meets each weight once per output pixel, a transposed one per input pixel.
        at = output if isinstance(module, nn.Conv2d) else inputs[0]
        nonlocal total
        total += 2 * module.weight.numel() * at.shape[-1] * at.shape[-2]

    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        model(torch.zeros(1, 1, size, size))
    for hook in hooks:
        hook.remove()
    return total / 1e9


def training_steps(width: int, size: int, precision: str) -> tuple[Callable[[], object], ...]:
    """Give one step of the plain loop and one of ours."""
    loss = make_loss("dice_ce")
    mask = (torch.rand(BATCH, size, size) > 0.5).long()

    def make(*, ours: bool) -> Callable[[], None]:
        model = UNet(1, 1, width=width).train()
        x = torch.randn(BATCH, 1, size, size)
        if ours:
            model = model.to(memory_format=torch.channels_last)
            x = x.contiguous(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=ours and precision == "bf16"):
                logits = model(x)
            optimizer.zero_grad()
            loss(logits.float(), mask).backward()
            optimizer.step()

        return step

    return make(ours=False), make(ours=True)


def inference_calls(width: int, size: int) -> tuple[Callable[[], object], ...]:
    """Give one inference of the plain loop and one of ours, both of one image."""
    model = UNet(1, 1, width=width).eval()
    engine = Engine.of(model, device="cpu")
    x = torch.randn(1, 1, size, size)

    @torch.inference_mode()
    def plain() -> Tensor:
        return model(x)

    return plain, lambda: engine.logits(x)


def in_turns(calls: tuple[Callable[[], object], ...], rounds: int) -> list[float]:
    """Time the calls in turns, so that a slow moment of the machine hits both."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for kept, call in zip(times, calls, strict=True):
            kept.append(seconds(call))
    return [statistics.median(kept) for kept in times]


def matrix_product(dtype: torch.dtype, rounds: int, size: int) -> float:
    """Measure GFLOP/s of a square matrix product."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / 1e9 / in_turns((lambda: a @ b,), rounds)[0]


def measure(*, widths: list[int], size: int, rounds: int, product: int) -> dict[str, Any]:
    """Measure everything."""
    precision = choose_precision("auto", torch.device("cpu"))
    rows = []
    for width in widths:
        work = gflop(UNet(1, 1, width=width), size)
        plain, ours = in_turns(training_steps(width, size, precision), rounds)
        rows.append(_row("training step", width, BATCH, 3 * work * BATCH, plain, ours))
        plain, ours = in_turns(inference_calls(width, size), 4 * rounds)
        rows.append(_row("inference", width, 1, work, plain, ours))
        print(*rows[-2:], sep="\n", flush=True)
    return {
        "rows": rows,
        "precision": precision,
        "product": {
            "fp32": matrix_product(torch.float32, 2 * rounds, product),
            "bf16": matrix_product(torch.bfloat16, 2 * rounds, product),
        },
        "conditions": conditions(),
    }


def _row(
    what: str, width: int, images: int, work: float, plain: float, ours: float
) -> dict[str, Any]:
    return {
        "what": what,
        "width": width,
        "plain_images_per_s": images / plain,
        "ours_images_per_s": images / ours,
        "speedup": plain / ours,
        "plain_gflops": work / plain,
        "ours_gflops": work / ours,
    }


def table(document: dict[str, Any]) -> str:
    """Write the table for docs/results.md."""
    lines = [
        "| what | width | plain float32, images/s | Penumbra, images/s | times | wanted | met "
        "| GFLOP/s plain | GFLOP/s Penumbra |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in document["rows"]:
        wanted = 1.7 if row["what"] == "training step" else 1.9
        met = "yes" if row["speedup"] >= wanted else "**no**"
        lines.append(
            f"| {row['what']} | {row['width']} | {row['plain_images_per_s']:.2f} "
            f"| {row['ours_images_per_s']:.2f} | **{row['speedup']:.2f}** | ≥ {wanted} | {met} "
            f"| {row['plain_gflops']:.0f} | {row['ours_gflops']:.0f} |"
        )
    where, product = document["conditions"], document["product"]
    lines += [
        "",
        f"*A matrix product of 2048³ reaches {product['fp32']:.0f} GFLOP/s in float32 and "
        f"{product['bf16']:.0f} in bfloat16. Penumbra in {document['precision']}, "
        f"{where['threads']} threads, {where['machine']}, torch {where['versions']['torch']}, "
        f"{where['date']}.*",
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    if options.smoke:
        print(table(measure(widths=[4], size=64, rounds=1, product=256)))
        return
    document = measure(widths=[32, 64], size=SIZE, rounds=options.rounds, product=2048)
    save("train_step", document)
    put_table("speed", table(document))


if __name__ == "__main__":
    main()
