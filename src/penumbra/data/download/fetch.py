"""Fetch one file over http, https or ftp: resumed where it was cut, bounded, never half in place.

What has arrived lies in ``NAME.part``, and beside it in ``NAME.part.json`` how the server marked
that version. A later try asks for the rest on the condition that the mark is still the same
(``Range`` with ``If-Range``, RFC 9110); a server that cannot, or whose file changed, sends the
whole file and the part begins anew. For ftp see `penumbra.data.download.ftp`.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from penumbra.data.download import ftp
from penumbra.data.download.arriving import (
    CHUNK,
    CutError,
    Part,
    Patience,
    check_limit,
    refused,
)
from penumbra.errors import DownloadError, StorageError, expected
from penumbra.progress import Progress, silent
from penumbra.version import __version__

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_WHOLE = re.compile(r"bytes \*/(\d+)")
__all__ = ["Fetched", "Patience", "check_web", "fetch", "sha256_of"]

_NETWORK = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
)
_AGAIN = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a fetch brought.

    Attributes:
        path: the whole file.
        n_bytes: its size.
        sha256: hash of its bytes, in hexadecimal.
        validator: how the server marked this version, or "".
    """

    path: Path
    n_bytes: int
    sha256: str
    validator: str = ""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the web, and never from https down to http."""

    max_redirections = 5

    def redirect_request(  # the signature is the base's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_web(newurl, only_https=urlsplit(req.full_url).scheme == "https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_web(url: str, *, only_https: bool = False) -> None:
    """Refuse an address that is not on the web, or that leads from https down to http.

    Raises:
        DownloadError: it is.
    """
    scheme = urlsplit(url).scheme
    allowed = ("https",) if only_https else ("http", "https")
    if scheme not in allowed:
        raise DownloadError(
            expected(
                f"the address {url}",
                f"one of {' or '.join(allowed)}",
                scheme or "none",
                "fetching the file by hand, then --from FOLDER",
            )
        )


def fetch(
    url: str,
    target: Path,
    *,
    max_bytes: int,
    patience: Patience | None = None,
    progress: Progress = silent,
) -> Fetched:
    """Fetch a file to `target`; what an earlier, cut try left is gone on with.

    Args:
        url: an http, https or ftp address.
        target: where the whole file comes to lie; its folder is made.
        max_bytes: refuse a larger one, whatever its server announces.
        patience: how long to go on trying.
        progress: shows how many MiB have arrived.

    Raises:
        DownloadError: another address, a refusal by the server, a file over the limit, or a
            connection that stays broken; what has arrived stays for the next time.
        StorageError: it cannot be written.
    """
    is_ftp = urlsplit(url).scheme == "ftp"
    if is_ftp:
        ftp.check_address(url)
    else:
        check_web(url)
    one_try = ftp.one_try if is_ftp else _one_try
    patience = patience or Patience()
    part = Part(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _until_whole(
            partial(one_try, url, part, max_bytes=max_bytes, patience=patience, progress=progress),
            url,
            part,
            patience,
        )
        fetched = Fetched(
            path=target,
            n_bytes=part.path.stat().st_size,
            sha256=sha256_of(part.path),
            validator=part.validator,
        )
        part.path.replace(target)
        part.note.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            expected(str(target), "writable", error.strerror or repr(error), "another --out")
        ) from error
    return fetched


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _until_whole(one_try: Callable[[], None], url: str, part: Part, patience: Patience) -> None:
    failures = 0
    while True:
        before = part.size
        try:
            one_try()
        except urllib.error.HTTPError as error:
            with error:
                if error.code not in _AGAIN:
                    raise refused(url, f"status {error.code} ({error.reason})") from error
            reason: Exception = error
        except _NETWORK as error:
            reason = error
        else:
            return
        failures = 1 if part.size > before else failures + 1
        if failures >= patience.tries:
            raise DownloadError(
                expected(
                    url,
                    "fetched whole",
                    f"{part.size:,} bytes and then {reason}",
                    "the same command again, which goes on from there",
                )
            ) from reason
        time.sleep(patience.pause * 2 ** (failures - 1))


def _one_try(
    url: str, part: Part, *, max_bytes: int, patience: Patience, progress: Progress
) -> None:
    start = part.size if part.resumable(url) else 0
    headers = {"User-Agent": f"penumbra/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": part.validator}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked by check_web
    try:
        response = _opener().open(request, timeout=patience.timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and _is_whole(error.headers, part):
            error.close()
            return
        if error.code == 416:
            error.close()
            part.begin(url, "")
            raise CutError("the server has less than was there") from error
        raise
    with response:
        if response.status == 206:
            total: int | None = _checked_range(url, response.headers, start)
        else:
            start, total = 0, _announced(response.headers)
            part.begin(url, _validator(response.headers))
        check_limit(url, total or 0, max_bytes)
        chunks = _chunks(response, url, start, max_bytes)
        count = -(-((total or start) - start) // CHUNK)
        with part.path.open("ab") as handle:
            for chunk in progress(chunks, total=count, what=Path(urlsplit(url).path).name):
                handle.write(chunk)
    if total is not None and part.size != total:
        raise CutError(f"the connection ended at {part.size:,} of {total:,} bytes")


def _opener() -> urllib.request.OpenerDirector:
    """Give an opener that knows the web alone: no files, no ftp, no data addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener


def _chunks(response: Any, url: str, start: int, max_bytes: int) -> Iterator[bytes]:
    arrived = start
    while chunk := response.read(CHUNK):
        arrived += len(chunk)
        check_limit(url, arrived, max_bytes)
        yield chunk


def _announced(headers: Any) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdecimal() else None


def _validator(headers: Any) -> str:
    """Give the mark that `If-Range` may carry: a strong ETag, else the date of the last change."""
    tag = headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        return str(tag)
    return str(headers.get("Last-Modified", ""))


def _checked_range(url: str, headers: Any, start: int) -> int:
    match = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None or match[3] == "*" or int(match[1]) != start:
        raise refused(url, f"another range than asked for ({headers.get('Content-Range')})")
    return int(match[3])


def _is_whole(headers: Any, part: Part) -> bool:
    match = _WHOLE.fullmatch(headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == part.size > 0
