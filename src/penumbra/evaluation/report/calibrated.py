"""What was calibrated on held-out data, and what was kept over what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from penumbra.evaluation.report.charts import reliability
from penumbra.evaluation.report.words import score_in_words
from penumbra.inference.calibration import Calibration, FeatureNoise, LogitNoise, Temperature
from penumbra.pages import svg
from penumbra.pages.chart import Chart
from penumbra.pages.words import count, is_number, number, percent, spread

NO_EFFECT = 0.005
"""Mutual information over predictive entropy below which noise has no effect worth its passes."""


@dataclass(frozen=True)
class Comparison:
    """One thing that was tried against a simpler one."""

    what: str
    against: str
    metric: str
    gain: str
    spread: str
    bar: Markup
    kept: bool


@dataclass(frozen=True)
class Calibrated:
    """The section in words.

    Attributes:
        fitted: what was fitted, and how, in pairs of words.
        effects: what samples of each noise add, a sentence each.
        comparisons: what was tried, against what, and by how much it was better.
        chart: reliability on the held-out data, before and after.
    """

    fitted: tuple[tuple[str, str], ...]
    effects: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    chart: Chart | None = None


def calibrated(calibration: Calibration | None) -> Calibrated | None:
    """Put a calibration into words; ``None`` where the run was never calibrated.

    Gate values are left out on purpose: they say how the noise was set, not why a pixel is in
    doubt.
    """
    if calibration is None:
        return None
    record = calibration.record
    effects = (
        effect(record.get("mi_over_h")),
        effect(record.get("logit_mi_over_h"), noise="noise in logit space"),
    )
    return Calibrated(
        (*_fitted(calibration), *_measured(record)),
        tuple(says for says in effects if says),
        tuple(_comparison(row) for row in _rows(record, "comparisons")),
        _chart(record),
    )


def _rows(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    rows = record.get(name)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _chart(record: Mapping[str, Any]) -> Chart | None:
    """Draw reliability before and after on the held-out data, where both were recorded."""
    before, after = (_bins(record.get(f"reliability_{when}")) for when in ("before", "after"))
    names = ("stated probability", "share found")
    found = reliability(after, before, names=names) if before else None
    return None if found is None else replace(found, title="Held-out data before and after")


def _bins(table: object) -> list[dict[str, float]]:
    """Turn ``{"stated": …, "found": …, "share": …}`` over even bins in [0, 1] into rows."""
    columns = (
        [table.get(name) for name in ("stated", "found", "share")]
        if isinstance(table, Mapping)
        else []
    )
    if not columns or not all(isinstance(column, list) for column in columns):
        return []
    rows = list(zip(*columns, strict=False))
    return [
        {
            "low": k / len(rows),
            "high": (k + 1) / len(rows),
            "confidence": stated,
            "accuracy": found,
            "count": share,
        }
        for k, (stated, found, share) in enumerate(rows)
        if is_number(stated) and is_number(found) and is_number(share)
    ]


def _measured(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    images, groups = record.get("n_images"), record.get("n_groups")
    if is_number(images) and is_number(groups):
        held_out = f"{count(int(images), 'image')} of {count(int(groups), 'group')}"
        if isinstance(record.get("split"), str):
            held_out += f", split {record['split']}"
        rows.append(("Held-out data", held_out))
    for name, words in (("nll", "NLL there"), ("joint", "Joint tile NLL there")):
        before, after = record.get(f"{name}_before"), record.get(f"{name}_after")
        if is_number(before) and is_number(after):
            rows.append(
                (words, f"{number(before, digits=4)} before, {number(after, digits=4)} after")
            )
    return rows


def effect(ratio: object, *, noise: str = "noise") -> str:
    """Say what share of the doubt the passes disagree about, and plainly where that is nothing.

    Args:
        ratio: mutual information over predictive entropy, in [0, 1]; anything but a number gives
            no sentence.
        noise: what it is called.

    Examples:
        >>> effect(0.001)[:23]
        'The noise has no effect'
    """
    if not is_number(ratio):
        return ""
    share = f"{number(100 * ratio, digits=2 if ratio < NO_EFFECT else 1)}\u202f%"
    if ratio < NO_EFFECT:
        return (
            f"The {noise} has no effect: its samples disagree about {share} of the doubt (mutual "
            f"information over predictive entropy), less than {number(100 * NO_EFFECT, digits=1)}"
            "\u202f%. One pass without noise says as much."
        )
    return (
        f"The samples of the {noise} disagree about {share} of the doubt (mutual information over "
        "predictive entropy); the rest they share."
    )


def _fitted(calibration: Calibration) -> list[tuple[str, str]]:
    rows = [("Temperature", _temperature(calibration.temperature))]
    if calibration.noise is not None:
        rows.append(("Noise in features", _noise(calibration.noise)))
    if calibration.noise_temperature is not None:
        rows.append(("Temperature with noise", _temperature(calibration.noise_temperature)))
    if calibration.logit_noise is not None:
        rows.append(("Noise in logit space", _logit_noise(calibration.logit_noise)))
    if calibration.area is not None:
        area = calibration.area
        rested = count(area.n_groups, "validation group")
        rows.append(("Area intervals", f"{percent(area.level)}, resting on {rested}"))
    if calibration.flag is not None:
        flag = calibration.flag
        score = score_in_words(flag.score)
        share = percent(flag.share)
        rows.append(
            ("Flag", f"{score} above {number(flag.threshold)}, as {share} of the validation images")
        )
    rows.append(("Sampler", calibration.sampler))
    return rows


def _temperature(temperature: Temperature) -> str:
    values = ", ".join(number(value, digits=2) for value in temperature.values)
    kind = {
        "global": f"one for all: {values}",
        "class": f"one per class: {values}",
        "local": f"{values}, changed from place to place by a linear map of decoder features",
    }
    return kind[temperature.kind]


def _noise(noise: FeatureNoise) -> str:
    patterns = dict.fromkeys(
        site.pattern.name
        + ("" if site.pattern.name == "gaussian" else f" of {site.pattern.length:g} px")
        for site in noise.sites.values()
    )
    pairs = ", in antithetic pairs" if noise.antithetic else ""
    return f"{' and '.join(patterns)} at {', '.join(noise.sites)}{pairs}"


def _logit_noise(noise: LogitNoise) -> str:
    whole = sum(length == 0 for length in noise.lengths)
    fields = [f"{length:g}" for length in noise.lengths if length > 0]
    parts = [count(whole, "factor") + " for the whole image"] if whole else []
    if fields:
        parts.append(f"fields of {', '.join(fields)} px")
    return " and ".join(parts)


def _comparison(row: Mapping[str, Any]) -> Comparison:
    unit = str(row.get("unit") or "")
    gain, digits = row.get("gain"), 2 if unit == "%" else 4
    words = number(gain, digits=digits)
    if is_number(gain):
        words = f"{'+' if gain > 0 else ''}{words}" + (f"\u202f{unit}" if unit else "")
    return Comparison(
        what=str(row.get("what", "")),
        against=str(row.get("against", "")),
        metric=str(row.get("metric") or "")
        + (", not to be worse" if row.get("rule") == "not worse" else ""),
        gain=words,
        spread=spread(row, digits=digits).replace("–", " to "),
        bar=_bar(row),
        kept=bool(row.get("kept")),
    )


def _bar(row: Mapping[str, Any]) -> Markup:
    """Draw a gain and its interval beside the line of no gain."""
    gain = row.get("gain")
    if not is_number(gain):
        return Markup("")
    low, high = (float(row[k]) if is_number(row.get(k)) else float(gain) for k in ("low", "high"))
    reach = max(abs(low), abs(high), abs(float(gain))) or 1.0
    frame = svg.Frame((-reach, reach), (0, 1), 200, 20, left=6, right=6, top=0, bottom=0)
    ends = [(frame.at(low, 0)[0], 10.0), (frame.at(high, 0)[0], 10.0)]
    middle = frame.at(0, 0)[0]
    kind = "dot-mask" if row.get("kept") else "dot-ink"
    parts = [
        svg.path([(middle, 1.0), (middle, 19.0)], "axis"),
        svg.path(ends, "span"),
        svg.dot((frame.at(float(gain), 0)[0], 10.0), kind, size=4.5),
    ]
    says = f"{number(gain, digits=4)}, interval {number(low, digits=4)} to {number(high, digits=4)}"
    return svg.drawing(frame, says, *parts)
