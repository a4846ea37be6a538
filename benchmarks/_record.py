"""What the benchmarks share: the record of a measurement and the tables in docs/results.md."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from penumbra.storage import json_ready, write_json, write_text
from penumbra.training.run import versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"


def machine() -> str:
    """Name the processor in words."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
        flags = next(line for line in lines if line.startswith("flags"))
        model += ", AVX-512 BF16" if "avx512_bf16" in flags else ""
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} cores of {model}"


def conditions() -> dict[str, Any]:
    """Give machine, versions and date."""
    return {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
    }


def save(name: str, document: dict[str, Any], *, compact: bool = False) -> None:
    """Keep a result as ``benchmarks/results/NAME.json``, on one line where it is large."""
    file = RESULTS / f"{name}.json"
    if compact:
        write_text(
            file, json.dumps(json_ready(document), separators=(",", ":"), ensure_ascii=False) + "\n"
        )
    else:
        write_json(file, document)


def load(name: str) -> dict[str, Any]:
    """Read a kept result."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def put_table(marker: str, text: str, *, page: Path = PAGE) -> None:
    """Replace what stands between the markers of `marker` on the results page."""
    begin, end = f"<!-- begin:{marker} -->", f"<!-- end:{marker} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        message = f"no markers {begin} … {end} in {page}"
        raise SystemExit(message)
    write_text(page, f"{before}{begin}\n{text.strip()}\n{end}{after}")
