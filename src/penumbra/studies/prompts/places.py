"""Where a study of prompts keeps what, and what a piece of its work is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penumbra.errors import SettingsError, expected
from penumbra.evaluation.prompt_baselines import BASELINES, BoxRule
from penumbra.imaging.filters import FilterChain
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.studies.prompts.experiment import PromptStudyExperiment

RULES = {rule.name.replace(" ", "-").lower(): rule for rule in BASELINES}
"""The rules that need no network, by the names that folders know them by."""

NO_FILTER = "-"
"""Stands for the filter of a rule, which sees the image as it is."""


@dataclass(frozen=True)
class PromptCell:
    """One kind of prompt, answered in one way.

    Attributes:
        method: name of a tuning, or of a rule.
        filter: name of the filter; `NO_FILTER` for a rule.
        kind: of the prompts.
        seed: of the tuning; of what is not tuned, the study's first.
    """

    method: str
    filter: str
    kind: str
    seed: int

    def __str__(self) -> str:
        """Write it as tables and messages do."""
        return f"{self.method}/{self.filter}/{self.kind}/{self.seed}"


@dataclass(frozen=True)
class PromptStudy:
    """A study with its folders, and with what its model says of itself.

    Attributes:
        experiment: what is asked for.
        out: everything that is made lies here.
        data: where the path of the source begins.
        weights: SHA-256 of the model's weights.
        accepts: the kinds of prompt that the model takes.
    """

    experiment: PromptStudyExperiment
    out: Path
    data: Path
    weights: str
    accepts: tuple[str, ...]

    @property
    def manifest(self) -> Path:
        """Which sample is in which split."""
        return self.out / "manifest.csv"

    @property
    def working_set(self) -> Path:
        """The samples, shrunk."""
        return self.out / "set"

    @property
    def made_of(self) -> Path:
        """What the working set was made of, and what was left out."""
        return self.out / "set.json"

    @property
    def embeddings(self) -> Path:
        """Embeddings of the model as it came: shared by zero-shot, decoders and all prompts."""
        return self.out / "embeddings"

    def run(self, tuning: str, filter_name: str, seed: int) -> Path:
        """The run folder of a tuning; filters that treat pixels alike share it."""
        return self.out / "runs" / tuning / f"{self.pixels_of(filter_name)}-{seed}"

    def cell(self, cell: PromptCell) -> Path:
        """The result of a cell."""
        return self._of(cell, "cells", ".json")

    def picture(self, cell: PromptCell) -> Path:
        """The picture of a cell."""
        return self._of(cell, "pictures", ".png")

    def _of(self, cell: PromptCell, folder: str, suffix: str) -> Path:
        return self.out / folder / cell.method / cell.filter / f"{cell.kind}-{cell.seed}{suffix}"

    def chain(self, filter_name: str) -> FilterChain:
        """The chain of a filter; empty for a rule."""
        return self.experiment.filters.get(filter_name, FilterChain())

    def pixels_of(self, filter_name: str) -> str:
        """Name the first filter whose chain changes pixels as this one's does."""
        mine = self.experiment.filters[filter_name].pixels
        chains = self.experiment.filters.items()
        return next(name for name, chain in chains if chain.pixels == mine)

    def kinds_of(self, method: str, filter_name: str) -> tuple[str, ...]:
        """Give the kinds of prompts that a method takes, with what a filter adds to them."""
        accepts = RULES[method].accepts if method in RULES else self.accepts
        added = self.chain(filter_name).prompt
        if added is not None and ("point" if added.form == "points" else "mask") not in accepts:
            return ()
        return tuple(
            kind
            for kind in self.experiment.kinds
            if ("point" if kind.startswith("point") else "box") in accepts
        )


def rule_of(method: str) -> BoxRule | None:
    """Give the rule of that name, or ``None`` for a tuning."""
    return RULES.get(method)


def open_study(
    experiment: PromptStudyExperiment, out: Path | str, data: Path | str = "."
) -> PromptStudy:
    """Load the model once, to know its weights and which prompts it takes.

    Raises:
        ModelError: it cannot be loaded.
        SettingsError: it takes none of the study's prompts, or a tuning has a rule's name.
        MissingExtraError: transformers is not installed.
    """
    taken = next((name for name in experiment.tunings if name in RULES), None)
    if taken is not None:
        raise SettingsError(
            expected("the names of tunings", "other than those of rules", taken, "another name")
        )
    model = PromptableSegmenter.from_pretrained(experiment.model)
    if model.filters:
        raise SettingsError(
            expected(f"the model {experiment.model}", "without filters of its own, since the study "
                     "chooses them", model.filters.label, "the model that it was tuned from")
        )  # fmt: skip
    accepts = tuple(sorted(model.accepts))
    study = PromptStudy(experiment, Path(out), Path(data), model.weights_digest, accepts)
    first = next(iter(experiment.tunings))
    if not study.kinds_of(first, experiment.base_filter):
        raise SettingsError(
            expected("kinds", f"some that {experiment.model} takes ({', '.join(accepts)})",
                     ", ".join(experiment.kinds), "other kinds, or another model")
        )  # fmt: skip
    return study


def some_of(wanted: Sequence[str] | None, known: Sequence[str], option: str) -> tuple[str, ...]:
    """Give those of `known` that are wanted, all by default.

    Raises:
        SettingsError: one is not known.
    """
    unknown = next((name for name in wanted or () if name not in known), None)
    if unknown is not None:
        raise SettingsError(
            expected(option, f"some of {', '.join(known)}", unknown, f"{option} {known[0]}")
        )
    return tuple(name for name in known if wanted is None or name in wanted)
