"""What `penumbra predict --rectify` adds: straight crops of cards."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from penumbra.documents.settings import RectifySettings
    from penumbra.inference.prediction import Prediction

Rectify = Annotated[
    bool, typer.Option("--rectify", help="Also crop the card in each photograph, straight.")
]
CropSize = Annotated[
    str | None,
    typer.Option("--size", help="Of the crop, WIDTHxHEIGHT; by default ID-1's ratio."),
]
AllCards = Annotated[
    bool, typer.Option("--all-cards", help="Crop every card, not the largest alone.")
]
AssumeSides = Annotated[
    bool,
    typer.Option(
        "--assume-sides",
        help="Also crop cards of which the frame cuts off a short side, placed by the ratio.",
    ),
]
Orient = Annotated[
    Path | None,
    typer.Option("--orient", help="A run that finds the upper half of upright crops."),
]
QualityLimit = Annotated[
    float | None,
    typer.Option("--quality", help="Refuse crops whose quality is below this; by default 0.5."),
]

_MOST_SIDE = 8192
_ASSUMABLE = " --assume-sides crops it, that side placed by the ratio."


@dataclass(frozen=True)
class Cropper:
    """Crops the cards of one photograph after another.

    Attributes:
        settings: of each crop.
        every: whether all cards are cropped.
        orient: gives the predictions that say which way up a crop is.
    """

    settings: RectifySettings
    every: bool = False
    orient: Callable[[Sequence[NDArray[np.generic]]], list[Prediction]] | None = None

    def __call__(
        self, image: NDArray[np.generic], prediction: Prediction, out: Path, stem: str
    ) -> list[dict[str, Any]]:
        """Write the crops and give one entry per card for the JSON."""
        from penumbra.documents.orientation import orient, orientation_json
        from penumbra.documents.rectify import Rectified, rectify_all
        from penumbra.documents.write import MOST_CARDS, write_cards

        most = MOST_CARDS if self.every else 1
        cards = rectify_all(image, prediction, settings=self.settings, most=most)
        found: dict[int, dict[str, Any]] = {}
        for index, card in enumerate(cards):
            if self.orient is not None and isinstance(card, Rectified):
                cards[index], orientation = orient(card, self.orient)
                found[index] = orientation_json(orientation, card.corners.rotations)
        entries = write_cards(out, stem, cards)
        for index, rotation in found.items():
            entries[index]["rotation"] = rotation
        return entries


def cropper(
    wanted: bool,
    *,
    size: str | None,
    every: bool,
    assume: bool,
    orient: Path | None,
    limit: float | None,
    threshold: float,
    device: str,
) -> Cropper | None:
    """Build what crops, or ``None`` where no crop is wanted.

    Raises:
        SettingsError: an option is not valid, or given without ``--rectify``.
    """
    from penumbra.errors import SettingsError, expected

    if not wanted:
        given = {"--size": size, "--orient": orient, "--all-cards": every, "--quality": limit,
                 "--assume-sides": assume}  # fmt: skip
        for name, value in given.items():
            if value not in (None, False):
                raise SettingsError(
                    expected(name, "given with --rectify", "alone", f"--rectify {name}")
                )
        return None
    from penumbra.documents.settings import RectifySettings
    from penumbra.inference.predictor import Predictor

    if limit is not None and not 0 <= limit <= 1:
        raise SettingsError(expected("--quality", "between 0 and 1", limit, "--quality 0.5"))
    settings = RectifySettings(
        threshold=min(max(threshold, 1e-6), 1 - 1e-6),
        size=None if size is None else _size(size),
        assume_sides=assume,
        limit=RectifySettings().limit if limit is None else limit,
    )
    upright = None if orient is None else Predictor.load(orient, device=device)
    return Cropper(settings, every, upright)


def _size(text: str) -> tuple[int, int]:
    from penumbra.errors import SettingsError, expected

    found = re.fullmatch(r"(\d{1,5})[x×X](\d{1,5})", text.strip())
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 16 <= min(sides) <= max(sides) <= _MOST_SIDE:
        raise SettingsError(
            expected("--size", f"WIDTHxHEIGHT, 16 to {_MOST_SIDE} each", text, "--size 856x540")
        )
    return sides


def refusals(cards: Sequence[dict[str, Any]], file: Path) -> list[dict[str, str]]:
    """Give a finding per card that was refused."""
    return [
        {
            "kind": "refused-crop",
            "image": str(file),
            "message": f"no crop of {file.name}: {'; '.join(card['reasons'])}."
            + (_ASSUMABLE if card.get("assumable") else ""),
        }
        for card in cards
        if card["refused"]
    ]


def further(cards: Sequence[dict[str, Any]], file: Path) -> str | None:
    """Say that a photograph shows more cards than were cropped; ``None`` where it does not.

    Examples:
        >>> further([{"refused": False, "further_cards": 2}], Path("a.png"))
        'a.png shows 2 more that may be cards; --all-cards crops them too.'
    """
    count = max((card.get("further_cards", 0) for card in cards), default=0)
    if not count:
        return None
    return f"{file.name} shows {count} more that may be cards; --all-cards crops them too."
