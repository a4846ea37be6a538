"""Feature noise through learned gates: h′ = h + g_l · scale · s_lc · n.

`s_lc` is the stored standard deviation of channel c at site l, so that noise is relative to what
the features do and the next layer cannot learn it away by growing. `g_l` is a gate in (0, 1) per
site, a parameter that receives gradients. `n` has unit variance. The scale is applied once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from penumbra.errors import SettingsError, expected
from penumbra.noise.draws import join_keys, normal

NoiseMode = Literal[
    "disabled", "single", "ensemble", "inference_ensemble", "monte_carlo", "training"
]
"""`disabled` adds nothing; `single` draws pass 0; the ensemble modes draw the pass asked for;
`training` draws anew each step and updates the stored standard deviations."""

PATTERNS = ("gaussian", "perlin", "simplex")
AVAILABLE_PATTERNS = ("gaussian",)
_MOMENTUM = 0.1


class NeuralNoiseInjector(nn.Module):
    """Noise for the features of a network, site by site.

    Args:
        noise_scale: standard deviation of the noise in those of the channel, before the gate.
        noise_decay: factor on the scale per *epoch* of training (`set_epoch`), 0 < d ≤ 1. It does
            not count calls, so a batch more or less changes nothing.
        noise_patterns: the menu that `pattern` may be chosen from. Gaussian can be drawn; Perlin
            and simplex may stand in the menu but are refused when chosen.

    Attributes:
        pattern: which pattern is drawn; the first of the menu that can be.

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
    ) -> None:
        super().__init__()
        if noise_scale < 0:
            raise SettingsError(expected("`noise_scale`", "at least 0", noise_scale, "0.1"))
        if not 0 < noise_decay <= 1:
            raise SettingsError(expected("`noise_decay`", "in (0, 1]", noise_decay, "0.95"))
        unknown = [pattern for pattern in noise_patterns if pattern not in PATTERNS]
        if unknown or not noise_patterns:
            raise SettingsError(
                expected(
                    "`noise_patterns`", f"some of {PATTERNS}", list(noise_patterns), "'gaussian'"
                )
            )
        self.noise_scale = noise_scale
        self.noise_decay = noise_decay
        self.noise_patterns = tuple(noise_patterns)
        drawable = [name for name in noise_patterns if name in AVAILABLE_PATTERNS]
        self.pattern = drawable[0] if drawable else noise_patterns[0]
        self.gate_logits = nn.ParameterDict()
        self.register_buffer("decay", torch.ones(()))

    def add_site(self, site: str, *, channels: int) -> None:
        """Add a site: a gate of one half; channel deviations are one until measured."""
        self.gate_logits[site] = nn.Parameter(torch.zeros(()))
        self.register_buffer(f"std_{site}", torch.ones(channels))
        self.register_buffer(f"measured_{site}", torch.zeros((), dtype=torch.bool))

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, in the order in which they were added."""
        return tuple(self.gate_logits.keys())

    def gate(self, site: str) -> Tensor:
        """Give the gate g = sigmoid(w) of a site, in (0, 1).

        Raises:
            SettingsError: there is no such site.
        """
        if site not in self.gate_logits:
            known = ", ".join(self.sites) or "(none added)"
            raise SettingsError(expected("the site", f"one of {known}", repr(site), "add_site"))
        return torch.sigmoid(self.gate_logits[site])

    def set_epoch(self, epoch: int) -> None:
        """Set the scale's decay to d^epoch."""
        self.get_buffer("decay").fill_(self.noise_decay**epoch)

    @torch.no_grad()
    def measure(self, site: str, h: Tensor) -> None:
        """Update the stored standard deviations of a site from features (N, C, H, W)."""
        now = h.detach().float().std(dim=(0, 2, 3), correction=0)
        kept, measured = self.get_buffer(f"std_{site}"), self.get_buffer(f"measured_{site}")
        kept.copy_(torch.lerp(kept, now, _MOMENTUM) if bool(measured) else now)
        measured.fill_(True)  # noqa: FBT003 - a value, not an option

    def forward(
        self,
        h: Tensor,
        site: str,
        *,
        keys: Tensor,
        mode: NoiseMode = "single",
        sample: int = 0,
    ) -> Tensor:
        """Add noise to the features of one site.

        Args:
            h: (N, C, H, W).
            site: where.
            keys: (N,) int64 per image, from the seed and the image's content (`draws`).
            mode: see `NoiseMode`.
            sample: which pass, for the ensemble modes.

        Returns:
            (N, C, H, W) in the type of `h`.

        Raises:
            SettingsError: the mode, site or pattern is not one of those there are.
        """
        if mode not in get_args(NoiseMode):
            known = ", ".join(get_args(NoiseMode))
            raise SettingsError(expected("`noise_mode`", f"one of {known}", repr(mode), "'single'"))
        if mode == "disabled":
            return h
        gate = self.gate(site)
        if mode == "training":
            self.measure(site, h)
        drawn = keys if mode == "single" else join_keys(keys, sample)
        drawn = join_keys(drawn, self.sites.index(site))
        amplitude = gate * self.noise_scale * self.get_buffer("decay")
        std = self.get_buffer(f"std_{site}").view(1, -1, 1, 1)
        noise = amplitude * std * self._draw(drawn, h)
        return h + noise.to(h.dtype)

    def _draw(self, keys: Tensor, h: Tensor) -> Tensor:
        if self.pattern not in AVAILABLE_PATTERNS:
            raise SettingsError(
                expected(
                    "`pattern`", f"one of {AVAILABLE_PATTERNS}", repr(self.pattern), "'gaussian'"
                )
            )
        return normal(keys.to(h.device), tuple(h.shape[1:]))
