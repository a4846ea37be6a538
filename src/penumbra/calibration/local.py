"""Fit a local temperature: where is the network surer than it should be, and where less?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from penumbra.calibration.observed import (
    Observed,
    Standard,
    all_names,
    check,
    folds,
    levels,
    linear_map,
    standards,
)
from penumbra.data.sample import IGNORE
from penumbra.inference.calibration import Temperature
from penumbra.inference.doubt import DOUBT_TAPS
from penumbra.inference.linear_map import enlarge
from penumbra.inference.temperature import local_factor

RIDGES = (None, 1.0, 0.3, 0.1)
"""Ridge on the decoder's features that cross-validation chooses from; ``None`` leaves them out."""

DOUBT_RIDGE = 0.01
"""Ridge on the few features of the logits, which have never been seen to overfit."""

LEAST_GAIN = 0.005
"""Relative gain in NLL on groups left out for which a richer temperature is kept."""

_GROUPS_FOR_NOTHING = 2.0  # ridge is doubled by so many groups, so that few of them fit little


@dataclass(frozen=True)
class LocalFit:
    """What came of it.

    Attributes:
        temperature: local where that paid on groups left out, else global.
        ridge: on the decoder's features; ``None`` where only those of the logits are used.
        nll: name of each candidate to its NLL on groups left out; empty for a single group.
    """

    temperature: Temperature
    ridge: float | None
    nll: dict[str, float]


@dataclass(frozen=True)
class _Pixels:
    """Sampled pixels: features (P, D), logits (P, K), truth (P,), and the item of each."""

    features: Tensor
    logits: Tensor
    truth: Tensor
    item: Tensor

    def of(self, items: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.intp]]) -> _Pixels:
        keep = torch.isin(self.item, torch.as_tensor(items))
        parts = (self.features, self.logits, self.truth, self.item)
        return _Pixels(*(part[keep] for part in parts))


@dataclass(frozen=True)
class _Fitted:
    weight: Tensor
    bias: Tensor
    log_scale: Tensor

    def nll(self, pixels: _Pixels) -> Tensor:
        h = pixels.features[:, : len(self.weight)] @ self.weight + self.bias
        factor = torch.exp(self.log_scale) * local_factor(h)
        return _nll(pixels.logits * factor[:, None], pixels.truth)


def fit_local_temperature(
    data: Sequence[Observed], taps: Sequence[str] = (), *, most_pixels: int = 20_000, seed: int = 0
) -> LocalFit:
    """Fit μ/T · exp(−1.5·tanh h(x)) by likelihood with a ridge chosen on groups left out.

    h is linear in what the logits say about their surroundings (`penumbra.inference.doubt`) and,
    under a ridge, in the decoder's features. Candidates are the global temperature, the features
    of the logits alone, and these with the decoder's features at several ridges; the one with the
    least NLL over three folds of groups is kept if it gains at least 0.5 % on the global one.
    A single group cannot be parted and gets the global temperature.

    Args:
        data: what the network gave on images it was not trained on.
        taps: names of the items' features.
        most_pixels: sampled at random, evenly over images.
        seed: of the sample and the folds.

    Raises:
        SourceError: there is nothing to fit on.
    """
    check(data, taps)
    data = [item.on_cpu() for item in data]
    names = all_names(taps)
    every = [levels(item, names, taps) for item in data]
    scale = standards(every)
    pixels = _sample(data, every, scale, most_pixels, seed)
    widths = [len(level.mean) for level in scale]
    own = sum(widths[: len(DOUBT_TAPS)])
    groups = [item.group for item in data]
    ridges = RIDGES if taps else RIDGES[:1]
    scores = _judge(pixels, groups, own, ridges, seed)
    best = min(scores, key=lambda name: scores[name], default="global")
    whole = _global(pixels)
    gain = 1 - scores[best] / max(scores["global"], 1e-12) if scores else 0.0
    values = (float(torch.exp(-whole)),)
    if best == "global" or gain < LEAST_GAIN:
        return LocalFit(Temperature(values=values), None, scores)
    ridge = ridges[[_name(r) for r in ridges].index(best)]
    fitted = _path(pixels, own, ridges[: ridges.index(ridge) + 1], len(set(groups)))[-1]
    kept = names if ridge is not None else names[: len(DOUBT_TAPS)]
    rows = torch.split(fitted.weight, widths[: len(kept)])
    mapped = linear_map(kept, scale[: len(kept)], [row[None] for row in rows], fitted.bias[None])
    values = (float(torch.exp(-fitted.log_scale)),)
    return LocalFit(Temperature(kind="local", values=values, map=mapped), ridge, scores)


