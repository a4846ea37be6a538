"""The one visible list of layouts, by name and by look."""

from __future__ import annotations

from pathlib import Path

from penumbra.data.layouts import camvid, covid_cxr, dsb2018, folder, isbi, nerve
from penumbra.data.layouts.base import Layout, existing_folder
from penumbra.errors import SourceError, expected

LAYOUTS: tuple[Layout, ...] = (
    dsb2018.LAYOUT,
    covid_cxr.LAYOUT,
    camvid.LAYOUT,
    nerve.LAYOUT,
    isbi.LAYOUT,
    folder.LAYOUT,
)
"""Every layout, the most particular first: a bare path belongs to the first that recognises it."""


def layout_named(name: str) -> Layout:
    """Give the layout of that name.

    Raises:
        SourceError: there is none; the text names those that there are.

    Examples:
        >>> layout_named("dsb2018").name
        'dsb2018'
    """
    for layout in LAYOUTS:
        if layout.name == name.lower():
            return layout
    raise SourceError(
        expected(
            "the layout",
            f"one of {', '.join(layout.name for layout in LAYOUTS)}",
            repr(name),
            "one of these before the colon, or the bare path to have it recognised",
        )
    )


def recognise(path: str | Path) -> Layout:
    """Find the layout that a folder is of, by a cheap look at its names.

    Raises:
        SourceError: the path is no folder, or no layout recognises it.
    """
    root = existing_folder(path)
    for layout in LAYOUTS:
        if layout.recognises(root):
            return layout
    raise SourceError(
        expected(
            f"the folder {root}",
            "of a known layout",
            "none that is recognised",
            "images in images/ and masks of the same names in masks/ (layout folder), or "
            f"LAYOUT:PATH with one of {', '.join(layout.name for layout in LAYOUTS)}",
        )
    )
