"""How good a promptable model is: prompts are derived from masks, answered, and scored.

Boxes are the tight boxes of the objects. Points are clicked as a careful person would: the first
on the pixel deepest inside the object, each further one, correcting, on the pixel deepest inside
the largest connected area where the mask so far is wrong. A model sees all the points so far at
once, without its earlier mask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Finding, Sample
from penumbra.data.source import Source
from penumbra.errors import ImageFileError, SettingsError, SourceError, expected
from penumbra.evaluation.bootstrap import RESAMPLES
from penumbra.evaluation.prompted_answers import Tally, prompt_objects
from penumbra.evaluation.prompted_objects import LEAST_AREA, ObjectMap, Objects, objects_of
from penumbra.evaluation.prompted_scores import (
    ImagePromptScore,
    ObjectScore,
    PromptedScores,
    summarise_prompted,
)
from penumbra.progress import Progress, silent
from penumbra.promptable.contract import AnswersPrompts

KINDS = ("box", "point1", "point3", "point5", "jittered-box")
"""The kinds of prompts that are measured unless others are named; pointN takes any N."""

_POINTS = re.compile(r"point([1-9][0-9]?)")

Embed = Callable[[NDArray[np.generic]], Any]


def check_kinds(kinds: Sequence[str] | None, accepts: Collection[str], *, name: str) -> list[str]:
    """Check kinds of prompts against what a model takes.

    Args:
        kinds: their names; by default those of `KINDS` that the model takes.
        accepts: which prompts the model takes, of ``"box"``, ``"point"`` and ``"mask"``.
        name: of the model, for the error.

    Raises:
        SettingsError: a kind is unknown, or the model does not take it.

    Examples:
        >>> check_kinds(None, ["box"], name="a rule")
        ['box', 'jittered-box']
    """
    found = []
    for kind in KINDS if kinds is None else kinds:
        needs = "point" if _POINTS.fullmatch(kind) else "box"
        if needs == "box" and kind not in ("box", "jittered-box"):
            raise SettingsError(
                expected("the kind of prompt", "box, jittered-box or pointN", repr(kind), "point3")
            )
        if needs in accepts:
            found.append(kind)
        elif kinds is not None:
            raise SettingsError(
                expected(f"the prompts of {name}", f"of {' or '.join(sorted(accepts))}", kind,
                         "another kind of prompt, or another model")
            )  # fmt: skip
    if not found:
        raise SettingsError(expected("the kinds of prompts", "at least one", "none", "box"))
    return list(dict.fromkeys(found))


def evaluate_prompts(
    segmenter: AnswersPrompts,
    source: Source,
    *,
    kinds: Sequence[str] | None = None,
    objects: Objects = "components",
    seed: int = 0,
    filters: Any = None,
    cache: Any = None,
    least_area: int = LEAST_AREA,
    most_objects: int | None = None,
    jitter: float = 0.1,
    resamples: int = RESAMPLES,
    progress: Progress = silent,
) -> PromptedScores:
    """Prompt for every object of every mask of a source, and score the answers.

    An image is embedded once; every object gets its own prompt and its own mask, which is compared
    with that object alone: what covers a neighbour is wrong. Pixels to ignore, and those of
    objects that were left out, count neither way.

    ``box`` is the tight box. ``jittered-box`` has every edge moved by normal noise whose standard
    deviation is `jitter` times the box's width or height, without the limit of training, and cut
    off at the edge of the image. ``pointN`` is N points: the first
    on the pixel deepest inside the object, by the Euclidean distance to its edge, each further
    one on the deepest pixel of the largest area where the mask so far is wrong, with the sign
    that corrects it. Where nothing is wrong any more, a further point goes into the object.

    Args:
        segmenter: the model, or one of `prompt_baselines.BASELINES`.
        source: samples with masks.
        kinds: of prompts; by default those of `KINDS` that the model takes.
        objects: ``"components"``, every connected area of a class, or ``"class"``, all of it.
        seed: of the jitter, of the choice of objects and of the bootstrap. The jitter of a box
            depends on it, on the image's content and on the box alone.
        filters: instead of the model's own; ``()`` for none.
        cache: an `EmbeddingCache` that embeddings are taken from and put into.
        least_area: in pixels; smaller objects are left out.
        most_objects: of an image; where there are more, as many are drawn.
        jitter: standard deviation of an edge as a share of the box's side.
        resamples: of the bootstrap over groups.
        progress: wraps the samples to show a progress bar.

    Returns:
        Scores per object, per image and overall. An image that cannot be read, or has no object
        to prompt for, is a finding.

    Raises:
        SettingsError: a kind is unknown or not what the model takes, or an option is impossible.
        SourceError: no image has an object.

    Source: boxes and corrective points as A. Kirillov et al., Segment anything, ICCV 2023, and
    N. Xu et al., Deep interactive object selection, CVPR 2016, simulate them.
    """
    chosen = check_kinds(kinds, segmenter.accepts, name=segmenter.name)
    embed = _embedder(segmenter, filters, cache)
    images: list[ImagePromptScore] = []
    rows: list[ObjectScore] = []
    findings: list[Finding] = []
    scored = _samples(source, objects, least_area=least_area, most=most_objects, seed=seed)
    for found in progress(scored, total=len(source), what="prompting"):
        if isinstance(found, Finding):
            findings.append(found)
            continue
        sample, map_of = found
        tally = Tally(sample, map_of, source.class_names)
        try:
            prompt_objects(segmenter, embed(sample.image), tally, chosen, seed=seed, jitter=jitter)
        except ImageFileError as error:
            findings.append(Finding("unreadable", "error", (sample.id,), str(error)))
            continue
        images.extend(tally.images())
        rows.extend(sorted(tally.rows, key=lambda row: (chosen.index(row.kind), row.number)))
    if not images:
        raise SourceError(
            expected(
                f"the source {source.name}",
                "of at least one readable image with an object in its mask",
                f"none, and {len(findings)} findings"
                + (f", the first: {findings[0].message}" if findings else ""),
                "another split, a smaller `least_area`, or mending the files",
            )
        )
    overall = {
        kind: summarise_prompted(
            [image for image in images if image.kind == kind], resamples=resamples, seed=seed
        )
        for kind in chosen
    }
    settings = {
        "source": source.name, "target": source.target, "objects": objects, "seed": seed,
        "least_area": least_area, "most_objects": most_objects, "jitter": jitter,
        "filters": None if filters is None else str(filters),
    }  # fmt: skip
    return PromptedScores(
        segmenter.name, tuple(chosen), overall, tuple(images), tuple(rows), tuple(findings),
        settings,
    )  # fmt: skip


def _embedder(segmenter: AnswersPrompts, filters: Any, cache: Any) -> Embed:
    if cache is None:
        return lambda image: segmenter.embed(image, filters=filters)
    return lambda image: cache.embed(segmenter, image, filters=filters)


def _samples(
    source: Source, objects: Objects, *, least_area: int, most: int | None, seed: int
) -> Iterator[tuple[Sample, ObjectMap] | Finding]:
    for index, record in enumerate(source.records):
        try:
            sample = source[index]
        except (ImageFileError, SourceError) as error:
            yield Finding("unreadable", "error", (record.id,), str(error))
            continue
        if sample.mask is None:
            yield Finding(
                "missing-mask", "error", (record.id,), f"{record.id} has no mask to prompt from."
            )
            continue
        found = objects_of(
            sample.mask,
            n_classes=source.n_classes,
            objects=objects,
            first=1 if source.has_background else 0,
            least_area=least_area,
            most=most,
            seed=seed,
        )
        if len(found):
            yield sample, found
        else:
            text = f"{record.id} has no object of {least_area} pixels or more to prompt for."
            yield Finding("nothing-to-prompt", "note", (record.id,), text)
