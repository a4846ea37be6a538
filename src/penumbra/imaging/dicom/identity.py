"""Who is in the picture: replaced by a name that groups and tells nothing.

A patient id is short, so that a plain hash of it is undone by trying all ids. The hash here has a
key, which stays on the machine: the same patient gives the same name in every file and every run
that has the same key, and the name tells nothing to whoever lacks it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import logging
import os
import re
import secrets
import tempfile
from pathlib import Path

from penumbra.errors import SettingsError, expected

_LOG = logging.getLogger(__name__)

KEY_VARIABLE = "PENUMBRA_IDENTITY_KEY"
"""Environment variable that holds the key as text, for machines that must agree."""

_DIGITS = 20
_KEY_BYTES = 32
_SHORTEST = 16


def pseudonym(patient_id: str, *, issuer: str = "", key: bytes | None = None) -> str:
    """Give the name that stands for a patient: HMAC-SHA256 under `key`, cut to 80 bits.

    Args:
        patient_id: the id in the file; surrounding blanks do not count.
        issuer: who gave out the id, where the file says so: two hospitals may use one number.
        key: secret bytes; `identity_key` where not given.

    Returns:
        ``"patient-"`` and 20 hexadecimal digits; empty where the id is empty.

    Examples:
        >>> pseudonym("4711", key=b"secret")
        'patient-b594f7d3cee4abde5475'
        >>> pseudonym(" 4711 ", key=b"secret") == pseudonym("4711", key=b"another")
        False
    """
    plain = patient_id.strip()
    if not plain:
        return ""
    message = f"{issuer.strip()}\0{plain}".encode()
    digest = hmac.new(identity_key() if key is None else key, message, hashlib.sha256)
    return f"patient-{digest.hexdigest()[:_DIGITS]}"


def identity_key() -> bytes:
    """Give this user's key: from `KEY_VARIABLE`, else from a file that is made at first use.

    The file is ``penumbra/identity.key`` in ``$XDG_CONFIG_HOME`` (``~/.config`` where that is not
    set) and readable by its owner alone. Where it cannot be made, a key lasts as long as the
    process, and the log says so.

    Raises:
        SettingsError: the variable is set to fewer than 16 characters.
    """
    text = os.environ.get(KEY_VARIABLE)
    if text is not None:
        if len(text) < _SHORTEST:
            raise SettingsError(
                expected(
                    KEY_VARIABLE,
                    f"at least {_SHORTEST} characters",
                    f"{len(text)}",
                    "a long random text, the same on every machine that must agree",
                )
            )
        return text.encode()
    return _kept(key_file())


def key_file() -> Path:
    """Give the path of the key file; it need not exist."""
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "penumbra" / "identity.key"


@functools.cache
def _kept(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        _LOG.warning(
            "The key file %s cannot be used (%s): names of patients last for this process only.",
            path,
            error,
        )
        return secrets.token_bytes(_KEY_BYTES)
    if re.fullmatch(f"[0-9a-f]{{{2 * _KEY_BYTES}}}", text) is None:
        raise SettingsError(
            expected(
                f"the key file {path}",
                f"{2 * _KEY_BYTES} hexadecimal digits",
                "something else",
                "restoring it, or removing it if the names it gave are no longer needed",
            )
        )
    return bytes.fromhex(text)


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".identity.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
        # A link fails where a file exists: of two processes, both end up with the first one's key.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
