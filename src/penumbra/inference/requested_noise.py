"""Noise that somebody asks for, beside or instead of a run's own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from penumbra.inference.samplers import Sampler
from penumbra.noise.patterns import Pattern

STRENGTH = 0.2
"""Where nobody says how strong: standard deviations of each channel, as `RelativeNoise` has it."""


@dataclass(frozen=True)
class RequestedNoise:
    """Noise that somebody asks for.

    Attributes:
        strength: in standard deviations of each channel of the features, from 0 to 2; ``None``
            for the run's own noise where it has some and no pattern is given, else `STRENGTH`.
        pattern: of the noise; ``None`` for the default.

    Examples:
        >>> noisy = Sampler.parse("noise:8")
        >>> str(RequestedNoise(0.5, Pattern(name="perlin")).on(noisy, own=True))
        'noise:8@0.5~perlin'
        >>> str(RequestedNoise().on(noisy, own=True)), str(RequestedNoise().on(noisy, own=False))
        ('noise:8', 'noise:8@0.2')
    """

    strength: float | None = None
    pattern: Pattern | None = None

    def on(self, sampler: Sampler, *, own: bool) -> Sampler:
        """Write it into a sampler; one without noise stays as it is.

        Args:
            sampler: which passes.
            own: whether the run has noise of its own.
        """
        if sampler.disturbance != "noise" or (own and self == RequestedNoise()):
            return sampler
        strength = STRENGTH if self.strength is None else self.strength
        # Through the text, which checks the strength.
        plain = replace(sampler, strength=strength, pattern=self.pattern)
        return replace(Sampler.parse(str(plain)), pattern=self.pattern)
