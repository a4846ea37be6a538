"""The tables of a study of prompts as Markdown, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penumbra.pages.words import NOTHING, count, is_number, number
from penumbra.studies.prompts.wording import Table, caution, kind_in_words, tables_of


def markdown(results: Mapping[str, Any], *, metric: str = "dice", level: int = 2) -> str:
    """Write all tables of one metric.

    Args:
        results: as `results_of` gives them.
        metric: which.
        level: of the headings.

    Returns:
        A section for each kind of prompt: the values, what filters do, what tuning buys, and how
        the model stands against rules that need no network.
    """
    parts = [preamble(results)]
    for kind in results["kinds"]:
        tables = tables_of(results, kind, metric=metric)
        if tables:
            parts.append(f"{'#' * level} {kind_in_words(kind)}")
        for table in tables:
            parts += [f"{table.title}", written(table)]
    return "\n\n".join(parts) + "\n"


def preamble(results: Mapping[str, Any]) -> str:
    """Say how the figures came about."""
    warned = caution(results)
    marked = (
        f"**{warned}**"
        if warned
        else (
            "Differences are **bold** where their interval excludes zero. They are not corrected "
            "for their number: of 20 differences that are nothing, one is bold by chance."
        )
    )
    return (
        f"{results['done']} of {results['cells']} cells; {count(results['images'], 'image')} of "
        f"{count(results['groups'], 'group')} that no tuning has seen. Intervals are 95 %, from "
        f"{results['resamples']} resamples of groups, after averaging over seeds; differences are "
        f"paired by image. {marked}"
    )


def written(table: Table) -> str:
    """Write one table."""
    lines = [
        "| " + " | ".join(table.columns) + " |",
        "| --- |" + " ---: |" * (len(table.columns) - 1),
    ]
    for name, cells in table.rows:
        figures = (_figure(cell, table) for cell in cells)
        lines.append("| " + " | ".join([name, *figures]) + " |")
    return "\n".join(lines)


def _figure(value: Mapping[str, Any] | None, table: Table) -> str:
    if value is None or not is_number(value.get("mean")):
        return NOTHING
    text = number(value["mean"])
    if table.differences and value["mean"] > 0:
        text = f"+{text}"
    low, high = value.get("low"), value.get("high")
    if not (is_number(low) and is_number(high)):
        return text
    if table.marks(value):
        text = f"**{text}**"
    return f"{text} ({number(low)} to {number(high)})"
