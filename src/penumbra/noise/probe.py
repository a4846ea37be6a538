"""What a network does with an image: every feature that passes, in the order of completion."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from penumbra.errors import SettingsError, expected
from penumbra.noise.places import features_of, is_feature

_SIDE = 128


@dataclass(frozen=True)
class Feature:
    """A feature (N, C, H, W) that was seen.

    Attributes:
        place: its name as a site.
        shape: (C, H, W).
        order: how many calls had ended before.
        number: says which tensor it was.
    """

    place: str
    shape: tuple[int, int, int]
    order: int
    number: int

    @property
    def area(self) -> int:
        """H · W."""
        return self.shape[1] * self.shape[2]


@dataclass
class Probe:
    """One forward pass, watched.

    Attributes:
        outputs: features that submodules gave alone.
        lists: by submodule, the features that it gave several of, the image itself left out.
        arguments: by call in the order of completion, how many calls had ended when it began,
            and the features among its positional arguments.
        classifier: when the last call of a submodule with weights of its own ended.
    """

    outputs: list[Feature] = field(default_factory=list)
    lists: dict[str, list[Feature]] = field(default_factory=dict)
    arguments: list[tuple[int, list[Feature]]] = field(default_factory=list)
    classifier: int = 0
    _order: int = 0
    _begun: list[int] = field(default_factory=list)
    _kept: list[Tensor] = field(default_factory=list)

    def begin(self) -> None:
        """Note that a call begins."""
        self._begun.append(self._order)

    def record(self, name: str, module: nn.Module, arguments: Any, output: Any) -> None:
        """Note one call."""
        began = self._begun.pop()
        self._order += 1
        if next(module.parameters(recurse=False), None) is not None:
            self.classifier = self._order
        if is_feature(output):
            self.outputs.append(self._feature(name, output))
        elif (several := features_of(output)) is not None:
            image = self._kept[0]
            self.lists[name] = [
                self._feature(f"{name}[{index}]", h)
                for index, h in enumerate(several)
                if is_feature(h) and not (h.shape == image.shape and torch.equal(h, image))
            ]
        given = [
            self._feature(f"{name}({index})", h)
            for index, h in enumerate(arguments)
            if is_feature(h)
        ]
        if given:
            self.arguments.append((began, given))

    def _feature(self, place: str, h: Tensor) -> Feature:
        # Kept, so that no later tensor gets the same number.
        self._kept.append(h)
        return Feature(place, (h.shape[1], h.shape[2], h.shape[3]), self._order, id(h))

    def forget(self) -> None:
        """Let go of the tensors."""
        self._kept.clear()

    def table(self) -> str:
        """List places with their shapes, the largest part of a network that fits a message."""
        rows = [f"{f.place} {'×'.join(map(str, f.shape))}" for f in self.outputs]
        return ", ".join(rows[:24]) + (", …" if len(rows) > 24 else "")


def probe(module: nn.Module, example: Tensor | None = None) -> Probe:
    """Watch one forward pass in evaluation mode; the network is left as it was.

    Args:
        module: any network that takes images (N, C, H, W) alone.
        example: images; where ``None``, zeros of 128² pixels in as many channels as the network's
            `n_channels` or its first convolution says.

    Raises:
        SettingsError: the network cannot take the example.
    """
    x = example_for(module) if example is None else example
    seen = Probe()
    seen._kept.append(x)  # noqa: SLF001 - its own module

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(inner: nn.Module, arguments: Any, output: Any) -> None:
            seen.record(name, inner, arguments, output)

        return hook

    def begin(inner: nn.Module, arguments: Any) -> None:
        del inner, arguments
        seen.begin()

    handles = [m.register_forward_pre_hook(begin) for name, m in module.named_modules() if name]
    handles += [m.register_forward_hook(watch(name)) for name, m in module.named_modules() if name]
    try:
        with evaluating(module), torch.no_grad():
            module(x)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise SettingsError(
            expected("the network", f"one that takes images {tuple(x.shape)}", reason,
                     "example=images of a size and number of channels that suit it")
        ) from error  # fmt: skip
    finally:
        for handle in handles:
            handle.remove()
        seen.forget()
    return seen


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode, and every part of it back to its own afterwards."""
    training = {inner: inner.training for inner in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for inner, mode in training.items():
            inner.training = mode


def example_for(module: nn.Module) -> Tensor:
    """Make an image (1, C, 128, 128) of zeros for a network, on its device and of its type."""
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    channels = getattr(module, "n_channels", None)
    if not isinstance(channels, int):
        channels = convolutions[0].in_channels if convolutions else 1
    weight = next(module.parameters(), torch.zeros(()))
    return torch.zeros(1, channels, _SIDE, _SIDE, dtype=weight.dtype, device=weight.device)
