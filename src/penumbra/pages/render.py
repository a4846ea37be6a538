"""Put a page together: its own template within the frame that all pages share."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from penumbra.pages.words import count

_TEMPLATE = Path(__file__).parent / "template"
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t\r"} | {127: 0x2421}


def _shown(value: object) -> object:
    """Draw control characters of plain text as their symbols; U+2400 on is one for each."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return value.translate(_CONTROLS)
    return value


def render(template: Path, *, title: str, **values: Any) -> str:
    """Fill in a template and give the whole page as text.

    The page holds its style and script, and its own policy forbids it to load anything: pictures
    are data within it. It has a light and a dark theme, and prints. Every value is escaped unless
    it is `Markup`, and control characters (a file's name may hold some) are drawn as their symbols.

    Args:
        template: a file that extends ``page.html.j2``, with the blocks ``style``, ``links`` (of
            the bar at the top) and ``body``; it may import ``parts.html.j2``.
        title: of the page.
        values: what the template asks for; a name that it misses is an error.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, _TEMPLATE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    script = (_TEMPLATE / "page.js").read_text(encoding="utf-8")
    return environment.get_template(template.name).render(
        **values,
        title=title,
        count=count,
        style=(_TEMPLATE / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
