"""One photograph of a card: drawn, laid down, covered, lit and taken."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.cards.clutter import THINGS, blur_ground, strew
from penumbra.data.cards.draws import Pixels, fill, rounded, stream, trace
from penumbra.data.cards.face import FACE, card_face, template
from penumbra.data.cards.ground import GROUNDS, room
from penumbra.data.cards.hands import hand_behind, skin_colour, thumb_over
from penumbra.data.cards.light import blurred, enlarged, lighting, noisy, reflections
from penumbra.data.cards.quads import Array, Geometry, share_outside
from penumbra.data.cards.stage import Stage, blend
from penumbra.imaging.polygons import Polygon, polygons_to_mask

_MARGIN = 12  # of nothing around the face, so that the warp smooths its edge
_ROUNDING = 3.18 / 85.60 * FACE[1]  # ISO/IEC 7810: corners of 3.18 mm
_QUALITY = (68, 96)
_HELD = 0.2
_FINGERED = 0.15
_CORNERED = 0.2
_GLOSSY = 0.4
_SHAKEN = 0.15


@dataclass(frozen=True, eq=False)
class CardPhoto:
    """One generated photograph and the truth about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 of 0 and 1: the whole quadrilateral within the frame. Where a finger or
            a thing covers the card the mask goes on, and it has no rounded corners: what a
            straight crop needs is where the card is, not which part of it is seen.
        corners: (4, 2) float64 TL, TR, BR, BL of the card as it reads, in pixels from the outer
            corner of the first; they may lie outside the frame.
        outside: share of the card's area outside the frame, in [0, 1].
        covered: share of the card within the frame under fingers and things, in [0, 1].
        glare: share of the card within the frame that a reflection has made white, in [0, 1].
        blur: standard deviation of the focus' blur in pixels.
        motion: length of the hand's blur in pixels.
        upside_down: whether the card reads upside down.
        quality: of the JPEG that it should be written as, 1 … 100.
    """

    image: Pixels
    mask: NDArray[np.uint8]
    corners: Array
    outside: float
    covered: float
    glare: float
    blur: float
    motion: float
    upside_down: bool
    quality: int


@dataclass(frozen=True)
class Draw:
    """Which photograph: numbers that decide every draw, and the frame.

    Attributes:
        seed: of the set.
        index: of the photograph.
        template: number of the card's template.
        background: number of the ground it lies on.
        frame: (width, height) in pixels.
        upside_down: share of cards that read upside down, in [0, 1].
    """

    seed: int
    index: int
    template: int
    background: int
    frame: tuple[int, int] = (640, 1138)
    upside_down: float = 0.0


def photograph(
    draw: Draw, geometry: Geometry | None = None, ground: Pixels | None = None
) -> CardPhoto:
    """Make one photograph; a function of its arguments alone.

    Args:
        draw: which one.
        geometry: where the card lies; by default as in MIDV-500's frames.
        ground: (h, w, 3) uint8, a photograph of the user's to lay the card on; by default a
            ground is drawn.

    Examples:
        >>> photo = photograph(Draw(seed=0, index=0, template=0, background=0, frame=(90, 160)))
        >>> photo.image.shape, photo.mask.shape, photo.corners.shape
        ((160, 90, 3), (160, 90), (4, 2))
    """
    rng = stream(draw.seed, "photograph", draw.index)
    quad = (geometry or Geometry()).draw(rng, draw.frame)
    turned = bool(rng.uniform() < draw.upside_down)
    corners = np.roll(quad, 2, axis=0) if turned else quad
    held = bool(rng.uniform() < _HELD) and ground is None
    stage = _set(draw, rng, ground, held=held)
    skin = skin_colour(rng)
    if held:
        hand_behind(stage, rng, quad, skin)
    card = _lay_card(stage, draw, rng, corners, held=held)
    stage.cover[:] = 0
    _cover_card(stage, rng, quad, skin, held=held)
    return _taken(stage, draw, rng, corners, card, turned=turned)


def _set(draw: Draw, rng: np.random.Generator, ground: Pixels | None, *, held: bool) -> Stage:
    """Put up the ground with what lies on it, all but the card."""
    width, height = draw.frame
    own = stream(draw.seed, "background", draw.background)
    kind = GROUNDS[int(own.integers(len(GROUNDS)))]
    if ground is None:
        ground = (room if held else kind)(own, (int(height * 1.15), int(width * 1.25)))
    image = _framed(rng, ground, draw.frame)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 2.2)
    light = (float(np.cos(angle) * length), float(np.sin(angle) * length))
    stage = Stage(image, np.zeros((height, width), np.uint8), width / 100, light)
    if not held and kind is not room:
        strew(stage, rng, int(rng.choice([0, 3, 7, 12], p=[0.25, 0.25, 0.25, 0.25])))
    # Things lie a little behind the plane that is in focus, or far behind it.
    image[:] = blur_ground(image, float(rng.uniform(0, 1.0)) * width / 640 * (3 if held else 1))
    return stage


def _framed(rng: np.random.Generator, ground: Pixels, frame: tuple[int, int]) -> Pixels:
    """Cut the frame out of a ground: turned, mirrored, somewhere in it, and filled to the edge."""
    height, width = ground.shape[:2]
    scale = max(frame[0] / width, frame[1] / height) * rng.uniform(1.0, 1.25)
    angle = rng.normal(0, 0.12)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    if rng.uniform() < 0.5:
        turn = turn * (-1, 1)
    spare = np.maximum(np.array([width, height]) * scale - frame, 0)
    middle = np.array(frame) / 2 + rng.uniform(-0.5, 0.5, 2) * spare
    shift = middle - turn @ (np.array([width, height]) / 2)
    return np.asarray(
        cv2.warpAffine(
            ground, np.hstack([turn, shift[:, None]]), frame, borderMode=cv2.BORDER_REFLECT_101
        )
    )


def _lay_card(
    stage: Stage, draw: Draw, rng: np.random.Generator, corners: Array, *, held: bool
) -> NDArray[np.uint8]:
    """Lay the card into the stage; give its share (H, W) of every pixel in 255ths."""
    face = card_face(template(draw.seed, draw.template), stream(draw.seed, "person", draw.index))
    face, area = _padded(face, rng)
    rows, columns = area.shape
    inner = (_MARGIN, _MARGIN, columns - _MARGIN, rows - _MARGIN)
    ends = np.array([(inner[0], inner[1]), (inner[2], inner[1]), (inner[2], inner[3]),
                     (inner[0], inner[3])], np.float32) - np.float32(0.5)  # fmt: skip
    warp = cv2.getPerspectiveTransform(ends, (corners - 0.5).astype(np.float32))
    # Smoothed before it shrinks, since the warp itself samples single points.
    shrink = FACE[1] / max(1.0, float(np.hypot(*(corners[1] - corners[0]))))
    if shrink > 1:
        face = np.asarray(cv2.GaussianBlur(face, (0, 0), 0.42 * shrink))
        area = np.asarray(cv2.GaussianBlur(area, (0, 0), 0.42 * shrink))
    laid = cv2.warpPerspective(face, warp, draw.frame, borderMode=cv2.BORDER_REPLICATE)
    share: NDArray[np.uint8] = np.asarray(cv2.warpPerspective(area, warp, draw.frame), np.uint8)
    if not held:
        _contact(stage, rng, corners)
    blend(stage.image, np.asarray(laid, np.uint8), share)
    return share


def _contact(stage: Stage, rng: np.random.Generator, corners: Array) -> None:
    """Darken the ground along the card, which is hardly ever quite flat."""
    lift = rng.uniform(0.15, 1.6)
    fallen = np.zeros(stage.cover.shape, np.uint8)
    fill(fallen, corners + np.array(stage.light) * stage.unit * lift * 0.6, 255)
    soft = cv2.GaussianBlur(fallen, (0, 0), max(0.6, stage.unit * 0.7 * lift))
    shade = cv2.convertScaleAbs(soft, alpha=rng.uniform(0.2, 0.65))
    blend(stage.image, np.zeros_like(stage.image), np.asarray(shade, np.uint8))


def _padded(face: Pixels, rng: np.random.Generator) -> tuple[Pixels, NDArray[np.uint8]]:
    """Put a margin around a face; give it with its area (rounded corners) and a worn rim."""
    rows, columns = FACE
    outline = rounded((0, 0, columns, rows), _ROUNDING)
    rim = float(rng.uniform(150, 255))
    trace(face, outline, (rim, rim, rim), int(rng.integers(1, 7)), closed=True)
    padded = np.pad(face, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="edge")
    area = np.zeros((rows + 2 * _MARGIN, columns + 2 * _MARGIN), np.uint8)
    fill(area, outline + _MARGIN, 255)
    return padded, area


def _cover_card(
    stage: Stage,
    rng: np.random.Generator,
    quad: Array,
    skin: tuple[float, float, float],
    *,
    held: bool,
) -> None:
    """Lay fingers on the card's edges, or a thing over one of its corners."""
    if held or rng.uniform() < _FINGERED:
        for _ in range(1 if held else int(rng.integers(1, 3))):
            thumb_over(stage, rng, quad, skin)
    elif rng.uniform() < _CORNERED:
        corner = quad[int(rng.integers(4))]
        out = corner - quad.mean(axis=0)
        thing = THINGS[int(rng.integers(len(THINGS)))]
        angle = float(np.arctan2(out[1], out[0]) + rng.normal(0, 0.5))
        thing(stage, rng, corner + out * rng.uniform(0.1, 0.45), angle)


