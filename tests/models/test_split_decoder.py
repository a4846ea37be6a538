"""Decoding many times with noise on the skips: the plain decoder's result, cheaper."""

import pytest
import torch

from penumbra.models.unet.split_decoder import SplitDecoder
from penumbra.models.unet.unet import UNet
from penumbra.noise.separable import Separable


def field(n, channels, h, w, *, inner, seed):
    rng = torch.Generator().manual_seed(seed)
    return Separable(
        torch.randn(n, h, inner, generator=rng), torch.randn(n, inner, w, channels, generator=rng)
    )


def whole(field):
    return torch.einsum("nhk,nkwc->nchw", field.left, field.middle)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("inner", [1, 7])
@torch.inference_mode()
def test_it_is_the_plain_decoder_on_disturbed_skips(norm, inner):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet(1, 2, width=8, depth=3, norm=norm).eval()
        x = torch.randn(2, 1, 48, 64)
    features = net.encode(x)
    disturbed = [h.clone() for h in features]
    noise = {}
    for level in range(3):
        h = features[-2 - level]
        noise[level] = field(*h.shape, inner=inner, seed=level)
        disturbed[-2 - level] = h + whole(noise[level])
    last = [h.contiguous(memory_format=torch.channels_last) for h in features]
    decoder = SplitDecoder(net)
    got, outputs = decoder.decode(last[-1], decoder.bases(last), noise)
    torch.testing.assert_close(got, net.decode(disturbed), atol=1e-4, rtol=1e-4)
    assert [o.shape[1] for o in outputs] == [32, 16, 8]


@torch.inference_mode()
def test_without_noise_it_is_the_plain_decoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet(1, 1, width=4, depth=2).eval()
        features = net.encode(torch.randn(1, 1, 32, 32))
    decoder = SplitDecoder(net)
    got, _ = decoder.decode(features[-1], decoder.bases(features), {})
    torch.testing.assert_close(got, net.decode(features), atol=1e-5, rtol=1e-5)
