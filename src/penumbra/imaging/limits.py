"""How large a file may be before it is decoded: the guard against decompression bombs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from penumbra.errors import ImageFileError, SettingsError, expected


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest image that is read; checked against the header, before any pixel is decoded.

    Attributes:
        max_pixels: most pixels, height × width.
        max_side: most pixels along one side.
        max_bytes: most bytes, of the file and of the decoded array alike.

    Raises:
        SettingsError: a limit is below 1.

    Examples:
        >>> Limits(max_pixels=4_000_000).max_side
        65500
    """

    max_pixels: int = 100_000_000
    max_side: int = 65_500
    max_bytes: int = 2**30

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_side", "max_bytes"):
            value = getattr(self, name)
            if value < 1:
                raise SettingsError(
                    expected(f"`{name}`", "at least 1", value, "leaving it at its default")
                )

    def check_file(self, path: Path, n_bytes: int) -> None:
        """Refuse a file of `n_bytes` bytes on disk that is larger than `max_bytes`."""
        if n_bytes > self.max_bytes:
            raise self._refusal(path, f"{self.max_bytes:,} bytes", f"{n_bytes:,}", "max_bytes")

    def check_size(self, path: Path, height: int, width: int, *, bytes_per_pixel: int = 1) -> None:
        """Refuse an image whose header announces more than the limits allow.

        Args:
            path: the file, named in the error.
            height: rows announced by the header.
            width: columns announced by the header.
            bytes_per_pixel: bytes that one decoded pixel takes, all channels together.

        Raises:
            ImageFileError: the image has no pixels, or more than a limit allows.
        """
        got = f"{height}×{width} (height × width)"
        if height < 1 or width < 1:
            raise ImageFileError(
                expected(str(path), "at least 1×1 pixels", got, "exporting it again")
            )
        if max(height, width) > self.max_side:
            raise self._refusal(path, f"{self.max_side:,} pixels along a side", got, "max_side")
        if height * width > self.max_pixels:
            raise self._refusal(path, f"{self.max_pixels:,} pixels", got, "max_pixels")
        if height * width * bytes_per_pixel > self.max_bytes:
            raise self._refusal(path, f"{self.max_bytes:,} bytes once decoded", got, "max_bytes")

    def _refusal(self, path: Path, most: str, got: str, name: str) -> ImageFileError:
        return ImageFileError(
            expected(
                str(path),
                f"at most {most}",
                got,
                f"a smaller copy, or a higher limit (Limits({name}=…)) if you trust the file",
            ),
            over_limit=True,
        )


def damaged(path: Path, reason: object, *, truncated: bool = False) -> ImageFileError:
    """Build the error for a file that begins like an image and cannot be decoded.

    Args:
        path: the file.
        reason: what the decoder says.
        truncated: whether it is known that the file ends too soon.
    """
    return ImageFileError(
        expected(
            str(path),
            "a whole image file",
            f"a truncated or damaged one ({reason})",
            "copying or exporting it again, or removing it",
        ),
        truncated=truncated,
    )
