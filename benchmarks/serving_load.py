"""Load on the server from a second process: beside the predictor alone, in overload, and LitServe.

    python benchmarks/serving_load.py            measure (six minutes), write docs/results.md
    python benchmarks/serving_load.py --tables   only write docs/results.md
    python benchmarks/serving_load.py --smoke    a minute, keeps nothing

One network with weights made up (they change no time), images of 256 × 256 as PNG. Four programs
take turns: the predictor called with batches of decoded images in a process of its own; Penumbra's
server; LitServe with the same predictor, decoding and run lengths; and this one, which asks. Every
answer is compared with the offline one, bit for bit. All share the machine, so that what a server
and the client need is taken from the network.

At capacity means as many clients as may wait (`--max-queue`), each asking as soon as it was
answered. Overload asks four times as many per second as were answered then, whether earlier
requests were answered or not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _http_load import Connection, Reply, Tally, closed_loop, open_loop, post_image
from _record import ROOT, conditions, load, put_table, save
from PIL import Image

from penumbra.data.phantom import phantom_sample
from penumbra.imaging.rle import encode_coco
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet

NAME = "serving_load"
IMAGES, BATCH, QUEUE = 32, 8, 16
WANTED = {"of_predictor": 0.9, "p99": 2.0, "of_litserve": 1.0}


def make_run(folder: Path, *, width: int, size: int) -> list[bytes]:
    """Write a run with a network made up, and give images as PNG."""
    torch.manual_seed(0)
    net = UNet(1, 1, width=width).train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(2, 1, 64, 64))
        net.outc.bias.fill_(0.0)  # Masks are neither empty nor full.
    preprocess = Preprocess(size=size, fit="crop", channels=1)
    details = {"preprocess": preprocess.model_dump(), "class_names": ["background", "thing"]}
    save_model(folder, net.eval(), details=details)
    files = []
    for index in range(IMAGES):
        sample = phantom_sample("ultrasound", size=size, seed=0, index=index)
        file = io.BytesIO()
        Image.fromarray(sample.image.squeeze()).save(file, "PNG")
        files.append(file.getvalue())
    return files


def decoded(file: bytes) -> np.ndarray[Any, Any]:
    """Decode a grey PNG."""
    return np.asarray(Image.open(io.BytesIO(file)))[..., None]


def predictor_alone(run: Path, files: Sequence[bytes], *, seconds: float) -> float:
    """Give images per second of the predictor called with batches of decoded images."""
    predictor, images = Predictor.load(run), [decoded(file) for file in files]
    batches = [images[first : first + BATCH] for first in range(0, len(images), BATCH)]
    predictor(batches[0])
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        done += len(predictor(batches[done // BATCH % len(batches)]))
    return done / (time.perf_counter() - began)


def alone_elsewhere(run: Path, folder: Path, *, seconds: float, threads: int) -> float:
    """The same in a process of its own, so that this one keeps out of the way."""
    command = [sys.executable, __file__, "--alone", str(run), str(folder), str(seconds)]
    done = subprocess.run(  # noqa: S603 - its own script
        command, env=environment(threads), capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def environment(threads: int) -> dict[str, str]:
    """Bound the threads of a process."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, path: str, *, threads: int) -> Iterator[None]:
    """Run a server until the block ends, once `path` answers 200."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - made here
            command, env=environment(threads), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            asyncio.run(_until_ready(process, port, path))
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
            if sys.exc_info()[0] is not None:
                log.seek(0)
                print(log.read().decode(errors="replace")[-4000:], file=sys.stderr)


async def _until_ready(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    for _ in range(600):
        if process.poll() is not None:
            break
        connection = Connection(port)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if (await connection.ask(request)).status == 200:
                connection.close()
                return
        connection.close()
        await asyncio.sleep(0.1)
    raise SystemExit(f"the server did not get ready: {process.args!r}")


def counts_of(reply: Reply) -> str:
    """Take the run lengths of the one mask out of an answer."""
    document: Any = reply.json()
    return str(document["masks"][0]["rle"]["counts"])


def offline(run: Path, files: Sequence[bytes]) -> list[str]:
    """Give the run lengths that the predictor finds for each image alone."""
    predictor = Predictor.load(run)
    masks = (predictor([decoded(file)])[0].mask for file in files)
    return [str(encode_coco(mask == 1)["counts"]) for mask in masks]


def ask(
    command: list[str], port: int, ready: str, path: str, files: Sequence[bytes],
    wanted: Sequence[str], *, seconds: float, threads: int, overload: float = 0.0,
) -> dict[str, Tally]:  # fmt: skip
    """Start a server and ask it: warm up, at capacity, and in overload where that is wanted."""
    requests = [post_image(path, file, {}, field_name="image") for file in files]

    def right(index: int, reply: Reply) -> bool:
        return counts_of(reply) == wanted[index]

    found = {}
    with serving(command, port, ready, threads=threads):
        asyncio.run(closed_loop(port, requests, right, clients=4, seconds=min(2, seconds)))
        found["capacity"] = asyncio.run(
            closed_loop(port, requests, right, clients=QUEUE, seconds=seconds)
        )
        if overload:
            rate = 4 * found["capacity"].rate
            found["overload"] = asyncio.run(
                open_loop(port, requests, right, rate=rate, seconds=overload)
            )
    return found


def measure(
    *, width: int, size: int, seconds: float, overload: float, rounds: int, litserve: bool
) -> dict[str, Any]:
    """Let predictor, server and LitServe take turns."""
    threads = min(2, os.cpu_count() or 1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        run, folder = Path(name) / "run", Path(name) / "images"
        files = make_run(run, width=width, size=size)
        folder.mkdir()
        for index, file in enumerate(files):
            (folder / f"{index:03d}.png").write_bytes(file)
        wanted = offline(run, files)
        for number in range(rounds):
            row: dict[str, Any] = {}
            row["alone"] = alone_elsewhere(run, folder, seconds=seconds, threads=threads)
            last = number == rounds - 1
            port = free_port()
            command = [
                sys.executable, "-m", "penumbra", "serve", str(run), "--port", str(port),
                "--no-ui", "--max-queue", str(QUEUE), "--max-batch", str(BATCH),
                "--threads", str(threads),
            ]  # fmt: skip
            found = ask(
                command, port, "/readyz", "/v1/segment", files, wanted,
                seconds=seconds, threads=threads, overload=overload if last else 0.0,
            )  # fmt: skip
            row |= {kind: described(tally) for kind, tally in found.items()}
            if litserve:
                port = free_port()
                script = str(ROOT / "benchmarks" / "_litserve_app.py")
                command = [sys.executable, script, str(run), str(port), str(threads)]
                found = ask(
                    command, port, "/health", "/predict", files, wanted,
                    seconds=seconds, threads=threads,
                )  # fmt: skip
                row["litserve"] = described(found["capacity"])
            print(json.dumps(row), flush=True)
            rows.append(row)
    return {"rows": rows, "width": width, "size": size, "threads": threads}


def described(tally: Tally) -> dict[str, Any]:
    """Give the numbers of a run of requests."""
    return {
        "rate": tally.rate,
        "accepted": len(tally.latencies),
        "refused": tally.refused,
        "without_retry": tally.without_retry,
        "lost": tally.lost,
        "odd": sorted(set(tally.odd)),
        "swapped": tally.swapped,
        "p50": tally.percentile(0.5),
        "p99": tally.percentile(0.99),
        "seconds": tally.seconds,
    }


def figures(found: dict[str, Any]) -> dict[str, float]:
    """Give the ratios that count: medians over the rounds, and of the last one the overload's."""
    rows = found["rows"]
    ratios = {"of_predictor": [row["capacity"]["rate"] / row["alone"] for row in rows]}
    if "litserve" in rows[0]:
        ratios["of_litserve"] = [row["capacity"]["rate"] / row["litserve"]["rate"] for row in rows]
    at_capacity = statistics.median(row["capacity"]["p99"] for row in rows)
    figures = {name: statistics.median(values) for name, values in ratios.items()}
    return figures | {"p99": rows[-1]["overload"]["p99"] / at_capacity}


