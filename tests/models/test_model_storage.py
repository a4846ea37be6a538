import json

import pytest
import torch

from penumbra.errors import ModelError, RunError
from penumbra.models.noise_unet import NoiseAwareUNet
from penumbra.models.probabilities import logits_to_probabilities
from penumbra.models.storage import load_model, save_model
from penumbra.models.unet.unet import UNet


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path, UNet(1, 1, width=2, depth=1), details={"class_names": ["a", "b"]})
    return tmp_path


def change(folder, **values):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_future_version_says_upgrade(folder):
    change(folder, format_version=99)
    with pytest.raises(RunError, match="upgrading Penumbra"):
        load_model(folder)


def test_no_folder_and_no_file(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        load_model(tmp_path / "absent")
    with pytest.raises(RunError, match="a folder without it"):
        load_model(tmp_path)


def test_damaged_json(folder):
    (folder / "model.json").write_text('{"format_ver')
    with pytest.raises(RunError, match="readable JSON"):
        load_model(folder)


def test_truncated_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RunError, match="fresh copy"):
        load_model(folder)


def test_missing_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(RunError, match="--resume"):
        load_model(folder)


def test_weights_of_another_network(folder):
    change(folder, arguments={"n_channels": 1, "n_classes": 1, "width": 4, "depth": 1})
    with pytest.raises(RunError, match="weights of the network"):
        load_model(folder)


def test_from_pretrained_of_another_class(folder):
    with pytest.raises(ModelError, match=r"UNet\.from_pretrained"):
        NoiseAwareUNet.from_pretrained(folder)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_probabilities_sum_to_one(k):
    logits = 30 * torch.randn(2, k, 7, 5, generator=torch.Generator().manual_seed(0))
    p = logits_to_probabilities(logits)
    assert p.shape == (2, max(k, 2), 7, 5)
    assert p.dtype == torch.float32
    assert torch.allclose(p.sum(dim=1), torch.ones(2, 7, 5), atol=1e-6)


def test_one_logit_is_the_log_odds_of_class_one():
    logits = torch.linspace(-20, 20, 9).view(1, 1, 1, 9)
    two = logits_to_probabilities(torch.cat([torch.zeros_like(logits), logits], dim=1))
    assert torch.allclose(logits_to_probabilities(logits), two, rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"architecture": None}, {"arguments": None}, {"arguments": [1]}])
def test_a_json_without_a_network(folder, wrong):
    change(folder, **wrong)
    with pytest.raises(RunError, match="names an architecture"):
        load_model(folder)
