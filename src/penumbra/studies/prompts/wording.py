"""What a study of prompts says, in words and tables, before it is Markdown or a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from penumbra.evaluation.bootstrap import FEW_GROUPS
from penumbra.pages.words import count, is_number, number, spread

Figure = Mapping[str, Any] | None


@dataclass(frozen=True)
class Table:
    """One table of figures with intervals.

    Attributes:
        title: a sentence.
        columns: their headings, the first of the rows' names.
        rows: name, and one figure per further column; ``None`` where there is none.
        differences: whether the figures are differences, whose sign counts.
        decides: whether the groups suffice to mark a difference whose interval excludes zero.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Figure, ...]], ...]
    differences: bool = False
    decides: bool = True

    def marks(self, figure: Figure) -> bool:
        """Tell whether a figure is a difference that these groups tell from zero."""
        if figure is None or not (self.differences and self.decides):
            return False
        low, high = figure.get("low"), figure.get("high")
        return is_number(low) and is_number(high) and not low <= 0 <= high


def decides(results: Mapping[str, Any]) -> bool:
    """Tell whether there are groups enough for a verdict: `FEW_GROUPS`, 5, or more."""
    return int(results["groups"]) >= FEW_GROUPS


def caution(results: Mapping[str, Any]) -> str:
    """Warn of intervals over few groups; empty where there are enough.

    Examples:
        >>> caution({"groups": 2})
        'Intervals over 2 groups say little, so no difference is marked and no verdict is given.'
        >>> caution({"groups": 5})
        ''
    """
    if decides(results):
        return ""
    groups = count(results["groups"], "group")
    return (
        f"Intervals over {groups} say little, so no difference is marked and no verdict is given."
    )


def kind_in_words(kind: str) -> str:
    """Name a kind of prompt.

    Examples:
        >>> [kind_in_words(kind) for kind in ("box", "jittered-box", "point1", "point3")]
        ['A box', 'A jittered box', '1 point', '3 points']
    """
    if kind.startswith("point"):
        return count(int(kind.removeprefix("point")), "point")
    return {"box": "A box", "jittered-box": "A jittered box"}[kind]


def tables_of(results: Mapping[str, Any], kind: str, *, metric: str = "dice") -> list[Table]:
    """Lay out the tables of one kind of prompt; those without a figure are left out.

    Args:
        results: as `results_of` gives them.
        kind: of prompt.
        metric: which.
    """
    by_key = {(r["method"], r["filter"]): r for r in results["rows"] if r["kind"] == kind}
    methods = [name for name in results["tunings"] if any(m == name for m, _ in by_key)]
    if not methods:
        return []
    made = [_values(results, by_key, methods, metric)]
    base = results["base_filter"]
    others = [name for name in results["filters"] if name != base]
    made.append(
        Table(
            f"What a filter changes: difference from `{base}`, same tuning.",
            ("filter", *methods),
            _rows(by_key, others, methods, ("filter", metric)),
            differences=True,
        )
    )
    tuned = [name for name in methods if results["tunings"][name] != "none"]
    made.append(
        Table(
            f"What tuning buys: difference from `{results['base_tuning']}`, same filter.",
            ("filter", *tuned),
            _rows(by_key, list(results["filters"]), tuned, ("tuning", metric)),
            differences=True,
        )
    )
    made.append(_against_rules(results, by_key, methods, metric))
    return [
        replace(table, decides=decides(results))
        for table in made
        if any(f for _, cells in table.rows for f in cells)
    ]


def _values(
    results: Mapping[str, Any], by_key: Mapping[Any, Any], methods: Sequence[str], metric: str
) -> Table:
    rules = {
        rule: found
        for key, rule in results["rules"].items()
        if (found := _metric(by_key.get((key, None)), metric)) is not None
    }
    own = (None,) if rules else ()
    name = {"dice": "Dice", "iou": "IoU", "union_dice": "Dice of all objects together"}
    rows = [
        (
            each,
            (*(_metric(by_key.get((method, each)), metric) for method in methods), *own),
        )
        for each in results["filters"]
    ]
    # A column of their own: under a tuning it would look as if the model had scored so.
    rows += [(f"*{rule}*", (*(None for _ in methods), found)) for rule, found in rules.items()]
    return Table(
        f"{name.get(metric, metric)}, mean over images of the mean over their objects.",
        ("filter", *methods, *(("no network",) if rules else ())),
        tuple(row for row in rows if any(row[1])),
    )


