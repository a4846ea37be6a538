"""`penumbra models`: the catalogue of architectures."""

from __future__ import annotations

from penumbra.cli.session import Finished, Json, verb


@verb
def models(json: Json = False) -> Finished:
    """List the architectures that `penumbra train --model` takes."""
    from penumbra.models.catalogue import ARCHITECTURES

    rows = [
        {"name": row.name, "class": row.path, "describe": row.describe} for row in ARCHITECTURES
    ]
    return Finished({"models": rows}, (f"{row.name:<12} {row.describe}" for row in ARCHITECTURES))
