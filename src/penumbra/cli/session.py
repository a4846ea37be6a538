"""What every verb shares: JSON for machines, sentences for people, errors without tracebacks."""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

_MARKUP = re.compile(r"\[(?=[a-z#/@][^\[]*?\])")

Params = ParamSpec("Params")
T = TypeVar("T")

_STOPPED = {"": ("the keyboard", 130), "SIGTERM": ("the system (SIGTERM)", 143)}
"""What stopped a verb, in words, and the exit status that shells give it: 128 + the signal."""

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document; progress goes to stderr.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides every draw.")]
Target = Annotated[
    str | None, typer.Option("--target", help="What the masks show, where the layout has several.")
]
SamplerText = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        help="Which passes: deterministic, noise:8, augmentation, noise*augmentation:8, dropout:8, "
        "ensemble, logit-noise:64 …; by default what calibrate chose.",
    ),
]
Members = Annotated[
    list[Path] | None,
    typer.Option("--member", help="A further run for an ensemble; may be repeated."),
]
Symmetry = Annotated[
    str | None,
    typer.Option(
        "--symmetry", help="none, horizontal or dihedral, for augmentation; by default the data's."
    ),
]
Uncalibrated = Annotated[
    bool, typer.Option("--uncalibrated", help="Leave the run's calibration aside.")
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", help="Class names by index, comma-separated, background first."),
]

KeepIdentifiers = Annotated[
    bool,
    typer.Option(
        "--keep-identifiers",
        help="Name groups by the patient ids in DICOM files; else by pseudonyms.",
    ),
]


class Finished(Exception):  # noqa: N818 - it carries what a verb gave, not an error
    """What a verb gave.

    Args:
        document: for `--json`.
        lines: for a person; three at best: what was found, where it is, what to do next.
        code: the exit status; 1 where some of the input could not be used.
    """

    def __init__(self, document: dict[str, Any], lines: Iterable[str], *, code: int = 0) -> None:
        super().__init__()
        self.document = document
        self.lines = tuple(lines)
        self.code = code


def verb(function: Callable[Params, Finished]) -> Callable[Params, None]:
    """Make a verb of a function: print what it gives, and say errors in one sentence."""

    @functools.wraps(function)
    def run(*args: Params.args, **kwargs: Params.kwargs) -> None:
        from penumbra.errors import PenumbraError

        as_json = bool(kwargs.get("json"))
        try:
            finished = function(*args, **kwargs)
        except PenumbraError as error:
            _print_error(type(error).__name__, str(error), as_json=as_json)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as stop:
            by, status = _STOPPED.get(str(stop), _STOPPED[""])
            message = (
                f"Stopped by {by}. Nothing half-written was left; "
                "`penumbra train --resume` goes on with a training."
            )
            _print_error("Interrupted", message, as_json=as_json)
            raise typer.Exit(status) from None
        if as_json:
            from penumbra.storage import json_ready

            typer.echo(json.dumps(json_ready(finished.document), indent=2, ensure_ascii=False))
        else:
            for line in finished.lines:
                typer.echo(line)
        if finished.code:
            raise typer.Exit(finished.code)

    run.__doc__ = _flowing(function.__doc__)
    return run


def _flowing(docstring: str | None) -> str:
    """Give a docstring whose paragraphs are lines each, so that --help wraps them to the window.

    Square brackets are escaped: rich would take ``[sam]`` for a style, and swallow it.
    """
    text = _MARKUP.sub(r"\\[", inspect.cleandoc(docstring or ""))
    paragraphs = text.split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _print_error(kind: str, message: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": {"type": kind, "message": message}}, ensure_ascii=False))
    typer.echo(f"error: {message}", err=True)


def predictor_options(
    sampler: str | None,
    members: list[Path] | None,
    symmetry: str | None,
    uncalibrated: bool,
) -> dict[str, Any]:
    """Turn the options of a prediction into those of `Predictor.load`.

    Raises:
        SettingsError: the symmetry or the sampler is not one that there is.
    """
    from penumbra.errors import SettingsError, expected
    from penumbra.inference.samplers import Sampler

    if symmetry not in (None, "none", "horizontal", "dihedral"):
        raise SettingsError(
            expected("--symmetry", "none, horizontal or dihedral", symmetry, "--symmetry none")
        )
    return {
        "sampler": Sampler.parse(sampler) if sampler else None,
        "members": tuple(members or ()),
        "symmetry": symmetry,
        "calibration": not uncalibrated,
    }


def say(text: str) -> None:
    """Tell a person something on standard error."""
    typer.echo(text, err=True)


def counted(amount: int, noun: str) -> str:
    """Word an amount of things.

    Examples:
        >>> counted(1, "group"), counted(2, "group")
        ('1 group', '2 groups')
    """
    from penumbra.pages.words import count

    return count(amount, noun)


def note_few_groups(groups: int) -> None:
    """Warn where intervals rest on too few groups."""
    from penumbra.evaluation.bootstrap import FEW_GROUPS

    if groups < FEW_GROUPS:
        say(f"note: intervals over {counted(groups, 'group')} say little.")


def note_threshold(run: Path, threshold: float, *, uncalibrated: bool) -> None:
    """Warn where a run's presence rule was chosen for masks at another threshold.

    Raises:
        RunError: the rule is damaged, or the run.
    """
    from penumbra.inference.presence import PresenceRule
    from penumbra.training.run import Run

    rule = None if uncalibrated else PresenceRule.read(run)
    note = None if rule is None else rule.note_at(threshold)
    # Masks of several classes show the likeliest one, whatever the threshold.
    if note is not None and len(Run(run).model_json()["class_names"]) == 2:
        say(f"note: {note} --uncalibrated leaves the rule aside.")


def class_names(text: str | None) -> tuple[str, ...] | None:
    """Split the value of `--classes`."""
    return None if text is None else tuple(name.strip() for name in text.split(","))


def say_findings(findings: Iterable[Any], *, most: int = 5) -> None:
    """Tell the first findings, and how many more there are."""
    found = list(findings)
    for finding in found[:most]:
        say(f"{finding.severity}: {finding.message}")
    if len(found) > most:
        say(f"… and {len(found) - most} more findings (--json lists all)")


def track(items: Iterable[T], *, total: int, what: str, transient: bool = False) -> Iterable[T]:
    """Show a progress bar on standard error where a person watches it.

    A transient one leaves no line behind, for work of many parts.
    """
    if total < 3 or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track as rich_track

    return rich_track(
        items, description=what, total=total, console=Console(stderr=True), transient=transient
    )


def check_source(source: str, target: str | None) -> None:
    """Find a mistyped source before what is slow to import is imported.

    Raises:
        SourceError: the source cannot be opened.
    """
    from penumbra.data.layouts import open_source

    open_source(source, target=target)


def command(*arguments: object) -> str:
    """Write a command of ours so that it can be pasted, whatever its paths hold."""
    import shlex

    return shlex.join(["penumbra", *map(str, arguments)])


def command_line() -> str:
    """Give the command that is running, for the record."""
    import shlex

    return shlex.join(["penumbra", *sys.argv[1:]])


def now() -> str:
    """Give the local time to the minute, for the record."""
    return time.strftime("%Y-%m-%d %H:%M")
