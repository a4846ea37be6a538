"""Train the small promptable model from scratch on four sets, and test it on held-out groups.

    python benchmarks/promptable_small.py --out FOLDER            train; again, it goes on
    python benchmarks/promptable_small.py --out FOLDER --figures  test, keep the figures
    python benchmarks/promptable_small.py --tables                write docs/results.md
    python benchmarks/promptable_small.py --smoke                 a minute on phantoms

Nuclei, nerves, cells and lungs; images, patients, subjects and blocks of sections are held out by
the seed, and nothing was chosen by what is held out for the test. The model lies in FOLDER/model;
copied to `small` in the folder that PENUMBRA_MODELS names, it is what `--model small` means.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import cv2
import torch
from _record import conditions, load, put_table, save
from _small_sets import CASES, SEED, never_seen, parts

from penumbra.data.layouts import open_source
from penumbra.data.phantom import make_phantom
from penumbra.data.source import Source
from penumbra.evaluation.group_means import mean_intervals
from penumbra.evaluation.prompt_baselines import BASELINES
from penumbra.evaluation.prompted import KINDS, evaluate_prompts
from penumbra.evaluation.prompted_scores import PromptedScores
from penumbra.promptable import PromptableSegmenter
from penumbra.promptable.from_scratch import HISTORY_FILE, MODEL_FOLDER, train_from_scratch
from penumbra.promptable.scenes import PromptSet
from penumbra.promptable.scratch_settings import ScratchSettings

NAME = "promptable-small"
MOST_OBJECTS = 32
UNSEEN = "infections"
HEADINGS = {"box": "box", "jittered-box": "box ± 10 %", "point1": "1 point",
            "point3": "3 points", "point5": "5 points"}  # fmt: skip


def learn(out: Path, settings: ScratchSettings) -> None:
    """Train, and say what came of it."""
    training, validation = [], []
    for case in CASES:
        split = parts(case)
        for name, sets in (("train", training), ("val", validation)):
            sets.append(PromptSet.of(split[name], name=case.name, prompts=case.prompts,
                                     symmetry=case.symmetry))  # fmt: skip
        print(case.name, len(training[-1]), "images to train,", len(validation[-1]), "to validate",
              flush=True)  # fmt: skip
    print(train_from_scratch(training, validation, out, settings), flush=True)


def score(model: Path, source: Source) -> dict[str, Any]:
    """Score the model and the rules on one source, and what the model gains over each rule."""
    segmenter = PromptableSegmenter.from_pretrained(model)
    options: dict[str, Any] = {"seed": SEED, "most_objects": MOST_OBJECTS}
    own = evaluate_prompts(segmenter, source, kinds=KINDS, **options)
    rows = {"small model": own}
    for rule in BASELINES:
        rows[rule.name] = evaluate_prompts(rule, source, **options)
    return {
        "methods": {
            name: {kind: dict(scores.overall[kind]["dice"]) for kind in scores.kinds}
            for name, scores in rows.items()
        },
        "gains": {
            rule.name: {kind: _gain(own, rows[rule.name], kind) for kind in rows[rule.name].kinds}
            for rule in BASELINES
        },
        "n_images": len({image.id for image in own.images}),
        "n_groups": len(own.groups),
        "n_objects": len({(row.id, row.number) for row in own.objects}),
    }


def _gain(own: PromptedScores, other: PromptedScores, kind: str) -> dict[str, float]:
    """Compute the mean difference in Dice, image by image, with its interval over groups."""
    theirs = {image.id: image.dice for image in other.of_kind(kind)}
    both = [image for image in own.of_kind(kind) if image.id in theirs]
    differences = [image.dice - theirs[image.id] for image in both]
    found = mean_intervals({"dice": differences}, [image.group for image in both], seed=SEED)
    return dict(found["dice"])


def measure(out: Path) -> None:
    """Test on every set's held-out groups, and keep the figures after each."""
    kept: dict[str, Any] = {
        "training": _training(out), "sets": {}, "conditions": conditions(),
        "megabytes": (out / MODEL_FOLDER / "model.safetensors").stat().st_size / 1e6,
    }  # fmt: skip
    sources = {case.name: (lambda case=case: parts(case)["test"]) for case in CASES}
    for name, held_out in {**sources, UNSEEN: never_seen}.items():
        kept["sets"][name] = score(out / MODEL_FOLDER, held_out())
        box = {m: round(k["box"]["mean"], 3) for m, k in kept["sets"][name]["methods"].items()}
        print(name, box, flush=True)
        save(NAME, kept)


