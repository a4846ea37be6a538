"""Train an encoder otherwise than the rest: levels that stay as they are, levels that learn slower.

With n levels, level i from the image learns at r · d^(n−1−i) times the rate of the rest, r being
`encoder_rate` and d `rate_decay` (Howard and Ruder 2018, arXiv 1801.06146: what is nearest to the
image is the most general, and should change the least).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from penumbra.errors import SettingsError, expected
from penumbra.training.experiment import TrainingSettings


def encoder_levels(network: nn.Module) -> tuple[tuple[nn.Module, ...], ...]:
    """Give the submodules that hold the encoder's weights, level by level from the image.

    They are those that the network names: `encoder_levels`, or else `encoder_names`.

    Raises:
        SettingsError: the network names neither.
    """
    levels = getattr(network, "encoder_levels", None)
    if levels is None:
        names = getattr(network, "encoder_names", None)
        levels = None if names is None else tuple((name,) for name in names)
    if not levels:
        raise SettingsError(
            expected("a network for training.freeze, encoder_rate and rate_decay",
                     "one that says which part is its encoder", type(network).__name__,
                     "model.name=vgg16-unet, or leaving them out")
        )  # fmt: skip
    return tuple(tuple(network.get_submodule(name) for name in level) for level in levels)


def frozen_parts(network: nn.Module, settings: TrainingSettings) -> tuple[nn.Module, ...]:
    """Freeze the levels that the settings name, and give their submodules.

    Their weights no longer ask for gradients. What is returned has to be kept in evaluation mode,
    or the statistics of batch norms would go on changing.

    Raises:
        SettingsError: the network has no known encoder, or fewer levels.
    """
    if settings.freeze == 0:
        return ()
    levels = encoder_levels(network)
    count = len(levels) if settings.freeze == "encoder" else settings.freeze
    if count > len(levels):
        raise SettingsError(
            expected("training.freeze", f"at most {len(levels)}, the levels of the encoder", count,
                     "'encoder' for all of them")
        )  # fmt: skip
    parts = tuple(part for level in levels[:count] for part in level)
    for part in parts:
        part.requires_grad_(requires_grad=False)
    return parts


def slower_parts(
    network: nn.Module, settings: TrainingSettings
) -> list[tuple[Sequence[nn.Parameter], float]]:
    """Give the weights of each level that learns at another rate than the rest, and its factor.

    Raises:
        SettingsError: the network has no known encoder.
    """
    if settings.encoder_rate == 1 and settings.rate_decay == 1:
        return []
    found: list[tuple[Sequence[nn.Parameter], float]] = []
    levels = encoder_levels(network)
    for depth, level in enumerate(levels):
        factor = settings.encoder_rate * settings.rate_decay ** (len(levels) - 1 - depth)
        weights = [p for part in level for p in part.parameters() if p.requires_grad]
        if weights:
            found.append((weights, factor))
    return found
