"""From ``LAYOUT:PATH``, a bare path or a manifest to a source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from penumbra.data.layouts import camvid, covid_cxr, dsb2018, folder, isbi, nerve
from penumbra.data.layouts.base import Layout, existing_folder
from penumbra.data.source import Source
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

# Two letters at least: "C:\\data" is a Windows path, not a layout named C.
_PREFIX = re.compile(r"(?P<layout>[A-Za-z][\w-]+):(?P<path>.*)", re.DOTALL)


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


def open_source(
    text: str | Path,
    *,
    target: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Source:
    """Open a source lazily: files are listed, nothing is decoded.

    Args:
        text: ``LAYOUT:PATH`` such as ``folder:photos``, a bare path whose layout is recognised,
            or the path of a manifest (``manifest.csv``).
        target: what the masks show, where the layout offers several.
        class_names: one name per class index, background included.

    Raises:
        SourceError: unknown layout, missing or unrecognised folder, unknown target, or class names
            that do not fit.
    """
    names = None if class_names is None else tuple(class_names)
    match = _PREFIX.fullmatch(str(text))
    if match is not None and not Path(text).exists():
        layout = layout_named(match["layout"])
        return layout.open(match["path"], target=target, class_names=names)
    return recognise(text).open(text, target=target, class_names=names)
