"""How data sets lie on disk: one file per layout, one visible list, one way to open them."""

from penumbra.data.layouts.base import Layout, Strategy
from penumbra.data.layouts.opening import LAYOUTS, layout_named, open_source, recognise

__all__ = ["LAYOUTS", "Layout", "Strategy", "layout_named", "open_source", "recognise"]
