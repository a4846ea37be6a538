"""From a frozen network before held-out tiles to its calibration."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from penumbra.calibration.comparing import (
    Comparison,
    compare,
    group_folds,
    mean_of_groups,
    paired_gain,
)
from penumbra.calibration.frozen import Frozen
from penumbra.calibration.noises import FOLDS, SAMPLES, Noises, fit_noises
from penumbra.calibration.options import CalibrationOptions
from penumbra.calibration.scoring import TileScores, noisy_passes, one_pass, score
from penumbra.calibration.temperatures import choose_temperature, fit_temperature
from penumbra.inference.calibration import Calibration, Temperature

NO_EFFECT = 0.005
"""Mutual information over predictive entropy below which noise has no effect."""

SAMPLER_RULE = (
    "lowest joint tile NLL on groups left out, if that gains more than its margin on one pass, its "
    "pixel NLL is not worse by more than its margin, and the passes do disagree"
)


def calibrate_frozen(frozen: Frozen, options: CalibrationOptions) -> Calibration:
    """Fit temperatures and noise, compare them on groups left out, and choose the sampler.

    A richer variant stays where its mean gain over groups is above what chance alone reaches in
    one case of ten; what stays is fitted again on all groups. With a single group nothing can be
    compared: one global temperature, and feature noise of one strength per site for those who ask
    for it, but the default sampler is one pass.

    Args:
        frozen: the network; keep it for further calibrations of the same network.
        options: what is wanted.

    Returns:
        The calibration without intervals and flags, with its record.
    """
    started = time.perf_counter()
    held_out = frozen.held_out
    if options.noise != "off":
        frozen.at(frozen.site_names(options.sites))  # a wrong name is better found before the work
    folds = group_folds(held_out, count=FOLDS, seed=options.seed)
    kind, comparisons, plain = choose_temperature(frozen, folds, options)
    noises = fit_noises(frozen, options, kind, plain, folds)
    sampler, choices = _choose_sampler(frozen, noises, plain, options)
    comparisons += [*noises.comparisons, *choices]
    every = range(len(held_out.tiles))
    temperature = fit_temperature(frozen, every, kind, seed=options.seed)
    noisy = noises.feature
    return Calibration(
        temperature=temperature,
        noise_temperature=None if noisy is None else noisy.temperature,
        noise=None if noisy is None else noisy.noise,
        logit_noise=noises.logit,
        sampler=sampler,
        record={
            "options": asdict(options),
            "comparisons": [comparison.to_json() for comparison in comparisons],
            "sampler_rule": SAMPLER_RULE,
            "n_images": held_out.n_images,
            "n_groups": len(held_out.groups),
            "n_tiles": len(held_out.tiles),
            **_figures(frozen, noises, plain, sampler, options),
            "seconds": round(time.perf_counter() - started, 1),
        },
    )


def _choose_sampler(
    frozen: Frozen, noises: Noises, plain: TileScores, options: CalibrationOptions
) -> tuple[str, list[Comparison]]:
    candidates = {
        f"noise:{options.passes}": noises.feature_scores,
        f"logit-noise:{SAMPLES}": noises.logit_scores,
    }
    held_out = frozen.held_out
    best, comparisons = "deterministic", []
    best_gain = 0.0
    for name, scores in candidates.items():
        if scores is None:
            continue
        one = noises.control if name.startswith("noise:") else None
        gain, margin = paired_gain(held_out, scores, one or plain, "joint")
        pixels = compare(held_out, scores, plain, what=name, against="one pass", metric="nll")
        # Noise may help as a sample and still not be the default: the mean must not suffer.
        allowed = pixels.gain > -pixels.margin and scores.mi_over_h >= NO_EFFECT
        comparisons.append(
            Comparison(
                f"{pixels.what} as the default",
                pixels.against,
                "nll",
                pixels.gain,
                pixels.margin,
                allowed,
                "not worse",
            )
        )
        if allowed and gain > max(margin, best_gain):
            best, best_gain = name, gain
    return best, comparisons


def _figures(
    frozen: Frozen, noises: Noises, plain: TileScores, sampler: str, options: CalibrationOptions
) -> dict[str, Any]:
    """Say what is known before and after; after is on groups left out where there are any."""
    held_out = frozen.held_out
    every = range(len(held_out.tiles))
    raw = score(frozen, every, one_pass(frozen, Temperature()), n_eff=options.n_eff)
    kind = sampler.partition(":")[0]
    after = {"noise": noises.feature_scores, "logit-noise": noises.logit_scores}.get(kind) or plain
    noisy = noises.feature_scores or noises.tried
    if noisy is None and noises.feature is not None:
        reached = frozen.at(tuple(noises.feature.gates))
        passes = noisy_passes(frozen, reached, noises.feature, options.passes)
        noisy = score(frozen, every, passes, n_eff=options.n_eff)
    # Dear passes were judged on fewer tiles: before and after have to be of the same ones.
    raw = raw.only(after.pixels > 0)
    return {
        "noise_kept": noises.feature is not None,
        "mi_over_h": None if noisy is None else noisy.mi_over_h,
        "logit_mi_over_h": None if noises.logit_scores is None else noises.logit_scores.mi_over_h,
        "nll_before": mean_of_groups(held_out, raw, "nll"),
        "nll_after": mean_of_groups(held_out, after, "nll"),
        "joint_before": mean_of_groups(held_out, raw, "joint"),
        "joint_after": mean_of_groups(held_out, after, "joint"),
        "reliability_before": raw.reliability(),
        "reliability_after": after.reliability(),
    }


def say_effect(record: dict[str, Any]) -> str:
    """Say what noise in the features does, in one sentence, and plainly where it does nothing.

    Examples:
        >>> say_effect({"mi_over_h": 0.001})
        'The noise has no effect: the passes disagree about 0.10 % of the doubt.'
        >>> say_effect({"mi_over_h": 0.02, "noise_kept": False})
        'Noise in the features was not kept; its passes disagree about 2.0 % of the doubt (MI/H).'
    """
    ratio = record.get("mi_over_h")
    if ratio is None:
        return "Noise in the features was not tried."
    if ratio < NO_EFFECT:
        return (
            f"The noise has no effect: the passes disagree about {100 * ratio:.2f} % of the doubt."
        )
    whose = "The" if record.get("noise_kept", True) else "Noise in the features was not kept; its"
    return f"{whose} passes disagree about {100 * ratio:.1f} % of the doubt (MI/H)."
