"""Layouts that other packages bring, found by the entry point ``penumbra.layouts``.

Nothing of another package is imported before one of its layouts may be needed, and one that is
broken costs itself alone.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from penumbra.data.layouts.base import Layout
from penumbra.data.sample import Finding
from penumbra.errors import PenumbraError, SourceError, expected

GROUP = "penumbra.layouts"
"""The group under which a package names its layouts: ``NAME = "module:LAYOUT"``."""

_KIND = "broken-layout"
# Whatever a module can raise while it is imported, by name; leaving (SystemExit) and Ctrl-C stay.
_IMPORT_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    PenumbraError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def plugin_names() -> tuple[str, ...]:
    """List the names under which other packages offer layouts; nothing is imported."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def plugin_named(name: str) -> Layout | None:
    """Import the layout that a package offers under a name, or give ``None`` where none does.

    Raises:
        SourceError: it cannot be imported, or is not a layout of that name.
    """
    for point in entry_points(group=GROUP):
        if point.name.casefold() == name.casefold():
            return _loaded(point)
    return None


def recognised_by_plugin(
    root: Path, *, taken: frozenset[str]
) -> tuple[Layout | None, tuple[Finding, ...]]:
    """Find the first of other packages' layouts, by name, that recognises a folder.

    Args:
        root: an existing folder.
        taken: names of Penumbra's own layouts, which no package can take over.

    Returns:
        The layout or ``None``, and a warning for each that could not be asked.
    """
    findings = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        if point.name in taken:
            findings.append(_warning(point, "the name belongs to a layout of Penumbra's own"))
            continue
        try:
            layout = _loaded(point)
            if layout.recognises(root):
                return layout, tuple(findings)
        except _IMPORT_ERRORS as error:
            findings.append(_warning(point, error))
    return None, tuple(findings)


def _loaded(point: EntryPoint) -> Layout:
    try:
        layout = point.load()
    except _IMPORT_ERRORS as error:
        got = f"{type(error).__name__}: {error}"
        raise _unusable(point, got) from error
    if not isinstance(layout, Layout):
        raise _unusable(point, f"a {type(layout).__name__}")
    if layout.name != point.name:
        raise _unusable(point, f"one named {layout.name!r}")
    return layout


def _unusable(point: EntryPoint, got: str) -> SourceError:
    return SourceError(
        expected(
            f"the layout {point.name} ({_origin(point)})",
            f"a penumbra Layout named {point.name!r}",
            got,
            "updating or uninstalling that package",
        )
    )


def _origin(point: EntryPoint) -> str:
    return point.value if point.dist is None else f"{point.value}, package {point.dist.name}"


def _warning(point: EntryPoint, reason: object) -> Finding:
    message = f"The layout {point.name} ({_origin(point)}) was passed over: {reason}"
    return Finding(_KIND, "warning", (point.name,), message)
