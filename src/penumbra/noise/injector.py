"""Feature noise through gates: h′ = h + g_l · scale · s_lc · n.

`s_lc` is the stored standard deviation of channel c at site l, so that noise is relative to what
the features do and the next layer cannot learn it away by growing. `g_l` is a gate per site, a
parameter that receives gradients: one number in (0, 1), or a map that depends on the features.
`n` has unit variance and any pattern. The scale is applied once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from pydantic import ValidationError
from torch import Tensor, nn

from penumbra.errors import SettingsError, expected
from penumbra.noise.draws import join_keys
from penumbra.noise.edges import edge_factor
from penumbra.noise.fields import add_field, factors
from penumbra.noise.grid import name_number
from penumbra.noise.patterns import Pattern
from penumbra.noise.separable import Separable
from penumbra.noise.statistics import SiteStatistics, name_of

NoiseMode = Literal[
    "disabled", "single", "ensemble", "inference_ensemble", "monte_carlo", "training"
]
"""`disabled` adds nothing; `single` draws one pass; the ensemble modes draw the pass asked for;
`training` draws the pass asked for and updates the stored statistics."""

GateKind = Literal["scalar", "map"]
PatternLike = Pattern | str | Mapping[str, Any]
PATTERNS = ("gaussian", "perlin", "simplex", "lattice")
AVAILABLE_PATTERNS = PATTERNS
_HALF = math.log(math.expm1(0.5))  # softplus of this is one half


def as_pattern(value: PatternLike) -> Pattern:
    """Read a pattern from its name, its settings or itself.

    Raises:
        SettingsError: it is none.

    Examples:
        >>> as_pattern("perlin").length
        32.0
    """
    if isinstance(value, Pattern):
        return value
    try:
        settings = {"name": value} if isinstance(value, str) else value
        return Pattern.model_validate(settings)
    except ValidationError as error:
        raise SettingsError(
            expected("the pattern", f"one of {PATTERNS}, with settings in range", repr(value),
                     "'gaussian'")
        ) from error  # fmt: skip


class NeuralNoiseInjector(SiteStatistics):
    """Noise for the features of a network, site by site.

    Args:
        noise_scale: standard deviation of the noise in those of the channel, before the gate.
        noise_decay: factor on the scale per *epoch* of training (`set_epoch`), 0 < d ≤ 1. It does
            not count calls, so a batch more or less changes nothing.
        noise_patterns: the menu that patterns may be chosen from; the first is drawn where no
            other is chosen.
        patterns: by site, where it differs.
        antithetic: whether the ensemble modes draw passes 2j and 2j + 1 as a pair n and −n, whose
            mean has less error than that of two independent passes.
        edge_weight: how far the amplitude follows the strength of edges in the features, from 0
            (not at all) to 1; its mean square stays as it is. See `edge_factor`.
        gates: ``"scalar"``, g = sigmoid(w); or ``"map"``, g = softplus(w · f + b) at each place,
            with f the features less their stored mean over their stored deviation.

    Raises:
        SettingsError: an argument is out of its range, or a pattern is unknown.

    Examples:
        >>> injector = NeuralNoiseInjector(noise_scale=0.1)
        >>> injector.add_site("skip1", channels=4)
        >>> h, keys = torch.zeros(2, 4, 8, 8), torch.tensor([1, 2])
        >>> bool((injector(h, "skip1", keys=keys, mode="disabled") == h).all())
        True
    """

    def __init__(
        self,
        noise_scale: float = 0.1,
        noise_decay: float = 0.95,
        noise_patterns: Sequence[str] = PATTERNS,
        *,
        patterns: Mapping[str, PatternLike] | None = None,
        antithetic: bool = False,
        edge_weight: float = 0.0,
        gates: GateKind = "scalar",
    ) -> None:
        super().__init__()
        _check(noise_scale, noise_decay, noise_patterns, edge_weight, gates)
        self.noise_scale = noise_scale
        self.noise_decay = noise_decay
        self.noise_patterns = tuple(noise_patterns)
        self.antithetic = antithetic
        self.edge_weight = edge_weight
        self.gate_kind: GateKind = gates
        self._pattern = as_pattern(noise_patterns[0])
        self._patterns: dict[str, Pattern] = {}
        for site, pattern in (patterns or {}).items():
            self._patterns[site] = self._of_menu(pattern)
        self.gate_logits = nn.ParameterDict()
        self.gate_weights = nn.ParameterDict()
        self.gate_biases = nn.ParameterDict()
        self.register_buffer("decay", torch.ones(()))

    @classmethod
    def from_sites(cls, sites: Mapping[str, Any], *, antithetic: bool = True) -> Self:
        """Build an injector with given gates, which are not trained, and scale 1.

        Args:
            sites: by site, an object or a mapping with ``std`` (C,) and ``gate`` ≥ 0; or, for a
                gate that depends on the features, ``gate_weight`` (C,), ``gate_bias`` and
                ``mean`` (C,); and ``pattern``.
            antithetic: whether passes come as pairs of opposite noise.

        Raises:
            SettingsError: a value is out of its range.

        Examples:
            >>> made = NeuralNoiseInjector.from_sites({"skip1": {"gate": 0.3, "std": (1.0, 2.0)}})
            >>> round(float(made.gate("skip1")), 3), made.pattern_of("skip1").name
            (0.3, 'lattice')
        """
        injector = cls(noise_scale=1.0, noise_decay=1.0, antithetic=antithetic)
        for site, settings in sites.items():
            given = settings if isinstance(settings, Mapping) else vars(settings)
            std, weight = _vector(given["std"]), _vector(given.get("gate_weight"))
            if len(weight):
                injector._add(site, len(std), "map", None)
                with torch.no_grad():
                    injector.gate_weights[name_of(site)].copy_(weight)
                    injector.gate_biases[name_of(site)].fill_(float(given.get("gate_bias", 0.0)))
            else:
                injector._add(site, len(std), "scalar", float(given["gate"]))
            mean = _vector(given.get("mean"))
            injector.store(site, std=std, mean=mean if len(mean) else None)
            injector.set_pattern(site, given.get("pattern") or Pattern())
        return injector.requires_grad_(requires_grad=False)

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain values."""
        return {
            "noise_scale": self.noise_scale,
            "noise_decay": self.noise_decay,
            "noise_patterns": list(self.noise_patterns),
            "patterns": {
                site: pattern.model_dump() for site, pattern in self._site_patterns().items()
            },
            "antithetic": self.antithetic,
            "edge_weight": self.edge_weight,
            "gates": self.gate_kind,
        }

    @property
    def pattern(self) -> Pattern:
        """Which pattern is drawn at sites that have none of their own.

        Setting it takes a pattern or its name, and is for all sites.
        """
        return self._pattern

    @pattern.setter
    def pattern(self, value: PatternLike) -> None:
        """Choose the pattern of all sites."""
        self._pattern = self._of_menu(value)
        self._patterns.clear()

    def set_pattern(self, site: str, pattern: PatternLike) -> None:
        """Choose the pattern of one site.

        Raises:
            SettingsError: there is no such site, or the pattern is not in the menu.
        """
        self._require(site)
        self._patterns[site] = self._of_menu(pattern)

    def pattern_of(self, site: str) -> Pattern:
        """Give the pattern of a site.

        Raises:
            SettingsError: there is no such site.
        """
        self._require(site)
        return self._patterns.get(site, self._pattern)

    def add_site(self, site: str, *, channels: int) -> None:
        """Add a site: a gate of one half; channel deviations are one until measured."""
        self._add(site, channels, self.gate_kind, None)

    def _add(self, site: str, channels: int, kind: GateKind, fixed: float | None) -> None:
        self._add_statistics(site, channels)
        name = name_of(site)
        if kind == "map":
            self.gate_weights[name] = nn.Parameter(torch.zeros(channels))
            self.gate_biases[name] = nn.Parameter(torch.tensor(_HALF))
        elif fixed is None:
            self.gate_logits[name] = nn.Parameter(torch.zeros(()))
        elif fixed >= 0 and math.isfinite(fixed):
            self.register_buffer(f"gate_{name}", torch.tensor(fixed))
        else:
            raise SettingsError(expected(f"the gate of {site}", "at least 0", fixed, "0.15"))

    def gate(self, site: str, h: Tensor | None = None) -> Tensor:
        """Give the gate of a site.

        Args:
            site: where.
            h: features (N, C, H, W), which a gate that is a map depends on.

        Returns:
            One number, or a map (N, 1, H, W) float32 above 0.

        Raises:
            SettingsError: there is no such site, or its gate is a map and no features are given.
        """
        self._require(site)
        name = name_of(site)
        if name in self.gate_logits:
            return torch.sigmoid(self.gate_logits[name])
        if name not in self.gate_weights:
            return self.get_buffer(f"gate_{name}")
        if h is None:
            raise SettingsError(
                expected(f"`h` at {site}", "given, since the gate is a map of the features",
                         None, "gate(site, h)")
            )  # fmt: skip
        std = self.std(site)
        weight = self.gate_weights[name] / std.where(std > 0, torch.inf)
        bias = self.gate_biases[name] - (weight * self.mean(site)).sum()
        with torch.autocast(h.device.type, enabled=False):
            return F.softplus(F.conv2d(h.float(), weight.view(1, -1, 1, 1), bias.view(1)))

    def set_epoch(self, epoch: int) -> None:
        """Set the scale's decay to d^epoch."""
        self.get_buffer("decay").fill_(self.noise_decay**epoch)

    def forward(
        self,
        h: Tensor,
        site: str,
        *,
        keys: Tensor,
        mode: NoiseMode = "single",
        sample: int = 0,
        stride: float = 1.0,
        origins: Tensor | None = None,
    ) -> Tensor:
        """Add noise to the features of one site.

        Args:
            h: (N, C, H, W).
            site: where.
            keys: (N,) int64 per image, from the seed and the image's content (`draws`).
            mode: see `NoiseMode`.
            sample: which pass, for all modes but ``"single"``.
            stride: image pixels from one feature to the next.
            origins: (N, 2) where windows lie in their images, in image pixels; ``None`` for
                whole images.

        Returns:
            (N, C, H, W) in the type of `h`.

        Raises:
            SettingsError: the mode or the site is not one of those there are.
        """
        if mode not in get_args(NoiseMode):
            known = ", ".join(get_args(NoiseMode))
            raise SettingsError(expected("`noise_mode`", f"one of {known}", repr(mode), "'single'"))
        if mode == "disabled":
            return h
        if mode == "training":
            self.measure(site, h)
        drawn, sign = self._drawn(keys, site, mode, sample)
        gate = self.gate(site, h)
        # The decay is a schedule of the training; passes of a trained network have the scale.
        scale = self.noise_scale * (self.get_buffer("decay") if mode == "training" else 1.0)
        amplitude = sign * scale * self.std(site)
        pattern = self.pattern_of(site)
        if gate.ndim == 0 and self.edge_weight == 0:
            return add_field(h, pattern, drawn, gate * amplitude, stride=stride, origins=origins)
        if self.edge_weight > 0:
            gate = gate * edge_factor(h, self.std(site), self.edge_weight)
        blank = torch.zeros_like(h, requires_grad=False)
        noise = add_field(blank, pattern, drawn, amplitude, stride=stride, origins=origins)
        return torch.addcmul(h, noise, gate.to(h.dtype))

    def has_factors(self, site: str) -> bool:
        """Say whether `factors` can be asked for at a site.

        Not where the amplitude depends on the features, nor for white and simplex noise.
        """
        laid_out = self.pattern_of(site).name in ("gaussian", "simplex")
        return self.edge_weight == 0 and name_of(site) not in self.gate_weights and not laid_out

    def factors(
        self,
        site: str,
        size: tuple[int, int],
        *,
        keys: Tensor,
        sample: int,
        stride: float = 1.0,
        origins: Tensor | None = None,
    ) -> Separable:
        """Give the noise of a pass of the ensemble modes as two factors, amplitude included.

        Args:
            site: where.
            size: (H, W) in features.
            keys: (N,) int64 per image.
            sample: which pass.
            stride: image pixels from one feature to the next.
            origins: (N, 2), see `forward`.

        Returns:
            What `forward` adds to features.

        Raises:
            SettingsError: there are no factors at this site, see `has_factors`.
        """
        if not self.has_factors(site):
            raise SettingsError(
                expected(f"the noise at {site}", "a product", "one that is laid out", "forward")
            )
        drawn, sign = self._drawn(keys, site, "monte_carlo", sample)
        amplitude = sign * self.noise_scale * self.gate(site) * self.std(site)
        return factors(
            self.pattern_of(site), drawn, amplitude.to(keys.device), size, stride=stride,
            origins=origins,
        )  # fmt: skip

    def _drawn(self, keys: Tensor, site: str, mode: NoiseMode, sample: int) -> tuple[Tensor, float]:
        """Give the keys of this draw and its sign."""
        sign = 1.0
        if mode != "single":
            if self.antithetic and mode != "training":
                sample, odd = divmod(sample, 2)
                sign = -1.0 if odd else 1.0
            keys = join_keys(keys, sample)
        return join_keys(keys, name_number(site)), sign

    def _of_menu(self, value: PatternLike) -> Pattern:
        pattern = as_pattern(value)
        if pattern.name not in self.noise_patterns:
            raise SettingsError(
                expected("`pattern`", f"one of {self.noise_patterns}", repr(pattern.name),
                         "`noise_patterns` with it")
            )  # fmt: skip
        return pattern

    def _site_patterns(self) -> dict[str, Pattern]:
        """Give the patterns by site that the first of the menu does not already say."""
        first = as_pattern(self.noise_patterns[0])
        chosen = {site: self.pattern_of(site) for site in self.sites}
        return {site: pattern for site, pattern in chosen.items() if pattern != first}


def _vector(values: Any) -> Tensor:
    return torch.as_tensor(() if values is None else values, dtype=torch.float32)


def _check(
    scale: float, decay: float, patterns: Sequence[str], edge_weight: float, gates: str
) -> None:
    if not (scale >= 0 and math.isfinite(scale)):
        raise SettingsError(expected("`noise_scale`", "at least 0", scale, "0.1"))
    if not 0 < decay <= 1:
        raise SettingsError(expected("`noise_decay`", "in (0, 1]", decay, "0.95"))
    if not 0 <= edge_weight <= 1:
        raise SettingsError(expected("`edge_weight`", "in [0, 1]", edge_weight, "0"))
    if gates not in get_args(GateKind):
        raise SettingsError(expected("`gates`", f"one of {get_args(GateKind)}", gates, "'scalar'"))
    unknown = [pattern for pattern in patterns if pattern not in PATTERNS]
    if unknown or not patterns:
        raise SettingsError(
            expected("`noise_patterns`", f"some of {PATTERNS}", list(patterns), "'gaussian'")
        )
