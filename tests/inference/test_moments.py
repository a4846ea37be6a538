"""Moments under noise in logit space, against many independent draws."""

import pytest
import torch

from penumbra.inference.logit_noise import marginal_probabilities
from penumbra.inference.moments import marginal_moments
from penumbra.models.probabilities import logits_to_probabilities


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_they_are_those_of_many_draws(classes):
    rng = torch.Generator().manual_seed(classes)
    mean = 2 * torch.randn(1, classes, 3, 5, generator=rng)
    amplitudes = torch.randn(1, 3, classes, 3, 5, generator=rng)
    noise = torch.randn(20_000, 3, 1, 1, 1, generator=rng)
    p = logits_to_probabilities(mean + (noise * amplitudes).sum(dim=1))
    entropy = torch.special.entr(p).sum(dim=1)
    found = marginal_moments(mean, amplitudes)
    tolerance = 0.012 if classes < 3 else 0.05  # 64 points are a coarser rule
    torch.testing.assert_close(found.mean[0], p.mean(dim=0), atol=tolerance, rtol=0)
    torch.testing.assert_close(found.variance[0], p.var(dim=0), atol=tolerance, rtol=0)
    torch.testing.assert_close(
        found.expected_entropy[0], entropy.mean(dim=0), atol=3 * tolerance, rtol=0
    )


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_the_mean_is_the_marginal_and_no_noise_is_no_variance(classes):
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(2, classes, 4, 4, generator=rng)
    amplitudes = torch.randn(2, 2, classes, 4, 4, generator=rng)
    torch.testing.assert_close(
        marginal_moments(mean, amplitudes).mean, marginal_probabilities(mean, amplitudes)
    )
    still = marginal_moments(mean, 0 * amplitudes)
    torch.testing.assert_close(still.mean, logits_to_probabilities(mean), atol=1e-5, rtol=1e-5)
    assert still.variance.max() < 1e-5
