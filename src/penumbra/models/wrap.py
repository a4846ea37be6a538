"""Bring any torch module into the house by its dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from penumbra.errors import ModelError, expected
from penumbra.models.foreign import (
    FAILS,
    Build,
    build_module,
    import_module_class,
    read_output,
    refuse_code_in,
)
from penumbra.models.storage import StoredModel
from penumbra.models.unet.blocks import pad_to_multiple
from penumbra.pages.words import count

__all__ = ["Wrapped", "import_module_class", "refuse_code_in"]

_TRIAL = 64
"""Least side of the image that a module is tried on when it is built."""

_LARGER = (128, 224, 256, 512)
"""Sides that are tried where that one does not do, so that the error names one that does."""


class Wrapped(StoredModel):
    """Any torch module under the house's contract: image in, logits out at the same size.

    Sizes are padded to `multiple` and cropped back. What the module gives is declared, not
    guessed; a small image is sent through when it is built, so that a declaration that does not
    fit is known before anything is read or trained.

    Args:
        n_channels: image channels that the module takes.
        n_classes: logits K that the module gives.
        target: dotted path of the class, such as ``"monai.networks.nets.BasicUNet"``.
        keywords: its keyword arguments, plain values.
        multiple: the size must divide by this for the module; 32 suits most encoders.
        output: where the logits are: ``"tensor"`` (what is returned), ``"first"`` (of a tuple or
            list), else a key or attribute, such as ``"out"`` (torchvision) or ``"logits"``
            (Hugging Face).
        stride: pixels of the image for each pixel of the logits; above 1 (4 for SegFormer) they
            are enlarged bilinearly.
        build: ``"config"`` where `keywords` are those of the class's configuration, as for
            Hugging Face's models.

    Raises:
        ModelError: the class cannot be imported or built, does not take such images, or what it
            gives is not as declared, or not finite.

    Examples:
        >>> import torch
        >>> conv = Wrapped(1, 2, target="torch.nn.Conv2d",
        ...                keywords={"in_channels": 1, "out_channels": 2, "kernel_size": 1})
        >>> conv(torch.zeros(1, 1, 20, 30)).shape
        torch.Size([1, 2, 20, 30])
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        *,
        target: str,
        keywords: Mapping[str, Any] | None = None,
        multiple: int = 32,
        output: str = "tensor",
        stride: int = 1,
        build: Build = "keywords",
    ) -> None:
        super().__init__()
        _check(multiple, stride, output)
        self.n_channels = n_channels
        self.n_classes = n_classes
        self.multiple = multiple
        self.output = output
        self.stride = stride
        self.target = target
        self.module = build_module(target, dict(keywords or {}), build=build)
        self._try_out()

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, K, H, W) at the size of `x` (N, C, H, W).

        Raises:
            ModelError: what the module gave is not as declared.
        """
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.multiple)
        logits = read_output(self.module(padded), self.output, self.target)
        self._check_shape(logits, padded)
        if self.stride > 1:
            logits = F.interpolate(
                logits, size=padded.shape[-2:], mode="bilinear", align_corners=False
            )
        return logits[..., :height, :width]

    def _check_shape(self, logits: Tensor, padded: Tensor) -> None:
        wanted = (self.n_classes, *(side // self.stride for side in padded.shape[-2:]))
        if logits.ndim == 4 and logits.shape[1:] == wanted:
            return
        if logits.ndim != 4 or logits.shape[1] != self.n_classes:
            try_ = f"keywords that make it give {count(self.n_classes, 'class')}"
        else:
            ratio = padded.shape[-2] / max(1, logits.shape[-2])
            try_ = "a network that keeps the size, or another `multiple`"
            if ratio > 1 and ratio == padded.shape[-1] / max(1, logits.shape[-1]) == int(ratio):
                try_ = f"stride: {int(ratio)}"
        sizes = ", ".join(map(str, wanted))
        raise ModelError(
            expected(f"the output of {self.target}", f"(N, {sizes}) for images of "
                     f"{padded.shape[-2]}×{padded.shape[-1]}", tuple(logits.shape), try_)
        )  # fmt: skip

    def _try_out(self) -> None:
        """Send a small image through, in evaluation and without a trace."""
        side = self.multiple * -(-_TRIAL // self.multiple)
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                logits = self(_trial(self.n_channels, side))
        except FAILS as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(
                expected(
                    f"{self.target}",
                    f"a network for images (N, {self.n_channels}, {side}, {side})",
                    f"an error from it ({reason[0]})",
                    self._remedy(side),
                )
            ) from error
        self.train(was_training)
        if not bool(torch.isfinite(logits).all()):
            raise ModelError(
                expected(f"the output of {self.target}", "finite with its initial weights",
                         "NaN or infinity", "looking for a division or a logarithm in it")
            )  # fmt: skip

    def _remedy(self, side: int) -> str:
        """Say what the module would take instead, where something else is taken."""
        for channels in sorted({1, 3} - {self.n_channels}):
            if self._takes(channels, side):
                given = count(self.n_channels, "channel")
                return f"image.channels: {channels}, or keywords for {given}"
        for larger in _LARGER:
            fits = larger > side and not larger % self.stride
            if fits and self._takes(self.n_channels, larger):
                return f"multiple: {larger}"
        return "looking for the error in its forward"

    def _takes(self, channels: int, side: int) -> bool:
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                self.module(_trial(channels, side))
        except FAILS:
            return False
        return True


def _trial(channels: int, side: int) -> Tensor:
    """Give the image (1, C, H, W) that a module is tried on: a ramp, no value there twice."""
    ramp = torch.linspace(-1, 1, side)
    return (ramp[:, None] * ramp).expand(1, channels, side, side).contiguous()


def _check(multiple: int, stride: int, output: str) -> None:
    for name, value in (("multiple", multiple), ("stride", stride)):
        if not isinstance(value, int) or not 1 <= value <= 1024:
            raise ModelError(
                expected(f"`{name}`", "a whole number from 1 to 1024", repr(value), f"{name}: 32")
            )
    if multiple % stride:
        raise ModelError(
            expected("`multiple`", f"one that the stride {stride} divides", multiple,
                     f"multiple: {stride * -(-multiple // stride)}")
        )  # fmt: skip
    if not isinstance(output, str) or not output.isidentifier():
        raise ModelError(
            expected("`output`", "'tensor', 'first' or the name of a key or attribute",
                     repr(output), "output: logits")
        )  # fmt: skip
