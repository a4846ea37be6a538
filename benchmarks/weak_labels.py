"""Does measuring by boxes rank methods as true masks do? Sets with masks, exported to boxes, say.

    python benchmarks/weak_labels.py                 train, measure, keep the figures
    python benchmarks/weak_labels.py --only nerve    one set of them
    python benchmarks/weak_labels.py --tables        write docs/results.md from what is kept
    python benchmarks/weak_labels.py --smoke         a minute on phantoms, keeps nothing

A set is split by group. U-Nets of several sizes and lengths of training, each at three thresholds,
are the methods that need no prompt; the rules that need a box, and the small promptable model
where it was trained on this machine, are those that are told where to look. The test samples are
exported to the form of RSNA (`dataset export --to rsna --with-masks`); every method is measured by
the boxes, and by the masks that were hidden from it. Methods are ranked by their means over the
same images; the intervals resample groups.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import conditions, load, put_table, save
from numpy.typing import NDArray
from real_sets import DATA

from penumbra.data.export import export_source
from penumbra.data.layouts import open_source
from penumbra.data.phantom import make_phantom
from penumbra.data.sample import Sample
from penumbra.data.source import Source
from penumbra.errors import PenumbraError
from penumbra.evaluation.cases import Predict
from penumbra.evaluation.overlap import count, dice
from penumbra.evaluation.prompt_baselines import BASELINES
from penumbra.evaluation.prompted import check_kinds
from penumbra.evaluation.rankings import rank_agreement
from penumbra.evaluation.weak import score_weakly
from penumbra.evaluation.weak_answers import WeakAnswer, answers_of_prompts, answers_of_run
from penumbra.inference.prediction import Prediction
from penumbra.inference.predictor import Predictor
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.training.experiment import Experiment
from penumbra.training.loop import train
from penumbra.training.run import Run
from penumbra.training.samples import open_for_run

MEASURES = {
    "share_inside": "inside boxes",
    "tight_iou": "tight-box IoU",
    "pointing": "pointing",
    "filled_dice": "Dice with filled boxes",
    "map": "mAP 0.40–0.75",
}
THRESHOLDS = (0.3, 0.5, 0.7)
KINDS = ("point1", "point3", "box", "jittered-box")
SEED = 0

Answer = Callable[[Sample], WeakAnswer | None]


@dataclass(frozen=True)
class Case:
    """One set, and which networks are trained on it."""

    name: str
    source: str
    target: str | None = None
    most: int = 60
    networks: tuple[tuple[int, int], ...] = ((4, 1), (4, 4), (8, 1), (8, 3), (8, 8), (8, 20))
    size: int = 128
    samples: int = 64


CASES = (
    Case("covid-cxr-infection", "covid-cxr:{data}/covid_cxr", target="infection"),
    Case("covid-cxr-lungs", "covid-cxr:{data}/covid_cxr", target="lungs"),
    Case("nerve", "nerve:{data}/nerve", most=120),
    Case("dsb2018", "dsb2018:{data}/dsb2018"),
)


def networks(case: Case, source: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Train the networks of a set; (width, epochs) each."""
    for width, epochs in case.networks:
        out = folder / f"w{width}e{epochs}"
        document: dict[str, Any] = {
            "source": source,
            "target": case.target,
            "split": {"seed": SEED, "fractions": (0.5, 0.1, 0.4)},
            "image": {"size": case.size, "fit": "resize"},
            "model": {"name": "unet", "arguments": {"width": width}},
            "training": {
                "seed": SEED, "threads": torch.get_num_threads(), "epochs": epochs,
                "samples_per_epoch": case.samples,
            },
        }  # fmt: skip
        train(Experiment.parse(document), out)
        yield f"U-Net {width}, {epochs} epochs", out


def remembering(predict: Predict) -> Predict:
    """Predict an image once, however many methods ask for it one after the other."""
    last: tuple[NDArray[np.generic] | None, list[Prediction]] = (None, [])

    def again(images: Sequence[NDArray[np.generic]]) -> list[Prediction]:
        nonlocal last
        # The image is held, so that no other one can take its place in memory.
        if last[0] is not images[0]:
            last = (images[0], predict(images))
        return last[1]

    return again


def cut(predict: Predict, threshold: float) -> Predict:
    """Predict masks at another threshold."""

    def at(images: Sequence[NDArray[np.generic]]) -> list[Prediction]:
        return [
            replace(found, mask=(found.foreground >= threshold).astype(np.uint8))
            for found in predict(images)
        ]

    return at


def methods(case: Case, source: str, folder: Path) -> tuple[dict[str, Answer], dict[str, Answer]]:
    """Give the methods without and with prompts; the test split is then that of the runs."""
    free: dict[str, Answer] = {}
    for name, run in networks(case, source, folder):
        predict = remembering(Predictor.load(run, device="cpu"))
        for threshold in THRESHOLDS:
            free[f"{name}, ≥ {threshold:g}"] = answers_of_run(cut(predict, threshold))
    told: dict[str, Answer] = {
        rule.name: answers_of_prompts(rule, kind="box", seed=SEED) for rule in BASELINES
    }
    told |= {
        f"{rule.name}, jittered": answers_of_prompts(rule, kind="jittered-box", seed=SEED)
        for rule in BASELINES
    }
    try:
        small = PromptableSegmenter.from_pretrained("small", device="cpu", precision="float32")
    except PenumbraError as error:
        print(f"  without the small promptable model: {error}")
        return free, told
    for kind in check_kinds(KINDS, small.accepts, name=small.name):
        told[f"small model, {kind}"] = answers_of_prompts(small, kind=kind, seed=SEED)
    return free, told


