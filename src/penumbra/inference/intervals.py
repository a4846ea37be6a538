"""Intervals for areas and volumes that hold for new images as often as they say.

Split conformal prediction. On validation images the error of an estimated area is divided by a
scale that grows with doubt, r = |A_true − A_est| / s; a quantile q of these gives the interval
A_est ± q · s for a new image. Nothing is assumed about the network. What is assumed is that new
groups (patients, slides) are drawn like the validation groups: intervals fitted on one hospital
promise nothing about another.

- Estimate and scale are those of `penumbra.inference.areas`.
- The same holds for what the predictions are made with. `penumbra calibrate` fits temperatures and
  noise and chooses the sampler on the same validation groups as the intervals, so that validation
  errors are a little smaller than those of new groups and the guarantee is approximate there. It
  is exact only where calibration and intervals are fitted on different groups.
- **Images of one group are no independent evidence.** An image of a group of n_g counts as 1 / n_g.
  With G groups the quantile is that of Σ_g Σ_i δ(r_gi) / ((G + 1) n_g) + δ(∞) / (G + 1). Pooled
  distribution functions of groups are due to R. Dunn, L. Wasserman and A. Ramdas (Distribution-free
  prediction sets for two-layer hierarchical models, JASA 118, 2023); with the mass at infinity the
  coverage over one image of a new group is at least nominal for any G (Y. Lee, R. Barber and
  R. Willett, Distribution-free inference with hierarchical data, arXiv:2306.06342).
- **Volumes**: areas and scales of a group's images are summed up first; one r per group.
- With fewer than level / (1 − level) groups (9 for 90 %) the quantile is infinite, and the
  interval is all that is possible, 0 to the number of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.inference.areas import AreaCase, AreaEstimate, area_estimate
from penumbra.inference.calibration import AreaInterval

_ROUNDING = 1e-9

Doubles = NDArray[np.float64]
Interval = tuple[float, float, float]


def group_quantile(values: Doubles, groups: Sequence[str], level: float) -> float:
    """Compute the conformal quantile of values that come in groups.

    Args:
        values: (n,) scores r.
        groups: of each value. With all groups different this is the ⌈(n + 1) · level⌉-th
            smallest value of ordinary split conformal prediction.
        level: nominal coverage, between 0 and 1.

    Returns:
        The least value with a mass of `level` at or below it, where a value of a group of n_g
        has the mass 1 / ((G + 1) n_g) and infinity has 1 / (G + 1).

    Examples:
        >>> values = np.arange(1.0, 11.0)
        >>> each = list("abcdefghij")
        >>> group_quantile(values, each, 0.9), group_quantile(values, each, 0.95)
        (10.0, inf)
        >>> group_quantile(values, ["a"] * 10, 0.5)
        10.0
    """
    _, which, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    weights = 1.0 / ((len(sizes) + 1) * sizes[which])
    order = np.argsort(values, kind="stable")
    reached = np.flatnonzero(np.cumsum(weights[order]) >= level - _ROUNDING)
    return float(values[order[reached[0]]]) if reached.size else math.inf


def fit_area(
    cases: Sequence[AreaCase], *, level: float = 0.9, class_names: Sequence[str]
) -> AreaInterval:
    """Fit intervals on validation images.

    Args:
        cases: one per image, see `penumbra.inference.areas.area_case`; their order does not matter.
        level: nominal coverage.
        class_names: of all classes, background first.

    Returns:
        Rows of the foreground classes. A quantile is absent where no finite interval can be
        promised: too few groups, or a class that no validation image shows. ``coverage`` is
        measured with each group left out in turn, each group counting the same; it is absent
        where leaving one out leaves too few.

    Raises:
        SettingsError: there is no case, the classes do not fit, or the level is not in (0, 1).
    """
    if not 0 < level < 1:
        raise SettingsError(expected("`level`", "between 0 and 1", level, "0.9"))
    names = tuple(class_names)[1:]
    if not cases or any(len(case.truth) != len(names) for case in cases):
        got = f"{len(cases)} of {sorted({len(case.truth) for case in cases})} classes"
        raise SettingsError(
            expected("the cases", f"at least 1, of {len(names)} foreground classes", got,
                     "the validation images of this run")
        )  # fmt: skip
    # Sums of floats depend on their order, so the order is made the same whatever came in.
    cases = sorted(cases, key=lambda case: (case.group, *case.truth, *case.estimate.area))
    groups = [case.group for case in cases]
    ratios = np.stack([_ratio(case.truth, case.estimate) for case in cases])
    volumes = np.stack(_volumes(cases))
    distinct = sorted(set(groups))
    shown = [any(case.truth[c] > 0 for case in cases) for c in range(len(names))]
    rows = range(len(names))
    return AreaInterval(
        level=level,
        class_names=names,
        quantile=tuple(
            _finite(group_quantile(ratios[:, c], groups, level), shown=shown[c]) for c in rows
        ),
        group_quantile=tuple(
            _finite(group_quantile(volumes[:, c], distinct, level), shown=shown[c]) for c in rows
        ),
        n_groups=len(distinct),
        coverage=tuple(_coverage(ratios[:, c], groups, level) if shown[c] else None for c in rows),
    )


def area_intervals(
    area: AreaInterval, estimate: AreaEstimate | NDArray[np.float32]
) -> dict[str, Interval]:
    """Give the interval of each foreground class of one image.

    Args:
        area: what `fit_area` found.
        estimate: of the image, or its mean probabilities (C, H, W).

    Returns:
        Class name → (lowest, estimated, highest) area in pixels, within 0 and all pixels; these
        two themselves where no narrower interval can be promised.

    Raises:
        SettingsError: the image has other classes.

    Examples:
        >>> area = AreaInterval(
        ...     level=0.9, class_names=("nerve",), quantile=(2.0,), group_quantile=(None,),
        ...     n_groups=12,
        ... )
        >>> p = np.full((2, 10, 10), 0.1, dtype=np.float32)
        >>> {name: np.round(found, 1).tolist() for name, found in area_intervals(area, p).items()}
        {'nerve': [0.0, 10.0, 28.2]}
    """
    if not isinstance(estimate, AreaEstimate):
        estimate = area_estimate(estimate)
    return _intervals(area, area.quantile, estimate)


def group_interval(area: AreaInterval, estimates: Sequence[AreaEstimate]) -> dict[str, Interval]:
    """Give the interval of each foreground class for the sum over the images of one group.

    Args:
        area: what `fit_area` found.
        estimates: of the group's images, at least one. Where pixels or slices differ in size, a
            volume needs each image's areas, scales and pixels multiplied by what a pixel holds,
            here and in the cases that were fitted.

    Returns:
        Class name → (lowest, estimated, highest), as `area_intervals` gives for one image.
    """
    if not estimates:
        raise SettingsError(expected("the group", "of at least 1 image", 0, "naming its images"))
    return _intervals(area, area.group_quantile, _sum(estimates))


def interval_notes(area: AreaInterval) -> tuple[str, ...]:
    """Say in sentences which classes have no finite interval, and why; empty where all have one.

    Examples:
        >>> from penumbra.inference.areas import area_case
        >>> area = fit_area(
        ...     [area_case(np.full((2, 4, 4), 0.5, np.float32), np.eye(4, dtype=np.uint8), group=g)
        ...      for g in "abc"],
        ...     class_names=("background", "nerve"),
        ... )
        >>> interval_notes(area)
        ('Expected the validation groups to be at least 9 for intervals at 90 %, but got 3. Try
        more groups for validation, or a lower level; until then intervals are unbounded.',)
    """
    least = math.ceil(area.level / (1 - area.level) - _ROUNDING)
    if area.n_groups < least:
        return (
            expected(
                "the validation groups",
                f"at least {least} for intervals at {100 * area.level:g} %",
                area.n_groups,
                "more groups for validation, or a lower level; until then intervals are unbounded",
            ),
        )
    return tuple(
        expected(f"class {name}", "shown by at least one validation image", "none",
                 "another split; until then its intervals are unbounded")
        for name, q in zip(area.class_names, area.quantile, strict=True)
        if q is None
    )  # fmt: skip


def _ratio(truth: Doubles, estimate: AreaEstimate) -> Doubles:
    return np.asarray(np.abs(truth - estimate.area) / estimate.scale)


def _sum(estimates: Sequence[AreaEstimate]) -> AreaEstimate:
    total = estimates[0]
    for other in estimates[1:]:
        total += other
    return total


def _volumes(cases: Sequence[AreaCase]) -> list[Doubles]:
    """Give r of each group, (C − 1,); cases are sorted by group."""
    starts = [n for n, case in enumerate(cases) if n == 0 or cases[n - 1].group != case.group]
    of_groups = [cases[begin:end] for begin, end in pairwise([*starts, len(cases)])]
    return [
        _ratio(np.sum([c.truth for c in own], axis=0), _sum([c.estimate for c in own]))
        for own in of_groups
    ]


def _finite(value: float, *, shown: bool) -> float | None:
    return value if shown and math.isfinite(value) else None


def _coverage(values: Doubles, groups: Sequence[str], level: float) -> float | None:
    of = np.asarray(groups)
    shares = []
    for group in np.unique(of):
        rest = of != group
        bound = group_quantile(values[rest], of[rest].tolist(), level)
        if not math.isfinite(bound):
            return None
        shares.append(float(np.mean(values[~rest] <= bound)))
    return float(np.mean(shares))


def _intervals(
    area: AreaInterval, quantiles: Sequence[float | None], estimate: AreaEstimate
) -> dict[str, Interval]:
    if len(estimate.area) != len(area.class_names):
        raise SettingsError(
            expected("the image", f"of {len(area.class_names)} foreground classes",
                     len(estimate.area), "the run whose calibration this is")
        )  # fmt: skip
    found: dict[str, Interval] = {}
    for c, (name, q) in enumerate(zip(area.class_names, quantiles, strict=True)):
        centre = min(float(estimate.area[c]), float(estimate.pixels))
        reach = math.inf if q is None else q * float(estimate.scale[c])
        found[name] = (
            max(0.0, centre - reach),
            centre,
            min(float(estimate.pixels), centre + reach),
        )
    return found
