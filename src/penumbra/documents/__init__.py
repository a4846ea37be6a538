"""Cards and other documents in photographs: four corners, a straight crop, and its quality."""

from penumbra.documents.corners import Corners, corners_of
from penumbra.documents.quality import Quality
from penumbra.documents.rectify import Rectified, Refused, rectify, rectify_all
from penumbra.documents.settings import RectifySettings

__all__ = [
    "Corners",
    "Quality",
    "Rectified",
    "RectifySettings",
    "Refused",
    "corners_of",
    "rectify",
    "rectify_all",
]
