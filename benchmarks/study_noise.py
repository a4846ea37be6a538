"""Run the study of noise: who marks doubt best, at which cost, on real sets and on phantoms.

    python benchmarks/study_noise.py --out DIR --jobs 2    train, calibrate, evaluate; goes on
    python benchmarks/study_noise.py --out DIR --tables    keep the figures of what is there
    python benchmarks/study_noise.py --smoke               a minute on phantoms, keeps nothing

What is compared is in study_noise.yaml. Networks that lie in DIR/runs/SET/KIND-SEED already, of
the same settings, are taken over. Every seed of a set has the same split, so that differences
between rows are paired by group and seed; intervals are 95 % over groups.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from _record import PAGE, ROOT, conditions, put_table, save
from _study_page import all_tables

from penumbra.cli.session import track
from penumbra.studies.experiment import StudyExperiment
from penumbra.studies.markdown import markdown
from penumbra.studies.places import Study
from penumbra.studies.run import Progressed, run_study
from penumbra.studies.smoke import smoke_document
from penumbra.studies.tables import write_tables

DATA = Path(os.environ.get("PENUMBRA_REAL_DATA", ROOT.parent / "shared" / "data"))
EXPERIMENT = ROOT / "benchmarks" / "study_noise.yaml"
NAME = "study_noise"


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _short(
    found: dict[str, Any], metrics: tuple[str, ...], ends: tuple[str, ...]
) -> dict[str, Any]:
    """Keep mean, low and high of the metrics of the tables, in the digits that mean something."""
    return {
        name: [_digits(found[name].get(end)) for end in ends] for name in metrics if name in found
    }


_ENDS = ("mean", "low", "high")
_RELATIVE = tuple(f"relative_{end}" for end in _ENDS)


def kept(results: dict[str, Any], metrics: tuple[str, ...]) -> dict[str, Any]:
    """Give what is worth keeping of the results: [mean, low, high] of every figure.

    ``against`` holds differences relative to the other row's mean; under shift the differences
    from the first baseline alone.
    """
    sets = {
        name: {
            shift: place
            | {
                "rows": {
                    row: {key: found[key] for key in ("sampler", "seeds", "cost")}
                    | {
                        "metrics": _short(found["metrics"], metrics, _ENDS),
                        "against": {
                            base: _short(difference, metrics, _RELATIVE)
                            for number, (base, difference) in enumerate(found["against"].items())
                            if shift == "clean" or number == 0
                        },
                    }
                    for row, found in place["rows"].items()
                }
            }
            for shift, place in shifts.items()
        }
        for name, shifts in results["sets"].items()
    }
    return results | {"sets": sets}


def say(went: Progressed) -> None:
    """Print how far it came."""
    print(f"{went.made} pieces of work done, {went.kept} were there, {went.left} left")
    for step in went.problems:
        print(f"  {step.work}: {step.problem}")


def smoke() -> None:
    """Run a tiny study, and check that every row came out."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study(StudyExperiment.parse(smoke_document()), Path(folder), Path(folder))
        went = run_study(study)
        say(went)
        results = write_tables(study, resamples=50)
        if went.problems or results["done"] != results["cells"]:
            raise SystemExit("the smoke study is not whole")
        kept(results, study.experiment.metrics)
        print(markdown(results, study.experiment.metrics, study.experiment.baselines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", action="append")
    parser.add_argument("--rows", action="append")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--page", action="store_true", help="put the tables into the docs")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        smoke()
        return
    study = Study(StudyExperiment.read(EXPERIMENT), options.out, options.data)
    if not options.tables:
        say(
            run_study(
                study, sets=options.only, rows=options.rows, jobs=options.jobs,
                training=not options.no_training, progress=track,
            )
        )  # fmt: skip
    results = write_tables(study, sets=options.only, rows=options.rows)
    metrics = study.experiment.metrics
    if options.tables:
        document = conditions() | {"experiment": EXPERIMENT.name} | kept(results, metrics)
        save(NAME, document, compact=True)
    if options.page:
        whole = markdown(results, metrics, study.experiment.baselines[:1])
        put_table("study-noise", whole, page=PAGE.with_name("noise_study.md"))
        for marker, text in all_tables(results).items():
            put_table(marker, text)


if __name__ == "__main__":
    main()