def table() -> str:
    """Write the table."""
    try:
        kept = load(NAME)
    except FileNotFoundError:
        return "*Not measured yet.*"
    found, rows, over = figures(kept), kept["rows"], kept["rows"][-1]["overload"]
    served = [row["capacity"] for row in rows]
    all_served = [*served, over]
    lost = sum(one["lost"] + len(one["odd"]) for one in all_served)
    swapped = sum(one["swapped"] for one in all_served)

    def verdict(name: str) -> str:
        good = found[name] <= WANTED[name] if name == "p99" else found[name] >= WANTED[name]
        return "yes" if good else "**no**"

    def each(values: Sequence[float], places: int = 1) -> str:
        return ", ".join(f"{value:.{places}f}" for value in values)

    lines = [
        "| figure | measured | wanted | met |",
        "| --- | --- | --- | --- |",
        f"| images per second, predictor alone in batches of {BATCH}, by round "
        f"| {each([row['alone'] for row in rows])} |  |  |",
        f"| requests per second, Penumbra | {each([one['rate'] for one in served])} |  |  |",
        f"| of the predictor alone, median | {found['of_predictor']:.3f} "
        f"| ≥ {WANTED['of_predictor']} | {verdict('of_predictor')} |",
        f"| requests per second, LitServe | {each([row['litserve']['rate'] for row in rows])} "
        "|  |  |",
        f"| of LitServe, median | {found['of_litserve']:.3f} | ≥ {WANTED['of_litserve']:.0f} "
        f"| {verdict('of_litserve')} |",
        f"| p99 at capacity, {QUEUE} clients, s, by round "
        f"| {each([one['p99'] for one in served], places=3)} |  |  |",
        f"| p99 of what is accepted in overload, {over['seconds']:.0f} s, s | {over['p99']:.3f} "
        "|  |  |",
        f"| of the p99 at capacity | {found['p99']:.2f} | ≤ {WANTED['p99']:.0f} "
        f"| {verdict('p99')} |",
        f"| in overload: accepted, refused with 429 | {over['accepted']}, {over['refused']} "
        "|  |  |",
        f"| lost, or another status | {lost} | 0 | {'yes' if not lost else '**no**'} |",
        f"| answers other than the offline ones | {swapped} | 0 "
        f"| {'yes' if not swapped else '**no**'} |",
    ]
    where = kept["conditions"]
    versions = where["versions"]
    return "\n".join(lines) + (
        f"\n\n*U-Net of width {kept['width']} on {kept['size']} × {kept['size']} pixels, "
        f"{kept['threads']} threads of the network, everything on {where['machine']}, Penumbra "
        f"{versions['penumbra']}, torch {versions['torch']}, LitServe {kept['litserve']}, "
        f"{where['date']}.*"
    )


def smoke() -> None:
    """Go the whole way for some seconds; LitServe where it is installed."""
    found = measure(width=8, size=128, seconds=2, overload=3, rounds=1, litserve=False)
    over = found["rows"][0]["overload"]
    if over["lost"] or over["odd"] or over["swapped"] or not over["accepted"]:
        raise SystemExit(f"requests were lost or swapped: {over}")
    if over["without_retry"]:
        raise SystemExit("a refusal did not say when to come back")
    print({name: round(value, 2) for name, value in figures(found).items()})


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--tables", action="store_true", help="only write docs/results.md")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        run, folder, seconds = options.alone
        files = [file.read_bytes() for file in sorted(Path(folder).iterdir())]
        print(predictor_alone(Path(run), files, seconds=float(seconds)))
        return
    if options.smoke:
        smoke()
        return
    if not options.tables:
        import litserve

        found = measure(width=32, size=256, seconds=20, overload=60, rounds=3, litserve=True)
        save(NAME, {**found, "litserve": litserve.__version__, "conditions": conditions()})
    put_table(NAME, table())


if __name__ == "__main__":
    main()
