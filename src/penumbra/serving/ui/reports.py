"""What a run has to tell: its evaluations, its history, its settings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penumbra.errors import RunError, expected

# As `penumbra.training.run` names them, which would load torch into the process that answers.
EXPERIMENT, HISTORY, RUN_FILE = "experiment.yaml", "history.jsonl", "run.json"

REPORT, METRICS = "report.html", "metrics.json"
_MOST_BYTES = 64 * 2**20
_DEPTH = 2


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a run.

    Attributes:
        name: the folder it was written into; with the folders above it where two have one name.
        folder: where that lies.
    """

    name: str
    folder: Path

    def report(self) -> str:
        """Read the report.

        Raises:
            RunError: it cannot be read, or is too large to show.
        """
        return _text(self.folder / REPORT)

    def metrics(self) -> dict[str, Any]:
        """Read `metrics.json`; empty where it is missing or damaged."""
        return _document(self.folder / METRICS)

    def overall(self) -> list[dict[str, object]]:
        """Give the metrics over all images as rows: metric, mean, low, high."""
        overall = self.metrics().get("overall")
        found = overall.items() if isinstance(overall, dict) else ()
        return [_row(name, value) for name, value in found if isinstance(value, dict)]


def evaluations_of(run: Path) -> list[Evaluation]:
    """Find the evaluations of a run: below its folder, and beside it where they name it.

    Args:
        run: the run folder.

    Returns:
        Each with a report, by name; no two names are the same.
    """
    inside = {path.parent for path in _reports(run, _DEPTH)}
    beside = {
        path.parent
        for path in _reports(run.parent, 1)
        if path.parent != run and _names(_document(path.parent / METRICS).get("run"), run)
    }
    found = sorted(inside | beside)
    alike = Counter(folder.name for folder in found)
    return [
        Evaluation(
            folder.name if alike[folder.name] == 1 else folder.relative_to(run.parent).as_posix(),
            folder,
        )
        for folder in found
    ]


def settings_of(run: Path) -> str | None:
    """Read the experiment as it was written; ``None`` for a run without one.

    Raises:
        RunError: the file is too large to be one.
    """
    file = run / EXPERIMENT
    return _text(file) if file.is_file() else None


def _names(said: object, run: Path) -> bool:
    """Tell whether an evaluation is of this run, by its path as it was typed then."""
    if not isinstance(said, str):
        return False
    path = Path(said)
    # A relative path was typed elsewhere; its last part is what is left to go by.
    return path.name == run.name if not path.is_absolute() else path == run.resolve()


def _reports(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / REPORT).is_file():
        yield folder / REPORT
    if not depth:
        return
    try:
        below = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return
    for path in below:
        if path.is_dir() and not path.is_symlink():
            yield from _reports(path, depth - 1)


def _row(name: str, value: dict[str, Any]) -> dict[str, object]:
    interval = value.get("interval") or (value.get("low"), value.get("high"))
    low, high = interval if isinstance(interval, (list, tuple)) else (None, None)
    return {"metric": name, "mean": value.get("mean"), "low": low, "high": high}


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(_text(file))
    except (RunError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(file: Path) -> str:
    try:
        size = file.stat().st_size
        if size > _MOST_BYTES:
            most = f"at most {_MOST_BYTES // 2**20} MiB"
            raise RunError(
                expected(file.name, most, f"{size // 2**20} MiB", "opening the file itself")
            )
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(
            expected(file.name, "readable", type(error).__name__, "`penumbra evaluate` again")
        ) from error


def history_of(folder: Path) -> list[dict[str, Any]]:
    """Read how a run's training went, a row per epoch; empty where that is missing.

    Raises:
        RunError: the file is damaged.
    """
    file = folder / HISTORY
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except OSError:
        return []
    except ValueError as error:
        raise RunError(
            expected(str(file), "one JSON object a line", "something else", "a fresh copy")
        ) from error


def info_of(folder: Path) -> dict[str, Any]:
    """Read a run's status, versions and seconds; empty where they are missing."""
    try:
        found = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
