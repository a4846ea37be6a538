"""Phantoms: generated images whose boundary is ambiguous on purpose, with the truth about it."""

from penumbra.data.phantom.sample import KINDS, PhantomKind, PhantomSample, phantom_sample
from penumbra.data.phantom.write import make_phantom

__all__ = ["KINDS", "PhantomKind", "PhantomSample", "make_phantom", "phantom_sample"]
