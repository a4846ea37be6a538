"""A second answer from a network's encoder: whether the image shows anything at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from penumbra.errors import ModelError, expected
from penumbra.noise.places import features_of, is_feature

HEAD = "presence_head"
_LOOK = 64


class PresenceHead(nn.Module):
    """From features (N, C, h, w) to logits (N,): means and maxima over places, and two layers.

    The probability that an image shows something is the logit's sigmoid. The maximum finds a small
    object that the mean over many places would drown.

    Args:
        features: name of the submodule whose output is looked at.
        channels: C.
        hidden: units between the two layers.

    Raises:
        ModelError: a number is below 1.

    Examples:
        >>> PresenceHead("down.3", 8)(torch.zeros(2, 8, 4, 4)).shape
        torch.Size([2])
    """

    def __init__(self, features: str, channels: int, hidden: int = 64) -> None:
        super().__init__()
        if channels < 1 or hidden < 1:
            got = f"{channels} and {hidden}"
            raise ModelError(expected("`channels` and `hidden`", "at least 1", got, "hidden=64"))
        self.features, self.channels, self.hidden = features, channels, hidden
        self.layers = nn.Sequential(
            nn.Linear(2 * channels, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits (N,)."""
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.layers(pooled)[:, 0]
        return logits

    def to_json(self) -> dict[str, Any]:
        """Give what the head is built from, as plain values."""
        return {"features": self.features, "channels": self.channels, "hidden": self.hidden}


def head_of(network: nn.Module) -> PresenceHead | None:
    """Give the presence head of a network, if it has one."""
    head = getattr(network, HEAD, None)
    return head if isinstance(head, PresenceHead) else None


def attach_presence(
    network: nn.Module, *, features: str | None = None, hidden: int = 64
) -> PresenceHead:
    """Give a network a presence head; what it answers for masks stays as it is, bit for bit.

    Args:
        network: any network; its class and its other weights stay what they are.
        features: the submodule whose output is looked at, (N, C, h, w), or several, of which the
            last is taken; by default the deepest of `encoder_names`.
        hidden: units of the head.

    Returns:
        The head, which is now a submodule of the network, saved and loaded with it.

    Raises:
        ModelError: the network has no such submodule, or its output holds no feature maps.

    Examples:
        >>> from penumbra.models.unet.unet import UNet
        >>> attach_presence(UNet(1, 1, width=4, depth=2)).to_json()
        {'features': 'down.1', 'channels': 16, 'hidden': 64}
    """
    name = features or _deepest(network)
    channels = _channels(network, name)
    head = PresenceHead(name, channels, hidden)
    setattr(network, HEAD, head)
    return head


def restore_presence(network: nn.Module, document: object) -> None:
    """Attach an untrained head as `PresenceHead.to_json` describes it, so that weights find it.

    Raises:
        ModelError: the description, which may come from anywhere, is none.
    """
    described = document if isinstance(document, Mapping) else {}
    try:
        head = PresenceHead(
            str(described["features"]), int(described["channels"]), int(described["hidden"])
        )
        network.get_submodule(head.features)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            expected("`presence` in model.json", "features, channels and hidden of a head",
                     repr(error), "a fresh copy of the run folder")
        ) from error  # fmt: skip
    setattr(network, HEAD, head)


class PresenceWatch:
    """Asks a network's presence head on the way, whatever runs through the network.

    The first answer since the last `take` is kept: where several passes share images, that of the
    first.

    Args:
        network: one with a presence head.

    Raises:
        ModelError: it has none.
    """

    def __init__(self, network: nn.Module) -> None:
        head = head_of(network)
        if head is None:
            raise ModelError(
                expected("the network", "one with a presence head", type(network).__name__,
                         "model.presence=true, and training again")
            )  # fmt: skip
        self._head, self._logits = head, None
        self._handle = network.get_submodule(head.features).register_forward_hook(self._see)

    _logits: Tensor | None

    def _see(self, module: nn.Module, arguments: Any, output: Any) -> None:
        del module, arguments
        if self._logits is None:
            self._logits = self._head(_feature(output, self._head.features))

    def take(self) -> Tensor | None:
        """Give the logits (N,), and be ready for the next; ``None`` where nothing ran."""
        found, self._logits = self._logits, None
        return found

    def remove(self) -> None:
        """Watch no longer."""
        self._handle.remove()


@contextmanager
def watched(network: nn.Module) -> Iterator[PresenceWatch | None]:
    """Watch a network for as long as the block lasts; ``None`` where it has no head."""
    if head_of(network) is None:
        yield None
        return
    watch = PresenceWatch(network)
    try:
        yield watch
    finally:
        watch.remove()


def _deepest(network: nn.Module) -> str:
    names = getattr(network, "encoder_names", ())
    if not names:
        raise ModelError(
            expected("the network for model.presence", "one that names its encoder's features",
                     type(network).__name__,
                     "model.presence=NAME, the submodule whose output is the deepest feature")
        )  # fmt: skip
    return str(names[-1])


def _feature(output: Any, name: str) -> Tensor:
    if isinstance(output, Tensor) and is_feature(output):
        return output
    found = [each for each in features_of(output) or () if is_feature(each)]
    if not found:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(
            expected(f"the output of {name}", "feature maps (N, C, h, w), or several", shape,
                     "another submodule for model.presence")
        )  # fmt: skip
    last: Tensor = found[-1]
    return last


def _channels(network: nn.Module, name: str) -> int:
    """Run an empty image through and count the channels at a submodule."""
    try:
        part = network.get_submodule(name)
    except AttributeError as error:
        raise ModelError(
            expected("model.presence", "the name of a submodule", repr(name),
                     "one of those that `network.named_modules()` lists")
        ) from error  # fmt: skip
    seen: list[int] = []
    handle = part.register_forward_hook(
        lambda module, arguments, output: seen.append(_feature(output, name).shape[1])  # noqa: ARG005
    )
    modes = [(module, module.training) for module in network.modules()]
    empty = torch.zeros(1, int(getattr(network, "n_channels", 1)), _LOOK, _LOOK)
    try:
        with torch.no_grad():
            network.eval()(empty)
    finally:
        handle.remove()
        for module, mode in modes:
            module.training = mode
    if not seen:
        raise ModelError(
            expected(f"the submodule {name}", "one that runs in a forward pass", "not called",
                     "another one for model.presence")
        )  # fmt: skip
    return seen[-1]
