"""Fixtures shared by all tests."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is: tests run side by side.
settings.register_profile("penumbra", deadline=None)
settings.load_profile("penumbra")


def _real_data_root() -> Path:
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    return Path(os.environ.get("PENUMBRA_REAL_DATA", default))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; absent data skips, unless it is required."""
    root = _real_data_root()
    if root.is_dir():
        return root
    if os.environ.get("PENUMBRA_REQUIRE_REAL_DATA") == "1":
        pytest.fail(f"PENUMBRA_REQUIRE_REAL_DATA=1, but {root} is not a folder")
    pytest.skip(f"no real data at {root}")


@pytest.fixture(scope="session", autouse=True)
def identity_key():
    """Patients' pseudonyms need a key; tests make none in the home of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENUMBRA_IDENTITY_KEY", "a key for the tests alone")
        yield


CHROMIUM = Path(os.environ.get("PENUMBRA_CHROMIUM", "/usr/bin/chromium"))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    """A browser; without one the test is skipped, unless browsers are required.

    Of one module alone: while it is open a loop runs in this thread, in which other tests could
    not run theirs.
    """
    required = os.environ.get("PENUMBRA_REQUIRE_BROWSER") == "1"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        if required:
            pytest.fail("PENUMBRA_REQUIRE_BROWSER=1, but playwright is not installed")
        pytest.skip("playwright is not installed")
    if not CHROMIUM.exists():
        if required:
            pytest.fail(f"PENUMBRA_REQUIRE_BROWSER=1, but there is no {CHROMIUM}")
        pytest.skip(f"no browser at {CHROMIUM}; PENUMBRA_CHROMIUM names another")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


_VISION = {
    "hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 64, "patch_size": 8, "window_size": 4, "global_attn_indexes": [1],
    "num_pos_feats": 16, "mlp_dim": 64,
}  # fmt: skip
_PROMPT = {"hidden_size": 32, "image_size": 64, "patch_size": 8, "mask_input_channels": 8}
_DECODER = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 8, "iou_head_hidden_dim": 32}


def tiny_model(kind: str = "sam", seed: int = 0, **vision: Any) -> Any:
    """A `SamModel` or `SamHQModel` of 80 000 random weights for which images and prompts matter."""
    from transformers import SamConfig, SamHQConfig, SamHQModel, SamModel

    high_quality = kind == "sam-hq"
    config = (SamHQConfig if high_quality else SamConfig)(
        vision_config=_VISION | vision,
        prompt_encoder_config=_PROMPT,
        mask_decoder_config=_DECODER | ({"vit_dim": 32} if high_quality else {}),
    )
    return randomise((SamHQModel if high_quality else SamModel)(config), seed).eval()


def randomise(model: Any, seed: int) -> Any:
    """Draw every weight anew: the library starts the encoder at nearly zero."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if "layer_norm" in name or "_norm" in name:
                continue
            spread = 1.0 if weight.ndim < 2 else weight[0].numel() ** -0.5
            small = 0.1 if name.endswith("bias") else max(spread, 0.05)
            # Logits of some size, so that masks have an inside.
            large = 20 if "hypernetworks" in name and "proj_out" in name else 1
            weight.copy_(torch.randn(weight.shape, generator=generator) * small * large)
        if hasattr(model, "tie_weights"):
            model.tie_weights()
    return model


def tiny_sam_hq_model(seed: int = 0) -> Any:
    """A `SamHQModel` of the same size."""
    from transformers import SamHQConfig, SamHQModel

    config = SamHQConfig(
        vision_config=_VISION,
        prompt_encoder_config=_PROMPT,
        mask_decoder_config=_DECODER | {"vit_dim": 32},
    )
    return randomise(SamHQModel(config), seed).eval()


def save_tiny_sam(folder: Path, seed: int = 0, kind: str = "sam", **vision: Any) -> Path:
    """Write a tiny model as `config.json` and `model.safetensors` and give the folder."""
    tiny_model(kind, seed, **vision).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_tiny_sam() -> Callable[..., Path]:
    """Write a tiny model (side 64, logits 32 × 32): `make_tiny_sam(folder, seed=0, kind="sam")`."""
    return save_tiny_sam


@pytest.fixture(scope="session")
def tiny_sam(tmp_path_factory) -> Path:
    """The folder of one tiny `SamModel`, for tests that do not write into it."""
    return save_tiny_sam(tmp_path_factory.mktemp("tiny_sam"))
