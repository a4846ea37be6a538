"""How metrics are worded on the page."""

from __future__ import annotations

from dataclasses import dataclass


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
