"""From a module to a program whose sizes are as free as the network lets them be."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from penumbra.errors import ModelError, expected
from penumbra.inference.exported.mask_pass import MaskPass

FAILS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
)
"""What networks of other packages, and tracing them, are known to raise."""

_LEAST = 48
"""Least side that is traced and compared: smaller ones hide what is wrong with borders."""


@dataclass(frozen=True)
class Sizes:
    """Which images a program takes.

    Attributes:
        multiple: what free sides divide by.
        fixed: the one side that it takes, or ``None`` where height and width are free.
        batch: the one number of images that it takes, or ``None`` where it is free.
    """

    multiple: int = 1
    fixed: int | None = None
    batch: int | None = None

    @property
    def smallest(self) -> int:
        """Least side: what is free begins at two multiples, since one would be taken for fixed."""
        return self.fixed or 2 * self.multiple

    @property
    def batches(self) -> tuple[int, ...]:
        """Numbers of images to compare with."""
        return (1, 3) if self.batch is None else (self.batch,)

    def compared(self, tile: int) -> tuple[tuple[int, int], ...]:
        """Give the sizes (H, W) to compare at, none of them the one that was traced.

        Args:
            tile: side of the run's tiles; among them up to 512.

        Examples:
            >>> Sizes(16).compared(256)
            ((64, 80), (80, 48), (256, 256))
        """
        if self.fixed is not None:
            return ((self.fixed, self.fixed),)
        one = self._side
        small = ((one + self.multiple, one + 2 * self.multiple), (one + 2 * self.multiple, one))
        side = self.multiple * max(2, -(-tile // self.multiple))
        return (*small, (side, side)) if side <= 512 else small

    @property
    def traced(self) -> tuple[int, int, int]:
        """Number, height and width of the images that are traced."""
        if self.fixed is not None:
            return self.batch or 2, self.fixed, self.fixed
        # Two sides that are alike would be taken for one and the same.
        return self.batch or 2, self._side, self._side + self.multiple

    @property
    def _side(self) -> int:
        return self.multiple * max(2, -(-_LEAST // self.multiple))

    def dynamic(self) -> dict[int, Any]:
        """Give what `torch.export` calls the free dimensions of its input."""
        free: dict[int, Any] = {} if self.batch is not None else {0: Dim("number")}
        if self.fixed is None:
            free |= {
                axis: self.multiple * Dim(name, min=2) if self.multiple > 1 else Dim(name, min=2)
                for axis, name in ((2, "rows"), (3, "columns"))
            }
        return free


def attempts(multiple: int, side: int) -> Iterator[Sizes]:
    """Give what to try, the freest first.

    Args:
        multiple: what sides divide by.
        side: of fixed images; rounded up to the multiple.

    Examples:
        >>> [(sizes.fixed, sizes.batch) for sizes in attempts(32, 100)]
        [(None, None), (128, None), (128, 1)]
    """
    fixed = multiple * -(-side // multiple)
    yield Sizes(multiple)
    yield Sizes(multiple, fixed=fixed)
    yield Sizes(multiple, fixed=fixed, batch=1)


def trace(module: MaskPass, *, channels: int, sizes: Sizes) -> ExportedProgram:
    """Trace a module with these sizes free.

    Raises:
        ModelError: it cannot be traced so.
    """
    number, height, width = sizes.traced
    ramp = torch.linspace(-1, 1, height)[:, None] * torch.linspace(-1, 1, width)
    example: Tensor = ramp.expand(number, channels, height, width).contiguous()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of torch about itself; nobody here can act on it.
            program = torch.export.export(
                module, (example,), dynamic_shapes={"images": sizes.dynamic()}
            )
    except FAILS as error:
        raise ModelError(
            expected("the network", "one that torch.export can trace",
                     f"an error ({one_line(error)})",
                     "the run folder itself, with `penumbra.Predictor`")
        ) from error  # fmt: skip
    for node in program.graph.nodes:
        # It names files of this machine, which are nobody's business elsewhere.
        node.meta.pop("stack_trace", None)
    return program


def one_line(error: Exception) -> str:
    """Give the beginning of what an error says, or its name, on one line."""
    return " ".join((str(error).strip() or type(error).__name__).split())[:200]