def _name(ridge: float | None) -> str:
    return "logits" if ridge is None else f"features, ridge {ridge:g}"


def _judge(
    pixels: _Pixels, groups: Sequence[str], own: int, ridges: Sequence[float | None], seed: int
) -> dict[str, float]:
    """Compute the NLL of each candidate on groups that it was not fitted on."""
    totals: dict[str, list[float]] = {}
    count: list[int] = []
    for fit, judge in folds(groups, seed=seed):
        inside, outside = pixels.of(fit), pixels.of(judge)
        if not len(inside.truth) or not len(outside.truth):
            continue
        count.append(len(outside.truth))
        flat = _nll(outside.logits * torch.exp(_global(inside)), outside.truth)
        totals.setdefault("global", []).append(float(flat))
        n_groups = len({groups[index] for index in fit})
        for ridge, fitted in zip(ridges, _path(inside, own, ridges, n_groups), strict=True):
            totals.setdefault(_name(ridge), []).append(float(fitted.nll(outside)))
    return {name: float(np.average(each, weights=count)) for name, each in totals.items()}


def _path(
    pixels: _Pixels, own: int, ridges: Sequence[float | None], n_groups: int
) -> list[_Fitted]:
    """Fit one candidate after the other, each from where the one before ended."""
    more = 1 + _GROUPS_FOR_NOTHING / n_groups
    weight, bias, log_scale = torch.zeros(own), torch.zeros(()), _global(pixels)
    out = []
    for ridge in ridges:
        width = own if ridge is None else pixels.features.shape[1]
        penalty = torch.full((width,), DOUBT_RIDGE * more)
        penalty[own:] = 0.0 if ridge is None else ridge * more
        start = torch.cat([weight, torch.zeros(width - len(weight))])
        fitted = _fit(pixels, _Fitted(start, bias, log_scale), penalty)
        weight, bias, log_scale = fitted.weight, fitted.bias, fitted.log_scale
        out.append(fitted)
    return out


def _fit(pixels: _Pixels, start: _Fitted, penalty: Tensor) -> _Fitted:
    parts = [x.clone().requires_grad_() for x in (start.weight, start.bias, start.log_scale)]
    optimiser = torch.optim.LBFGS(parts, max_iter=25, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        # The bias and T mean the same where h is small: the bias is held near 0.
        held = (penalty * parts[0].square()).sum() + DOUBT_RIDGE * parts[1].square()
        loss = _Fitted(*parts).nll(pixels) + held
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    found = _Fitted(*(part.detach() for part in parts))
    finite = all(bool(torch.isfinite(part).all()) for part in (found.weight, found.log_scale))
    return found if finite else start


def _global(pixels: _Pixels) -> Tensor:
    """Fit −ln T of a global temperature."""
    log_scale = torch.zeros(()).requires_grad_()
    optimiser = torch.optim.LBFGS([log_scale], max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = _nll(pixels.logits * torch.exp(log_scale), pixels.truth)
        loss = loss + 1e-4 * log_scale.square()  # a faultless network would ask for T = 0
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return log_scale.detach() if bool(torch.isfinite(log_scale)) else torch.zeros(())


def _nll(logits: Tensor, truth: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], (truth == 1).to(logits.dtype))
    return F.cross_entropy(logits, truth)


def _sample(
    data: Sequence[Observed],
    every: Sequence[Sequence[tuple[Tensor, int]]],
    scale: Sequence[Standard],
    most: int,
    seed: int,
) -> _Pixels:
    """Look features up at random scored pixels, evenly over items."""
    rng = np.random.default_rng([seed, 4])
    each = -(-most // len(data))
    rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for number, (item, own) in enumerate(zip(data, every, strict=True)):
        scored = torch.nonzero((item.truth != IGNORE).flatten())[:, 0]
        chosen = rng.permutation(len(scored))[:each]
        at = scored[torch.from_numpy(np.sort(chosen))]
        size = (item.logits.shape[-2], item.logits.shape[-1])
        columns = []
        for (features, stride), standard in zip(own, scale, strict=True):
            wide = enlarge(features.float(), stride, size).transpose(0, 1).flatten(1)[:, at]
            columns.append((wide - standard.mean[:, None].float()) / standard.std[:, None].float())
        logits = item.logits.float().transpose(0, 1).flatten(1)[:, at].T
        where = torch.full((len(at),), number)
        rows.append((torch.cat(columns).T, logits, item.truth.flatten()[at], where))
    return _Pixels(*(torch.cat(parts) for parts in zip(*rows, strict=True)))
