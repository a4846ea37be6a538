"""What a person decided about duplicates: a file that lines are only ever added to.

One JSON object a line. An undo is a line too, and can be undone, so that nothing is ever lost and
every state of the work can be had back. What a crash tore off is a finding, and the rest counts.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from penumbra.audit.digests import Digest, digest_of
from penumbra.data.sample import Finding
from penumbra.data.source import Source
from penumbra.errors import PenumbraError, SettingsError, SourceError, StorageError, expected

Action = Literal[
    "keep-a", "keep-b", "union", "intersection", "majority", "staple", "drop", "not-a-duplicate"
]
"""What is to be done with samples that show the same: the first is A, the second B."""

ACTIONS: tuple[Action, ...] = get_args(Action)
DECISIONS = "decisions.jsonl"
"""The file's usual name, in the folder of the audit."""

_VERSION = 1
_MOST_BYTES = 2**28
_MOST_LINE = 2**20


@dataclass(frozen=True)
class Decision:
    """One decision.

    Attributes:
        id: by which it can be undone.
        time: when it was made, ISO 8601 with its offset.
        action: what is to be done.
        samples: two ids or more; the first is A, the second B. One is enough for ``"drop"``.
        digests: id → the contents that the decision was made on.
        author: who made it, where they said so.
        note: why, where they said so.
        placed: id → ``(turn, dy, dx)`` that lays the sample's mask over that of the first, as
            `penumbra.audit.placement` has it; samples that are not named lie as they are.
    """

    id: str
    time: str
    action: Action
    samples: tuple[str, ...]
    digests: Mapping[str, Digest]
    author: str | None = None
    note: str = ""
    placed: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give the line's plain values."""
        return {
            "version": _VERSION,
            "id": self.id,
            "time": self.time,
            "author": self.author,
            "action": self.action,
            "samples": list(self.samples),
            "digests": {name: digest.to_json() for name, digest in self.digests.items()},
            "placed": {name: list(place) for name, place in self.placed.items()},
            "note": self.note,
        }


@dataclass(frozen=True)
class Decisions:
    """What a file of decisions says now.

    Attributes:
        active: what counts, in the order it was made. Of several decisions on the same samples
            the last one counts.
        undone: what was taken back.
        replaced: what a later decision on the same samples stands in for.
        findings: lines that could not be read.
    """

    active: tuple[Decision, ...] = ()
    undone: tuple[Decision, ...] = ()
    replaced: tuple[Decision, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.active)


def decide(
    path: str | Path,
    source: Source,
    action: Action,
    samples: Sequence[str],
    *,
    author: str | None = None,
    note: str = "",
    placed: Mapping[str, tuple[int, int, int]] | None = None,
    time: str | None = None,
) -> Decision:
    """Add a decision to a file, which is made where there is none.

    Args:
        path: the file, `DECISIONS` by name.
        source: what the samples are of; their contents are hashed now.
        action: what is to be done.
        samples: their ids, A first, then B.
        author: who decides; nobody is named where not given.
        note: why.
        placed: how each sample's mask is laid over that of the first.
        time: ISO 8601; now where not given.

    Returns:
        The decision, with the id by which `undo` takes it back.

    Raises:
        SettingsError: the action is unknown, or there are too few samples or one twice.
        SourceError, ImageFileError: a sample is not in the source, or cannot be read.
        StorageError: the file cannot be written.
    """
    names = tuple(samples)
    _check(action, names)
    records = {record.id: record for record in source.records}
    unknown = [name for name in names if name not in records]
    if unknown:
        raise SourceError(
            expected("every sample", f"one of {source.name}", repr(unknown[0]), "another id")
        )
    decision = Decision(
        id=secrets.token_hex(8),
        time=time or _now(),
        action=action,
        samples=names,
        digests={name: digest_of(source, records[name]) for name in names},
        author=author,
        note=note,
        placed=dict(placed or {}),
    )
    _append(Path(path), decision.to_json())
    return decision


def undo(path: str | Path, id: str, *, author: str | None = None, time: str | None = None) -> str:  # noqa: A002
    """Take back a decision, or an undo, by adding a line that says so.

    Args:
        path: the file.
        id: of the decision, or of the undo that is itself to be taken back.
        author: who takes it back.
        time: ISO 8601; now where not given.

    Returns:
        The id of the undo.

    Raises:
        SettingsError: no line of the file has this id.
        SourceError, StorageError: the file cannot be read or written.
    """
    lines, _ = _read_lines(Path(path))
    if not any(line.get("id") == id for line in lines):
        raise SettingsError(
            expected("the id", f"that of a line in {path}", repr(id), "one of the file's ids")
        )
    name = secrets.token_hex(8)
    line = {"version": _VERSION, "id": name, "time": time or _now(), "author": author}
    _append(Path(path), {**line, "action": "undo", "undoes": id})
    return name


