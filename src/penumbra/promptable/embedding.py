"""What the encoder made of an image: computed once, prompted many times."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Embedding:
    """Features of one image.

    Attributes:
        features: (1, C, h, w) float32, what the mask decoder attends to.
        size: (H, W) of the image.
        resized: (h, w) that the image was scaled to inside the network's square input.
        key: hexadecimal digest of all that the features follow from: pixels, shape, type, weights
            of the encoder, filters, size, scaling, precision and the number of further features.
        model: digest of the encoder's weights.
        extra: further features that some families need (SAM-HQ: those of an early block).
        timings: seconds by stage.
    """

    features: Tensor
    size: tuple[int, int]
    resized: tuple[int, int]
    key: str
    model: str
    extra: tuple[Tensor, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict, compare=False)

    def on(self, device: torch.device) -> Embedding:
        """Give the same with its features on this device."""
        if self.features.device == device:
            return self
        extra = tuple(tensor.to(device) for tensor in self.extra)
        return replace(self, features=self.features.to(device), extra=extra)

    @property
    def nbytes(self) -> int:
        """Bytes that the features take in memory."""
        return sum(t.numel() * t.element_size() for t in (self.features, *self.extra))


def embedding_key(image: NDArray[np.generic], **settings: object) -> str:
    """Hash an image's pixels, shape and type together with settings, each by its text.

    Returns:
        64 hexadecimal digits (SHA-256).

    Examples:
        >>> image = np.zeros((4, 4, 1), np.uint8)
        >>> embedding_key(image, side=64) == embedding_key(image.astype(np.uint16), side=64)
        False
    """
    digest = hashlib.sha256()
    described = [image.dtype.str, image.shape, *sorted(settings.items())]
    digest.update(repr(described).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
