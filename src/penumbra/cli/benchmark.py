"""`penumbra benchmark`: several runs on the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penumbra.cli.evaluate import SplitName
from penumbra.cli.session import Finished, Json, Seed, Target, say, say_findings, track, verb


@verb
def benchmark(
    source: Annotated[str, typer.Argument(help="LAYOUT:PATH, a path or a manifest.")],
    run: Annotated[list[Path], typer.Option("--run", help="A run folder; give several.")],
    threshold: Annotated[
        float, typer.Option("--threshold", help="List images whose IoU is below this.")
    ] = 0.9,
    split: Annotated[SplitName, typer.Option("--split", help="Which samples.")] = SplitName.test,
    target: Target = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write benchmark.json.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> Finished:
    """Compare runs: metrics side by side, the average IoU, and the images under a threshold.

    Differences are paired over groups, against the first run.
    """
    from penumbra.evaluation.benchmark import compare
    from penumbra.evaluation.of_run import open_for_run, score_run
    from penumbra.storage import write_json
    from penumbra.training.run import Run

    evaluations = {}
    for name, folder in zip(_names(run), run, strict=True):
        say(f"scoring {name}")
        samples = open_for_run(Run(folder), source, split=split.value, target=target)
        scored = score_run(
            Run(folder),
            samples,
            split=split.value,
            seed=seed,
            progress=lambda cases, total: track(cases, total=total, what="score"),
        )
        evaluations[name] = scored.evaluation
        if not json:
            say_findings(scored.evaluation.findings)
    comparison = compare(evaluations, threshold=threshold, seed=seed)
    document = {"source": source, "split": split.value, **comparison.to_json()}
    if out is not None:
        write_json(out / "benchmark.json", document)
    return Finished(document, comparison.lines())


def _names(runs: list[Path]) -> list[str]:
    names = [folder.resolve().name for folder in runs]
    if len(set(names)) == len(names):
        return names
    return [str(folder) for folder in runs]
