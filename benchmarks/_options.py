"""The command line that benchmarks which train, test and write a table have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from _record import put_table


def run_benchmark(
    description: str,
    *,
    name: str,
    holds: str,
    measure: Callable[..., None],
    table: Callable[[], str],
    smoke: Callable[[], None],
    seeds: Sequence[int] = (0,),
    minutes: float,
    threads: int = 2,
    models: Sequence[str] = (),
) -> None:
    """Read the command line and do what it says: measure and write the table, or one of them.

    Args:
        description: the docstring of the benchmark, whose first line is shown.
        name: of the markers in docs/results.md.
        holds: what the folder of ``--out`` holds.
        measure: called with the folder and the keywords seeds, minutes and threads; with models
            too, where there are some.
        table: gives the table of what is kept.
        smoke: goes the whole way on little, and keeps nothing.
        seeds: which seeds are measured by default; ``--seeds 1 2`` means the seeds 1 and 2.
        minutes: of each training, by default.
        threads: of each training, by default.
        models: of which ``--models`` chooses; all by default.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, help=f"folder of {holds}")
    if models:
        parser.add_argument("--models", nargs="*", default=list(models), choices=list(models))
    parser.add_argument("--seeds", type=int, nargs="*", default=list(seeds), metavar="SEED",
                        help="the seeds themselves, not how many")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--tables", action="store_true", help="only write docs/results.md")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.smoke:
        smoke()
        return
    if not options.tables:
        if options.out is None:
            parser.error(f"--out says where {holds} lie")
        chosen: dict[str, Any] = {"models": options.models} if models else {}
        measure(
            options.out, seeds=options.seeds, minutes=options.minutes, threads=options.threads,
            **chosen,
        )  # fmt: skip
    put_table(name, table())
