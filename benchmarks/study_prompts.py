"""Run the study of prompts: infections on chest X-rays that the promptable model never saw.

    python benchmarks/study_prompts.py --model FOLDER --out DIR --page    run, go on, publish
    python benchmarks/study_prompts.py --out DIR --tables --page          publish what is there
    python benchmarks/study_prompts.py --smoke                            phantoms, keeps nothing

What is compared is in study_prompts.yaml: the small promptable model as it came, with its decoder
tuned on 50 patients, and with LoRA, each with and without every filter, by boxes and points. Every
score is of 23 other patients. Nothing new is begun after --minutes; the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _record import ROOT, conditions, put_table, save
from _study_unseen import seen_patients, unseen_rows, unseen_table

from penumbra.cli.session import command_line, now, track
from penumbra.studies.prompts.experiment import PromptStudyExperiment
from penumbra.studies.prompts.markdown import markdown, written
from penumbra.studies.prompts.places import PromptStudy, open_study
from penumbra.studies.prompts.run import PromptStudyProgress, run_prompt_study
from penumbra.studies.prompts.smoke import smoke_document, smoke_model
from penumbra.studies.prompts.tables import write_prompt_tables
from penumbra.studies.prompts.wording import Table, kind_in_words, tables_of

DATA = Path(os.environ.get("PENUMBRA_REAL_DATA", ROOT.parent / "shared" / "data"))
EXPERIMENT = ROOT / "benchmarks" / "study_prompts.yaml"
NAME = "study_prompts"
_ENDS = ("mean", "low", "high")


def tuning_table(results: Mapping[str, Any]) -> Table:
    """Lay out the Dice without a filter: kinds of prompts against tunings and rules."""
    base = results["base_filter"]
    columns = [*results["tunings"], *results["rules"]]
    found = {(r["method"], r["filter"] or base, r["kind"]): r["metrics"] for r in results["rows"]}
    rows = tuple(
        (
            kind_in_words(kind),
            tuple(found.get((name, base, kind), {}).get("dice") for name in columns),
        )
        for kind in results["kinds"]
    )
    names = results["rules"]
    return Table("", ("prompt", *(names.get(each, each) for each in columns)), rows)


def gain_table(results: Mapping[str, Any]) -> Table:
    """Lay out what tuning buys without a filter: kinds of prompts against tunings."""
    base = results["base_filter"]
    tuned = [name for name, mode in results["tunings"].items() if mode != "none"]
    found = {(r["method"], r["filter"], r["kind"]): r["against"] for r in results["rows"]}
    rows = tuple(
        (
            kind_in_words(kind),
            tuple(found.get((n, base, kind), {}).get("tuning", {}).get("dice") for n in tuned),
        )
        for kind in results["kinds"]
    )
    return Table("", ("prompt", *tuned), rows, differences=True)


def filter_tables(results: Mapping[str, Any]) -> str:
    """Write what each filter changes, a table for each kind of prompt."""
    parts = []
    for kind in results["kinds"]:
        for table in tables_of(results, kind):
            if table.title.startswith("What a filter"):
                parts += [f"{kind_in_words(kind)}:", written(table)]
    return "\n\n".join(parts)


def account(results: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Say in sentences what was measured, on what."""
    seconds = ", ".join(f"{name} {s:.0f} s" for name, s in results["tuning_seconds"].items())
    missing = results["cells"] - results["done"]
    return (
        f"{results['images']} images of {results['groups']} patients, {results['done']} of "
        f"{results['cells']} cells{f' ({missing} not measured yet)' if missing else ''}; one "
        f"tuning on one thread: {seconds}. {document['machine']}, {document['date']}."
    )


def kept(results: Mapping[str, Any]) -> dict[str, Any]:
    """Give what is worth keeping: [mean, low, high] of the Dice of every row and difference."""

    def short(found: Mapping[str, Any] | None) -> list[float | None] | None:
        if not found:
            return None
        return [None if found.get(e) is None else round(found[e], 4) for e in _ENDS]

    rows = [
        {key: row[key] for key in ("method", "filter", "kind", "seeds")}
        | {
            "dice": short(row["metrics"].get("dice")),
            "by_seed": [round(value, 4) for value in row["metrics"]["dice"]["by_seed"]],
            "union_dice": short(row["metrics"].get("union_dice")),
            "against": {name: short(f.get("dice")) for name, f in row["against"].items()},
        }
        for row in results["rows"]
    ]
    # Where somebody keeps data and models is nobody else's business.
    left_out = {"rows", "findings", "source", "model"}
    return {key: value for key, value in results.items() if key not in left_out} | {"rows": rows}


def publish(results: Mapping[str, Any], document: Mapping[str, Any]) -> None:
    """Put the tables into docs/results.md."""
    put_table("study-prompts-account", account(results, document))
    put_table("study-prompts-tuning", written(tuning_table(results)))
    put_table("study-prompts-gain", written(gain_table(results)))
    put_table("study-prompts-filters", filter_tables(results))
    put_table("study-prompts-unseen", unseen_table(document["unseen"]))


def say(went: PromptStudyProgress) -> None:
    """Print how far it came."""
    print(f"{went.made} pieces of work done, {went.kept} were there, {went.left} left")
    for step in went.problems:
        print(f"  {step.work}: {step.problem}")


def smoke() -> None:
    """Run a tiny study, and check that every cell came out."""
    with tempfile.TemporaryDirectory() as folder:
        model = smoke_model(Path(folder) / "model")
        study = open_study(PromptStudyExperiment.parse(smoke_document(model)), Path(folder))
        went = run_prompt_study(study)
        say(went)
        results = write_prompt_tables(study, resamples=50)
        if went.problems or results["done"] != results["cells"]:
            raise SystemExit("the smoke study is not whole")
        kept(results)
        print(written(tuning_table(results)))
        print(written(gain_table(results)))
        print(markdown(results))


def opened(options: argparse.Namespace) -> PromptStudy:
    """Read the study and load its model."""
    document = PromptStudyExperiment.read(EXPERIMENT).model_dump(mode="json")
    document["hours"] = options.minutes / 60
    if options.model is not None:
        document["model"] = options.model
    return open_study(PromptStudyExperiment.parse(document), options.out, options.data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("study_prompts"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", help="a folder, instead of the model that is installed")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tables", action="store_true", help="measure nothing new")
    parser.add_argument("--page", action="store_true", help="put the tables into the docs")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        smoke()
        return
    study = opened(options)
    if not options.tables:
        say(run_prompt_study(study, jobs=options.jobs, progress=track))
    results = write_prompt_tables(study, command=command_line(), created=now())
    unseen = unseen_rows(options.out, results["kinds"], seen_patients())
    document = conditions() | {"experiment": EXPERIMENT.name, "unseen": unseen} | kept(results)
    save(NAME, document, compact=True)
    if options.page:
        publish(results, document)


if __name__ == "__main__":
    main()
