"""What a straight crop is asked to be, and when it is refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

ID1_MILLIMETRES = (85.60, 53.98)
"""Width and height of an ID-1 card (ISO/IEC 7810): bank cards, driving licences, most ID cards."""

ID1_RATIO = ID1_MILLIMETRES[0] / ID1_MILLIMETRES[1]


class RectifySettings(BaseModel):
    """What a straight crop is asked to be, and when it is refused.

    Attributes:
        threshold: least probability of the card's pixels.
        ratio: longer side of the card over its shorter one.
        size: (width, height) of the crop in pixels; ``None`` for the card's ratio at about the
            resolution that the photograph has. Upright where the height is the larger.
        assume_sides: whether a card is cropped of which the frame cuts off a short side, placed by
            the other three and the ratio; refused otherwise, since nothing that is seen checks it.
        limit: quality below which a crop is refused.
        least_share: of the photograph that a card covers; smaller areas are specks.
        least_side: of a card in pixels; fewer cannot be measured.
        further_share: of the largest card's area that a further one covers, where all are asked
            for.
        most_side: of a crop in pixels where `size` is ``None``.

    Examples:
        >>> RectifySettings().limit, round(RectifySettings().ratio, 4)
        (0.5, 1.5858)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(default=0.5, gt=0, lt=1)
    ratio: float = Field(default=ID1_RATIO, ge=1, le=10)
    size: tuple[int, int] | None = None
    assume_sides: bool = False
    limit: float = Field(default=0.5, ge=0, le=1)
    least_share: float = Field(default=0.004, gt=0, le=1)
    least_side: float = Field(default=16, ge=8)
    further_share: float = Field(default=0.2, gt=0, le=1)
    most_side: int = Field(default=4096, ge=16, le=16384)

    @property
    def upright(self) -> bool:
        """Whether the crop's longer side is vertical."""
        return self.size is not None and self.size[1] > self.size[0]