def _training(out: Path) -> dict[str, Any]:
    lines = (out / HISTORY_FILE).read_text(encoding="utf-8").splitlines()
    last: dict[str, Any] = json.loads(lines[-1])
    return last


def table() -> str:
    """Write the table from what is kept."""
    try:
        kept = load(NAME)
    except FileNotFoundError:
        return "Not measured yet."
    lines = [
        f"| set | method | {' | '.join(HEADINGS.values())} |",
        f"| --- | --- |{' --- |' * len(HEADINGS)}",
    ]
    for name, found in kept["sets"].items():
        for method, kinds in found["methods"].items():
            cells = [_cell(kinds.get(kind), bold=method == "small model") for kind in HEADINGS]
            shown = f"{name}, never trained on" if name == UNSEEN else name
            lines.append(f"| {shown} | {method} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _gains(kept), "", _note(kept)])


def _cell(value: dict[str, float] | None, *, bold: bool) -> str:
    if value is None:
        return ""
    mean = f"**{value['mean']:.3f}**" if bold else f"{value['mean']:.3f}"
    return f"{mean} ({value['low']:.3f}–{value['high']:.3f})"


def _gains(kept: dict[str, Any]) -> str:
    lines = [
        "| set | groups | images | objects | gain over the filled box | over the ellipse "
        "| over GrabCut |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in kept["sets"].items():
        gains = [
            f"{g['box']['mean']:+.3f} ({g['box']['low']:+.3f} to {g['box']['high']:+.3f})"
            for g in found["gains"].values()
        ]
        lines.append(
            f"| {name} | {found['n_groups']} | {found['n_images']} | {found['n_objects']} "
            f"| {' | '.join(gains)} |"
        )
    return "\n".join(lines)


def _note(kept: dict[str, Any]) -> str:
    last, where = kept["training"], kept["conditions"]
    return (
        f"*Gains are of the tight box, paired image by image. One training of {last['step']} "
        f"steps, seed {SEED}: {last['minutes']:.0f} minutes of two cores' processor time, "
        f"{last['wall_minutes']:.0f} on the wall of a machine that did other work too; "
        f"checkpoint {kept['megabytes']:.1f} MB. At most {MOST_OBJECTS} objects of an image. "
        f"{where['machine']}, Penumbra {where['versions']['penumbra']}, "
        f"torch {where['versions']['torch']}, {where['date']}.*"
    )


def smoke() -> None:
    """Run the whole way on a few phantoms."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_phantom(folder / "set", count=8, size=64, seed=0, kinds=("ultrasound", "xray"))
        source = open_source(f"folder:{folder}/set")
        sets = [PromptSet.of(source, name="phantoms", prompts=2)]
        settings = ScratchSettings(minutes=0.3, clock="wall", architecture={"layers": 2})
        print(train_from_scratch(sets, sets, folder / "run", settings))
        found = score(folder / "run" / MODEL_FOLDER, source.subset(range(3)))
        for method, kinds in found["methods"].items():
            print(method, {kind: round(value["mean"], 3) for kind, value in kinds.items()})


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--wall-minutes", type=float)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--figures", action="store_true", help="test what is trained")
    parser.add_argument("--tables", action="store_true", help="only write docs/results.md")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    if options.smoke:
        smoke()
        return
    if not options.tables and options.out is None:
        parser.error("--out says where the run lies")
    if options.figures:
        measure(options.out)
    if options.figures or options.tables:
        put_table(NAME, table())
        return
    learn(options.out, _settings(options))


def _settings(options: argparse.Namespace) -> ScratchSettings:
    changes: dict[str, Any] = {}
    architecture: dict[str, Any] = {}
    for text in options.set:
        key, value = text.split("=")
        number = float(value) if "." in value or "e" in value else int(value)
        (changes if key in ScratchSettings.__dataclass_fields__ else architecture)[key] = number
    return ScratchSettings(
        minutes=options.minutes, wall_minutes=options.wall_minutes, clock=options.clock,
        threads=options.threads, architecture=architecture, **changes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
