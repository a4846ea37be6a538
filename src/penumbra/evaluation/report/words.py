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
    """How a metric is called, which way is better, what it says, and its decimals."""

    label: str
    better: str
    says: str
    digits: int = 3


METRICS: dict[str, Metric] = {
    "dice": Metric("Dice", "higher", "overlap: 2·TP / (2·TP + FP + FN)"),
    "iou": Metric("IoU", "higher", "overlap: TP / (TP + FP + FN)"),
    "boundary_f1": Metric("Boundary F1", "higher", "share of the boundary that agrees"),
    "hd95": Metric("HD95 px", "lower", "95th percentile of the boundary distance in pixels", 1),
    "hd95_mm": Metric("HD95 mm", "lower", "95th percentile of the boundary distance in mm", 2),
    "precision": Metric("Precision", "higher", "share of the mask that is true"),
    "recall": Metric("Recall", "higher", "share of the truth that was found"),
    "specificity": Metric("Specificity", "higher", "share of the ground left free"),
    "pixel_accuracy": Metric("Accuracy", "higher", "share of pixels with the right class"),
    "accuracy": Metric("Accuracy", "higher", "share of pixels with the right class"),
    "ece": Metric("ECE", "lower", "mean gap between confidence and accuracy"),
    "brier": Metric("Brier", "lower", "mean squared error of the probabilities"),
    "nll": Metric("NLL", "lower", "mean negative log-likelihood, in nats"),
    "mean_entropy": Metric("Doubt", "", "mean entropy over the image, in nats"),
    "ace": Metric("ACE", "lower", "as ECE, in bins of as many pixels each"),
    "mce": Metric("MCE", "lower", "largest gap between confidence and accuracy of any bin"),
    "joint_nll": Metric("Joint NLL", "lower", "of tiles under all passes together, in nats"),
    "joint_nll_untempered": Metric(
        "Joint NLL, untempered", "lower", "of tiles, every pixel counting in full, in nats"
    ),
    "aurc": Metric("AURC", "lower", "area under error rate against coverage, by entropy", 4),
    "e_aurc": Metric("E-AURC", "lower", "AURC beyond that of the best order there is", 4),
    "ause": Metric("AUSE", "lower", "area between doubt's order and the best one, in Brier", 4),
    "image_aurc": Metric("AURC, images", "lower", "mean 1 − Dice of the images kept, by soft Dice"),
    "image_doubt": Metric("Doubt", "", "doubt about the whole image; higher is more"),
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


def number(value: object, *, digits: int = 3) -> str:
    r"""Word a number; – where there is none.

    Args:
        value: integers are written whole.
        digits: decimals of any other number below 100; above, those that would say nothing fall
            away.

    Examples:
        >>> number(0.91234), number(12.345, digits=1), number(1234.6), number(float("nan"))
        ('0.912', '12.3', '1\u202f235', '–')
    """
    if not is_number(value):
        return NOTHING
    if isinstance(value, (int, np.integer)):
        digits = 0
    elif abs(value) >= 100:
        digits = max(digits - 3, 0)
    # A narrow space (U+202F, which does not break) parts thousands alike in every language.
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "−")


def percent(share: float) -> str:
    r"""Word a share as a percentage.

    Examples:
        >>> percent(0.714), percent(0.004), percent(1.0)
        ('71\u202f%', '0.4\u202f%', '100\u202f%')
    """
    scaled = 100 * share
    return f"{scaled:.{1 if 0 < scaled < 1 else 0}f}\u202f%"


def spread(interval: Mapping[str, Any] | None, *, digits: int = 3) -> str:
    """Word an interval; empty where it is undefined.

    Examples:
        >>> spread({"mean": 0.9, "low": 0.88, "high": 0.93}), spread({"mean": 0.9})
        ('0.880–0.930', '')
    """
    low, high = (interval or {}).get("low"), (interval or {}).get("high")
    if not (is_number(low) and is_number(high)):
        return ""
    return f"{number(low, digits=digits)}–{number(high, digits=digits)}"


def percents(interval: Mapping[str, Any] | None) -> str:
    r"""Word an interval of shares as percentages; empty where undefined or without width.

    Examples:
        >>> percents({"low": 0.81, "high": 0.96})
        '81–96\u202f%'
    """
    low, high = (interval or {}).get("low"), (interval or {}).get("high")
    if not (is_number(low) and is_number(high)) or low == high:
        return ""
    return f"{number(round(100 * low))}–{percent(high)}"


def count(amount: int, noun: str) -> str:
    """Word an amount of things.

    Examples:
        >>> count(1, "image"), count(12, "image"), count(2, "class")
        ('1 image', '12 images', '2 classes')
    """
    ending = "" if amount == 1 else "es" if noun.endswith("s") else "s"
    return f"{number(int(amount))} {noun}{ending}"


_SCORES = {
    "soft_dice": "soft Dice",
    "sample_disagreement": "disagreement of the samples",
    "boundary_entropy": "entropy per length of boundary",
    "patch_maximum": "the most doubtful patch",
    "mean_mutual_information": "mean mutual information",
}


def score_in_words(name: str) -> str:
    """Word the name of an image-level score.

    Examples:
        >>> score_in_words("soft_dice"), score_in_words("mean_entropy")
        ('soft Dice', 'mean entropy')
    """
    return _SCORES.get(name, name.replace("_", " "))
