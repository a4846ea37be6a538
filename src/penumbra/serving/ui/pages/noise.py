"""What the noise looks like: each pattern as a picture, with its parameters."""

from __future__ import annotations

from typing import get_args

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from penumbra.noise.fields import draw
from penumbra.noise.patterns import Pattern, PatternName
from penumbra.serving.ui.session import run_page

_SIDE = 192
_SAYS: dict[PatternName, str] = {
    "gaussian": "White: every pixel by itself.",
    "lattice": "Random values at the corners of cells, joined smoothly.",
    "perlin": "Random slopes at the corners of cells, joined smoothly.",
    "simplex": "Random slopes at the corners of triangles, which favour no direction.",
}


def page() -> None:
    """Draw the page."""
    with st.sidebar:
        st.subheader("Noise")
        length = st.slider("Length of a cell, pixels", 4, 128, 32, 4, key="noise_length")
        octaves = st.slider("Octaves", 1, 8, 1, key="noise_octaves")
        persistence = st.slider(
            "Amplitude of each octave", 0.1, 1.0, 0.5, 0.1, key="noise_persistence"
        )
        stride = st.select_slider(
            "Pixels per feature", [1, 2, 4, 8, 16, 32], 1, key="noise_stride",
            help="Deeper levels of a network see the same field on a coarser grid.",
        )  # fmt: skip
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="noise_seed")
    st.markdown(
        "Noise is added to the features of a network, with its strength in standard deviations "
        "of each channel. Every field has mean 0 and variance 1; black is −2.5, white is 2.5."
    )
    columns = st.columns(4, gap="medium")
    for column, name in zip(columns, get_args(PatternName), strict=True):
        pattern = Pattern(
            name=name, length=float(length), octaves=octaves, persistence=float(persistence)
        )
        with column:
            st.markdown(f"**{name}**")
            st.image(field_picture(pattern, seed=int(seed), stride=int(stride)), width="stretch")
            st.caption(_SAYS[name])
            st.code(_parameters(pattern), language=None)


def field_picture(pattern: Pattern, *, seed: int, stride: int = 1) -> NDArray[np.uint8]:
    """Draw one field as a grey picture.

    Args:
        pattern: which noise.
        seed: of the field.
        stride: image pixels per feature.

    Returns:
        (192, 192) uint8; 0 is −2.5 standard deviations or less, 255 is 2.5 or more.

    Examples:
        >>> field_picture(Pattern(name="perlin"), seed=1).shape
        (192, 192)
    """
    size = max(1, _SIDE // stride)
    field = draw(pattern, torch.tensor([seed + 1]), 1, (size, size), stride=float(stride))
    levels = np.clip(field[0, 0].numpy() / 5 + 0.5, 0, 1)
    small = np.rint(levels * 255).astype(np.uint8)
    return np.repeat(np.repeat(small, _SIDE // size, axis=0), _SIDE // size, axis=1)


def _parameters(pattern: Pattern) -> str:
    if pattern.name == "gaussian":
        return "no parameters"
    lines = [f"length       {pattern.length:g} px", f"octaves      {pattern.octaves}"]
    return "\n".join([*lines, f"persistence  {pattern.persistence:g}"])


if __name__ == "__main__":
    run_page(page)
