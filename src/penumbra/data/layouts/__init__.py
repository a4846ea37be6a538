"""How data sets lie on disk: one file per layout, one visible list, one way to open them."""

from penumbra.data.layouts.base import Layout, Strategy
from penumbra.data.layouts.catalogue import LAYOUTS, layout_named, recognise
from penumbra.data.layouts.opening import open_source

__all__ = ["LAYOUTS", "Layout", "Strategy", "layout_named", "open_source", "recognise"]
