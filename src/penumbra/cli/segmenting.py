"""The work of `penumbra segment` on each image: ask, write, and say what was found."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penumbra.cli.images import own_stems
from penumbra.cli.prompts import Asked
from penumbra.cli.session import say, track

if TYPE_CHECKING:
    from penumbra.promptable.ask import Asking

One = Callable[[Path, str], dict[str, Any]]
"""Segments a file, writes what it gives under a stem, and gives its entry of the JSON."""


def each(files: list[Path], findings: list[dict[str, str]], one: One) -> list[dict[str, Any]]:
    """Segment each file; what cannot be used is a finding, and stops no other."""
    from penumbra.errors import FileNameError, ImageFileError, SettingsError

    kinds: dict[type[Exception], str]
    kinds = {ImageFileError: "unreadable", FileNameError: "unwritable", SettingsError: "prompt"}
    for finding in findings:
        say(f"error: {finding['message']}")
    results: list[dict[str, Any]] = []
    pairs = list(zip(files, own_stems(files), strict=True))
    for file, stem in track(pairs, total=len(files), what="segment"):
        try:
            results.append(one(file, stem))
        except tuple(kinds) as error:
            kind = next(name for known, name in kinds.items() if isinstance(error, known))
            findings.append({"kind": kind, "image": str(file), "message": str(error)})
            # What is wrong with a prompt does not name the image by itself.
            say(f"error: {file}: {error}" if kind == "prompt" else f"error: {error}")
    return results


class WhatIsAsked:
    """Segments what the prompts ask for in one image, and writes it."""

    def __init__(self, asking: Asking, asked: Asked, out: Path, facts: dict[str, Any]) -> None:
        self.asking, self.asked, self.out, self.facts = asking, asked, out, facts

    def __call__(self, file: Path, stem: str) -> dict[str, Any]:
        """Do it, and give the entry of the JSON."""
        from penumbra.imaging.files import read_image
        from penumbra.promptable.results import least_sure, together, write_together

        image = read_image(file)
        size = (int(image.shape[0]), int(image.shape[1]))
        prompts = self.asking.prompts(image, self.asked.on(size) if self.asked else None)
        found = together(prompts, self.asking.answers(image, prompts))
        extra = {
            "image": str(file),
            "filters": self.asking.filters.model_dump(mode="json"),
            **self.facts,
        }
        written = write_together(self.out, stem, image, prompts, found, extra=extra)
        return {
            "image": str(file),
            "json": str(self.out / f"{stem}.json"),
            "overlay": str(self.out / f"{stem}_overlay.png"),
            "mean_uncertainty": written["uncertainty"]["mean"],
            "predicted_iou": least_sure(found.objects),
            "objects": len(found.objects),
            "details": written,
        }


class EveryRegion:
    """Segments everything in one image, and writes it."""

    def __init__(
        self, asking: Asking, settings: Any, out: Path, facts: dict[str, Any], *, alone: bool
    ) -> None:
        self.asking, self.settings, self.out, self.facts = asking, settings, out, facts
        self.alone = alone

    def __call__(self, file: Path, stem: str) -> dict[str, Any]:
        """Do it, and give the entry of the JSON."""
        from penumbra.imaging.files import read_image
        from penumbra.progress import silent
        from penumbra.promptable.everything import segment_everything
        from penumbra.promptable.results import least_sure, write_everything

        image = read_image(file)
        found = segment_everything(
            self.asking.segmenter,
            image,
            settings=self.settings,
            filters=self.asking.filters,
            cache=self.asking.cache,
            # One bar at a time: of the images, or of the points of the only one.
            progress=track if self.alone else silent,
        )
        extra = {
            "image": str(file),
            "filters": self.asking.filters.model_dump(mode="json"),
            **self.facts,
        }
        extra["settings"] = self.settings.model_dump()
        written = write_everything(self.out, stem, image, found, extra=extra)
        return {
            "image": str(file),
            "json": str(self.out / f"{stem}.json"),
            "overlay": str(self.out / f"{stem}_overlay.png"),
            "predicted_iou": least_sure(written["regions"]),
            "objects": len(found.regions),
            "details": written,
        }


def why_nothing(results: list[dict[str, Any]]) -> str:
    """Say what came nearest to being a region where --everything found none, and what to lower."""
    settings = results[0]["details"]["settings"]
    limits = [settings["least_iou"], settings["least_stability"]]
    seen = [result["details"]["nearest"] for result in results]
    pairs = [(near["predicted_iou"], near["stability"]) for near in seen if near is not None]
    if not pairs:
        return "Nothing passed: each mask was empty or nearly the whole image. Try --point X,Y,+."
    best = max(pairs, key=lambda pair: min(pair[0] - limits[0], pair[1] - limits[1]))
    said = (
        f"Nothing passed: the best mask had a predicted IoU of {best[0]:.3f} (--least-iou "
        f"{limits[0]:g}) and a stability of {best[1]:.3f} (--least-stability {limits[1]:g})."
    )
    names = ("--least-iou", "--least-stability")
    # Rounded down, so that this very mask passes.
    lower = [
        f"{name} {math.floor(value * 100) / 100:g}"
        for name, value, limit in zip(names, best, limits, strict=True)
        if value < limit
    ]
    if lower:
        return f"{said} Try {' and '.join(lower)}."
    return f"{said} What passed was smaller than --least-area {settings['least_area']}, or cut off."
