"""From ``LAYOUT:PATH``, a bare path or a manifest to a source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

# The module and not its names: a manifest opens layouts, so the two import each other.
from penumbra.data import manifest
from penumbra.data.layouts.catalogue import layout_named, recognise
from penumbra.data.source import Source
from penumbra.errors import SourceError, expected

# Two letters at least: "C:\\data" is a Windows path, not a layout named C.
_PREFIX = re.compile(r"(?P<layout>[A-Za-z][\w-]+):(?P<path>.*)", re.DOTALL)


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
    if manifest.is_manifest(text):
        return _from_manifest(Path(text), target, names)
    return recognise(text).open(text, target=target, class_names=names)


def _from_manifest(path: Path, target: str | None, names: tuple[str, ...] | None) -> Source:
    source, _ = manifest.read_manifest(path, class_names=names)
    if target not in (None, source.target):
        raise SourceError(
            expected(
                f"the target for {path}",
                f"that of the manifest, {source.target!r}",
                repr(target),
                "leaving --target out, or splitting the source with the other target",
            )
        )
    return source
