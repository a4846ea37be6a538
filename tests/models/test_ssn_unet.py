import pytest
import torch

from penumbra.errors import ModelError
from penumbra.models.ssn_unet import LowRankNormal, SSNUNet

KEYS = torch.tensor([3, 4])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SSNUNet(1, 2, rank=3, width=4, depth=2).eval()


def test_samples_have_the_stated_mean_and_covariance():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(1, 2, 2, 3, generator=generator)
    factors = torch.randn(1, 4, 2, 2, 3, generator=generator)
    variance = torch.rand(1, 2, 2, 3, generator=generator) + 0.1
    distribution = LowRankNormal(mean, factors, variance)
    samples = distribution.sample(torch.tensor([5]), first=0, count=40_000)[0].flatten(1)
    p = factors[0].flatten(1).T
    covariance = p @ p.T + torch.diag(variance.flatten())
    spread = covariance.diagonal().sqrt()
    assert float(((samples.mean(0) - mean.flatten()) / spread).abs().max()) < 0.025
    error = (samples.T.cov() - covariance) / (spread[:, None] * spread)
    assert float(error.abs().max()) < 0.04


def test_a_sample_is_a_function_of_image_and_number(model):
    x = torch.rand(2, 1, 21, 18)
    with torch.no_grad():
        samples = model.sample_logits(x, KEYS, 0, 6)
        later = model.sample_logits(x, KEYS, 4, 2)
        alone = model.sample_logits(x[1:], KEYS[1:], 0, 6)
    assert samples.shape == (2, 6, 2, 21, 18)
    assert samples.dtype == torch.float32
    assert torch.allclose(samples[:, 4:], later, atol=1e-5)
    assert torch.allclose(samples[1:], alone, atol=1e-5)
    assert not torch.allclose(samples[:, 0], samples[:, 1])
    other = model.sample_logits(x[:1], KEYS[1:], 0, 1)
    assert not torch.allclose(other, samples[:1, :1])


def test_the_network_gives_the_mean(model):
    x = torch.rand(2, 1, 21, 18)
    assert torch.allclose(model(x), model.distribution(x).mean, atol=1e-6)


def test_windows_of_one_image_agree():
    mean = torch.zeros(1, 1, 12, 12)
    distribution = LowRankNormal(mean, torch.ones(1, 2, 1, 12, 12), torch.ones(1, 1, 12, 12))
    whole = distribution.sample(KEYS[:1], first=0, count=2)
    window = distribution.sample(KEYS[:1], first=0, count=2, origins=torch.tensor([[4.0, 2.0]]))
    assert torch.allclose(window[..., :8, :10], whole[..., 4:, 2:], atol=1e-6)


def test_a_network_without_rank_is_refused():
    with pytest.raises(ModelError, match="rank"):
        SSNUNet(1, 1, rank=0)
