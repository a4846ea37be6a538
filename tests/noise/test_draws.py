import numpy as np
import pytest
import torch
from scipy import stats

from penumbra.noise.draws import image_keys, join_keys, normal, uniform


def test_normal_numbers_are_normal():
    x = normal(torch.tensor([7]), (4, 128, 128)).numpy().ravel()
    assert stats.kstest(x, "norm").pvalue > 1e-3
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02


def test_uniform_numbers_are_uniform_and_open():
    u = uniform(torch.tensor([1, 2]), 50_000).numpy()
    assert u.min() > 0
    assert u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u)[0, 1]) < 0.02


def test_neighbours_are_independent():
    x = normal(torch.tensor([3]), (256, 256))[0].numpy()
    for shifted in (np.roll(x, 1, 0), np.roll(x, 1, 1)):
        assert abs(np.corrcoef(x.ravel(), shifted.ravel())[0, 1]) < 0.02


def test_same_key_same_bits_alone_and_in_a_batch():
    keys = torch.tensor([5, 6, 7])
    together = normal(keys, (3, 9, 11))
    for index in range(3):
        assert torch.equal(normal(keys[index : index + 1], (3, 9, 11))[0], together[index])


def test_threads_do_not_matter():
    x = torch.rand(2, 3, 100, 90)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            keys = image_keys(x)
            results.append((keys, normal(keys, (3, 100, 90))))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_the_global_state_is_left_alone():
    before = torch.random.get_rng_state()
    normal(torch.tensor([1]), (4, 4))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_one_changed_pixel_changes_the_key():
    x = torch.zeros(1, 1, 8, 8)
    y = x.clone()
    y[0, 0, 3, 3] = 1e-7
    moved = torch.roll(y, 1, -1)
    assert len({int(image_keys(a)) for a in (x, y, moved)}) == 3


@pytest.mark.parametrize("keys", [(1, 2), (2, 1), (1, 2, 0), (0, 1, 2)])
def test_joined_keys_differ(keys):
    others = [k for k in [(1, 2), (2, 1), (1, 2, 0), (0, 1, 2)] if k != keys]
    assert all(int(join_keys(*keys)) != int(join_keys(*other)) for other in others)
