"""A report within the app, in a frame that can reach neither the app nor the network.

A run folder may come from anywhere, and so may the page in it. Its scripts (tables that sort) run
with an origin of their own.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

NAME = "penumbra_report"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; font-src data:; base-uri 'none'; form-action 'none'"
)
_SCRIPT = """
const shown = new WeakMap();

export default function frame({ parentElement, data }) {
  let one = shown.get(parentElement);
  if (!one) {
    one = document.createElement("iframe");
    one.setAttribute("sandbox", "allow-scripts");
    one.title = "Report of the run";
    shown.set(parentElement, one);
    parentElement.append(one);
  }
  if (one.srcdoc !== data.html) one.srcdoc = data.html;
  one.style.height = `${data.height}px`;
}
"""
_STYLE = "iframe { width: 100%; border: 1px solid var(--st-border-color); background: #FAFAF7; }"


def guarded(html: str) -> str:
    """Put the policy before everything else in a page.

    A page's own policies can only take away what this one leaves.

    Examples:
        >>> guarded("<!doctype html><p>Hi</p>").startswith("<!doctype html><meta http-equiv=")
        True
    """
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return f"<!doctype html>{policy}{html.removeprefix('<!doctype html>')}"


def show(html: str, *, key: str, height: int = 900) -> None:
    """Show a page.

    Args:
        html: the whole page.
        key: what this frame is called on the page.
        height: in CSS pixels.
    """
    _component()(key=key, data={"html": guarded(html), "height": height})


@functools.cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(NAME, js=_SCRIPT, css=_STYLE)
