"""Write straight crops beside the other files of a prediction."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.documents.rectify import Rectified, Refused
from penumbra.errors import SettingsError, expected
from penumbra.imaging.write import write_unit_map
from penumbra.storage import write_bytes

MOST_CARDS = 16
"""In one photograph."""


def card_names(stem: str, index: int) -> dict[str, str]:
    """Name the files of a card; the first has no number.

    Examples:
        >>> card_names("a", 1)["uncertainty"]
        'a_card-2_uncertainty.png'
    """
    card = f"{stem}_card" if index == 0 else f"{stem}_card-{index + 1}"
    return {"card": f"{card}.png", "uncertainty": f"{card}_uncertainty.png"}


def check_card_stems(stems: Sequence[str]) -> None:
    """Refuse images of which one's results would lie over another's crop.

    Raises:
        SettingsError: one is named as another one's crop, such as ``a`` and ``a_card``.
    """
    taken = {stem.casefold() for stem in stems}
    for stem in stems:
        for index in range(MOST_CARDS):
            crop = Path(card_names(stem, index)["card"]).stem
            if crop.casefold() in taken:
                raise SettingsError(
                    expected(
                        "the images' names",
                        "such that no result lies over another",
                        f"{stem} and {crop}, which is what the crop of the first is called",
                        "one of the two in a call of its own, with another --out",
                    )
                )


def write_cards(out: Path, stem: str, cards: Sequence[Rectified | Refused]) -> list[dict[str, Any]]:
    """Write crops and their uncertainty; files of earlier crops of this name are removed.

    =================================  ==========================================================
    ``STEM_card.png``                  the crop, 8 or 16 bits per channel as the photograph has
    ``STEM_card_uncertainty.png``      16-bit entropy, 65535 = ln C nats
    ``STEM_card-2.png`` …              further cards, where all were asked for
    =================================  ==========================================================

    Returns:
        One entry per card for the JSON, with its file names; a refusal has none.

    Raises:
        FileNameError: the stem is too long for the names of the files.
        StorageError: a file cannot be written.
    """
    out = Path(out)
    # A crop that is left from another run would pass for one of this photograph.
    for index in range(MOST_CARDS):
        for name in card_names(stem, index).values():
            with contextlib.suppress(OSError):
                (out / name).unlink()
    entries = []
    for index, card in enumerate(cards):
        entry = card.to_json()
        if isinstance(card, Rectified):
            names = card_names(stem, index)
            write_unit_map(
                out / names["uncertainty"], card.uncertainty, scale=card.most_uncertainty
            )
            write_bytes(out / names["card"], png_of(card.image))
            entry["files"] = names
        entries.append(entry)
    return entries


def png_of(image: NDArray[np.generic]) -> bytes:
    """Encode (H, W, C) pixels as a PNG: 8 and 16 bits as they are, others stretched to 16 bits.

    Examples:
        >>> png_of(np.zeros((2, 2, 3), np.uint8))[1:4]
        b'PNG'
    """
    if image.dtype not in (np.uint8, np.uint16):
        low, high = float(image.min()), float(image.max())
        unit = (image.astype(np.float64) - low) / max(high - low, 1e-12)
        image = np.rint(unit * 65535).astype(np.uint16)
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise SettingsError(
            expected("the crop", "an image", f"shape {image.shape}", "a smaller --size")
        )
    return bytes(encoded)
