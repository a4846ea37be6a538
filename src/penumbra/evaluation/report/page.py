"""Put the report together and write it: one file, no network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from penumbra.evaluation.report import areas, charts, curves, flags, presence, risk, tables
from penumbra.evaluation.report.calibrated import calibrated
from penumbra.evaluation.report.data import ReportData
from penumbra.evaluation.report.doubt import ErrorsByDoubt
from penumbra.evaluation.report.pictures import Gallery, gallery
from penumbra.evaluation.report.scores import ImageScore, image_scores, scored_rows
from penumbra.evaluation.report.words import metric
from penumbra.imaging import palette
from penumbra.pages.chart import Chart
from penumbra.pages.render import render as fill
from penumbra.pages.words import count, is_number, number, percent, spread
from penumbra.storage import write_text

_TEMPLATE = Path(__file__).parent / "template" / "report.html.j2"


@dataclass(frozen=True)
class Figure:
    """One of the three figures at the top."""

    label: str
    says: str
    value: str
    spread: str
    bar: Markup


def headline_figures(data: ReportData) -> list[Figure]:
    """Choose Dice, boundary F1 (or IoU) and ECE, as far as they were measured."""
    second = "boundary_f1" if "boundary_f1" in data.overall else "iou"
    figures = []
    for name in ("dice", second, "ece"):
        if interval := data.overall.get(name):
            known = metric(name)
            bar = curves.interval_bar(interval, better=known.better)
            mean = number(interval.get("mean"))
            figures.append(Figure(known.label, known.says, mean, spread(interval), bar))
    return figures


def sentence(data: ReportData, doubt: list[dict[str, float]]) -> str:
    """Say in one sentence what was found."""
    split = "" if data.split == "all" else data.split
    images = count(data.n_images, f"{split} image".strip())
    where = (
        images
        if data.n_groups in (0, data.n_images)
        else f"{images} from {count(data.n_groups, 'group')}"
    )
    dice = data.overall.get("dice", {}).get("mean")
    if not is_number(dice):
        return f"On {where}, no overlap could be measured."
    found = f"On {where}, masks overlap the truth with a Dice of {number(dice)}"
    if not doubt:
        return f"{found}."
    share = percent(charts.errors_found(doubt, 0.05))
    return f"{found}; the {percent(0.05)} of pixels most in doubt hold {share} of the errors."


def with_doubt(data: ReportData) -> tuple[ReportData, str]:
    """Fill in the curve of errors by doubt from the pictures where it was not measured."""
    if data.doubt:
        return data, ""
    counts, seen = ErrorsByDoubt(), set()
    for picture in data.pictures:
        if picture.truth is not None and picture.id not in seen:
            counts = counts.update(picture.prediction, picture.truth)
            seen.add(picture.id)
    return replace(
        data, doubt=counts.rows()
    ), f" (counted in {count(len(seen), 'image')} shown here)"


def _dice(data: ReportData) -> list[ImageScore]:
    """Give the Dice of each image with the doubt that ranks images."""
    scores = image_scores(data.per_image, "dice")
    if not data.image_doubt:
        return scores
    return [replace(score, doubt=data.image_doubt.get(score.id)) for score in scores]


def _charts(data: ReportData, where: str) -> dict[str, list[Chart]]:
    dice = _dice(data)
    drawn = {
        "trust": [
            charts.reliability(data.reliability, data.reliability_before),
            charts.errors_by_doubt(data.doubt, where=where),
            risk.pixels(data.pixel_risk, data.pixel_aurc),
            risk.images(dice, "Dice", doubt=data.image_doubt_name, aurc=data.image_aurc),
            *areas.charts(data.areas, data.area_level, data.area_coverage, data.area_note),
        ],
        "images": [curves.sorted_scores(dice, "Dice"), curves.groups(dice, "Dice")],
        "training": [
            curves.training(data.history, "Loss"),
            curves.training(data.history, "Dice"),
            curves.training(data.history, "NLL"),
        ],
    }
    return {name: [chart for chart in found if chart] for name, found in drawn.items()}


def _gradients() -> dict[str, str]:
    viridis = ", ".join(palette.hex_code(colour) for colour in palette.VIRIDIS[::4])
    # The bar lies on black, as the glow lies on the darkened image.
    heat = ", ".join(f"rgb({r} {g} {b} / {a:g})" for r, g, b, a in palette.HEAT)
    return {"viridis": viridis, "heat": heat}


def _legend(data: ReportData) -> list[tuple[str, str]]:
    found = [
        (palette.TRUE_POSITIVE, "found"),
        (palette.FALSE_NEGATIVE, "missed"),
        (palette.FALSE_POSITIVE, "too much"),
    ]
    if any(picture.prediction.n_classes > 2 for picture in data.pictures):
        found.append((palette.WRONG_CLASS, "another class"))
    if any(picture.truth is not None and (picture.truth == 255).any() for picture in data.pictures):
        found.append((palette.IGNORED, "not counted"))
    return [(palette.hex_code(colour), words) for colour, words in found]


def _scales(drawn: Gallery) -> str:
    """Say where the scales of the maps end, and what the most would be."""
    ends = drawn.ends
    says = f"Scales end where 99.9 % of the pixels shown do: doubt at {number(ends.doubt)} nats"
    if drawn.disagrees:
        says += f", disagreement at {number(ends.disagreement)}"
    return f"{says}. The most possible is {number(ends.most)}."


def _classes(data: ReportData) -> list[tuple[str, str]]:
    names = list(enumerate(data.class_names))[1:]
    return [(palette.hex_code(palette.class_colour(index)), name) for index, name in names]


def render(data: ReportData) -> str:
    """Give the page as text; see `write_report`."""
    data, where = with_doubt(replace(data, per_image=scored_rows(data.per_image)))
    drawn = gallery(data.pictures)
    values: dict[str, Any] = {
        "data": data,
        "sentence": sentence(data, list(map(dict, data.doubt))),
        "figures": headline_figures(data),
        "gallery": drawn,
        "scales": _scales(drawn),
        "flagged": flags.sentence(_dice(data), data.flags, "Dice"),
        "calibrated": calibrated(data.calibration),
        "charts": _charts(data, where),
        "per_class": tables.per_class(data),
        "presence": presence.table(data.presence),
        "presence_says": presence.sentence(data.presence),
        "per_image": tables.per_image(data.per_image, data.image_doubt),
        "legend": _legend(data),
        "classes": _classes(data),
        "gradients": _gradients(),
    }
    return fill(_TEMPLATE, title=data.title, **values)


def write_report(path: Path, report_data: ReportData) -> Path:
    """Write the report as one self-contained HTML file.

    The page holds its pictures, style and script, and its own policy forbids it to load anything
    else. It has a light and a dark theme and prints.

    Args:
        path: where to write, usually ``report.html`` in the evaluation's folder.
        report_data: what to report; whatever is empty is left out of the page.

    Returns:
        The path.

    Raises:
        StorageError: the file cannot be written.
    """
    path = Path(path)
    write_text(path, render(report_data))
    return path
