"""Put a set that was made into place, whole or not at all."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penumbra.errors import StorageError, expected


@dataclass(frozen=True, kw_only=True)
class MadeSet:
    """The files and folders of one kind of made set.

    Attributes:
        what: the set in words, for messages.
        settings: the file that tells a whole set of this kind; written last, removed first.
        parts: everything else, in the order in which it is removed.

    Examples:
        >>> import tempfile
        >>> pairs = MadeSet(what="set of pairs", settings="pairs.json", parts=("images",))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with pairs.replacing(Path(folder) / "set") as staged:
        ...         (staged / "images").mkdir()
        ...         _ = (staged / "pairs.json").write_text("{}")
        ...     sorted(path.name for path in (Path(folder) / "set").iterdir())
        ['images', 'pairs.json']
    """

    what: str
    settings: str
    parts: tuple[str, ...]

    @property
    def claim(self) -> str:
        """The hidden file that claims a folder while its set is being replaced."""
        return f".{Path(self.settings).stem}.part"

    def check(self, out: Path) -> None:
        """Refuse a place that holds anything but an earlier set.

        Args:
            out: the folder to write.

        Raises:
            StorageError: `out` is a file, or a folder with other files and no such set.
        """
        if not out.exists() or any((out / name).is_file() for name in (self.settings, self.claim)):
            return
        if not out.is_dir():
            raise StorageError(
                expected(f"{out}", "a folder, or nothing yet", "a file", "another --out")
            )
        if any(out.iterdir()):
            raise StorageError(
                expected(
                    f"{out}",
                    f"empty, or an earlier {self.what}",
                    "a folder with other files, which are left alone",
                    "an empty folder for --out",
                )
            )

    @contextlib.contextmanager
    def replacing(self, out: Path) -> Iterator[Path]:
        """Give a folder beside `out` to make the set in, then move it into place.

        An earlier set in `out` is replaced, other files in it stay. Killed while it moves, it
        leaves a folder without settings that the next call replaces.

        Args:
            out: the folder to write.

        Yields:
            The folder to make every part in; it is gone afterwards.

        Raises:
            StorageError: `out` holds something else, or cannot be written.
        """
        try:
            self.check(out)
            out.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
                yield Path(beside)
                self._move(Path(beside), out)
        except OSError as error:
            raise StorageError(
                expected(
                    str(out),
                    "writable, with room for the set",
                    error.strerror or repr(error),
                    "another --out, or freeing space; nothing half-written was left behind",
                )
            ) from error

    def _move(self, staged: Path, out: Path) -> None:
        """Move the finished set so that two sets are never taken for one.

        The old settings and images go first and the new ones come last: at no moment, whatever
        kills the program, do images of one set lie beside parts of another, nor settings beside
        parts that they do not describe. A hidden file claims `out` in between.
        """
        out.mkdir(parents=True, exist_ok=True)
        claim, old = out / self.claim, staged / "old"
        claim.touch()
        old.mkdir()
        names = (self.settings, *self.parts)
        for name in names:
            if (out / name).exists():
                (out / name).replace(old / name)
        for name in reversed(names):
            (staged / name).replace(out / name)
        claim.unlink()
