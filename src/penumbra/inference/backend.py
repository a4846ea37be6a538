"""Which device and precision a network runs in, and running it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from penumbra.errors import SettingsError, expected

Precision = Literal["auto", "fp32", "bf16", "fp16"]
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str = "auto") -> torch.device:
    """Give the device: CUDA, then Apple's MPS, then the CPU where `device` is ``"auto"``.

    Raises:
        SettingsError: the named device is not on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(
            expected("`device`", "on this machine", f"{device!r} ({reason})", "'auto' or 'cpu'")
        ) from error
    return chosen


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is faster than float32 on this device."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, bool)() for check in checks)
    return False


def choose_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """Give the precision: where ``"auto"``, bf16 if the device computes it fast, else fp16 on
    CUDA, else fp32.

    Raises:
        SettingsError: fp16 on a device that has no fp16 convolutions.
    """  # noqa: D205 - one sentence
    if precision == "auto":
        if has_fast_bf16(device):
            return "bf16"
        return "fp16" if device.type == "cuda" else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise SettingsError(
            expected("`precision`", "'fp32' or 'bf16' on a CPU", "'fp16'", "'auto'")
        )
    return precision


def _check_norms(module: nn.Module) -> None:
    """Refuse batch norms without running statistics: the rest of the batch would change a mask."""
    for name, layer in module.named_modules():
        # Instance norms are no batch norms to torch's public classes, and need no statistics.
        if isinstance(layer, _BATCH_NORMS) and layer.running_mean is None:
            raise SettingsError(
                expected(f"the layer {name or 'norm'}", "a norm with running statistics",
                         "a batch norm with track_running_stats=False",
                         "training with running statistics, or a group norm")
            )  # fmt: skip


def _fuse_norms(module: nn.Module) -> None:
    """Fold each batch norm that directly follows a convolution in a Sequential into it.

    In evaluation a batch norm is a fixed scale and offset. Folding them in float32, before any
    cast, saves a pass over memory and keeps the running variance from being rounded to bf16.
    """
    for parent in list(module.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        for index in range(len(parent) - 1):
            convolution, norm = parent[index], parent[index + 1]
            if type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                parent[index] = fuse_conv_bn_eval(convolution, norm)
                parent[index + 1] = nn.Identity()


def in_channels_last(module: nn.Module) -> nn.Module:
    """Lay a network's weights out channels last, which CPUs and GPUs convolve faster."""
    laid_out: nn.Module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out


@dataclass(frozen=True)
class Engine:
    """A network ready to run: on its device, in its precision, channels last.

    Attributes:
        module: the network, in evaluation mode.
        device: where it lies.
        precision: what it computes in; its answer is float32 all the same.
        group: images per call of the network.
    """

    module: nn.Module
    device: torch.device
    precision: Literal["fp32", "bf16", "fp16"]
    group: int = 1

    @classmethod
    def of(
        cls,
        module: nn.Module,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int = 4,
    ) -> Engine:
        """Prepare a copy of `module`; the module itself stays as it is.

        Raises:
            SettingsError: the device is not there, or a batch norm has no running statistics.
        """
        where = choose_device(device)
        what = choose_precision(precision, where)
        _check_norms(module)
        ready = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
        _fuse_norms(ready)
        ready = ready.to(device=where, dtype=_DTYPES[what])
        ready = in_channels_last(ready)
        return cls(ready, where, what, group=1 if where.type == "cpu" else batch_size)

    def logits(self, batch: Tensor) -> Tensor:
        """Compute logits (N, K, H, W) float32 on the CPU for images (N, C, H, W) float32.

        The kernels that a library chooses, and so the last bits, depend on the size of the batch.
        Every call to the network therefore has one fixed size: on a CPU a single image, which
        costs no speed there; elsewhere `batch_size` images, the last group filled up by zeros.
        """
        parts = [self._forward(part) for part in torch.split(batch, self.group)]
        return torch.cat(parts)

    def place(self, batch: Tensor) -> Tensor:
        """Bring images (N, C, H, W) to the device, in its precision, channels last."""
        x = batch.to(self.device, _DTYPES[self.precision])
        return x.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def _forward(self, part: Tensor) -> Tensor:
        count = part.shape[0]
        if count < self.group:
            filling = torch.zeros(self.group - count, *part.shape[1:], dtype=part.dtype)
            part = torch.cat([part, filling])
        logits: Tensor = self.module(self.place(part))[:count].float().cpu()
        return logits