def _taken(
    stage: Stage,
    draw: Draw,
    rng: np.random.Generator,
    corners: Array,
    card: NDArray[np.uint8],
    *,
    turned: bool,
) -> CardPhoto:
    """Light the stage and take the photograph."""
    shape, scale = stage.cover.shape, draw.frame[0] / 640
    lit = stage.image * enlarged(lighting(rng, shape), shape)
    glare = np.zeros(shape, np.float32)
    if rng.uniform() < _GLOSSY:
        bare = card * (np.float32(1 / 255) - stage.cover * np.float32(1 / 255**2))
        glare = enlarged(reflections(rng, shape, corners), shape) * bare
        lit += np.float32(235) * glare[..., None]
    image = np.asarray(np.clip(lit, 0, 255).astype(np.uint8))
    sigma = float(rng.gamma(2.0, 0.32)) * scale
    motion = float(rng.uniform(2, 9)) * scale if rng.uniform() < _SHAKEN else 0.0
    image = blurred(image, sigma, motion, float(rng.uniform(0, np.pi)))
    image = noisy(rng, image, float(rng.gamma(2.0, 1.3)))
    mask = polygons_to_mask([Polygon(corners)], shape).astype(np.uint8)
    seen = max(1, int(mask.sum()))
    return CardPhoto(
        image=image,
        mask=mask,
        corners=corners,
        outside=share_outside(corners, draw.frame),
        covered=float((stage.cover[mask > 0] > 127).sum() / seen),
        glare=float((glare[mask > 0] > 0.5).sum() / seen),
        blur=sigma,
        motion=motion,
        upside_down=turned,
        quality=int(rng.integers(*_QUALITY)),
    )
