"""Filters that show edges or contrast to a network: Sobel, Canny, LoG, CLAHE, window, unsharp.

`FilterChain` is what experiments, run folders and promptable models hold; see it for the rules.
"""

from penumbra.imaging.filters.chain import FilterChain
from penumbra.imaging.filters.contrast import Clahe, Unsharp, Window
from penumbra.imaging.filters.edges import Canny, LaplacianOfGaussian, Sobel
from penumbra.imaging.filters.step import ContrastFilter, EdgeFilter, Filter, Mode

__all__ = [
    "Canny",
    "Clahe",
    "ContrastFilter",
    "EdgeFilter",
    "Filter",
    "FilterChain",
    "LaplacianOfGaussian",
    "Mode",
    "Sobel",
    "Unsharp",
    "Window",
]