def measured(exported: Path, answers: dict[str, Answer]) -> dict[str, list[dict[str, Any]]]:
    """Measure the methods by boxes and by the hidden masks, image by image."""
    boxes, masks = open_source(f"rsna:{exported}"), open_source(f"folder:{exported / 'hidden'}")
    place = {record.id: index for index, record in enumerate(masks.records)}
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in answers}
    for index, record in enumerate(boxes.records):
        sample, hidden = boxes[index], masks[place[record.id]]
        if sample.boxes is None or not len(sample.boxes) or hidden.mask is None:
            continue
        truth = np.where(hidden.mask == 255, 255, np.minimum(hidden.mask, 1)).astype(np.uint8)
        for name, answer in answers.items():
            found = answer(sample)
            if found is not None:
                weak = score_weakly(sample, found)
                counts = count(truth, found.mask.astype(np.uint8), n_classes=2)
                row = {key: getattr(weak, key) for key in MEASURES}
                exact = float(dice(counts)[1])
                tables[name].append({"group": hidden.group, "dice": exact, **row})
    return tables


def test_samples(case: Case, folder: Path) -> Source:
    """Give the test samples of the runs, at most so many, evenly spaced."""
    first = next(path for path in sorted(folder.iterdir()) if path.is_dir())
    source = open_for_run(Run(first), str(Run(first).manifest), split="test")
    most = min(case.most, len(source))
    return source.subset(np.unique(np.linspace(0, len(source) - 1, most).round().astype(int)))


def run_case(case: Case, source: str, folder: Path) -> dict[str, Any]:
    """Train, export, measure, and compare the rankings."""
    started = time.perf_counter()
    free, told = methods(case, source, folder / "runs")
    exported = folder / "boxes"
    export_source(test_samples(case, folder / "runs"), exported, form="rsna", with_masks=True)
    tables = measured(exported, free | told)
    first = next(iter(tables.values()))
    groups = [row["group"] for row in first]
    families = {"without prompts": list(free), "prompted": list(told), "all": [*free, *told]}
    document: dict[str, Any] = {
        "case": case.name,
        "n_images": len(first),
        "n_groups": len(set(groups)),
        "seconds": round(time.perf_counter() - started),
        "methods": {
            name: {key: float(np.mean([row[key] for row in rows])) for key in ("dice", *MEASURES)}
            for name, rows in tables.items()
        },
        "agreement": {},
        **conditions(),
    }
    for family, names in families.items():
        truth = [[row["dice"] for row in tables[name]] for name in names]
        document["agreement"][family] = {
            key: rank_agreement(
                [[row[key] for row in tables[name]] for name in names], truth, groups, seed=SEED
            ).to_json()
            for key in MEASURES
        }
    return document


def table(documents: list[dict[str, Any]], coefficient: str) -> str:
    """Write one row per set and family of methods, one column per measure."""
    head = ["set", "methods", "images", *MEASURES.values()]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for document in documents:
        for family, by_measure in document["agreement"].items():
            n = next(iter(by_measure.values()))["n_methods"]
            cells = [_cell(by_measure[key][coefficient]) for key in MEASURES]
            row = [document["case"], f"{n}, {family}", str(document["n_images"]), *cells]
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _cell(value: dict[str, Any]) -> str:
    known = [value[key] for key in ("mean", "low", "high")]
    if known[0] is None or not np.isfinite(known[0]):
        return "–"
    if known[1] is None or not np.isfinite(known[1]):
        return f"{known[0]:.2f}"
    return f"{known[0]:.2f} ({known[1]:.2f} to {known[2]:.2f})"


def note(documents: list[dict[str, Any]]) -> str:
    """Name machine, versions and date."""
    one = documents[0]
    seconds = sum(document["seconds"] for document in documents)
    return (
        f"*Six U-Nets per set at three thresholds each; seed {SEED}; {seconds} s in all on "
        f"{one['threads']} thread, {one['machine']}, Penumbra {one['versions']['penumbra']}, torch "
        f"{one['versions']['torch']}, {one['date']}.*"
    )


def tables() -> None:
    """Write docs/results.md from what is kept."""
    documents = list(load("weak-labels").values())
    put_table("weak-labels-kendall", f"{table(documents, 'kendall')}\n\n{note(documents)}")
    put_table("weak-labels-spearman", table(documents, "spearman"))


def smoke() -> None:
    """Run everything small on phantoms."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_phantom(folder / "set", count=24, size=64, seed=0, kinds=("xray",))
        case = Case("phantom", "folder:{data}", most=8, networks=((4, 1), (4, 6)), size=32,
                    samples=16)  # fmt: skip
        document = run_case(case, f"folder:{folder / 'set'}", folder)
    print(table([document], "kendall"))
    print(note([document]))


def main() -> None:
    """Read the options and do as they say."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", help="one set by name")
    parser.add_argument("--tables", action="store_true", help="write docs/results.md")
    parser.add_argument("--smoke", action="store_true", help="a minute on phantoms")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.smoke:
        smoke()
        return
    if options.tables:
        tables()
        return
    for case in CASES:
        if options.only in (None, case.name):
            with tempfile.TemporaryDirectory() as name:
                document = run_case(case, case.source.format(data=DATA), Path(name))
            try:
                kept = load("weak-labels")
            except FileNotFoundError:
                kept = {}
            save("weak-labels", kept | {case.name: document})
            print(table([document], "kendall"))


if __name__ == "__main__":
    main()
