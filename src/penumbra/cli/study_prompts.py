"""`penumbra study prompts`: filters, kinds of prompts and tunings of a promptable model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from penumbra.cli.session import (
    Finished,
    Json,
    command_line,
    note_few_groups,
    now,
    say,
    track,
    verb,
)


@verb
def prompts(
    experiment: Annotated[
        Path | None, typer.Argument(help="The study as YAML; --source alone takes the defaults.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Samples, tunings, cells, pictures and tables go here.")
    ] = Path("study"),
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar="PENUMBRA_REAL_DATA", help="Where the source's path begins."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="LAYOUT:PATH or a manifest, over the file's.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="What the masks show, over the file's.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="small, a hub name, a folder or a .pth file, over the file's."
        ),
    ] = None,
    tunings: Annotated[
        list[str] | None, typer.Option("--tunings", help="Only these, comma-separated.")
    ] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filters", help="Only these, comma-separated.")
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Processes, each with one thread.")
    ] = 1,
    hours: Annotated[
        float | None, typer.Option("--hours", help="Begin nothing new after this time.")
    ] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Only write the tables of what is there.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A minute on phantoms and random weights.")
    ] = False,
    json: Json = False,
) -> Finished:
    """Ask a promptable model in many ways: with filters, kinds of prompts, before and after tuning.

    Tunings learn from some groups, and every score is of others. What is in --out already is kept,
    so a study that was cut off goes on where it stood.
    """
    changes = {"source": source, "target": target, "model": model, "hours": hours}
    settings = _experiment(experiment, out, smoke=smoke, changes=changes)
    from penumbra.studies.prompts.places import open_study
    from penumbra.studies.prompts.tables import write_prompt_tables

    study = open_study(settings, out, data or Path())
    chosen: dict[str, Any] = {"tunings": _split(tunings), "filters": _split(filters)}
    problems: list[dict[str, str]] = []
    lines: list[str] = []
    if not tables:
        from penumbra.studies.prompts.run import run_prompt_study

        went = run_prompt_study(study, jobs=jobs, progress=track, **chosen)
        problems = [{"work": str(step.work), "problem": step.problem} for step in went.problems]
        lines.append(f"{went.made} pieces of work done, {went.kept} were there.")
        if went.left:
            lines.append(f"The time is up with {went.left} left: the same command goes on.")
    results = write_prompt_tables(study, command=command_line(), created=now(), **chosen)
    if not json:
        for problem in problems[:5]:
            say(f"error: {problem['work']}: {problem['problem']}")
    note_few_groups(results["groups"])
    unread = any(finding["severity"] == "error" for finding in results["findings"])
    if unread and not json:
        say("warning: some images could not be read; the report lists them.")
    lines.append(
        f"{results['done']} of {results['cells']} cells are in {out / 'report.html'}, "
        f"{out / 'results.md'} and {out / 'results.json'}."
    )
    document = results | {"problems": problems, "out": str(out)}
    return Finished(document, lines, code=1 if problems or unread else 0)


def _split(texts: list[str] | None) -> list[str] | None:
    if not texts:
        return None
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


def _experiment(path: Path | None, out: Path, *, smoke: bool, changes: dict[str, Any]) -> Any:
    """Read the study, or take the defaults or the smoke's, and lay the options over it."""
    from penumbra.errors import SettingsError, expected

    asked = [smoke, path is not None or changes["source"] is not None]
    if sum(asked) != 1:
        raise SettingsError(
            expected("the study", "a YAML file, --source or --smoke",
                     "--smoke and others" if all(asked) else "none of them",
                     "penumbra study prompts --smoke")
        )  # fmt: skip
    from penumbra.studies.prompts.experiment import PromptStudyExperiment

    if smoke:
        from penumbra.studies.prompts.smoke import smoke_document, smoke_model

        document = smoke_document(smoke_model(out / "model"))
    elif path is not None:
        document = PromptStudyExperiment.read(path).model_dump(mode="json")
    else:
        document = {}
    document |= {key: value for key, value in changes.items() if value is not None}
    return PromptStudyExperiment.parse(document, origin="the study")
