"""How numbers and metrics are worded on the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

NOTHING = "–"
"""Stands where a number is undefined."""


@dataclass(frozen=True)
class Metric:
    """How a metric is called, which way is better, and what it says."""

    label: str
    better: str
    says: str


METRICS: dict[str, Metric] = {
    "dice": Metric("Dice", "higher", "overlap: 2·TP / (2·TP + FP + FN)"),
    "iou": Metric("IoU", "higher", "overlap: TP / (TP + FP + FN)"),
    "boundary_f1": Metric("Boundary F1", "higher", "share of the boundary that agrees"),
    "hd95": Metric("HD95 px", "lower", "95th percentile of the boundary distance, in pixels"),
    "hd95_mm": Metric("HD95 mm", "lower", "95th percentile of the boundary distance, in mm"),
    "precision": Metric("Precision", "higher", "share of the mask that is true"),
    "recall": Metric("Recall", "higher", "share of the truth that was found"),
    "specificity": Metric("Specificity", "higher", "share of the ground left free"),
    "pixel_accuracy": Metric("Accuracy", "higher", "share of pixels with the right class"),
    "accuracy": Metric("Accuracy", "higher", "share of pixels with the right class"),
    "ece": Metric("ECE", "lower", "mean gap between confidence and accuracy"),
    "brier": Metric("Brier", "lower", "mean squared error of the probabilities"),
    "nll": Metric("NLL", "lower", "mean negative log-likelihood, in nats"),
    "mean_entropy": Metric("Doubt", "", "mean entropy over the image, in nats"),
    "dice_pooled": Metric("Dice pooled", "higher", "Dice of all pixels counted together"),
    "iou_pooled": Metric("IoU pooled", "higher", "IoU of all pixels counted together"),
    "area_truth": Metric("True area", "", "pixels of the class in the truth"),
    "area_predicted": Metric("Mask area", "", "pixels of the class in the mask"),
}


def metric(name: str) -> Metric:
    """Give the wording of a metric; an unknown one is called by its name.

    Examples:
        >>> metric("hd95").label, metric("warp_error").label
        ('HD95 px', 'Warp error')
    """
    known = METRICS.get(name)
    return known or Metric(name.replace("_", " ").capitalize(), "", "")


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number.

    Examples:
        >>> is_number(0.5), is_number(float("nan")), is_number(None), is_number("0.5")
        (True, False, False, False)
    """
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))


def number(value: object) -> str:
    """Word a number with about three digits that matter; – where there is none.

    Examples:
        >>> number(0.91234), number(12.345), number(345.6), number(12), number(float("nan"))
        ('0.912', '12.3', '346', '12', '–')
    """
    if not is_number(value):
        return NOTHING
    if isinstance(value, (int, np.integer)):
        return f"{value:,}".replace(",", " ")
    size = abs(float(value))
    digits = 3 if size < 10 else 1 if size < 100 else 0
    return f"{float(value):.{digits}f}".replace("-", "−")


def percent(share: float) -> str:
    """Word a share as a percentage.

    Examples:
        >>> percent(0.714), percent(0.004), percent(1.0)
        ('71 %', '0.4 %', '100 %')
    """
    scaled = 100 * share
    return f"{scaled:.1f} %" if 0 < scaled < 1 else f"{scaled:.0f} %"


def spread(interval: Mapping[str, Any] | None) -> str:
    """Word an interval; empty where it is undefined.

    Examples:
        >>> spread({"mean": 0.9, "low": 0.88, "high": 0.93}), spread({"mean": 0.9})
        ('0.880 – 0.930', '')
    """
    low, high = (interval or {}).get("low"), (interval or {}).get("high")
    if not (is_number(low) and is_number(high)):
        return ""
    return f"{number(low)} – {number(high)}"


def count(amount: int, noun: str) -> str:
    """Word an amount of things.

    Examples:
        >>> count(1, "image"), count(2300, "image"), count(2, "class")
        ('1 image', '2 300 images', '2 classes')
    """
    ending = "" if amount == 1 else "es" if noun.endswith("s") else "s"
    return f"{number(int(amount))} {noun}{ending}"
