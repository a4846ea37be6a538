"""A study of prompts of seconds, on phantoms and random weights: whether everything works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penumbra.promptable.small import new_small_model, save_model, small_config


def smoke_model(folder: Path, *, seed: int = 0) -> Path:
    """Write a promptable model of few, random weights, and give its folder.

    Args:
        folder: where it goes; what is there already stays.
        seed: of the weights.

    Raises:
        MissingExtraError: transformers is not installed.
        StorageError: the folder cannot be written.
    """
    if not (folder / "config.json").is_file():
        tiny = small_config(
            widths=(8, 8, 16),
            deepest=32,
            layers=1,
            heads=2,
            decoder_width=32,
            decoder_mlp=64,
        )
        save_model(new_small_model(tiny, seed=seed), folder)
    return folder


def smoke_document(model: Path) -> dict[str, Any]:
    """Give a study with one filter of each mode, as plain values."""
    return {
        "source": "phantom:20",
        "longest": 64,
        "split": {"fractions": [0.4, 0.2, 0.4]},
        "model": str(model),
        "least_area": 8,
        "most_objects": 2,
        "kinds": ["box", "point2"],
        "filters": {
            "none": [],
            "clahe": ["clahe"],
            "sobel-blend": [{"sobel": {"mode": "blend", "weight": 0.3}}],
            "channels": [{"sobel": {"mode": "channels"}}],
            "sobel-mask": [{"sobel": {"mode": "prompt"}}],
        },
        "tunings": {
            "zero-shot": {},
            "decoder": {"mode": "decoder", "filters": ["none", "sobel-mask"]},
            "lora": {"mode": "lora", "filters": ["none"]},
        },
        "tuning": {
            "tune": {"clicks": 1, "validation_images": 2},
            "training": {
                "epochs": 1, "learning_rate": 0.001, "threads": 1, "precision": "fp32",
                "samples_per_epoch": 4,
            },
        },
        "seeds": [0, 1],
    }  # fmt: skip