def _metric(row: Mapping[str, Any] | None, metric: str) -> Figure:
    return None if row is None else row["metrics"].get(metric)


def _rows(
    by_key: Mapping[Any, Any],
    filters: Sequence[str],
    methods: Sequence[str],
    where: tuple[str, str],
) -> tuple[tuple[str, tuple[Figure, ...]], ...]:
    against, metric = where
    rows = []
    for each in filters:
        found = [by_key.get((method, each)) for method in methods]
        cells = tuple(
            None if row is None else row["against"].get(against, {}).get(metric) for row in found
        )
        if any(cells):
            rows.append((each, cells))
    return tuple(rows)


def _against_rules(
    results: Mapping[str, Any], by_key: Mapping[Any, Any], methods: Sequence[str], metric: str
) -> Table:
    base = results["base_filter"]
    rows = []
    for method in methods:
        row = by_key.get((method, base))
        if row is not None:
            cells = tuple(row["against"].get(rule, {}).get(metric) for rule in results["rules"])
            rows.append((method, cells))
    return Table(
        f"Against rules that need no network, filter `{base}`: difference from each.",
        ("tuning", *results["rules"].values()),
        tuple(rows),
        differences=True,
    )


def best_row(results: Mapping[str, Any], method: str, kind: str) -> Mapping[str, Any] | None:
    """Give the row of a method without a filter, or ``None``."""
    return next(
        (
            row
            for row in results["rows"]
            if (row["method"], row["filter"], row["kind"]) == (method, results["base_filter"], kind)
        ),
        None,
    )


def sentence(results: Mapping[str, Any]) -> str:
    """Say in one sentence what was found, of the first kind of prompt and without a filter."""
    kind = results["kinds"][0]
    base = results["base_tuning"]
    start = None if base is None else best_row(results, base, kind)
    if start is None:
        return f"{results['done']} of {results['cells']} cells are there."
    asked = kind_in_words(kind).lower()
    text = (
        f"Prompted by {asked}, the model as it came reaches a Dice of "
        f"{number(start['metrics']['dice']['mean'])} on images held out"
    )
    gains = [
        (name, row["against"]["tuning"]["dice"])
        for name, mode in results["tunings"].items()
        if mode != "none" and (row := best_row(results, name, kind)) is not None
        if "dice" in row["against"].get("tuning", {})
    ]
    if not gains:
        return f"{text}."
    name, gain = max(gains, key=lambda pair: float(pair[1]["mean"]))
    return f"{text}; tuning ({name}) {_verdict(gain, decides=decides(results))}."


def _verdict(gain: Mapping[str, Any], *, decides: bool) -> str:
    mean = number(abs(gain["mean"]))
    known = is_number(gain.get("low")) and is_number(gain.get("high"))
    if not (known and decides):
        return f"changes it by {'+' if gain['mean'] > 0 else '−'}{mean}" + (
            ", over too few groups for a verdict" if known else ""
        )
    between = f"({spread(gain).replace('–', ' to ')})"
    if gain["low"] > 0:
        return f"adds {mean} {between}"
    if gain["high"] < 0:
        return f"costs {mean} {between}"
    return f"makes no difference that these groups could show {between}"


def filters_that_help(results: Mapping[str, Any]) -> str:
    """Count the filters whose interval lies above or below zero, over tunings and kinds.

    Empty where nothing can be counted, or the groups are too few to.
    """
    if not decides(results):
        return ""
    found = [row["against"]["filter"].get("dice") for row in results["rows"]
             if "filter" in row["against"]]  # fmt: skip
    known = [f for f in found if f and is_number(f["low"]) and is_number(f["high"])]
    if not known:
        return ""
    better = sum(f["low"] > 0 for f in known)
    worse = sum(f["high"] < 0 for f in known)
    return (
        f"Of {count(len(known), 'comparison')} with a filter against none, {better} came out "
        f"better, {worse} worse, and {len(known) - better - worse} undecided."
    )
