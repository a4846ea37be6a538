"""A contact sheet: many small pictures with a line under each, in titled sections, as one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from penumbra.errors import SettingsError, expected
from penumbra.imaging.palette import RGB

_PAPER: RGB = (255, 255, 255)
_INK: RGB = (28, 32, 36)
_GAP, _LINE, _TITLE, _SWATCH = 12, 20, 30, 12
_CHARACTER = 6.6
_MOST = 400

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Frame:
    """One picture of a sheet.

    Attributes:
        picture: (H, W, 3) uint8.
        caption: one line; cut where it is longer than the picture is wide.
    """

    picture: NDArray[np.uint8]
    caption: str


@dataclass(frozen=True)
class Section:
    """Pictures under one title."""

    title: str
    frames: tuple[Frame, ...]


def contact_sheet(
    sections: Sequence[Section],
    *,
    columns: int = 4,
    width: int = 260,
    keys: Sequence[tuple[RGB, str]] = (),
) -> NDArray[np.uint8]:
    """Lay pictures out in rows, each scaled to fit a cell and never distorted.

    Args:
        sections: from top to bottom; empty ones are left out.
        columns: pictures in a row, 1 to 20.
        width: of a cell in pixels, 32 to 1024; a cell is as high as its highest picture needs,
            up to twice its width.
        keys: colours and what they mean, in a line at the top.

    Returns:
        (H, W, 3) uint8.

    Raises:
        SettingsError: there is no picture, more than 400, or a size is out of its range.

    Examples:
        >>> frame = Frame(np.zeros((42, 58, 3), np.uint8), "1_7  Dice 0.81")
        >>> contact_sheet([Section("Good", (frame,) * 5)], columns=4, width=58).shape
        (190, 292, 3)
    """
    shown = [section for section in sections if section.frames]
    _check(sum(len(section.frames) for section in shown), columns, width)
    frames = [frame for section in shown for frame in section.frames]
    height = max(_fitted(frame.picture, width)[0] for frame in frames)
    rows = [-(-len(section.frames) // columns) for section in shown]
    cell = height + _LINE
    total = _GAP + (_LINE if keys else 0) + sum(_TITLE + n * (cell + _GAP) for n in rows)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, total), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _GAP + _keys(draw, keys)
    for section, n in zip(shown, rows, strict=True):
        draw.text((_GAP, top + 4), section.title, fill=_INK, font=_font(16))
        top += _TITLE
        for place, frame in enumerate(section.frames):
            row, column = divmod(place, columns)
            corner = (_GAP + column * (width + _GAP), top + row * (cell + _GAP))
            _place(sheet, draw, frame, corner, (height, width))
        top += n * (cell + _GAP)
    return np.asarray(sheet, dtype=np.uint8)


def _check(frames: int, columns: int, width: int) -> None:
    limits = {
        "the pictures of a contact sheet": (frames, 1, _MOST),
        "`columns`": (columns, 1, 20),
        "`width`": (width, 32, 1024),
    }
    for name, (value, least, most) in limits.items():
        if not least <= value <= most:
            raise SettingsError(expected(name, f"{least} to {most}", value, "4 columns of 260"))


def _fitted(picture: NDArray[np.uint8], width: int) -> tuple[int, int]:
    """Give (height, width) in a cell twice as high as wide."""
    h, w = picture.shape[:2]
    scale = min(width / w, 2 * width / h)
    return max(1, round(h * scale)), max(1, round(w * scale))


def _place(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    frame: Frame,
    corner: tuple[int, int],
    cell: tuple[int, int],
) -> None:
    height, width = _fitted(frame.picture, cell[1])
    smaller = height < frame.picture.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    picture = cv2.resize(frame.picture, (width, height), interpolation=how)
    sheet.paste(Image.fromarray(np.asarray(picture, dtype=np.uint8)), corner)
    most = max(1, int(cell[1] / _CHARACTER))
    text = frame.caption if len(frame.caption) <= most else frame.caption[: most - 1] + "…"
    draw.text((corner[0], corner[1] + cell[0] + 3), text, fill=_INK, font=_font(12))


def _keys(draw: ImageDraw.ImageDraw, keys: Sequence[tuple[RGB, str]]) -> int:
    """Draw the line of colours and give its height."""
    left = _GAP
    for colour, words in keys:
        draw.rectangle((left, _GAP, left + _SWATCH, _GAP + _SWATCH), fill=colour)
        draw.text((left + _SWATCH + 5, _GAP - 1), words, fill=_INK, font=_font(12))
        left += _SWATCH + 5 + int(draw.textlength(words, font=_font(12))) + 2 * _GAP
    return _LINE if keys else 0


def _font(size: int) -> Font:
    # Pillow's own: no file of the system is looked for, so a sheet is the same everywhere.
    return ImageFont.load_default(size)
