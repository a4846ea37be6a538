"""Photographs of a card whose corners are known."""

import cv2
import numpy as np
import pytest

from penumbra.imaging.polygons import Polygon, polygons_to_mask
from penumbra.inference.prediction import Prediction, entropy


def prediction_of(probability):
    """A prediction of two classes from the foreground's probability."""
    p = np.asarray(probability, dtype=np.float32)
    both = np.stack([1 - p, p])
    return Prediction(both, (p >= 0.5).astype(np.uint8), {"entropy": entropy(both)})


def printed_card(width=428, height=270, seed=0):
    """A card with fine detail, whose upper left is red and whose lower right is blue."""
    rng = np.random.default_rng(seed)
    card = np.full((height, width, 3), 200, np.uint8)
    for y in range(20, height - 20, 12):
        for x in range(20, width - 20, 10):
            if rng.random() < 0.7:
                cv2.rectangle(card, (x, y), (x + int(rng.integers(2, 8)), y + 6), (30, 30, 60), -1)
    card[8:60, 8:90] = (220, 20, 20)
    card[-60:-8, -90:-8] = (20, 20, 220)
    return card


def photograph(quad, size, card=None):
    """Draw a card into a frame of (height, width): image (H, W, 3) and the true mask (H, W)."""
    card = printed_card() if card is None else card
    height, width = card.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(source - 0.5, np.asarray(quad, np.float32) - 0.5)
    drawn = cv2.warpPerspective(card, matrix, size[::-1], borderMode=cv2.BORDER_REPLICATE)
    mask = polygons_to_mask([Polygon(tuple(map(tuple, quad)))], size).astype(np.uint8)
    ground = np.full((*size, 3), 90, np.uint8)
    return np.where(mask[..., None] > 0, drawn, ground), mask


def seen_quad(width=300.0, turn=0.0, tilt=(0.0, 0.0), middle=(320.0, 240.0), size=(480, 640)):
    """Photograph an ID-1 card by a pinhole camera: its corners, clockwise from its top left.

    `turn` is in the picture's plane, `tilt` about the card's own axes, all in radians; the focal
    length is the frame's longer side.
    """
    half = np.array([85.60, 53.98]) / 2
    flat = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * [*half, 0]
    a, b = tilt
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    in_plane = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    focal = max(size)
    centre = np.array([size[1], size[0]]) / 2
    depth = focal * 85.60 / width
    placed = flat @ (in_plane @ about_y @ about_x).T
    placed += [*((np.asarray(middle) - centre) / focal * depth), depth]
    return placed[:, :2] / placed[:, 2:] * focal + centre


def worst_corner(found, quad):
    """The largest distance of a corner over the diagonal, whichever comes first."""
    quad = np.asarray(quad, float)
    away = [np.linalg.norm(np.roll(found, k, axis=0) - quad, axis=1).max() for k in range(4)]
    return min(away) / np.linalg.norm(quad[2] - quad[0])


@pytest.fixture(scope="session")
def scene():
    """The functions above by name."""
    from types import SimpleNamespace

    return SimpleNamespace(
        prediction_of=prediction_of, photograph=photograph, seen_quad=seen_quad,
        worst_corner=worst_corner, printed_card=printed_card,
    )  # fmt: skip
