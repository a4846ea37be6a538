"""The one visible list of layouts, by name and by look."""

from __future__ import annotations

from pathlib import Path

from penumbra.data.layouts import (
    camvid,
    coco,
    covid_cxr,
    dsb2018,
    folder,
    isbi,
    midv500,
    nerve,
    nih,
    rsna,
)
from penumbra.data.layouts.base import Layout, Strategy, existing_folder
from penumbra.data.layouts.plugins import plugin_named, plugin_names, recognised_by_plugin
from penumbra.data.sample import Finding
from penumbra.errors import SourceError, expected

LAYOUTS: tuple[Layout, ...] = (
    dsb2018.LAYOUT,
    covid_cxr.LAYOUT,
    camvid.LAYOUT,
    rsna.LAYOUT,
    nerve.LAYOUT,
    midv500.LAYOUT,
    nih.LAYOUT,
    isbi.LAYOUT,
    coco.LAYOUT,
    folder.LAYOUT,
)
"""Every layout of our own, the most particular first: a bare path belongs to the first that
recognises it. Those of other packages are asked before the last, which takes any images/."""


def layout_named(name: str) -> Layout:
    """Give the layout of that name: one of ours, else one that another package registered.

    Raises:
        SourceError: there is none, and the text names those that there are; or another package's
            cannot be imported.

    Examples:
        >>> layout_named("dsb2018").name
        'dsb2018'
    """
    for layout in LAYOUTS:
        if layout.name == name.lower():
            return layout
    found = plugin_named(name)
    if found is not None:
        return found
    raise SourceError(
        expected(
            "the layout",
            f"one of {', '.join(_names())}",
            repr(name),
            "one of these before the colon, or the bare path to have it recognised",
        )
    )


def strategy_of(name: str) -> Strategy:
    """Give the way in which sources of a layout are split; ``"random"`` for unknown ones."""
    layout = next((each for each in LAYOUTS if each.name == name), None) or plugin_named(name)
    return "random" if layout is None else layout.strategy


def recognise(path: str | Path) -> Layout:
    """Find the layout that a folder is of, by a cheap look at its names.

    Raises:
        SourceError: the path is no folder, or no layout recognises it.
    """
    return look_up(path)[0]


def look_up(path: str | Path) -> tuple[Layout, tuple[Finding, ...]]:
    """Find a folder's layout as `recognise` does; give also what was noticed on the way.

    Returns:
        The layout, and a warning for each layout of another package that could not be asked.

    Raises:
        SourceError: the path is no folder, cannot be listed, or no layout recognises it.
    """
    root = existing_folder(path)
    try:
        for layout in LAYOUTS[:-1]:
            if layout.recognises(root):
                return layout, ()
        found, findings = recognised_by_plugin(
            root, taken=frozenset(layout.name for layout in LAYOUTS)
        )
        if found is None and LAYOUTS[-1].recognises(root):
            found = LAYOUTS[-1]
    except OSError as error:
        raise SourceError(
            expected(
                f"the folder {root}",
                "a folder that can be listed",
                error.strerror or repr(error),
                "checking its permissions",
            )
        ) from error
    if found is not None:
        return found, findings
    raise SourceError(
        expected(
            f"the folder {root}",
            "of a known layout",
            "none that is recognised",
            "images in images/ and masks of the same names in masks/ (layout folder), or "
            f"LAYOUT:PATH with one of {', '.join(_names())}",
        )
    )


def _names() -> tuple[str, ...]:
    return tuple(dict.fromkeys((*(layout.name for layout in LAYOUTS), *plugin_names())))
