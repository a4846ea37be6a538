"""Put a page together: its own template within the frame that all pages share."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from penumbra.pages.words import count

_TEMPLATE = Path(__file__).parent / "template"


def render(template: Path, *, title: str, **values: Any) -> str:
    """Fill in a template and give the whole page as text.

    The page holds its style and script, and its own policy forbids it to load anything: pictures
    are data within it. It has a light and a dark theme, and prints. Every value is escaped unless
    it is `Markup`.

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
