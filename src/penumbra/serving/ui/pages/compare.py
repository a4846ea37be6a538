"""The same image with noise disabled, once, and as an ensemble, side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from penumbra.imaging.overlay import heatmap, overlay_mask
from penumbra.serving.ui.backend import NoiseMode, Outcome
from penumbra.serving.ui.controls import sidebar
from penumbra.serving.ui.session import answer, backend, run_page

_SHOWN: tuple[tuple[NoiseMode, str], ...] = (
    ("disabled", "Disabled: one plain pass"),
    ("single", "Single: one noisy pass"),
    ("ensemble", "Ensemble: their mean"),
)


def page() -> None:
    """Draw the page."""
    chosen = sidebar(modes=False)
    if chosen is None:
        st.info("Give an image on the left: a PNG, JPEG, TIFF or DICOM file, or a sample.")
        return
    noisy = {facts.name: facts.noisy for facts in backend().models()}[chosen.question.model]
    shown = _SHOWN if noisy else _SHOWN[:1]
    if not noisy:
        st.info("A classical method has no features to disturb: there is one way alone.")
    outcomes = [answer(chosen, replace(chosen.question, mode=mode)) for mode, _ in shown]
    columns = st.columns(len(_SHOWN), gap="medium")
    for column, (_, title), outcome in zip(columns, shown, outcomes, strict=False):
        with column:
            _column(title, outcome, outcomes[0])


def agreement(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Compute the Dice score of two masks' foregrounds, 2|A∩B| / (|A| + |B|).

    Args:
        one: (H, W) class indices.
        other: (H, W) class indices.

    Returns:
        Between 0 and 1; two empty masks agree.

    Examples:
        >>> agreement(np.array([[1, 1]], np.uint8), np.array([[1, 0]], np.uint8))
        0.6666666666666666
    """
    a, b = one != 0, other != 0
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2 * int((a & b).sum()) / total


def _column(title: str, outcome: Outcome, plain: Outcome) -> None:
    st.markdown(f"**{title}**")
    for note in outcome.notes:
        st.info(note)
    st.image(overlay_mask(outcome.picture, outcome.mask), caption="mask", width="stretch")
    doubt = outcome.doubt["entropy"]
    high = doubt.scale[1]
    picture = heatmap(outcome.picture, doubt.values, maximum=high)
    st.image(picture, caption=f"entropy, 0 to {high:.3g} nat", width="stretch")
    foreground = int(np.count_nonzero(outcome.mask))
    rows = {
        "area": f"{foreground} px",
        "mean entropy": f"{float(doubt.values.mean()):.4f} nat",
        "Dice with disabled": f"{agreement(outcome.mask, plain.mask):.3f}",
        "passes": str(outcome.passes),
    }
    st.table(rows)


if __name__ == "__main__":
    run_page(page)
