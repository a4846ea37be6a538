"""A report within the app, in a frame that reaches neither the app nor, by itself, the network.

A run folder may come from anywhere, and so may the page in it. The frame has an origin of its own,
loads nothing, and runs one script: that of Penumbra's own pages (tables that sort, pictures that
enlarge). A page that could go elsewhere by itself runs none, and then a browser keeps it where it
is. What is left is a reader's click on a link of the page; where `penumbra serve` shows the app,
its header keeps the frame from following that too.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

NAME = "penumbra_report"
_SCRIPT = """
const shown = new WeakMap();

export default function frame({ parentElement, data }) {
  let one = shown.get(parentElement);
  if (!one) {
    one = document.createElement("iframe");
    one.title = "Report of the run";
    shown.set(parentElement, one);
    parentElement.append(one);
  }
  one.setAttribute("sandbox", data.sandbox);
  if (one.srcdoc !== data.html) one.srcdoc = data.html;
  one.style.height = `${data.height}px`;
}
"""
_STYLE = "iframe { width: 100%; border: 1px solid var(--st-border-color); background: #FAFAF7; }"

# A name of an attribute cannot be written in any other way; its value can.
_DIRECTIVE = re.compile(r"http-equiv(?!\s*=\s*\"content-security-policy\")", re.IGNORECASE)


@functools.cache
def policy() -> str:
    """Write what a page may do: show its own pictures, and run the script of Penumbra's pages.

    Examples:
        >>> policy().partition("script-src ")[2].startswith("'sha256-")
        True
    """
    script = (resources.files("penumbra.pages") / "template" / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
        f"base-uri 'none'; form-action 'none'; script-src 'sha256-{digest}'"
    )


def guarded(html: str) -> str:
    """Put the policy before everything else in a page.

    A page's own policies can only take away what this one leaves.

    Examples:
        >>> guarded("<!doctype html><p>Hi</p>").startswith("<!doctype html><meta http-equiv=")
        True
    """
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy()}">'
    return f"<!doctype html>{meta}{html.removeprefix('<!doctype html>')}"


def sandbox(html: str) -> str:
    """Choose what a frame may do: run scripts, unless the page could go elsewhere by itself.

    A page's directive to load another address goes by no policy, but browsers follow none in a
    frame without scripts.

    Args:
        html: the page as it came.

    Returns:
        The value of the frame's attribute ``sandbox``.

    Examples:
        >>> sandbox("<p>Hi</p>"), sandbox('<meta http-equiv=refresh content="0;url=…">')
        ('allow-scripts', '')
    """
    return "" if _DIRECTIVE.search(html) else "allow-scripts"


def show(html: str, *, key: str, height: int = 900) -> None:
    """Show a page.

    Args:
        html: the whole page.
        key: what this frame is called on the page.
        height: in CSS pixels.
    """
    said = {"html": guarded(html), "sandbox": sandbox(html), "height": height}
    _component()(key=key, data=said)


@functools.cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(NAME, js=_SCRIPT, css=_STYLE)
