"""Which runs the app offers: those that the environment names, or those below its folder.

A path never comes from a page: whoever starts the app decides what it may open.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from penumbra.errors import SettingsError, expected
from penumbra.inference.classical.catalogue import is_classical
from penumbra.models.storage import MODEL_FILE, WEIGHTS_FILE

VARIABLE = "PENUMBRA_RUNS"
_DEPTH = 3
_MOST = 50


def named_runs(text: str) -> dict[str, str]:
    """Read ``NAME=PATH,NAME=PATH…``; without a name a run is called as its folder.

    Raises:
        SettingsError: two runs have one name, or there is none.

    Examples:
        >>> named_runs("nerve=runs/a, runs/b")
        {'nerve': 'runs/a', 'b': 'runs/b'}
    """
    runs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, found, path = part.partition("=")
        # In `classical:otsu,foreground=dark` the sign belongs to the method.
        if not found or "/" in name or ":" in name:
            name, path = Path(part).name, part
        if name in runs:
            raise SettingsError(
                expected("the runs", "called differently", f"two called {name}", "NAME=PATH")
            )
        runs[name.strip()] = path.strip()
    if not runs:
        raise SettingsError(expected(VARIABLE, "NAME=PATH,NAME=PATH…", repr(text), "nerve=runs/a"))
    return runs


def runs_below(folder: Path) -> dict[str, str]:
    """Find run folders below a folder, few levels deep, called by their path from there."""
    found = sorted(_found(folder, _DEPTH))[:_MOST]
    return {path.relative_to(folder).as_posix(): str(path) for path in found}


def offered_runs(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the runs that an app started by itself offers, by name.

    Args:
        environment: where `PENUMBRA_RUNS` may be; by default the process's.

    Returns:
        Name → path, or ``classical:METHOD`` where there is no run at all: something to try.
    """
    text = (os.environ if environment is None else environment).get(VARIABLE, "")
    if text.strip():
        return named_runs(text)
    return runs_below(Path.cwd()) or {"otsu (no network)": "classical:otsu,foreground=dark"}


def folder_of(run: str) -> Path | None:
    """Give the folder of a run; a classical method has none."""
    return None if is_classical(run) else Path(run)


def _found(folder: Path, depth: int) -> Iterator[Path]:
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return
    for path in inside:
        if path.is_symlink() or not path.is_dir():
            continue
        if (path / MODEL_FILE).is_file() and (path / WEIGHTS_FILE).is_file():
            yield path
        elif depth > 1:
            yield from _found(path, depth - 1)
