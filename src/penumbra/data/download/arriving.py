"""What arrives of a file before it is whole, and the rules that hold for every way to fetch it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penumbra.errors import DownloadError, expected
from penumbra.storage import write_json

CHUNK = 2**20
"""Bytes that are asked for at a time."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a fetch goes on trying.

    Attributes:
        tries: how often in a row without a single new byte.
        pause: seconds before the second try; doubled for each further one.
        timeout: seconds that a server may be silent.
    """

    tries: int = 4
    pause: float = 2.0
    timeout: float = 60.0


class Part:
    """What has arrived of a file, and which version it is of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        """How many bytes have arrived."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def _noted(self) -> dict[str, Any]:
        try:
            noted = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    @property
    def validator(self) -> str:
        """How the server marked the version that arrives, or ""."""
        return str(self._noted.get("validator", ""))

    def resumable(self, url: str) -> bool:
        """Whether the rest can be asked for without mixing two versions."""
        return self.size > 0 and bool(self.validator) and self._noted.get("url") == url

    def begin(self, url: str, validator: str) -> None:
        """Forget what is there, and note which version comes now."""
        self.path.unlink(missing_ok=True)
        write_json(self.note, {"url": url, "validator": validator})


class CutError(ConnectionError):
    """The connection ended before the file did."""


def check_limit(url: str, n_bytes: int, max_bytes: int) -> None:
    """Refuse more than `max_bytes` bytes.

    Raises:
        DownloadError: there are more.
    """
    if n_bytes > max_bytes:
        raise DownloadError(
            expected(
                url,
                f"at most {max_bytes:,} bytes",
                f"{n_bytes:,}",
                "the data set's homepage for why",
            )
        )


def refused(url: str, got: str) -> DownloadError:
    """Build the error for a server that does not hand out a file."""
    return DownloadError(
        expected(
            url,
            "handed out by its server",
            got,
            "the data set's homepage, then --from FOLDER with what you fetched by hand",
        )
    )
