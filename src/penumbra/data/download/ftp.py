"""Fetch one file over FTP: anonymous, passive, gone on with where it was cut.

The size (``SIZE``) and the time of the last change (``MDTM``, RFC 3659) mark a version. Where an
earlier try was cut and both are still the same, the rest alone is asked for (``REST``); where the
server tells no time, the file begins anew, so that two versions are never mixed. Nothing of it is
encrypted: that a file is the right one is for its checksum to say.
"""

from __future__ import annotations

import contextlib
import ftplib
import re
import socket
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from penumbra.data.download.arriving import (
    CHUNK,
    CutError,
    Part,
    Patience,
    check_limit,
    refused,
)
from penumbra.errors import DownloadError, expected
from penumbra.progress import Progress

_TIME = re.compile(r"213 (\d{14}(?:\.\d+)?)")
_SHOWN = 200
_NOT_SPOKEN = {"500", "501", "502", "504"}
"""Replies of a server that does not know a command."""


def check_address(url: str) -> None:
    """Refuse an address that names no file on a server, or that carries a name or password.

    Raises:
        DownloadError: it does.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    is_plain = path.isprintable() and not path.endswith("/") and len(path) > 1
    if parts.scheme != "ftp" or not parts.hostname or "@" in parts.netloc or not is_plain:
        raise DownloadError(
            expected(
                f"the address {parts.scheme}://{parts.hostname}{parts.path}",
                "ftp://SERVER/FILE, for everyone to read",
                "another one",
                "fetching the file by hand, then --from FOLDER",
            )
        )


def one_try(
    url: str, part: Part, *, max_bytes: int, patience: Patience, progress: Progress
) -> None:
    """Fetch what is missing of a file.

    Args:
        url: an address that `check_address` let pass.
        part: what is there already.
        max_bytes: refuse a larger file, whatever the server announces.
        patience: its `timeout` holds for both connections.
        progress: shows how many MiB have arrived.

    Raises:
        CutError: it may be tried again.
        DownloadError: the server does not hand it out, or it is over the limit.
    """
    path = unquote(urlsplit(url).path)
    with contextlib.closing(_server(url, patience)) as server:
        total = _size(url, server, path)
        check_limit(url, total or 0, max_bytes)
        start = _start(url, part, total, _mark(url, server, path))
        if start and start == total:
            return
        connection = _opened(url, server, path, part, start)
        with connection, part.path.open("ab") as handle:
            chunks = _chunks(connection, url, start, total, max_bytes)
            count = -(-((total or start) - start) // CHUNK)
            for chunk in progress(chunks, total=count, what=PurePosixPath(path).name):
                handle.write(chunk)
        _check_whole(url, server, part, total)


def _server(url: str, patience: Patience) -> ftplib.FTP:
    parts = urlsplit(url)
    server = ftplib.FTP(timeout=patience.timeout, encoding="utf-8")  # noqa: S321 - the only official address
    with contextlib.ExitStack() as closing:
        closing.callback(server.close)
        with _told(url):
            server.connect(parts.hostname or "", parts.port or ftplib.FTP_PORT)
            server.login()
            server.voidcmd("TYPE I")
        closing.pop_all()
    return server


def _start(url: str, part: Part, total: int | None, mark: str) -> int:
    """Tell where to go on: behind what is there of this version, else from the beginning."""
    validator = f"{total} {mark}" if total is not None and mark else ""
    if part.resumable(url) and part.validator == validator and part.size <= (total or 0):
        return part.size
    part.begin(url, validator)
    return 0


def _check_whole(url: str, server: ftplib.FTP, part: Part, total: int | None) -> None:
    if total is None:
        # Without a size, only the server's last word says that this was all.
        with _told(url):
            server.voidresp()
    elif part.size > total:
        part.begin(url, "")
        raise CutError(f"the server sent more than the {total:,} bytes that it announced")
    elif part.size < total:
        raise CutError(f"the connection ended at {part.size:,} of {total:,} bytes")


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    """Tell a server that refuses from a connection that broke.

    Around talk with the server alone: an error of the disk must stay one.
    """
    try:
        yield
    except ftplib.error_perm as error:
        raise refused(url, _plain(error)) from error
    except (ftplib.Error, OSError, EOFError, UnicodeError) as error:
        raise CutError(_plain(error) or type(error).__name__) from error


def _plain(error: Exception) -> str:
    # The words are the server's: nothing of them may steer a terminal.
    return "".join(each for each in str(error) if each.isprintable())[:_SHOWN]


def _size(url: str, server: ftplib.FTP, path: str) -> int | None:
    """Ask for the size; a server that does not tell it may hand the file out all the same."""
    with _told(url), contextlib.suppress(ftplib.error_perm):
        try:
            size = server.size(path)
        except ValueError:
            return None
        return size if size is not None and size >= 0 else None
    return None


def _mark(url: str, server: ftplib.FTP, path: str) -> str:
    with _told(url), contextlib.suppress(ftplib.error_perm):
        found = _TIME.match(server.sendcmd(f"MDTM {path}"))
        return found[1] if found else ""
    return ""


def _opened(url: str, server: ftplib.FTP, path: str, part: Part, start: int) -> socket.socket:
    """Begin the transfer, passively. The data come from the server itself, wherever it points."""
    with _told(url):
        try:
            return server.ntransfercmd(f"RETR {path}", rest=start or None)[0]
        except ftplib.error_perm as error:
            if not start or str(error)[:3] not in _NOT_SPOKEN:
                raise
    part.begin(url, "")
    raise CutError("the server cannot go on where it was cut")


def _chunks(
    connection: socket.socket, url: str, start: int, total: int | None, most: int
) -> Iterator[bytes]:
    """Give what arrives, up to a chunk more than was announced."""
    arrived = start
    while total is None or arrived <= total:
        with _told(url):
            chunk = connection.recv(CHUNK)
        if not chunk:
            return
        arrived += len(chunk)
        check_limit(url, arrived, most)
        yield chunk
