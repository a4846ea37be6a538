"""What an audit costs: beside decoding alone, and against other ways to find duplicates.

    python benchmarks/audit.py                  frames and 20,000 images, a few minutes
    python benchmarks/audit.py --only thumbnails --images 100000    half an hour, 8 GB of disk
    python benchmarks/audit.py --tables         write docs/results.md from what is kept
    python benchmarks/audit.py --smoke          under a minute, keeps nothing

Frames: the whole audit, report included, of the ultrasound frames in PENUMBRA_REAL_DATA, and the
same files decoded by the same threads and nothing else. Images: generated, 64×64, every twentieth
with a copy under noise of σ = 3; they are brought to 256×256 like all images. A loop over pairs as
difPy has it is measured on a few hundred images and scaled to all pairs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _peers import hashed, imagededup, looped
from _record import ROOT, conditions, load, put_table, save

from penumbra.audit.audit import audit
from penumbra.audit.pairs import find_pairs
from penumbra.audit.scan import Scan, scan
from penumbra.data.layouts.opening import open_source
from penumbra.data.source import Source

DATA = Path(os.environ.get("PENUMBRA_REAL_DATA", ROOT.parent / "shared" / "data"))
SIGMA = 3.0
EVERY = 20
MILLION = 1_000_000


def clock(work: Any) -> tuple[float, float, Any]:
    """Give seconds of the wall clock and of the processor, and what `work` gave."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def decode_only(source: Source, workers: int) -> None:
    """Decode every image and mask, keep nothing."""
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda index: source[index] and None, range(len(source))):
            pass


def frames(workers: int, rounds: int) -> dict[str, Any]:
    """Time decoding and auditing in turns; the best round of each counts."""
    source = open_source(f"nerve:{DATA / 'nerve'}")
    audit(source.subset(range(64)), workers=workers)  # imports, and files in the cache
    decode_only(source, workers)
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            steps = {
                "decode": lambda: decode_only(source, workers),
                "scan": lambda: scan(source, workers=workers),
                "audit": lambda out=out: audit(source, out=out, workers=workers),
            }
            for name, work in steps.items():
                wall, cpu, result = clock(work)
                best[name] = min(best.get(name, (wall, cpu)), (wall, cpu))
            wall, cpu, _ = clock(lambda out=out, result=result: result.write(out))
            best["report"] = min(best.get("report", (wall, cpu)), (wall, cpu))
    return {
        "images": len(source),
        "pairs": len(result.pairs),
        "workers": workers,
        "rounds": rounds,
        "seconds": {name: wall for name, (wall, _) in best.items()},
        "processor_seconds": {name: cpu for name, (_, cpu) in best.items()},
        "ratio": best["audit"][0] / best["decode"][0],
        "processor_ratio": best["audit"][1] / best["decode"][1],
        "conditions": conditions(),
    }


