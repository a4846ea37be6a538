"""What can be done to features in a pass: dropout and its kin, feature noise.

Every draw is a function of (image, pass, site, channel, position in the image) and of nothing
else: the same image gets the same disturbance alone and in any batch, and two overlapping tiles
of one image agree where they overlap. For what is drawn per feature (dropout, DropBlock,
multiplicative and white noise) a tile's place is floor(origin / stride): they agree up to a shift
of less than one feature, and exactly where origins are multiples of the stride. None of them
moves the mean: averaged over passes, the features are what they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from torch import Tensor

from penumbra.errors import SettingsError, expected
from penumbra.noise.dropout import DropBlock, Dropout
from penumbra.noise.fields import add_field
from penumbra.noise.grid import first_feature, keys_at, uniform_at
from penumbra.noise.injector import NeuralNoiseInjector, NoiseMode
from penumbra.noise.masks import Masksembles
from penumbra.noise.patterns import Pattern

__all__ = [
    "DropBlock",
    "Dropout",
    "InjectedNoise",
    "Masksembles",
    "Multiplicative",
    "Perturbation",
    "PerturbationKind",
    "RelativeNoise",
    "make_perturbation",
]

PerturbationKind = Literal["dropout", "dropblock", "multiplicative", "masksembles"]


class Perturbation(Protocol):
    """A disturbance of the features at one site in one pass.

    Attributes:
        name: what it is called in tables.
    """

    @property
    def name(self) -> str:
        """What it is called in tables."""

    def __call__(
        self,
        h: Tensor,
        site: str,
        *,
        keys: Tensor,
        sample: int,
        stride: float,
        origins: Tensor | None,
    ) -> Tensor:
        """Disturb features.

        Args:
            h: (N, C, H, W), of any floating type.
            site: where.
            keys: (N,) int64, one per image.
            sample: which pass.
            stride: image pixels from one feature to the next.
            origins: (N, 2) row and column, in image pixels, of the window's upper left corner in
                its image; ``None`` for whole images.

        Returns:
            (N, C, H, W) in the type of `h`.
        """


@dataclass(frozen=True)
class Multiplicative:
    """Multiplicative feature noise h + h · u with u uniform in (−strength, strength).

    As in cross-consistency training (CCT, arXiv 2003.09005), but drawn for each image and pass.
    CCT draws once for the whole batch: an image's result then depends on which batch it is in,
    and images are disturbed alike, so that their errors do not average out.

    Attributes:
        strength: largest relative change, at least 0.

    Raises:
        SettingsError: the strength is negative.
    """

    strength: float = 0.3
    name: str = "multiplicative"

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise SettingsError(expected("`strength`", "at least 0", self.strength, "0.3"))

    def __call__(
        self,
        h: Tensor,
        site: str,
        *,
        keys: Tensor,
        sample: int,
        stride: float,
        origins: Tensor | None,
    ) -> Tensor:
        """See `Perturbation`."""
        drawn = keys_at(self.name, keys, sample, site, h)
        u = uniform_at(
            drawn, (h.shape[1], h.shape[2], h.shape[3]), first=first_feature(origins, stride)
        )
        return h * (1 + self.strength * (2 * u - 1)).to(h.dtype)


@dataclass(frozen=True)
class InjectedNoise:
    """Feature noise of an injector, as a perturbation.

    Attributes:
        injector: has the sites.
        mode: ``"monte_carlo"``, or ``"training"`` to update the stored deviations too.
    """

    injector: NeuralNoiseInjector
    mode: NoiseMode = "monte_carlo"
    name: str = "noise"

    def __call__(
        self,
        h: Tensor,
        site: str,
        *,
        keys: Tensor,
        sample: int,
        stride: float,
        origins: Tensor | None,
    ) -> Tensor:
        """See `Perturbation`."""
        noisy: Tensor = self.injector(
            h, site, keys=keys, mode=self.mode, sample=sample, stride=stride, origins=origins
        )
        return noisy


@dataclass(frozen=True)
class RelativeNoise:
    """Feature noise without anything learned: h + strength · s · n.

    s is the standard deviation of the channel in this image's window, n a field of unit variance.
    Everything follows from the settings, so that a network trained with it can be run with it.

    Attributes:
        strength: amplitude in standard deviations of the channel, at least 0.
        pattern: of n.

    Raises:
        SettingsError: the strength is negative.
    """

    strength: float = 0.2
    pattern: Pattern = field(default_factory=Pattern)
    name: str = "noise"

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise SettingsError(expected("`strength`", "at least 0", self.strength, "0.2"))

    def __call__(
        self,
        h: Tensor,
        site: str,
        *,
        keys: Tensor,
        sample: int,
        stride: float,
        origins: Tensor | None,
    ) -> Tensor:
        """See `Perturbation`."""
        drawn = keys_at(self.name, keys, sample, site, h)
        std = h.detach().float().std(dim=(2, 3), correction=0)
        amplitude = self.strength * std
        return add_field(h, self.pattern, drawn, amplitude, stride=stride, origins=origins)


def make_perturbation(kind: PerturbationKind, strength: float | None = None) -> Perturbation:
    """Build a perturbation by its kind.

    Args:
        kind: ``dropout`` (of whole maps), ``dropblock``, ``multiplicative`` or ``masksembles``.
        strength: its rate, its largest relative change, or the masks' scale; each kind's own
            default where ``None``.

    Raises:
        SettingsError: the kind is unknown, or the strength is out of its range.

    Examples:
        >>> make_perturbation("dropblock", 0.3)
        DropBlock(rate=0.3, block=16.0, name='dropblock')
    """
    if kind not in get_args(PerturbationKind):
        known = ", ".join(get_args(PerturbationKind))
        raise SettingsError(expected("the perturbation", f"one of {known}", repr(kind), "dropout"))
    if kind == "masksembles":
        return Masksembles() if strength is None else Masksembles(scale=strength)
    if kind == "dropout":
        return Dropout() if strength is None else Dropout(strength)
    if kind == "dropblock":
        return DropBlock() if strength is None else DropBlock(strength)
    return Multiplicative() if strength is None else Multiplicative(strength)
