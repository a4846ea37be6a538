"""From a network's logits to calibrated ones, to their marginal and to samples of whole masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from penumbra.errors import SettingsError, expected
from penumbra.inference.calibration import Calibration
from penumbra.inference.doubt import Level, levels_of, module_taps
from penumbra.inference.linear_map import with_strides
from penumbra.inference.logit_noise import LogitSampler, marginal_probabilities
from penumbra.inference.moments import Moments, marginal_moments
from penumbra.inference.temperature import Scaling


@dataclass(frozen=True)
class Head:
    """What a calibration does to the logits of a pass.

    Every method takes logits (N, K, h, w) and the outputs of `taps`, in that order, of the same
    pass; the arithmetic is float32 on the logits' device.

    Attributes:
        taps: names of the submodules whose outputs the methods need.
        n_logits: K.
        scaling: of the deterministic pass.
        noisy_scaling: of passes with noise in their features.
        logit_noise: noise in logit space, if any.

    Examples:
        >>> import torch
        >>> from penumbra.inference.calibration import Temperature
        >>> head = Head.of(Calibration(temperature=Temperature(values=(2.0,))), 1)
        >>> head.taps, float(head.logits(torch.ones(1, 1, 1, 1), ()))
        ((), 0.5)
    """

    taps: tuple[str, ...]
    n_logits: int
    scaling: Scaling
    noisy_scaling: Scaling
    logit_noise: LogitSampler | None = None

    @classmethod
    def of(cls, calibration: Calibration | None, n_logits: int) -> Head:
        """Make the head of a calibration; without one logits stay as they are.

        Raises:
            RunError: the calibration does not fit a network of `n_logits` logits.
        """
        known = calibration or Calibration()
        scaling = Scaling.of(known.temperature, n_logits)
        noisy = known.noise_temperature
        noisy_scaling = scaling if noisy is None else Scaling.of(noisy, n_logits)
        noise = known.logit_noise
        sampler = None if noise is None else LogitSampler.of(noise, n_logits)
        names = (*scaling.taps, *noisy_scaling.taps, *(sampler.taps if sampler else ()))
        return cls(
            tuple(dict.fromkeys(module_taps(names))), n_logits, scaling, noisy_scaling, sampler
        )

    @property
    def has_logit_noise(self) -> bool:
        """Whether `marginal` and `samples` can be asked for."""
        return self.logit_noise is not None

    def logits(
        self, logits: Tensor, taps: Sequence[Tensor], *, seen: Tensor | None = None
    ) -> Tensor:
        """Scale the logits of the deterministic pass, (N, K, h, w).

        A local temperature reads the logits themselves; `seen` are those that it reads instead,
        such as the mean of samples that are to be scaled alike.
        """
        read = logits if seen is None else seen
        return self.scaling(logits, self._levels(self.scaling.taps, read, taps))

    def noisy_logits(self, logits: Tensor, taps: Sequence[Tensor]) -> Tensor:
        """Scale the logits of a pass with noise in its features, (N, K, h, w)."""
        return self.noisy_scaling(logits, self._levels(self.noisy_scaling.taps, logits, taps))

    def marginal(self, logits: Tensor, taps: Sequence[Tensor]) -> Tensor:
        """Compute the mean probabilities under noise in logit space, without drawing any.

        Returns:
            (N, C, h, w), C = max(K, 2). Exact for one and two logits; for more see
            `penumbra.inference.logit_noise.marginal_probabilities`.

        Raises:
            SettingsError: the calibration holds no noise in logit space.
        """
        return marginal_probabilities(*self.parts(logits, taps))

    def moments(self, logits: Tensor, taps: Sequence[Tensor]) -> Moments:
        """Compute mean, variance and expected entropy under noise in logit space; see `marginal`.

        Raises:
            SettingsError: the calibration holds no noise in logit space.
        """
        return marginal_moments(*self.parts(logits, taps))

    def samples(
        self,
        logits: Tensor,
        taps: Sequence[Tensor],
        *,
        keys: Tensor,
        first: int,
        count: int,
        origins: Tensor | None = None,
    ) -> Tensor:
        """Draw samples of whole masks from noise in logit space.

        Sample 2j + 1 has the opposite noise of sample 2j. A sample depends on its number and on
        the image's key, not on which others are drawn beside it; windows of one image, given
        their origins, are parts of one sample.

        Args:
            logits: (N, K, h, w).
            taps: see the class.
            keys: (N,) int64, one per image; the same for all windows of an image.
            first: number of the first sample.
            count: how many.
            origins: (N, 2) row and column of each window in its image; zeros where ``None``.

        Returns:
            (N, count, C, h, w) probabilities.

        Raises:
            SettingsError: the calibration holds no noise in logit space.
        """
        mean, amplitudes = self.parts(logits, taps)
        return self.sampler.samples(
            mean, amplitudes, keys=keys, first=first, count=count, origins=origins
        )

    def parts(self, logits: Tensor, taps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the mean (N, K, h, w) and amplitudes (N, R, K, h, w) of noise in logit space.

        Raises:
            SettingsError: the calibration holds no noise in logit space.
        """
        sampler = self.sampler
        return sampler.parts(logits, self._levels(sampler.taps, logits, taps))

    @property
    def sampler(self) -> LogitSampler:
        """The noise in logit space.

        Raises:
            SettingsError: the calibration holds none.
        """
        if self.logit_noise is None:
            raise SettingsError(
                expected("the sampler logit-noise", "one that the calibration holds",
                         "a calibration without noise in logit space", "`penumbra calibrate` again")
            )  # fmt: skip
        return self.logit_noise

    def _levels(
        self, names: tuple[str, ...], logits: Tensor, taps: Sequence[Tensor]
    ) -> tuple[Level, ...]:
        if len(taps) != len(self.taps):
            raise SettingsError(
                expected("`taps`", f"the outputs of {', '.join(self.taps) or 'nothing'}",
                         f"{len(taps)} tensors", "Sites(module, names, taps=head.taps)")
            )  # fmt: skip
        if not names:
            return ()
        levels = with_strides(taps, (logits.shape[-2], logits.shape[-1]))
        return levels_of(names, logits, dict(zip(self.taps, levels, strict=True)))
