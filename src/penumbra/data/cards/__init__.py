"""Photographs of identity cards that do not exist, with their true corners."""

from penumbra.data.cards.geometry import read_geometry
from penumbra.data.cards.photograph import CardPhoto, Draw, photograph
from penumbra.data.cards.quads import Geometry, described, leaves, share_outside
from penumbra.data.cards.table import CardTruth, read_corners
from penumbra.data.cards.write import CardSet, make_id_cards

__all__ = [
    "CardPhoto",
    "CardSet",
    "CardTruth",
    "Draw",
    "Geometry",
    "described",
    "leaves",
    "make_id_cards",
    "photograph",
    "read_corners",
    "read_geometry",
    "share_outside",
]
