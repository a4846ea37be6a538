"""The page of a study of prompts: one file, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penumbra.imaging import palette
from penumbra.pages import tables as pages
from penumbra.pages.panels import Panel, panel
from penumbra.pages.render import render
from penumbra.pages.words import NOTHING, count, is_number, number, spread
from penumbra.storage import write_text
from penumbra.studies.prompts.pictures import read_picture
from penumbra.studies.prompts.places import NO_FILTER, PromptCell, PromptStudy
from penumbra.studies.prompts.wording import (
    Figure,
    Table,
    best_row,
    caution,
    filters_that_help,
    kind_in_words,
    sentence,
    tables_of,
)
from penumbra.training.run import versions

_TEMPLATE = Path(__file__).parent / "template" / "prompts.html.j2"


@dataclass(frozen=True)
class Headline:
    """One of the figures at the top."""

    label: str
    value: str
    spread: str


@dataclass(frozen=True)
class Shown:
    """One picture, by the name that its enlargement bears."""

    id: str
    panel: Panel | None


@dataclass(frozen=True)
class Section:
    """One kind of prompt: its tables, a picture per filter and tuning, and one per rule."""

    kind: str
    title: str
    tables: tuple[tuple[str, pages.Table], ...]
    methods: tuple[str, ...]
    pictures: tuple[tuple[str, str, tuple[Shown, ...]], ...]
    rules: tuple[tuple[str, Shown], ...]


def write_prompt_report(
    study: PromptStudy, results: Mapping[str, Any], *, command: str = "", created: str = ""
) -> Path:
    """Write `report.html` into the study's folder.

    The page holds its pictures, style and script, and loads nothing.

    Args:
        study: whose pictures are shown.
        results: as `results_of` gives them.
        command: what was typed.
        created: when.

    Raises:
        StorageError: the file cannot be written.
    """
    path = study.out / "report.html"
    sections = [_section(study, results, kind) for kind in results["kinds"]]
    page = render(
        _TEMPLATE,
        title="Study of prompts",
        results=results,
        sentence=sentence(results),
        caution=caution(results),
        filters_says=filters_that_help(results),
        headlines=_headlines(results),
        facts=_facts(results),
        sections=[section for section in sections if section.tables],
        legend=[
            (palette.hex_code(palette.TRUE_POSITIVE), "found"),
            (palette.hex_code(palette.FALSE_NEGATIVE), "missed"),
            (palette.hex_code(palette.FALSE_POSITIVE), "too much"),
        ],
        command=command,
        created=created,
        versions=versions(),
    )
    write_text(path, page)
    return path


def _headlines(results: Mapping[str, Any]) -> list[Headline]:
    kind = results["kinds"][0]
    found = []
    for name in results["tunings"]:
        row = best_row(results, name, kind)
        if row is not None:
            value = row["metrics"]["dice"]
            found.append(Headline(f"{name}, Dice", number(value["mean"]), spread(value)))
    return found[:4]


def _facts(results: Mapping[str, Any]) -> list[str]:
    what = results["source"] + (f", {results['target']}" if results["target"] else "")
    return [
        f"model {results['model']}",
        what,
        f"{count(results['images'], 'image')} of {count(results['groups'], 'group')} held out",
        f"{results['done']} of {results['cells']} cells",
    ]


def _section(study: PromptStudy, results: Mapping[str, Any], kind: str) -> Section:
    rows = {(r["method"], r["filter"]): r for r in results["rows"] if r["kind"] == kind}
    methods = tuple(name for name in results["tunings"] if any(m == name for m, _ in rows))
    made = tuple((table.title, page_table(table)) for table in tables_of(results, kind))
    pictures = []
    for name, label in results["filters"].items():
        shown = tuple(_shown(study, rows.get((method, name)), kind) for method in methods)
        if any(one.panel for one in shown):
            pictures.append((name, label if label != name else "", shown))
    rules = tuple(
        (name, drawn)
        for rule, name in results["rules"].items()
        if (drawn := _shown(study, rows.get((rule, None)), kind)).panel is not None
    )
    return Section(kind, kind_in_words(kind), made, methods, tuple(pictures), rules)


def _shown(study: PromptStudy, row: Mapping[str, Any] | None, kind: str) -> Shown:
    if row is None:
        return Shown("", None)
    cell = PromptCell(row["method"], row["filter"] or NO_FILTER, kind, row["seeds"][0])
    picture = read_picture(study.picture(cell))
    name = f"{cell.method}, {row['filter'] or 'no filter'}, {kind_in_words(kind).lower()}"
    mean = f"mean Dice {number(row['metrics']['dice']['mean'])}"
    return Shown(name, None if picture is None else panel("answer", mean, picture))


def page_table(table: Table) -> pages.Table:
    """Lay out a table for the page, with a • at each difference that the groups suffice for."""
    columns = (
        pages.Column(table.columns[0], numeric=False),
        *(pages.Column(name) for name in table.columns[1:]),
    )
    rows = tuple(
        (
            pages.Cell(name.strip("*"), name),
            *(_cell(figure, table) for figure in cells),
        )
        for name, cells in table.rows
    )
    return pages.Table(columns, rows, len(rows))


def _cell(figure: Figure, table: Table) -> pages.Cell:
    if figure is None or not is_number(figure.get("mean")):
        return pages.Cell(NOTHING)
    mean = figure["mean"]
    text = number(mean)
    signed = table.differences
    if signed and mean > 0:
        text = f"+{text}"
    if table.marks(figure):
        text += " •"
    below = spread(figure).replace("–", " to ") if signed else spread(figure)
    return pages.Cell(text, repr(float(mean)), below=below)
