"""ES modules in one text: what Streamlit needs, as it takes a component's script as one.

No bundler: the files stay as they are, and only the names in their imports are exchanged. In the
browser each becomes a blob with an address of its own, those that nobody imports from last.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping

from penumbra.errors import SettingsError, expected

_IMPORT = re.compile(
    r"""^(?P<before>\s*(?:import|export)\b(?:[^;"'`/]|/(?![/*]))*?\bfrom\s*|\s*import\s*)"""
    r"""(?P<quote>["'])(?P<name>[^"'\n]+)(?P=quote)""",
    re.MULTILINE,
)
_SCHEME = "module:"

_LOADER = """
const sources = %(sources)s;
const addresses = {};
for (const [name, text] of sources) {
  const linked = text.replace(/"module:([^"]+)"/g, (_, other) => JSON.stringify(addresses[other]));
  addresses[name] = URL.createObjectURL(new Blob([linked], { type: "text/javascript" }));
}
const entry = import(addresses[%(entry)s]);
"""


def linked(sources: Mapping[str, str], entry: str) -> list[tuple[str, str]]:
    """Order modules so that each comes after those that it imports, and name these by their key.

    Args:
        sources: path → text, such as ``"canvas/index.js"``.
        entry: path of the module that is wanted; others that it does not need are left out.

    Returns:
        (path, text) in order; an import reads ``"module:PATH"``.

    Raises:
        SettingsError: a module is missing, comes from elsewhere, or imports itself in a circle.

    Examples:
        >>> linked({"a/b.js": 'import { x } from "./c.js";', "a/c.js": "export const x = 1;"},
        ...        "a/b.js")
        [('a/c.js', 'export const x = 1;'), ('a/b.js', 'import { x } from "module:a/c.js";')]
    """
    done: dict[str, str] = {}
    _link(sources, entry, done, ())
    return list(done.items())


def loader(sources: Mapping[str, str], entry: str) -> str:
    """Write the script whose constant `entry` is a promise of the module `entry`.

    Raises:
        SettingsError: as `linked`.
    """
    pairs = json.dumps(linked(sources, entry))
    return _LOADER % {"sources": pairs, "entry": json.dumps(entry)}


def _link(
    sources: Mapping[str, str], name: str, done: dict[str, str], above: tuple[str, ...]
) -> None:
    if name in above:
        raise _refused("free of circles", " → ".join((*above, name)))
    if name in done:
        return
    if name not in sources:
        raise _refused("all there", f"none called {name}")
    folder = posixpath.dirname(name)

    def exchange(match: re.Match[str]) -> str:
        other = match["name"]
        if not other.startswith("."):
            raise _refused("relative", other)
        path = posixpath.normpath(posixpath.join(folder, other))
        _link(sources, path, done, (*above, name))
        return f'{match["before"]}"{_SCHEME}{path}"'

    text = _IMPORT.sub(exchange, sources[name])
    done[name] = text


def _refused(wanted: str, got: str) -> SettingsError:
    return SettingsError(
        expected("the modules of a component", wanted, got, "an import such as './rle.js'")
    )
