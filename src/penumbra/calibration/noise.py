"""Fitting feature noise to held-out tiles: gates and a temperature, by the tile likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from penumbra.calibration.frozen import Frozen, Reached
from penumbra.calibration.gates import Gates, NoisyPass, SiteGate, start_gates
from penumbra.calibration.objective import log_likelihoods, pixel_nll, tile_joint_nll
from penumbra.inference.calibration import Calibration, FeatureNoise, Temperature
from penumbra.inference.heads import Head
from penumbra.noise.patterns import Pattern

GATE_RATE = 0.12
TEMPERATURE_RATE = 0.03
PASSES = 4
DECAY = 1e-3
"""Weight of Σ w² of input-dependent gates, in nats per pixel."""

_DECODES = 12
_SIDE = 128


@dataclass(frozen=True)
class NoiseFit:
    """Feature noise as it was fitted.

    Attributes:
        gates: by site.
        temperature: of noisy passes.
    """

    gates: Gates
    temperature: Temperature

    @property
    def noise(self) -> FeatureNoise:
        """The gates as plain numbers."""
        return FeatureNoise(sites={name: gate.to_site() for name, gate in self.gates.items()})


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a fit goes about.

    Attributes:
        n_eff: see `tile_joint_nll`.
        marginal: weight of the NLL of pixels under the mean of the passes, the rest being the tile
            likelihood's: passes that are right together must not be bought with a worse mean.
        by_input: whether gates depend on the features.
        steps: of Adam.
        seed: of the order of tiles and of the draws.
    """

    n_eff: float = 16.0
    marginal: float = 0.5
    by_input: bool = False
    steps: int = 40
    seed: int = 0


def fit_noise(
    frozen: Frozen,
    reached: Reached,
    tiles: Sequence[int],
    *,
    patterns: Mapping[str, Pattern],
    temperature: Temperature,
    settings: FitSettings,
    start: NoiseFit | None = None,
) -> NoiseFit:
    """Fit the gates of some sites and the temperature of noisy passes.

    Minimises `tile_joint_nll` under 4 passes in antithetic pairs by Adam, with a rate of 0.12 for
    the gates' parameters and 0.03 for ln T, without weight decay, on minibatches of so many tiles
    that a step costs about as much as 12 passes over 128 × 128 pixels. Every step has new draws.
    Where gates depend on the input, 0.001 · Σ w² is added.

    Args:
        frozen: the network.
        reached: its features at the sites.
        tiles: which of the held-out tiles to fit on.
        patterns: of each site.
        temperature: of the undisturbed pass; its values are all multiplied by one number.
        settings: how.
        start: an earlier fit to go on from.
    """
    gates = start_gates(
        reached.statistics, patterns, by_input=settings.by_input,
        start=None if start is None else start.gates,
    )  # fmt: skip
    log_t = torch.zeros((), device=frozen.device)
    before = temperature if start is None else start.temperature
    base = head_of(frozen, before)
    optimizer = torch.optim.Adam([*_groups(gates), {"params": [log_t], "lr": TEMPERATURE_RATE}])
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        parameter.requires_grad_(requires_grad=True)
    batches = _batches(frozen, tiles, settings)
    for step, batch in enumerate(batches):
        optimizer.zero_grad()
        total = sum(frozen.held_out.tiles[index].scored for index in batch)
        for index in batch:
            # One tile at a time: gradients add up, and memory holds the passes of one.
            logits = _noisy_logits(frozen, reached, gates, base, index, draw=step + 1)
            logs = log_likelihoods(logits / log_t.exp(), frozen.truth(index))
            loss = _loss(logs, frozen.truth(index), settings)
            (loss * frozen.held_out.tiles[index].scored / total).backward()  # type: ignore[no-untyped-call]
        if settings.by_input:
            squares = [g.weight.square().sum() for g in gates.values() if g.weight is not None]
            (DECAY * torch.stack(squares).sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            log_t.clamp_(-3.0, 3.0)
    factor = float(log_t.detach().exp())
    return NoiseFit(
        {name: _detached(gate) for name, gate in gates.items()},
        before.model_copy(update={"values": tuple(v * factor for v in before.values)}),
    )


def _loss(logs: Tensor, truth: Tensor, settings: FitSettings) -> Tensor:
    joint = tile_joint_nll(logs, truth, n_eff=settings.n_eff)
    if settings.marginal == 0:
        return joint
    mean = torch.logsumexp(logs, dim=0) - math.log(len(logs))
    return (1 - settings.marginal) * joint + settings.marginal * pixel_nll(mean, truth)


def _groups(gates: Gates) -> list[dict[str, object]]:
    groups: list[dict[str, object]] = [
        {"params": [gate.bias for gate in gates.values()], "lr": GATE_RATE}
    ]
    groups += [
        {"params": [gate.weight], "lr": GATE_RATE / 2 / gate.weight.numel() ** 0.5}
        for gate in gates.values()
        if gate.weight is not None
    ]
    return groups


def _detached(gate: SiteGate) -> SiteGate:
    weight = None if gate.weight is None else gate.weight.detach()
    return replace(gate, bias=gate.bias.detach(), weight=weight)


def _noisy_logits(
    frozen: Frozen, reached: Reached, gates: Gates, base: Head, index: int, *, draw: int
) -> Tensor:
    """Run the passes of one step over one tile, (K, 1, K', h, w)."""
    tile = frozen.held_out.tiles[index]
    passes = []
    for number in range(PASSES):
        logits, taps = reached.run(index, NoisyPass(gates, tile, number, draw))
        passes.append(base.logits(logits, own_taps(frozen, base, taps)))
    return torch.stack(passes)


def head_of(frozen: Frozen, temperature: Temperature) -> Head:
    """Make the head of a temperature alone."""
    return Head.of(Calibration(temperature=temperature), frozen.n_logits)


def own_taps(frozen: Frozen, head: Head, taps: Sequence[Tensor]) -> list[Tensor]:
    """Pick the features that a head reads."""
    by_name = dict(zip(frozen.taps, taps, strict=True))
    return [by_name[name] for name in head.taps]


def _batches(frozen: Frozen, tiles: Sequence[int], settings: FitSettings) -> list[list[int]]:
    """Shuffle tiles again and again; a batch holds about 12 passes over 128 × 128 pixels."""
    rng = np.random.default_rng([settings.seed, 3])
    height, width = frozen.held_out.tiles[tiles[0]].truth.shape[-2:]
    decodes = PASSES * height * width / _SIDE**2
    size = max(1, min(len(tiles), 8, round(_DECODES / decodes)))
    wanted = size * settings.steps
    rounds = -(-wanted // len(tiles))
    order = np.concatenate([rng.permutation(np.asarray(tiles)) for _ in range(rounds)]).tolist()
    return [order[begin : begin + size] for begin in range(0, wanted, size)]
