"""Norms on the way into an engine: a mask must not depend on what else is in the batch."""

import pytest
import torch
from torch import nn

from penumbra.errors import SettingsError
from penumbra.inference.backend import Engine


@pytest.mark.parametrize("inside", [True, False], ids=["after a convolution", "elsewhere"])
def test_a_batch_norm_without_statistics_is_refused(inside):
    norm = nn.BatchNorm2d(2, track_running_stats=False)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), norm) if inside else nn.ModuleDict({"norm": norm})
    with pytest.raises(SettingsError, match=r"running statistics.*Try training"):
        Engine.of(net, device="cpu")


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4)])
def test_other_norms_are_fine(norm):
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm, nn.Conv2d(4, 1, 1))
    x = torch.randn(2, 1, 8, 8)
    engine = Engine.of(net, device="cpu", precision="fp32")
    with torch.no_grad():
        torch.testing.assert_close(engine.logits(x), net.eval()(x), atol=1e-5, rtol=1e-4)