def read_decisions(path: str | Path) -> Decisions:
    """Read what counts in a file of decisions.

    A line that is torn, no JSON or of another version becomes a finding; the others count.

    Raises:
        SourceError: the file is missing or cannot be read.
    """
    lines, findings = _read_lines(Path(path))
    decisions: dict[str, Decision] = {}
    undoes: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        try:
            if line["action"] == "undo":
                undoes[str(line["id"])] = str(line["undoes"])
            else:
                found = _decision(line)
                decisions[found.id] = found
        except (KeyError, TypeError, ValueError, AttributeError, PenumbraError) as error:
            findings.append(_unreadable(path, f"entry {number} ({error})"))
    gone = _taken_back(undoes)
    last: dict[frozenset[str], Decision] = {}
    replaced: list[Decision] = []
    for found in decisions.values():
        if found.id in gone:
            continue
        key = frozenset(found.samples)
        if key in last:
            replaced.append(last.pop(key))
        last[key] = found
    return Decisions(
        active=tuple(last.values()),
        undone=tuple(found for found in decisions.values() if found.id in gone),
        replaced=tuple(replaced),
        findings=tuple(findings),
    )


def _taken_back(undoes: Mapping[str, str]) -> set[str]:
    """Give the ids that an undo takes back which is not itself taken back."""
    gone: set[str] = set()
    # Later lines speak of earlier ones only, so the last word is known first.
    for name, undone in reversed(list(undoes.items())):
        if name not in gone:
            gone.add(undone)
    return gone


def _decision(line: Mapping[str, Any]) -> Decision:
    names = tuple(str(name) for name in line["samples"])
    _check(line["action"], names)
    return Decision(
        id=str(line["id"]),
        time=str(line["time"]),
        action=line["action"],
        samples=names,
        digests={
            name: Digest(str(both["image"]), None if both["mask"] is None else str(both["mask"]))
            for name, both in line["digests"].items()
        },
        author=None if line.get("author") is None else str(line["author"]),
        note=str(line.get("note", "")),
        placed={name: _place(place) for name, place in line.get("placed", {}).items()},
    )


def _place(values: Sequence[Any]) -> tuple[int, int, int]:
    turn, dy, dx = (int(value) for value in values)
    return turn, dy, dx


def _check(action: str, samples: Sequence[str]) -> None:
    if action not in ACTIONS:
        raise SettingsError(
            expected("the action", f"one of {', '.join(ACTIONS)}", repr(action), "one of those")
        )
    least = 1 if action == "drop" else 2
    if len(samples) < least or len(set(samples)) < len(samples):
        raise SettingsError(
            expected(f"the samples of {action}", f"{least} or more, each once", list(samples),
                     "the ids of a pair, A first")
        )  # fmt: skip


def _read_lines(path: Path) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Read the objects of a file; what is none becomes a finding."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SourceError(
                expected(str(path), "a file of decisions of at most 256 MiB",
                         f"{path.stat().st_size} bytes", "the decisions.jsonl of an audit")
            )  # fmt: skip
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise SourceError(
            expected(str(path), "a file of decisions", error.strerror or repr(error),
                     "checking its path")
        ) from error  # fmt: skip
    found: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line) if len(line) <= _MOST_LINE else None
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict) and document.get("version") == _VERSION:
            found.append(document)
        else:
            torn = number == len(lines)
            findings.append(_unreadable(path, f"line {number}" + ", which is torn" * torn))
    return found, findings


def _unreadable(path: str | Path, what: str) -> Finding:
    message = f"{Path(path).name}: {what} is no decision of this version and was passed over."
    return Finding("unreadable-decision", "warning", (), message)


def _append(path: Path, document: Mapping[str, Any]) -> None:
    """Add one line, on the disk before this returns."""
    line = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as handle:
            if handle.tell():
                handle.seek(-1, os.SEEK_END)
                # A line that a crash tore stays by itself and does not spoil this one.
                line = line if handle.read(1) == b"\n" else b"\n" + line
            # In one unbuffered piece, so that two writers do not mix their lines.
            handle.write(line)
            os.fsync(handle.fileno())
    except OSError as error:
        raise StorageError(
            expected(str(path), "writable", error.strerror or repr(error),
                     "another file, or a change of its permissions")
        ) from error  # fmt: skip


def _now() -> str:
    return dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds")
