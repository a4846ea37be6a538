"""Load on the server from a second process: beside the predictor alone, in overload, and LitServe.

    python benchmarks/serving_load.py            measure (seven minutes), write docs/results.md
    python benchmarks/serving_load.py --tables   only write docs/results.md
    python benchmarks/serving_load.py --smoke    a minute, keeps nothing

One network with weights made up (they change no time), images of 256 × 256 as PNG. Three programs
are ready all the time and take turns of a few seconds, the order turning with every round: the
predictor called with batches of decoded images; Penumbra's server; LitServe with the same
predictor, decoding and run lengths. Who has no turn is stopped (SIGSTOP), since idle workers may
poll. Rates are compared within a round. Every answer is compared with the offline one, bit for bit.
All share the machine, so that what a server and the client need is taken from the network.

At capacity means as many clients as may wait (`--max-queue`), each asking as soon as it was
answered. Overload asks four times as many per second as were answered just before, whether earlier
requests were answered or not; the p99 at capacity is that of requests just before and just after.
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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _http_load import Connection, Reply, Tally, closed_loop, open_loop, post_image
from _record import ROOT, conditions, load, put_table, save
from PIL import Image

from penumbra.data.phantom import phantom_sample
from penumbra.evaluation.bootstrap import bootstrap
from penumbra.imaging.rle import encode_coco
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet
from penumbra.pages.words import count

NAME = "serving_load"
IMAGES, BATCH, QUEUE = 32, 8, 16
WANTED = {"alone": 0.9, "p99": 2.0, "litserve": 1.0}


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


def predict_on_order(run: Path, folder: Path) -> None:
    """Read seconds from stdin, line by line; print images per second of the predictor alone."""
    predictor = Predictor.load(run)
    images = [decoded(file.read_bytes()) for file in sorted(folder.iterdir())]
    batches = [images[first : first + BATCH] for first in range(0, len(images), BATCH)]
    predictor(batches[0])
    print("ready", flush=True)
    for line in sys.stdin:
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < float(line):
            done += len(predictor(batches[done // BATCH % len(batches)]))
        print(done / (time.perf_counter() - began), flush=True)


class Alone:
    """The predictor in a process of its own, so that this one keeps out of the way."""

    def __init__(self, run: Path, folder: Path, *, threads: int) -> None:
        command = [sys.executable, __file__, "--alone", str(run), str(folder)]
        self._process = subprocess.Popen(  # noqa: S603 - its own script
            command, env=environment(threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self._answer()

    def rate(self, seconds: float) -> float:
        """Give images per second."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise SystemExit("the predictor alone ended")
        return line

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)


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
def serving(command: Sequence[str], port: int, path: str, *, threads: int) -> Iterator[int]:
    """Run a server until the block ends, once `path` answers 200; stopped, give its group's id."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - made here
            command, env=environment(threads), stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            asyncio.run(_until_ready(process, port, path))
            os.killpg(process.pid, signal.SIGSTOP)
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            # Whoever of its children is left would take its share of the machine for ever.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if sys.exc_info()[0] is not None:
                log.seek(0)
                print(log.read().decode(errors="replace")[-4000:], file=sys.stderr)


@contextlib.contextmanager
def awake(group: int) -> Iterator[None]:
    """Let the processes of a group run for as long as the block lasts."""
    os.killpg(group, signal.SIGCONT)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGSTOP)


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


class Target:
    """A server and what is asked of it."""

    def __init__(
        self, group: int, port: int, path: str, files: Sequence[bytes], wanted: Sequence[str]
    ) -> None:
        self.group, self.port, self._wanted = group, port, wanted
        self._requests = [post_image(path, file, {}, field_name="image") for file in files]

    def _right(self, index: int, reply: Reply) -> bool:
        return counts_of(reply) == self._wanted[index]

    def at_capacity(self, seconds: float) -> Tally:
        """Let as many clients ask as may wait."""
        with awake(self.group):
            return asyncio.run(
                closed_loop(self.port, self._requests, self._right, clients=QUEUE, seconds=seconds)
            )

    def in_overload(self, rate: float, seconds: float) -> Tally:
        """Ask so many times per second."""
        with awake(self.group):
            return asyncio.run(
                open_loop(self.port, self._requests, self._right, rate=rate, seconds=seconds)
            )


def measure(
    *, width: int, size: int, seconds: float, overload: float, rounds: int, litserve: bool
) -> dict[str, Any]:
    """Let predictor, server and LitServe take turns; then overload the server."""
    threads = min(2, os.cpu_count() or 1)
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        run, folder = Path(name) / "run", Path(name) / "images"
        files = make_run(run, width=width, size=size)
        folder.mkdir()
        for index, file in enumerate(files):
            (folder / f"{index:03d}.png").write_bytes(file)
        wanted = offline(run, files)
        alone = Alone(run, folder, threads=threads)
        stack.callback(alone.close)
        port, other = free_port(), free_port()
        command = [
            sys.executable, "-m", "penumbra", "serve", str(run), "--port", str(port), "--no-ui",
            "--max-queue", str(QUEUE), "--max-batch", str(BATCH), "--threads", str(threads),
        ]  # fmt: skip
        group = stack.enter_context(serving(command, port, "/readyz", threads=threads))
        server = Target(group, port, "/v1/segment", files, wanted)
        turns = {
            "alone": lambda: alone.rate(seconds),
            "capacity": lambda: described(server.at_capacity(seconds)),
        }
        if litserve:
            script = str(ROOT / "benchmarks" / "_litserve_app.py")
            command = [sys.executable, script, str(run), str(other), str(threads)]
            group = stack.enter_context(serving(command, other, "/health", threads=threads))
            beside = Target(group, other, "/predict", files, wanted)
            turns["litserve"] = lambda: described(beside.at_capacity(seconds))
        rows = list(take_turns(turns, rounds))
        before = server.at_capacity(overload / 3)
        over = server.in_overload(4 * before.rate, overload)
        after = server.at_capacity(overload / 3)
    around = Tally(latencies=before.latencies + after.latencies)
    return {
        "rows": rows, "width": width, "size": size, "threads": threads,
        "overload": described(over),
        "around": [described(before), described(after)], "p99_around": around.percentile(0.99),
    }  # fmt: skip


def take_turns(turns: dict[str, Callable[[], Any]], rounds: int) -> Iterator[dict[str, Any]]:
    """Let each have its turn in every round; who begins changes. The first round warms up."""
    names = list(turns)
    for number in range(rounds + 1):
        begin = number % len(names)
        row = {name: turns[name]() for name in names[begin:] + names[:begin]}
        print(json.dumps(row), flush=True)
        if number:
            yield row


def described(tally: Tally) -> dict[str, Any]:
    """Give the numbers of a run of requests."""
    return {
        "rate": tally.rate,
        "accepted": len(tally.latencies),
        "refused": tally.refused,
        "without_retry": tally.without_retry,
        "lost": tally.lost + tally.unaccounted,
        "odd": sorted(set(tally.odd)),
        "swapped": tally.swapped,
        "p50": tally.percentile(0.5),
        "p99": tally.percentile(0.99),
        "seconds": tally.seconds,
    }


def ratios(found: dict[str, Any], name: str) -> list[float]:
    """Give the server's rate over that of another, by round."""
    others = [row[name] if name == "alone" else row[name]["rate"] for row in found["rows"]]
    return [row["capacity"]["rate"] / o for row, o in zip(found["rows"], others, strict=True)]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Give the mean over rounds with its 95 % interval, by resampling rounds."""
    drawn = np.asarray(values)
    mean, low, high = bootstrap(lambda w: (w @ drawn) / w.sum(axis=-1), n_groups=len(drawn))
    return float(mean), float(low), float(high)


def table() -> str:
    """Write the table."""
    try:
        kept = load(NAME)
    except FileNotFoundError:
        return "*Not measured yet.*"
    rows, over = kept["rows"], kept["overload"]
    served = [*(row["capacity"] for row in rows), *kept["around"], over]
    lost = sum(one["lost"] + len(one["odd"]) for one in served)
    swapped = sum(one["swapped"] for one in served)
    lines = ["| figure | measured | wanted | met |", "| --- | --- | --- | --- |"]
    rates = {name: [row[name]["rate"] for row in rows] for name in ("capacity", "litserve")}
    rates["alone"] = [row["alone"] for row in rows]
    named = {"alone": f"images per second, predictor alone in batches of {BATCH}",
             "capacity": "requests per second, Penumbra",
             "litserve": "requests per second, LitServe"}  # fmt: skip
    for name, words in named.items():
        span = f"{np.mean(rates[name]):.1f} ({min(rates[name]):.1f} to {max(rates[name]):.1f})"
        lines.append(f"| {words}, mean (least to most) over the rounds | {span} |  |  |")
    for name, words in (("alone", "of the predictor alone"), ("litserve", "of LitServe")):
        mean, low, high = interval(ratios(kept, name))
        met = "yes" if mean >= WANTED[name] else "**no**"
        lines.append(
            f"| {words}, within a round, mean (95 %) | {mean:.3f} ({low:.3f} to {high:.3f}) "
            f"| ≥ {WANTED[name]:g} | {met} |"
        )
    ratio = over["p99"] / kept["p99_around"]
    refused = f"{over['accepted']}, {over['refused']}, {over['without_retry']}"
    lines += [
        f"| p99 at capacity, {QUEUE} clients, just before and after, s "
        f"| {kept['p99_around']:.3f} |  |  |",
        f"| p99 of what is accepted in overload of {over['seconds']:.0f} s, s "
        f"| {over['p99']:.3f} |  |  |",
        f"| the one over the other | {ratio:.2f} | ≤ {WANTED['p99']:g} "
        f"| {'yes' if ratio <= WANTED['p99'] else '**no**'} |",
        f"| in overload: accepted, refused with 429, of these without Retry-After | {refused} "
        "|  |  |",
        f"| lost, or another status | {lost} | 0 | {'yes' if not lost else '**no**'} |",
        f"| answers other than the offline ones | {swapped} | 0 "
        f"| {'yes' if not swapped else '**no**'} |",
    ]
    where = kept["conditions"]
    versions = where["versions"]
    return "\n".join(lines) + (
        f"\n\n*{len(rows)} rounds; U-Net of width {kept['width']} on {kept['size']} × "
        f"{kept['size']} pixels, {count(kept['threads'], 'thread')} of the network, everything on "
        f"{where['machine']}, Penumbra {versions['penumbra']}, torch {versions['torch']}, LitServe "
        f"{kept['litserve']}, {where['date']}.*"
    )


def smoke() -> None:
    """Go the whole way for some seconds, without LitServe."""
    found = measure(width=8, size=128, seconds=1, overload=3, rounds=1, litserve=False)
    over = found["overload"]
    if over["lost"] or over["odd"] or over["swapped"] or not over["accepted"]:
        raise SystemExit(f"requests were lost or swapped: {over}")
    if over["without_retry"]:
        raise SystemExit("a refusal did not say when to come back")
    print({"of the predictor alone": round(ratios(found, "alone")[0], 2)})


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--tables", action="store_true", help="only write docs/results.md")
    parser.add_argument("--alone", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        predict_on_order(*options.alone)
        return
    if options.smoke:
        smoke()
        return
    if not options.tables:
        import litserve

        found = measure(width=32, size=256, seconds=5, overload=60, rounds=8, litserve=True)
        save(NAME, {**found, "litserve": litserve.__version__, "conditions": conditions()})
    put_table(NAME, table())


if __name__ == "__main__":
    main()
