"""What every layout is: a name, a way to recognise a folder, and a way to open it."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from penumbra.data.source import Source
from penumbra.errors import SourceError, expected
from penumbra.imaging.files import looks_like_image

Strategy = Literal["random", "contiguous", "given"]
"""How a source is split: groups at random, blocks in order, or as the data set ships it."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be opened.

    Attributes:
        root: an existing folder.
        target: one of the layout's targets; ``None`` where it has one meaning only.
        class_names: names that the user gave, or ``None``.
        keep_identifiers: name groups by patient ids of DICOM files instead of by pseudonyms.
    """

    root: Path
    target: str | None = None
    class_names: tuple[str, ...] | None = None
    keep_identifiers: bool = False


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which data sets lie on disk.

    Attributes:
        name: the word before the colon in ``LAYOUT:PATH``.
        describe: one sentence saying which files lie where; shown to the user.
        recognises: tells from a cheap look whether a folder is of this layout.
        build: lists the folder and gives the source.
        targets: what masks can show, the default first; empty where there is one meaning only.
        strategy: how such a source is split unless the user says otherwise.
    """

    name: str
    describe: str
    recognises: Callable[[Path], bool]
    build: Callable[[Request], Source]
    targets: tuple[str, ...] = ()
    strategy: Strategy = "random"

    def open(
        self,
        root: str | Path,
        *,
        target: str | None = None,
        class_names: tuple[str, ...] | None = None,
        keep_identifiers: bool = False,
    ) -> Source:
        """List the folder `root`; nothing is decoded.

        Args:
            root: the folder.
            target: one of `targets`; the first where not given.
            class_names: other names for the classes, as many as the layout has.
            keep_identifiers: name groups by patient ids of DICOM files instead of by pseudonyms.

        Raises:
            SourceError: the folder is missing or not of this layout, or an option does not fit.
        """
        request = Request(
            root=existing_folder(root),
            target=self._checked_target(target),
            class_names=class_names,
            keep_identifiers=keep_identifiers,
        )
        try:
            source = self.build(request)
        except OSError as error:
            raise SourceError(
                expected(
                    f"the source {root}",
                    "a folder that can be listed",
                    error.strerror or repr(error),
                    "checking its permissions",
                )
            ) from error
        if class_names is None:
            return source
        if len(class_names) != source.n_classes:
            raise SourceError(
                expected(
                    f"the class names for layout {self.name}",
                    f"{source.n_classes} names ({', '.join(source.class_names)})",
                    f"{len(class_names)}: {', '.join(class_names)}",
                    "one name per class, in the order of the class indices",
                )
            )
        return replace(source, class_names=tuple(class_names))

    def _checked_target(self, target: str | None) -> str | None:
        if target is None:
            return self.targets[0] if self.targets else None
        if target not in self.targets:
            near = difflib.get_close_matches(target, self.targets, n=1) or self.targets[:1]
            known = ", ".join(self.targets) or "left out, since this layout has one target only"
            raise SourceError(
                expected(
                    f"the target of layout {self.name}",
                    f"one of {known}" if self.targets else known,
                    repr(target),
                    f"--target {near[0]}" if near else "leaving --target out",
                )
            )
        return target


def existing_folder(root: str | Path) -> Path:
    """Give `root` as a path, or raise `SourceError` where it is no folder."""
    folder = Path(root)
    if not folder.is_dir():
        got = "a file" if folder.exists() else "a path that does not exist"
        raise SourceError(
            expected(
                f"the source {folder}",
                "an existing folder",
                got,
                "checking the spelling, or LAYOUT:PATH with the data set's top folder",
            )
        )
    return folder


def unique_ids(paths: Sequence[Path]) -> list[str]:
    """Give each file its stem as id; files that share a stem add their suffix, then a number.

    Examples:
        >>> unique_ids([Path("a.png"), Path("b.png"), Path("b.tif")])
        ['a', 'b_png', 'b_tif']
    """
    stems = Counter(path.stem for path in paths)
    taken: set[str] = set()
    ids = []
    for path in paths:
        base = path.stem if stems[path.stem] == 1 else f"{path.stem}_{path.suffix[1:]}"
        name, number = base, 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        ids.append(name)
    return ids


def natural_key(name: str) -> tuple[list[int | str], str]:
    """Sort key that puts ``2.png`` before ``10.png``.

    Examples:
        >>> sorted(["10.png", "2.png", "1.png"], key=natural_key)
        ['1.png', '2.png', '10.png']
    """
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def image_files(folder: Path) -> list[Path]:
    """List the image files of a folder in natural order; other files are passed over."""
    if not folder.is_dir():
        return []
    return in_natural_order(path for path in folder.iterdir() if looks_like_image(path))


def sub_folders(folder: Path) -> list[Path]:
    """List the folders in a folder in natural order; a link that leads in a circle is none."""
    with os.scandir(folder) as entries:
        # Only links are looked at again: asking every file of a large folder would take long, and
        # a directory entry that is a circular link raises where a path says no.
        return in_natural_order(
            path
            for entry in entries
            if entry.is_symlink() or entry.is_dir()
            if (path := Path(entry.path)).is_dir()
        )


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by name, numbers by their value."""
    return sorted(paths, key=lambda path: natural_key(path.name))


def not_this_layout(name: str, root: Path, to_be: str, got: str) -> SourceError:
    """Build the error for a folder that was opened as a layout that it is not."""
    return SourceError(
        expected(
            f"{root} (layout {name})",
            to_be,
            got,
            "the data set's top folder, or another layout (LAYOUT:PATH)",
        )
    )
