"""A study of about a minute, on phantoms: whether everything works, not what is true."""

from __future__ import annotations

from typing import Any


def smoke_document() -> dict[str, Any]:
    """Give a study with one tiny set and a row of each kind, as plain values."""
    return {
        "sets": [
            {
                "name": "phantom",
                "source": "phantom:60",
                "image": {"size": 32, "fit": "resize"},
                "split": {"fractions": [0.4, 0.3, 0.3]},
                "model": {"width": 4, "depth": 2},
            }
        ],
        "experiment": {
            "training": {
                "epochs": 2, "samples_per_epoch": 16, "validate_every": 2, "threads": 1,
            }
        },
        "seeds": [0, 1],
        "kinds": {"plain": {}, "dropout": {"set": ["model.arguments.dropout=0.2"], "seeds": [0]}},
        "rows": [
            {"name": "plain", "calibration": None},
            {"name": "temperature"},
            {"name": "noise", "sampler": "noise:4", "calibration": {"noise": True}},
            {"name": "dropout", "kind": "dropout", "sampler": "dropout:4"},
            {"name": "ensemble", "sampler": "ensemble", "members": 2},
        ],
        "baselines": ["temperature", "ensemble"],
        "shifts": {"cells": ["blur:3"], "rows": ["temperature", "noise"]},
        "metrics": ["dice", "nll", "joint_nll", "ece", "aurc", "image_aurc", "ged"],
    }  # fmt: skip
