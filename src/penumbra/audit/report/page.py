"""Put the report of an audit together and write it: one file, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penumbra.audit.report import charts, tables
from penumbra.audit.report.pictures import draw_conflicts, mean_mask
from penumbra.data.sample import Finding
from penumbra.imaging import palette
from penumbra.pages.chart import Chart
from penumbra.pages.render import render
from penumbra.pages.words import count, number, percent
from penumbra.storage import write_text
from penumbra.version import __version__

if TYPE_CHECKING:
    from penumbra.audit.audit import Audit

_TEMPLATE = Path(__file__).parent / "template" / "audit.html.j2"
_ELSEWHERE = frozenset(
    {
        *("conflicting-masks", "one-empty-mask", "one-missing-mask"),
        "label-error",
        *("duplicate-bytes", "duplicate-pixels", "near-duplicate", "leak", "two-groups"),
    }
)
"""Kinds of findings that have a section of their own."""
MOST_FINDINGS = 200


@dataclass(frozen=True)
class Figure:
    """One of the figures at the top."""

    label: str
    value: str
    says: str


def sentence(found: Audit) -> str:
    """Say in one sentence what matters most."""
    images = count(len(found.scan), "image")
    differ = sum(pair.kind in ("differ", "one-empty") for pair in found.conflicts)
    n_pairs = len(found.pairs.a)
    if not n_pairs:
        return f"Among {images} no two are alike."
    pairs = count(n_pairs, "pair")
    said = f"Among {images}, {pairs} {'is' if n_pairs == 1 else 'are'} alike"
    if not any(pair.disagreement for pair in found.compared):
        return f"{said}."
    if not differ:
        return f"{said}, and their masks agree."
    return f"{said}; in {number(differ)} of them the masks disagree."


def figures(found: Audit) -> list[Figure]:
    """Choose the figures at the top: what is alike, what disagrees, what leaks, what is broken."""
    levels = Counter(group.level for group in found.groups)
    kinds = Counter(pair.kind for pair in found.conflicts)
    crossing = Counter(leak.level for leak in found.leaks if leak.between == "splits")
    errors = Counter(finding.severity for finding in found.findings)
    shown = [
        Figure(
            "Groups of equal files",
            number(levels["bytes"]),
            f"{number(levels['pixels'])} more by pixels, {number(levels['near'])} near",
        ),
        Figure(
            "Pairs with conflicting masks",
            number(kinds["differ"] + kinds["one-empty"]),
            f"{number(kinds['one-empty'])} of them with one mask empty",
        ),
    ]
    if any(found.splits):
        near = f"and {count(crossing['near'], 'group')} of near duplicates"
        equal = crossing["bytes"] + crossing["pixels"]
        shown.append(Figure("Equal images across splits", number(equal), near))
    noted = f"{count(errors['warning'], 'warning')}, {count(errors['note'], 'note')}"
    return [*shown, Figure("Errors", number(errors["error"]), noted)]


def _facts(found: Audit, created: str) -> list[str]:
    settings = found.settings
    search = [f"near: RMS under {settings['threshold']:g} of 255 at 256×256"]
    if settings["turns"]:
        search.append("under flips and quarter turns")
    if settings["shifts"]:
        search.append(f"moved by up to {settings['shifts']} px")
    return [fact for fact in (found.source_name, ", ".join(search), created) if fact]


def _others(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.kind not in _ELSEWHERE]


def _charts(*drawn: Chart | None) -> list[Chart]:
    return [chart for chart in drawn if chart is not None]


def _legend() -> list[tuple[str, str]]:
    return [
        (palette.hex_code(palette.TRUE_POSITIVE), "in both masks"),
        (palette.hex_code(palette.FALSE_NEGATIVE), "only in the first"),
        (palette.hex_code(palette.FALSE_POSITIVE), "only in the second"),
    ]


def _repeat(found: Audit, created: str) -> list[tuple[str, str]]:
    whole: Mapping[str, str] = {
        "Source": found.source_name,
        "Images": number(len(found.scan)),
        "Threshold": f"{found.settings['threshold']:g} of 255",
        "Turns": "yes" if found.settings["turns"] else "no",
        "Shifts": number(found.settings["shifts"]),
        "Penumbra": __version__,
        "Made": created,
    }
    return [(name, value) for name, value in whole.items() if value]


def page(found: Audit, *, command: str = "", created: str = "") -> str:
    """Give the page as text; see `write_report`."""
    others = _others(found.findings)
    conflicts, missing = draw_conflicts(found)
    whole = found.balance.whole
    values: dict[str, Any] = {
        "sentence": sentence(found),
        "facts": _facts(found, created),
        "figures": figures(found),
        "conflicts": conflicts,
        "not_drawn": missing,
        "legend": _legend(),
        "n_conflicts": sum(pair.kind != "one-missing" for pair in found.conflicts),
        "all_conflicts": tables.conflicts(found),
        "duplicates": tables.duplicates(found),
        "leaks": tables.leaks(found),
        "labels": tables.labels(found),
        "differences": _charts(
            charts.differences(found.pairs, found.settings["threshold"]),
            charts.agreement(found.compared, found.settings["threshold"]),
        ),
        "balance": _charts(charts.sizes(found.balance)),
        "splits": tables.splits(found.balance),
        "classes": tables.classes(found.balance),
        "groups": tables.groups(found.balance),
        "mean_mask": mean_mask(found.balance),
        "empty": percent(whole.empty_share) if whole.masks else "",
        "others": others[:MOST_FINDINGS],
        "n_others": len(others),
        "repeat": _repeat(found, created),
        "command": command,
        "gradients": {
            "viridis": ", ".join(palette.hex_code(colour) for colour in palette.VIRIDIS[::4])
        },
    }
    return render(_TEMPLATE, title=f"Audit of {found.scan.source.root.name}", **values)


def write_report(path: Path, found: Audit, *, command: str = "", created: str = "") -> Path:
    """Write the report of an audit as one self-contained HTML file.

    Conflicts come first, side by side; then duplicates and leaks, the histogram of all differences,
    the balance of the set, and everything else that was found. Pictures are read again from the
    source; one that is gone meanwhile is left out.

    Args:
        path: where to write.
        found: the audit.
        command: what to type to repeat it.
        created: when it was made.

    Returns:
        The path.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, page(found, command=command, created=created))
    return path
