"""What an evaluation says beside its metrics: doubt against risk, samples, areas, readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.evaluation import agreement, areas, image_risk, joint, pixel_risk, true_probability
from penumbra.evaluation.bootstrap import RESAMPLES, Interval, bootstrap, interval
from penumbra.evaluation.evaluation import ImageMean
from penumbra.evaluation.scores import ScoreSettings
from penumbra.evaluation.summary import in_blocks, with_intervals
from penumbra.evaluation.sums import GroupSums, weigh

Floats = NDArray[np.float64]
Section = Mapping[str, Any]


def _named(names: Sequence[str], value: Floats, low: Floats, high: Floats) -> dict[str, Interval]:
    return {name: interval(value[i], low[i], high[i]) for i, name in enumerate(names)}


class Sections:
    """Computes the sections of one evaluation; all see the same resamples.

    Args:
        sums: of G groups, with a leading axis G.
        images: one row per image.
        groups: names of the groups, in the order of `sums`.
        settings: classes and policies.
        resamples: of the bootstrap over groups.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        sums: GroupSums,
        images: Sequence[ImageMean],
        groups: Sequence[str],
        settings: ScoreSettings,
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        self._sums, self._settings = sums, settings
        place = {group: index for index, group in enumerate(groups)}
        self._images = [image for image in images if np.isfinite(image.dice)]
        self._group = np.array([place[image.group] for image in self._images], dtype=np.intp)
        self._risk = 1.0 - np.array([image.dice for image in self._images], dtype=np.float64)
        self._options: dict[str, int] = {"resamples": resamples, "seed": seed}

    def _bootstrap(self, statistic: Callable[[Floats], Floats]) -> tuple[Floats, Floats, Floats]:
        return bootstrap(statistic, n_groups=len(self._sums.total), **self._options)

    def risk(self) -> Section:
        """Say how well doubt finds what is wrong: by pixels, by images, by flags."""
        section: dict[str, Any] = {"pixels": self._pixels()}
        if len(self._images) > 1:
            section["images"] = self._by_image()
        flags = self._flags()
        return section | ({"flags": flags} if flags else {})

    def _pixels(self) -> Section:
        risk = self._sums.risk
        shown = [i for i, row in enumerate(risk.scores[..., 0, :].sum(axis=(0, -1))) if row > 0]
        if not shown:
            return {}

        def compute(sums: GroupSums, weights: Floats) -> Floats:
            some = pixel_risk.PixelRisk(sums.risk.scores[:, shown], sums.risk.oracle)
            return in_blocks(lambda rows: pixel_risk.risks(weigh(some, rows)), weights)

        value, low, high = with_intervals(compute, self._sums, **self._options)
        whole = pixel_risk.PixelRisk(risk.scores[:, shown].sum(axis=0), risk.oracle.sum(axis=0))
        bounds = pixel_risk.risk_bounds(whole)
        return {
            pixel_risk.PIXEL_SCORES[score]: {
                **_named(pixel_risk.RISKS, value[row], low[row], high[row]),
                "aurc_bound": float(bounds[row, 0]),
                "ause_bound": float(bounds[row, 2]),
            }
            for row, score in enumerate(shown)
        }

    def _by_image(self) -> Section:
        names = [
            name
            for name in self._images[0].scores
            if all(np.isfinite(image.scores.get(name, np.nan)) for image in self._images)
        ]
        bad, limit = image_risk.worst(self._risk)
        scores = {name: self._score(name) for name in names}
        return {
            "risk": "1 - dice",
            "n": len(self._images),
            "worst": {"dice_at_most": 1.0 - limit, "n": int(bad.sum())},
            "scores": scores,
        }

    def _score(self, name: str) -> dict[str, Interval]:
        doubt = np.array([image.scores[name] for image in self._images], dtype=np.float64)
        images = image_risk.ImageRisks(self._risk, doubt, self._group)
        found = self._bootstrap(lambda weights: image_risk.image_risks(images, weights))
        return _named(image_risk.IMAGE_RISKS, *found)

    def _flags(self) -> Section:
        if not self._images or any(image.flagged is None for image in self._images):
            return {}
        flagged = np.array([bool(image.flagged) for image in self._images])
        found = self._bootstrap(
            lambda weights: image_risk.flag_shares(flagged, self._risk, self._group, weights)
        )
        return {"n": int(flagged.sum()), **_named(image_risk.FLAGS, *found)}

    def samples(self, passes: int, overall: Mapping[str, Interval]) -> Section:
        """Say what single passes are worth; nothing where there was one pass, or none was kept."""
        if passes <= 1 or self._sums.joint.n.sum() <= 0:
            return {}
        return {
            "passes": passes,
            "tile": joint.TILE,
            "n_eff": joint.N_EFF,
            "joint_nll": overall["joint_nll"],
            "joint_nll_untempered": overall["joint_nll_untempered"],
        }

    def readers(self) -> Section:
        """Compare samples with several readers; nothing where images have one reader."""
        sums = self._sums.agreement
        if sums.n.sum() <= 0:
            return {}
        found = self._bootstrap(lambda weights: agreement.agreement_scores(weigh(sums, weights)))
        return {
            "n_images": int(sums.n.sum()),
            "match_dice": agreement.MATCH,
            **_named(agreement.AGREEMENT, *found),
        }

    def areas(self) -> Section:
        """Say per class whether area intervals hold; nothing without intervals."""
        sums = self._sums.areas
        known = sums.table[..., 0].sum(axis=0)
        if not known.any():
            return {}
        value, low, high = self._bootstrap(lambda weights: areas.area_scores(weigh(sums, weights)))
        return {
            name: {"n_images": int(known[i]), **_named(areas.AREAS, value[i], low[i], high[i])}
            for i, name in enumerate(self._settings.class_names)
            if known[i] > 0
        }

    def truth(self) -> Section:
        """Score against the true probability; nothing where it is not known."""
        sums = self._sums.truth
        if sums.n.sum() <= 0:
            return {}
        found = self._bootstrap(lambda weights: true_probability.truth_scores(weigh(sums, weights)))
        return _named(true_probability.AGAINST_TRUTH, *found)
