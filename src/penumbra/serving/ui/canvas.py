"""The canvas of the studio as a component of Streamlit, from the same files."""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from penumbra.imaging.palette import class_palette
from penumbra.serving.ui.linker import loader
from penumbra.serving.ui.samples import png_of

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

NAME = "penumbra_canvas"
_ENTRY = "index.js"
_HEIGHT = 560


@dataclass(frozen=True)
class Heat:
    """A map that the canvas draws over the image.

    Attributes:
        values: (H, W) float32.
        scale: the values at the ends of the colours.
        label: what it shows.
        unit: of the values; empty for none.
        doubt: drawn as a glow; else as a probability, by viridis.
        own: colours reach as far as its own values, for maps that never come near their bound.
    """

    values: NDArray[np.float32]
    scale: tuple[float, float]
    label: str
    unit: str = ""
    doubt: bool = True
    own: bool = False


@dataclass(frozen=True)
class Cut:
    """What a mask is cut from.

    Attributes:
        probability: (H, W) float32 of the foreground.
        threshold: that the mask was made with.
    """

    probability: NDArray[np.float32]
    threshold: float


def show(
    picture: NDArray[np.uint8],
    *,
    mask: NDArray[np.uint8] | None,
    classes: Sequence[str],
    heat: Heat | None,
    key: str,
    cut: Cut | None = None,
) -> None:
    """Draw an image with a mask and a map; what does not change is not sent again.

    Args:
        picture: (H, W, 3) uint8.
        mask: (H, W) class indices.
        classes: their names, background first.
        heat: the map over it.
        key: what this canvas is called on the page.
        cut: what another threshold is drawn from in the browser, where a threshold has a meaning.
    """
    said = message(picture, mask=mask, classes=classes, heat=heat, cut=cut)
    _component()(key=key, data=said)


def message(
    picture: NDArray[np.uint8],
    *,
    mask: NDArray[np.uint8] | None,
    classes: Sequence[str],
    heat: Heat | None,
    cut: Cut | None = None,
) -> dict[str, Any]:
    """Say in plain values what the canvas is to draw.

    Maps go in 256 steps between the ends of their scale: enough for a picture, and a quarter of
    the bytes; downloads are finer.

    Examples:
        >>> mask = np.array([[0, 1]], np.uint8)
        >>> image, names = np.zeros((1, 2, 3), np.uint8), ("background", "nerve")
        >>> said = message(image, mask=mask, classes=names, heat=None)
        >>> said["mask"]["width"], said["palette"][1], said["heat"] is None
        (2, [18, 165, 148], True)
    """
    png = png_of(picture)
    return {
        "height": _HEIGHT,
        "image": {"id": _digest(png), "png": base64.b64encode(png).decode("ascii")},
        "mask": None if mask is None else _plane(mask),
        "palette": class_palette(len(classes)).tolist(),
        "classes": list(classes),
        "heat": None if heat is None else _heat(heat),
        "probability": None if cut is None else _plane(_steps(cut.probability, 0.0, 1.0)),
        "threshold": None if cut is None else cut.threshold,
    }


def _heat(heat: Heat) -> dict[str, Any]:
    low, high = heat.scale
    plane = _plane(_steps(heat.values, low, high))
    plane["id"] += f"{heat.label}{low}{high}"
    return plane | {
        "scale": [float(low), float(high)],
        "label": heat.label,
        "unit": heat.unit,
        "map": "doubt" if heat.doubt else "viridis",
        "own": heat.own,
    }


def _steps(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    share = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-12)
    return np.asarray(np.rint(np.clip(share, 0, 1) * 255), dtype=np.uint8)


def _plane(values: NDArray[np.uint8]) -> dict[str, Any]:
    raw = np.ascontiguousarray(values, dtype=np.uint8).tobytes()
    height, width = values.shape
    packed = base64.b64encode(zlib.compress(raw, 3)).decode("ascii")
    return {"id": _digest(raw), "width": width, "height": height, "data": packed}


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def script() -> str:
    """Write the component's script: the canvas's modules, and what mounts them.

    Raises:
        SettingsError: a module is missing.
    """
    folder = resources.files("penumbra.web") / "canvas"
    sources = {
        file.name: file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".js")
    }
    return loader(sources, _ENTRY) + _own("canvas_host.js") + "\nexport default hostOf(entry);\n"


def style() -> str:
    """Give the style of what the component puts around the canvas."""
    return _own("canvas_host.css")


def _own(name: str) -> str:
    return (resources.files("penumbra.serving.ui") / name).read_text(encoding="utf-8")


@functools.cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(NAME, js=script(), css=style())
