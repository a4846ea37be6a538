"""A drawing on the page, in its colours: Streamlit's own HTML element takes SVG away."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import streamlit as st
from markupsafe import Markup

from penumbra.imaging.palette import AMBER, TEAL, hex_code

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

NAME = "penumbra_chart"
_SCRIPT = """
export default function chart({ parentElement, data }) {
  const parsed = new DOMParser().parseFromString(data.svg, "text/html").querySelector("svg");
  parentElement.querySelector("svg")?.remove();
  parentElement.append(parsed);
}
"""
_STYLE = f"""
svg {{ width: 100%; height: auto; max-width: 46rem; color: var(--st-text-color); display: block; }}
.grid {{ stroke: currentColor; opacity: 0.12; fill: none; }}
.axis {{ stroke: currentColor; opacity: 0.5; fill: none; }}
.tick, .axis-name {{ fill: currentColor; font: 12px var(--st-font); }}
.tick {{ opacity: 0.8; font-family: var(--st-code-font); font-variant-numeric: tabular-nums; }}
.doubt {{ fill: {hex_code(AMBER)}; stroke: none; }}
.first {{ stroke: {hex_code(TEAL)}; stroke-width: 2; fill: none; }}
.second {{ stroke: currentColor; stroke-width: 2; opacity: 0.6; fill: none; }}
"""


def show(drawn: Markup, *, key: str) -> None:
    """Show a drawing of `penumbra.pages.svg`.

    Args:
        drawn: the drawing.
        key: what it is called on the page.
    """
    _component()(key=key, data={"svg": str(drawn)})


@functools.cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(NAME, js=_SCRIPT, css=_STYLE)
