"""What was fetched into a folder: addresses, sizes and hashes, for the next time."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penumbra.data.download.catalogue import Collection, RemoteFile
from penumbra.errors import DownloadError, StorageError, expected
from penumbra.storage import write_json

RECORD = ".download.json"
"""Lies in the data set's folder; hidden, so that no archive can bring one."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One archive, as it was when it first arrived.

    Attributes:
        url: where it came from, or was said to come from.
        n_bytes: its size.
        sha256: its hash.
        official: whether its makers publish that hash; otherwise it is only the first one seen.
        first: when it first arrived.
        unpacked: how many files were unpacked; 0 where that is still to be done.
    """

    url: str
    n_bytes: int
    sha256: str
    official: bool
    first: str
    unpacked: int = 0


class Record:
    """The record of a folder.

    Args:
        folder: the data set's folder.
        collection: what is fetched into it.

    Raises:
        StorageError: the folder holds something else, or its record cannot be read.
    """

    def __init__(self, folder: Path, collection: Collection) -> None:
        self._path = folder / RECORD
        self._collection = collection
        self.files: dict[str, FileRecord] = {}
        if self._path.is_file():
            self._read()
        elif folder.exists() and not folder.is_dir():
            raise StorageError(expected(str(folder), "a folder", "a file", "another --out"))
        elif folder.is_dir() and any(folder.iterdir()):
            raise StorageError(
                expected(
                    str(folder),
                    "empty, new, or where this data set was begun",
                    "a folder with other files, which are left alone",
                    "another --out",
                )
            )

    def _read(self) -> None:
        try:
            document: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            name = document["name"]
            files = {key: FileRecord(**value) for key, value in document["files"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise StorageError(
                expected(
                    str(self._path),
                    "a record of downloads",
                    f"another file ({error})",
                    "another --out",
                )
            ) from error
        if name != self._collection.name:
            raise StorageError(
                expected(
                    str(self._path.parent),
                    f"the folder of {self._collection.name}",
                    f"that of {name}",
                    "a folder of its own for each data set",
                )
            )
        self.files = files

    def check(self, file: RemoteFile, *, n_bytes: int, sha256: str) -> None:
        """Compare what arrived with the published hash, else with what arrived the first time.

        Raises:
            DownloadError: it is another file.
        """
        known = self.files.get(file.name)
        if file.sha256 is not None and sha256 != file.sha256:
            raise DownloadError(
                expected(
                    f"the SHA-256 of {file.name}",
                    f"{file.sha256}, as its makers publish it",
                    sha256,
                    "fetching it again; if it stays so, ask its makers before you use it",
                )
            )
        if file.sha256 is None and known is not None and sha256 != known.sha256:
            raise DownloadError(
                expected(
                    f"the SHA-256 of {file.name}",
                    f"{known.sha256}, as on {known.first}",
                    f"{sha256} ({n_bytes:,} bytes; {known.n_bytes:,} then)",
                    "another --out if its makers say that they changed it",
                )
            )

    def keep(self, file: RemoteFile, *, n_bytes: int, sha256: str, unpacked: int) -> None:
        """Note an archive that passed `check`."""
        known = self.files.get(file.name)
        self.files[file.name] = FileRecord(
            url=file.url,
            n_bytes=n_bytes,
            sha256=sha256,
            official=file.sha256 is not None,
            first=known.first if known else time.strftime("%Y-%m-%d"),
            unpacked=unpacked,
        )
        self.write()

    def write(self) -> None:
        """Write what is known; an empty record claims the folder for what is about to come."""
        document = {
            "name": self._collection.name,
            "licence": self._collection.licence,
            "homepage": self._collection.homepage,
            "cite": self._collection.cite,
            "files": {name: asdict(entry) for name, entry in self.files.items()},
        }
        write_json(self._path, document)
