"""Who may ask: API keys from a file, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from penumbra.errors import SettingsError, expected

_LEAST, _MOST, _MOST_BYTES = 16, 512, 2**20


class ApiKeys:
    """Keys that are let in; they are kept as digests alone.

    Args:
        keys: in plain text.

    Examples:
        >>> keys = ApiKeys(["correct horse battery"])
        >>> keys.holder("correct horse battery"), keys.holder("wrong"), bool(ApiKeys([]))
        ('key-1', None, False)
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    def __len__(self) -> int:
        return len(self._digests)

    def holder(self, given: str | None) -> str | None:
        """Say whose key this is: ``key-N`` by its place in the file, or ``None``.

        Every key is compared, whichever matches, so that the time tells nothing.
        """
        digest = _digest(given or "")
        found = 0
        for place, known in enumerate(self._digests, start=1):
            found += place * hmac.compare_digest(digest, known)
        return f"key-{found}" if found and given else None


def read_keys(file: Path | None) -> ApiKeys:
    """Read a file of keys, one per line; empty lines and those that begin with ``#`` are skipped.

    Raises:
        SettingsError: the file cannot be read, holds no key, one twice, or one that is too short
            or has blanks. No message shows a key.
    """
    if file is None:
        return ApiKeys([])
    what = f"the file of API keys {file}"
    try:
        with file.open("rb") as handle:
            data = handle.read(_MOST_BYTES + 1)
        text = data.decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = "other characters" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise SettingsError(
            expected(what, "a readable file of ASCII text", reason, "one key per line")
        ) from error
    lines = {number: line.strip() for number, line in enumerate(text.splitlines(), start=1)}
    keys = {number: line for number, line in lines.items() if line and not line.startswith("#")}
    if not keys or len(data) > _MOST_BYTES:
        got = "an empty file" if not keys else f"over {_MOST_BYTES:,} bytes"
        raise SettingsError(expected(what, "one key per line", got, "`openssl rand -hex 24`"))
    for number, key in keys.items():
        if not _LEAST <= len(key) <= _MOST or any(not 33 <= ord(sign) <= 126 for sign in key):
            raise SettingsError(
                expected(f"the key in line {number} of {file}",
                         f"{_LEAST} to {_MOST} printable characters without blanks",
                         f"{len(key)} characters", "`openssl rand -hex 24`")
            )  # fmt: skip
    if len(set(keys.values())) < len(keys):
        raise SettingsError(expected(what, "free of repeated keys", "one twice", "removing it"))
    return ApiKeys(keys.values())


def key_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Find the key of a request: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.

    Examples:
        >>> key_of([(b"authorization", b"bearer abc")]), key_of([(b"x-api-key", b"abc")])
        ('abc', 'abc')
        >>> key_of([(b"authorization", b"Basic abc")]) is None
        True
    """
    for name, value in headers:
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
        if name == b"authorization":
            scheme, _, key = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                return key.strip()
    return None


def _digest(key: str) -> bytes:
    # Digests are all of one length, so that neither that nor a common beginning shows in the time.
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