def generate(folder: Path, count: int) -> set[tuple[str, str]]:
    """Write `count` images; give the ids of the planted pairs."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    planted, originals = set(), count - count // (EVERY + 1)
    number = 0
    for original in range(originals):
        image = np.full((64, 64), 128.0)
        for side in (2, 4, 8, 16, 32):
            image += cv2.resize(rng.normal(0, 22, (side, side)), (64, 64), interpolation=0)
        write(folder, number, image)
        number += 1
        if original % EVERY == 0 and number < count:
            write(folder, number, np.clip(np.rint(image), 0, 255) + rng.normal(0, SIGMA, (64, 64)))
            planted.add((f"{number - 1:07d}", f"{number:07d}"))
            number += 1
    return planted


def write(folder: Path, number: int, image: np.ndarray) -> None:
    grey = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    cv2.imwrite(str(folder / "images" / f"{number:07d}.png"), grey, fast)


def first_of(scanned: Scan, count: int, folder: Path) -> Scan:
    """Give the scan of the first images alone, with a folder of its own."""
    source = scanned.source.subset(range(count))
    smaller = replace(scanned, source=source, samples=scanned.samples[:count], folder=folder)
    return replace(smaller, _places=scanned._places[:count])  # noqa: SLF001


def search(scanned: Scan, grid: Any) -> dict[str, Any]:
    """Time one search over all pairs, and its memory in a second one."""
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu, pairs = clock(
            lambda: find_pairs(replace(scanned, folder=Path(folder)), grid=grid)
        )
    with tempfile.TemporaryDirectory() as folder:
        tracemalloc.start()
        find_pairs(replace(scanned, folder=Path(folder)), grid=grid)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    count = len(scanned)
    return {
        "images": count,
        "grid": pairs.grid,
        "seconds": wall,
        "processor_seconds": cpu,
        "peak_bytes": peak,
        "nanoseconds_per_pair": 1e9 * wall / (count * (count - 1) / 2),
        "found": len(pairs),
        "ids": {
            (scanned.samples[a].id, scanned.samples[b].id)
            for a, b in zip(pairs.a, pairs.b, strict=True)
        },
    }


def thumbnails(
    count: int, workers: int, sample: int, installed: Path | None = None
) -> dict[str, Any]:
    """Plant, scan, search, and do the same in other ways."""
    folder = Path(tempfile.mkdtemp(prefix="audit-benchmark-"))
    try:
        planted = generate(folder / "data", count)
        source = open_source(f"folder:{folder / 'data'}")
        paths = [record.image for record in source.records]
        scan_wall, scan_cpu, scanned = clock(
            lambda: scan(source, state=folder / "state", workers=workers)
        )
        sizes = sorted({count // 8, count // 4, count // 2, count})
        rows = []
        for size in sizes:
            part = first_of(scanned, size, folder / "part")
            names = {record.id for record in part.source.records}
            wanted = {pair for pair in planted if set(pair) <= names}
            for grid in (32, 8):
                row = search(part, grid)
                found = row.pop("ids")
                rows.append({**row, "missed": len(wanted - found), "false": len(found - wanted)})
        hash_wall, hash_cpu, near = clock(lambda: hashed(paths, workers))
        named = {(source.records[a].id, source.records[b].id) for a, b in near}
        other = peer(folder / "data" / "images", installed, workers, planted)
        read, compare = looped(paths[:sample])
        state = sum(file.stat().st_size for file in (folder / "state").rglob("*") if file.is_file())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "images": count,
        "planted": len(planted),
        "workers": workers,
        "scan_seconds": scan_wall,
        "scan_processor_seconds": scan_cpu,
        "state_bytes_per_image": state / count,
        "rows": rows,
        "phash": {
            "seconds": hash_wall,
            "processor_seconds": hash_cpu,
            "found": len(named),
            "missed": len(planted - named),
            "false": len(named - planted),
        },
        "imagededup": other,
        "loop": {
            "sample": min(sample, count),
            "seconds": read * count + compare * count * (count - 1) / 2,
            "nanoseconds_per_pair": 1e9 * compare,
        },
        "conditions": conditions(),
    }


def peer(
    images: Path, installed: Path | None, workers: int, planted: set[tuple[str, str]]
) -> dict[str, Any] | None:
    """Measure imagededup itself, where it is installed."""
    if installed is None:
        return None
    wall, cpu, pairs = imagededup(images, installed, workers)
    return {
        "seconds": wall,
        "processor_seconds": cpu,
        "found": len(pairs),
        "missed": len(planted - pairs),
        "false": len(pairs - planted),
        "version": next(installed.glob("imagededup-*.dist-info")).name.split("-")[1].split(".d")[0],
    }


def frames_table(document: dict[str, Any]) -> str:
    words = {
        "decode": "decode only", "scan": "scan", "audit": "whole audit",
        "report": "report, `findings.json` and `pairs.parquet`",
    }  # fmt: skip
    lines = ["| step | s | processor s |", "| --- | ---: | ---: |"]
    for name, seconds in document["seconds"].items():
        lines.append(
            f"| {words[name]} | {seconds:.2f} | {document['processor_seconds'][name]:.2f} |"
        )
    busy, clock_of = document["processor_seconds"], document["seconds"]
    whole = (busy["audit"] + busy["report"]) / busy["decode"]
    met = "met" if whole <= 1.6 else "**not met**"
    return "\n".join(
        [
            *lines,
            "",
            f"With its report the audit takes **{whole:.2f} ×** the processor time of decoding "
            f"(wanted ≤ 1.6: {met}), without it {document['processor_ratio']:.2f} ×; by the clock "
            f"{(clock_of['audit'] + clock_of['report']) / clock_of['decode']:.2f} × and "
            f"{document['ratio']:.2f} ×. Processor time is what counts here, since a machine "
            f"shared with other work stretches the clock at random.",
            "",
            f"*{document['images']:,} frames with masks, {document['pairs']} pairs, "
            f"{document['workers']} threads, best of {document['rounds']}. {where(document)}*",
        ]
    )


def where(document: dict[str, Any]) -> str:
    known = document["conditions"]
    return f"{known['machine']}, torch {known['versions']['torch']}, {known['date']}."


def thumbnails_table(document: dict[str, Any]) -> str:
    lines = [
        "| way | images | s | processor s | ns a pair | peak MB | found | missed | false |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in document["rows"]:
        level = "32×32 histogram" if row["grid"] == 32 else "8×8 histogram"
        lines.append(
            f"| exact search, {level} | {row['images']:,} | {row['seconds']:.1f} | "
            f"{row['processor_seconds']:.1f} | {row['nanoseconds_per_pair']:.1f} | "
            f"{row['peak_bytes'] / 1e6:.0f} | {row['found']} | "
            f"{row['missed']} | {row['false']} |"
        )
    count, loop = document["images"], document["loop"]
    peers = {"PHash (ours), ≤ 10 bits": document["phash"]}
    if real := document.get("imagededup"):
        peers[f"PHash of imagededup {real['version']}, ≤ 10 bits"] = real
    last = {row["grid"]: row for row in document["rows"] if row["images"] == count}
    quick = last[8]["seconds"] + document["scan_seconds"]
    busy = last[8]["processor_seconds"] + document["scan_processor_seconds"]
    lines += [
        f"| *files to pairs:* scan and search | {count:,} | {quick:.1f} | {busy:.1f} | | | "
        f"{last[8]['found']} | {last[8]['missed']} | {last[8]['false']} |",
        *(
            f"| *files to pairs:* {name} | {count:,} | {other['seconds']:.1f} | "
            f"{other['processor_seconds']:.1f} | | | "
            f"{other['found']} | {other['missed']} | {other['false']} |"
            for name, other in peers.items()
        ),
        f"| *files to pairs:* loop over pairs, scaled | {count:,} | {loop['seconds']:,.0f} | | "
        f"{loop['nanoseconds_per_pair']:,.0f} | | | | |",
        "",
        f"The loop was timed on {loop['sample']} images, all pairs of them, and scaled; scan and "
        f"search are **{loop['seconds'] / quick:.0f} ×** faster by the clock (wanted ≥ 10). "
        f"{beside(peers, quick, busy)}A scan keeps "
        f"{document['state_bytes_per_image'] / 1e3:.0f} kB an image on disk.",
        "",
        plan(document, last[8]),
        "",
        f"*{document['planted']} planted pairs, σ = {SIGMA:g}; {document['workers']} threads; "
        f"{where(document)}*",
    ]
    return "\n".join(lines)


def beside(peers: dict[str, dict[str, Any]], clock_of: float, busy: float) -> str:
    """Say how long scan and search take beside each hash."""
    return "".join(
        f"Beside {name} they take **{clock_of / other['seconds']:.2f} ×** the time by the clock "
        f"and {busy / other['processor_seconds']:.2f} × the processor time. "
        for name, other in peers.items()
    )


def plan(document: dict[str, Any], row: dict[str, Any]) -> str:
    """Work out a million images from what was measured."""
    scanning = document["scan_processor_seconds"] / document["images"] * MILLION / 3600
    pairs = MILLION * (MILLION - 1) / 2
    measured = row["images"] * (row["images"] - 1) / 2
    comparing = row["processor_seconds"] / measured * pairs / 3600
    rows = -(-MILLION // 2048)
    return (
        f"On paper, a million images: {scanning:.1f} processor hours to scan images of this size, "
        f"{document['state_bytes_per_image'] * MILLION / 1e9:.0f} GB of state, and "
        f"{comparing:.1f} processor hours for {pairs:.1e} pairs at "
        f"{1e9 * row['processor_seconds'] / measured:.0f} ns in {rows} rows of blocks. Rows need "
        f"nothing of each other, so W processors take a W-th of both."
    )


def tables() -> None:
    for marker, write_table in (
        ("audit-frames", frames_table),
        ("audit-thumbnails", thumbnails_table),
        ("audit-thumbnails-100000", thumbnails_table),
    ):
        try:
            put_table(marker, write_table(load(marker)))
        except FileNotFoundError:
            print(f"{marker}: not measured yet")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--only", choices=("frames", "thumbnails"))
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--imagededup", type=Path, help="folder it is installed in; see _peers.py")
    options = parser.parse_args()
    if options.smoke:
        print(thumbnails_table(thumbnails(480, options.workers, 60)))
        return
    if not options.tables and options.only != "thumbnails":
        save("audit-frames", frames(options.workers, options.rounds))
    if not options.tables and options.only != "frames":
        name = "audit-thumbnails" + ("" if options.images == 20_000 else f"-{options.images}")
        document = thumbnails(options.images, options.workers, 400, options.imagededup)
        save(name, document)
        print(thumbnails_table(document))
    tables()


if __name__ == "__main__":
    main()
