"""Temperatures of the undisturbed pass: one, one per class, or local; each has to earn its keep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from penumbra.calibration.comparing import Comparison, Fold, compare, out_of_fold
from penumbra.calibration.frozen import Frozen
from penumbra.calibration.local import fit_local_temperature
from penumbra.calibration.observed import Observed
from penumbra.calibration.options import CalibrationOptions, TemperatureChoice
from penumbra.calibration.scoring import TileScores, one_pass, score
from penumbra.data.sample import IGNORE
from penumbra.errors import SettingsError, expected
from penumbra.inference.calibration import Temperature

_MOST = 1 << 21
_BOUND = 3.0
_PULL = 1e-4


def observed(frozen: Frozen, tiles: Sequence[int]) -> list[Observed]:
    """Give what the undisturbed pass showed on some tiles, for fits behind the network."""
    found = []
    for index in tiles:
        plain = frozen.plain[index]
        group = frozen.held_out.tiles[index].group
        found.append(Observed(plain.logits, plain.taps, frozen.truth(index), group))
    return found


def fit_temperature(
    frozen: Frozen, tiles: Sequence[int], kind: TemperatureChoice, *, seed: int = 0
) -> Temperature:
    """Fit a temperature by the NLL of pixels.

    ``none`` leaves the logits; ``global`` divides all of them by one T; ``class`` has one T per
    logit, which is the same thing for one logit; ``local`` is that of `fit_local_temperature`,
    which falls back to ``global`` where its own cross-validation finds no gain. A global or
    per-class T stays within e^±3, and a term of 10⁻⁴ · (ln T)² keeps it from running off where
    the network makes no mistake.
    """
    if kind == "none":
        return Temperature()
    if kind == "local":
        place = (tuple(tiles), kind, seed)
        if place not in frozen.temperatures:
            fit = fit_local_temperature(observed(frozen, tiles), frozen.taps, seed=seed)
            frozen.temperatures[place] = fit.temperature
        return frozen.temperatures[place]
    if kind not in ("global", "class"):
        raise SettingsError(
            expected("the temperature", "none, global, class or local", kind, "'global'")
        )
    k = frozen.n_logits if kind == "class" else 1
    logits, truth = _pixels(frozen, tiles)
    log_t = torch.zeros(k, dtype=torch.float32, device=logits.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t], max_iter=40, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = _nll(logits / log_t.clamp(-_BOUND, _BOUND).exp(), truth)
        loss = loss + _PULL * log_t.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    found = log_t.detach().clamp(-_BOUND, _BOUND).exp()
    if not bool(torch.isfinite(found).all()):
        found = torch.ones_like(found)
    return Temperature(kind=kind, values=tuple(found.tolist()))


def _pixels(frozen: Frozen, tiles: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Give logits (P, K) and truth (P,) of scored pixels, every n-th where there are too many."""
    total = sum(frozen.held_out.tiles[index].scored for index in tiles)
    step = max(1, -(-total // _MOST))
    logits, truths = [], []
    for index in tiles:
        truth = frozen.truth(index).flatten()
        known = torch.nonzero(truth != IGNORE)[:, 0][::step]
        logits.append(frozen.plain[index].logits[0].flatten(1).T[known])
        truths.append(truth[known])
    return torch.cat(logits), torch.cat(truths)


def _nll(logits: Tensor, truth: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], (truth == 1).to(logits.dtype))
    return F.cross_entropy(logits, truth)


def choose_temperature(
    frozen: Frozen, folds: Sequence[Fold], options: CalibrationOptions
) -> tuple[TemperatureChoice, list[Comparison], TileScores]:
    """Choose the kind of temperature: a richer one only where it wins on groups left out.

    Each kind is compared with the best so far, the global one with none, by the NLL of pixels.
    With a single group there is nothing to compare on, and the global one is taken.

    Returns:
        The kind, the comparisons, and the scores of the chosen kind on groups left out (of all
        tiles as fitted, where there is only one group).
    """
    held_out, n_eff = frozen.held_out, options.n_eff
    every = range(len(held_out.tiles))
    if not folds:
        sole: TemperatureChoice = "global" if options.temperature == "auto" else options.temperature
        fitted = fit_temperature(frozen, every, sole, seed=options.seed)
        return sole, [], score(frozen, every, one_pass(frozen, fitted), n_eff=n_eff)

    def scores_of(kind: TemperatureChoice) -> TileScores:
        return out_of_fold(
            frozen, folds,
            lambda inside: one_pass(
                frozen, fit_temperature(frozen, inside, kind, seed=options.seed)
            ),
            n_eff=n_eff,
        )  # fmt: skip

    best: TemperatureChoice = "none"
    scores = scores_of(best)
    comparisons = []
    for kind in _candidates(options.temperature, frozen.n_logits):
        richer = scores_of(kind)
        found = compare(
            held_out, richer, scores, what=_words(kind), against=_words(best), metric="nll",
            forced=options.temperature == kind,
        )  # fmt: skip
        comparisons.append(found)
        if found.kept:
            best, scores = kind, richer
    return best, comparisons, scores


def _words(kind: TemperatureChoice) -> str:
    each = {"class": "a temperature per class", "none": "no temperature"}
    return each.get(kind, f"a {kind} temperature")


def _candidates(wish: TemperatureChoice, n_logits: int) -> tuple[TemperatureChoice, ...]:
    if wish == "auto":
        return ("global", "class", "local") if n_logits > 1 else ("global", "local")
    return () if wish == "none" else (wish,)
