"""`penumbra study`: grids of networks, samplers, shifts and prompts, with paired intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from penumbra.cli.session import Finished, Json, say, track, verb
from penumbra.cli.study_prompts import prompts

app = typer.Typer(no_args_is_help=True, help="Run a grid of evaluations and compare its rows.")


@app.callback()
def overview() -> None:
    """Run a grid of evaluations and compare its rows."""


app.command("prompts")(prompts)


@app.command("noise")
@verb
def noise(
    experiment: Annotated[
        Path | None, typer.Argument(help="The study as YAML; not with --smoke.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Networks, calibrations, cells and tables go here.")
    ] = Path("study"),
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar="PENUMBRA_REAL_DATA", help="Where the sets' paths begin."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this set; may be repeated.")
    ] = None,
    rows: Annotated[
        list[str] | None, typer.Option("--rows", help="Only these rows, comma-separated.")
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Processes, each with one thread.")
    ] = 1,
    hours: Annotated[
        float | None, typer.Option("--hours", help="Begin nothing new after this time.")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training/--no-training", help="Train networks that are missing.")
    ] = True,
    tables: Annotated[
        bool, typer.Option("--tables", help="Only write the tables of what is there.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A grid of a minute on phantoms, to see it work.")
    ] = False,
    json: Json = False,
) -> Finished:
    """Compare ways to predict with doubt: train, calibrate, evaluate, and write tables.

    What is in --out already is kept, so a study that was cut off goes on where it stood.
    """
    from penumbra.studies.places import Study

    study = Study(_experiment(experiment, smoke=smoke, hours=hours), out, data or Path())
    chosen_rows = _split(rows)
    problems: list[dict[str, str]] = []
    lines: list[str] = []
    if not tables:
        from penumbra.studies.run import run_study

        went = run_study(
            study, sets=_split(only), rows=chosen_rows, jobs=jobs, training=training, progress=track
        )
        problems = [{"work": str(step.work), "problem": step.problem} for step in went.problems]
        lines.append(f"{went.made} pieces of work done, {went.kept} were there.")
        if went.left:
            lines.append(f"The time is up with {went.left} left: the same command goes on.")
    from penumbra.studies.tables import write_tables

    results = write_tables(study, sets=_split(only), rows=chosen_rows)
    if not json:
        for problem in problems[:5]:
            say(f"error: {problem['work']}: {problem['problem']}")
    lines.append(
        f"{results['done']} of {results['cells']} cells are in {out / 'results.md'} and "
        f"{out / 'results.json'}."
    )
    document = results | {"problems": problems, "out": str(out)}
    return Finished(document, lines, code=1 if problems else 0)


def _split(texts: list[str] | None) -> list[str] | None:
    if not texts:
        return None
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


def _experiment(path: Path | None, *, smoke: bool, hours: float | None) -> Any:
    from penumbra.errors import SettingsError, expected
    from penumbra.studies.experiment import StudyExperiment
    from penumbra.studies.smoke import smoke_document

    if smoke == (path is not None):
        raise SettingsError(
            expected("the study", "either a YAML file or --smoke",
                     "both" if smoke else "neither", "penumbra study noise --smoke")
        )  # fmt: skip
    found = StudyExperiment.read(path) if path else StudyExperiment.parse(smoke_document())
    return found if hours is None else found.model_copy(update={"hours": hours})
