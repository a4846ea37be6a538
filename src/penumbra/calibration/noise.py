"""Fitting feature noise to held-out tiles: gates and a temperature, by the tile likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace

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
_SIDE_BY_SIDE = 8


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
    shown = frozen.progress(batches, total=len(batches), what="fitting noise")
    for step, batch in enumerate(shown):
        optimizer.zero_grad()
        total = sum(frozen.held_out.tiles[index].scored for index in batch)
        for alike in frozen.alike(batch):
            truth = torch.cat([frozen.truth(index) for index in alike])
            passes = NoisyPasses(frozen, reached, gates, base, draw=step + 1)
            logits = passes.logits(alike, range(PASSES))
            loss = _loss(log_likelihoods(logits / log_t.exp(), truth), truth, settings)
            share = sum(frozen.held_out.tiles[index].scored for index in alike) / total
            (loss * share).backward()  # type: ignore[no-untyped-call]
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


@dataclass(frozen=True)
class NoisyPasses:
    """Passes with noise, as many side by side as fit into a step.

    Attributes:
        frozen: the network.
        reached: its features.
        gates: of the noise.
        head: scales the logits.
        draw: which draws.
    """

    frozen: Frozen
    reached: Reached
    gates: Gates
    head: Head
    _: KW_ONLY
    draw: int

    def logits(self, tiles: Sequence[int], numbers: Sequence[int]) -> Tensor:
        """Compute scaled logits (K, N, K', h, w) of all these passes over tiles of one shape."""
        pairs = [(number, index) for number in numbers for index in tiles]
        most = max(1, round(_SIDE_BY_SIDE / self.frozen.units(tiles[0])))
        parts = [self._some(pairs[begin : begin + most]) for begin in range(0, len(pairs), most)]
        return torch.cat(parts).unflatten(0, (len(numbers), len(tiles)))  # type: ignore[no-untyped-call, no-any-return]

    def _some(self, pairs: Sequence[tuple[int, int]]) -> Tensor:
        tiles = [self.frozen.held_out.tiles[index] for _, index in pairs]
        at_site = NoisyPass(self.gates, tiles, [number for number, _ in pairs], self.draw)
        logits, taps = self.reached.run([index for _, index in pairs], at_site)
        return self.head.logits(logits, own_taps(self.frozen, self.head, taps))


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
    decodes = PASSES * max(frozen.units(index) for index in tiles)
    size = max(1, min(len(tiles), 8, round(_DECODES / decodes)))
    wanted = size * settings.steps
    rounds = -(-wanted // len(tiles))
    order = np.concatenate([rng.permutation(np.asarray(tiles)) for _ in range(rounds)]).tolist()
    return [order[begin : begin + size] for begin in range(0, wanted, size)]
