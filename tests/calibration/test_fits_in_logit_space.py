"""Fits in logit space find what was put in, and leave alone what was not."""

import numpy as np
import pytest
import torch

from penumbra.calibration.local import fit_local_temperature
from penumbra.calibration.logit_noise import LogitNoiseOptions, fit_logit_noise
from penumbra.calibration.objective import log_likelihoods, pixel_nll, tile_joint_nll
from penumbra.calibration.observed import Observed, folds
from penumbra.errors import SourceError
from penumbra.inference.calibration import Calibration, Temperature
from penumbra.inference.heads import Head
from penumbra.noise.fields import draw
from penumbra.noise.patterns import Pattern

SIZE = (64, 64)
TAPS = ("up.0", "up.1")


def smooth(key: int, length: float, channels: int = 1) -> torch.Tensor:
    return draw(Pattern(length=length), torch.tensor([key]), channels, SIZE)


def scene(number: int, *, local: float = 0.0, noise: float = 0.0, k: int = 1) -> Observed:
    """One image: logits, taps, and a truth that is drawn from changed logits.

    Where the first channel of the fine tap is high, the logits are too sure by e^local; fields
    of 16 px are added to them, `noise` strong.
    """
    generator = torch.Generator().manual_seed(number)
    logits = 3 * smooth(10 * number, 20, k)
    fine = torch.sign(smooth(10 * number + 1, 32))
    fine = torch.cat([fine, torch.randn(1, 3, *SIZE, generator=generator)], dim=1)
    coarse = torch.randn(1, 8, SIZE[0] // 8, SIZE[1] // 8, generator=generator)
    true = logits * torch.exp(-local * fine[:, :1]) + noise * smooth(10 * number + 2, 16, k)
    if k == 1:
        truth = (torch.rand(1, *SIZE, generator=generator) < torch.sigmoid(true[:, 0])).long()
    else:
        gumbel = -torch.log(-torch.log(torch.rand(true.shape, generator=generator)))
        truth = (true + gumbel).argmax(dim=1)
    truth[:, :3] = 255
    return Observed(logits, (coarse, fine), truth, f"group {number // 2}")


def judge(calibration: Calibration, data: list[Observed], k: int = 1) -> float:
    head = Head.of(calibration, k)
    total = 0.0
    for item in data:
        taps = [item.taps[TAPS.index(name)] for name in head.taps]
        logs = log_likelihoods(head.logits(item.logits, taps), item.truth)
        total += float(pixel_nll(logs, item.truth))
    return total / len(data)


@pytest.mark.parametrize("k", [1, 3])
def test_a_local_temperature_is_found_where_there_is_one(k):
    data = [scene(number, local=0.9, k=k) for number in range(12)]
    new = [scene(number, local=0.9, k=k) for number in range(20, 26)]
    fit = fit_local_temperature(data, TAPS)
    assert fit.temperature.kind == "local"
    assert fit.ridge is not None
    assert fit.nll["global"] > min(fit.nll.values())
    flat = Calibration(temperature=Temperature(values=(1.0,)))
    found = Calibration(temperature=fit.temperature)
    assert judge(found, new, k) < 0.97 * judge(flat, new, k)


def test_where_the_logits_are_right_the_temperature_stays_global():
    fit = fit_local_temperature([scene(number) for number in range(8)], TAPS)
    assert fit.temperature.kind == "global"
    assert fit.temperature.values[0] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("count", [1, 2])
def test_one_group_gets_a_global_temperature(count):
    # 0 and 1 are of one group: nothing can be left out to judge by.
    fit = fit_local_temperature([scene(number, local=0.9) for number in range(count)], TAPS)
    assert fit.temperature.kind == "global"
    assert fit.nll == {}


def test_fits_repeat_to_the_bit():
    data = [scene(number, local=0.9) for number in range(4)]
    assert fit_local_temperature(data, TAPS) == fit_local_temperature(data, TAPS)
    short = LogitNoiseOptions(steps=3)
    assert fit_logit_noise(data, TAPS, options=short) == fit_logit_noise(data, TAPS, options=short)


def test_a_network_without_taps_is_read_off_its_logits():
    data = [scene(number, local=0.9)._replace(taps=()) for number in range(4)]
    fit = fit_local_temperature(data)
    assert set(fit.nll) == {"global", "logits"}
    noise = fit_logit_noise(data, options=LogitNoiseOptions(steps=2))
    assert Head.of(Calibration(logit_noise=noise), 1).taps == ()


@pytest.mark.parametrize(("k", "gain"), [(1, 0.1), (3, 0.05)])
def test_noise_is_found_where_errors_are_coherent(k, gain):
    data = [scene(number, noise=2.5, k=k) for number in range(12)]
    new = [scene(number, noise=2.5, k=k) for number in range(20, 26)]
    temperature = fit_local_temperature(data, TAPS).temperature
    noise = fit_logit_noise(data, TAPS, options=LogitNoiseOptions(steps=40))
    head = Head.of(Calibration(temperature=temperature, logit_noise=noise), k)
    assert head.taps == TAPS
    single = judge(Calibration(temperature=temperature), new, k)
    joint, marginal = 0.0, 0.0
    for number, item in enumerate(new):
        samples = head.samples(
            item.logits, item.taps, keys=torch.tensor([number]), first=0, count=32
        )
        known = torch.where(item.truth == 255, 0, item.truth)
        scored = item.truth != 255

        def given(p, known=known, scored=scored):
            own = p.gather(1, known[:, None].expand(len(p), 1, *SIZE))[:, 0].clamp(min=1e-7)
            return torch.where(scored, own.log(), 0.0)

        logs = given(samples[0])[:, None]
        joint += float(tile_joint_nll(logs, item.truth)) / len(new)
        exact = given(head.marginal(item.logits, item.taps))
        marginal += float(pixel_nll(exact, item.truth)) / len(new)
    assert joint < (1 - gain) * single
    assert marginal < 1.02 * single


def test_no_group_is_on_both_sides():
    groups = [f"g{number % 5}" for number in range(23)]
    judged = []
    for fit, judge_ in folds(groups, count=3):
        assert not {groups[i] for i in fit} & {groups[i] for i in judge_}
        judged += judge_.tolist()
    assert sorted(judged) == list(range(23))
    assert list(folds(["a", "a"])) == []


def test_nothing_to_fit_on_is_said():
    with pytest.raises(SourceError, match="held-out data"):
        fit_local_temperature([], TAPS)
    item = scene(0)
    ignored = item._replace(truth=torch.full_like(item.truth, 255))
    with pytest.raises(SourceError, match="held-out data"):
        fit_logit_noise([ignored], TAPS)
    with pytest.raises(SourceError, match="taps"):
        fit_local_temperature([item], ("up.0",))
    part = fit_local_temperature([item, ignored, scene(2)], TAPS)
    assert np.isfinite(part.temperature.values).all()
