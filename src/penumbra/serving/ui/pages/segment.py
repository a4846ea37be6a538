"""Segment an image and look at the mask, its confidence and its doubt."""

from __future__ import annotations

import functools

import numpy as np
import streamlit as st

from penumbra.serving.ui import canvas, chart, figures
from penumbra.serving.ui.backend import Outcome
from penumbra.serving.ui.canvas import Cut, Heat
from penumbra.serving.ui.controls import sidebar, start
from penumbra.serving.ui.downloads import archive
from penumbra.serving.ui.session import Chosen, answer, run_page

_FULL_SCALE = ("entropy", "expected_entropy")
_CONFIDENCE, _PROBABILITY, _NONE = "confidence", "probability", "none"


def page() -> None:
    """Draw the page."""
    chosen = sidebar()
    if chosen is None:
        st.info("Give an image on the left: a PNG, JPEG, TIFF or DICOM file, or a sample.")
        return
    outcome = answer(chosen)
    middle, right = st.columns([7, 3], gap="medium")
    with right:
        heat = _layer(outcome)
        _figures(outcome)
    with middle:
        canvas.show(
            outcome.picture,
            mask=outcome.mask,
            classes=outcome.classes,
            heat=heat,
            key="canvas",
            cut=_cut(chosen, outcome),
        )
        if outcome.cut is None:
            st.caption(_no_cut(outcome))
        st.caption(_status(chosen, outcome))
    with right:
        _histogram(outcome)
        st.download_button(
            "Download everything",
            functools.partial(archive, outcome, chosen.question),
            file_name="penumbra.zip",
            mime="application/zip",
            on_click="ignore",
            help="Mask, maps as 16-bit PNG with their scales, pictures, and what was asked.",
            width="stretch",
        )


def words_of(name: str) -> str:
    """Word the name of a map.

    Examples:
        >>> words_of("mutual_information")
        'Mutual information'
    """
    return name.replace("_", " ").capitalize()


def _layer(outcome: Outcome) -> Heat | None:
    names = [*outcome.doubt, _CONFIDENCE, _PROBABILITY, _NONE]
    start("layer", names[0], names)
    name = st.selectbox("Map over the image", names, key="layer", format_func=words_of)
    if name == _NONE:
        return None
    if name in outcome.doubt:
        doubt = outcome.doubt[name]
        own = name not in _FULL_SCALE
        return Heat(doubt.values, doubt.scale, words_of(name), doubt.unit, own=own)
    values = outcome.confidence if name == _CONFIDENCE else outcome.foreground
    return Heat(values, (0.0, 1.0), words_of(name), doubt=False)


def _cut(chosen: Chosen, outcome: Outcome) -> Cut | None:
    return None if outcome.cut is None else Cut(outcome.cut, chosen.question.threshold)


def _no_cut(outcome: Outcome) -> str:
    """Say why there is no slider of the threshold under the image."""
    if len(outcome.classes) != 2:
        return "The likeliest class wins at every pixel: there is no threshold to try here."
    return (
        "The run's presence rule has a say in the mask, so that no map alone gives it at another "
        "threshold. The threshold on the left asks for an answer."
    )


def _figures(outcome: Outcome) -> None:
    for note in outcome.notes:
        st.info(note)
    if outcome.flagged:
        st.warning("Somebody should look at this one: its doubt is above the calibrated limit.")
    pixels = outcome.mask.size
    for index, name in enumerate(outcome.classes):
        if index == 0:
            continue
        area = outcome.area_of(index)
        said = f"{area:,} px".replace(",", " ")
        st.metric(f"Area of {name}", said, help=f"{100 * area / pixels:.1f} % of the image")
        if name in outcome.areas:
            low, _, high = outcome.areas[name]
            st.caption(f"calibrated interval {low:.0f} to {high:.0f} px")


def _histogram(outcome: Outcome) -> None:
    names = list(outcome.doubt)
    chosen = st.session_state.get("layer")
    name = chosen if chosen in names else names[0]
    doubt = outcome.doubt[name]
    label = words_of(name) + (f", {doubt.unit}" if doubt.unit else "")
    mean, peak = float(np.mean(doubt.values)), float(doubt.values.max(initial=0.0))
    st.markdown(f"**{words_of(name)}** over all pixels: mean `{mean:.3g}`, highest `{peak:.3g}`")
    chart.show(figures.histogram(doubt.values, doubt.scale, label=label), key="histogram")


def _status(chosen: Chosen, outcome: Outcome) -> str:
    height, width = outcome.mask.shape
    times = [f"{name} {1000 * seconds:.0f} ms" for name, seconds in outcome.timings.items()]
    passes = f"{outcome.passes} pass{'es' if outcome.passes != 1 else ''}"
    parts = [chosen.name, f"{width} × {height}", f"{outcome.sampler} ({passes})",
             f"seed {outcome.seed}", *times]  # fmt: skip
    return " · ".join(f"`{part}`" for part in parts)


if __name__ == "__main__":
    run_page(page)
