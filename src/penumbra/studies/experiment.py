"""A study as one file of data: which sets, networks, rows and shifts, and within which bounds."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from penumbra.data.source import Symmetry
from penumbra.errors import SettingsError, expected
from penumbra.evaluation.shift import Shift, parse_shifts
from penumbra.inference.samplers import Sampler
from penumbra.noise.patterns import PatternName
from penumbra.training.experiment import Experiment, ImageSettings, SplitSettings

STUDY_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class Part(BaseModel):
    """Frozen, and a key that is not known is an error rather than a silently ignored line."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Named(Part):
    """Something whose name is also a folder's."""

    name: str

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("a name of letters, digits, dots, dashes, plus signs and underscores")
        return name


class SetSettings(Named):
    """One data set.

    Attributes:
        source: ``LAYOUT:PATH`` or a manifest; the path is taken from the data folder. For
            ``phantom:COUNT`` a phantom set of so many images is made.
        target: what the masks show, where the layout has several.
        split: how it is divided; a manifest says so itself.
        image: at which size the networks see it, and everything is scored.
        limits: at most so many samples of a split, evenly spread over its order.
        window: test images that are larger are cut to a window in their middle, of so many
            pixels a side, where networks see crops; it bounds the time.
        model: arguments of the networks on this set, over those of the study.
    """

    source: str
    target: str | None = None
    split: SplitSettings = SplitSettings()
    image: ImageSettings = ImageSettings(size=128)
    limits: dict[Literal["train", "val", "test"], int] = Field(default_factory=dict)
    window: int | None = Field(default=None, ge=16)
    model: dict[str, Any] = Field(default_factory=dict)


class KindSettings(Part):
    """A kind of network.

    Attributes:
        set: changes to the experiment, ``section.key=value`` each.
        seeds: which seeds it is trained with; by default the study's.
        folds: 0, or into how many folds training and validation samples are divided again; the
            seed is then the number of the fold that validates.
    """

    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    folds: int = Field(default=0, ge=0)


class CalibrationChoice(Part):
    """What is fitted on the validation split, after training, with nothing left to chance.

    Attributes:
        temperature: ``none`` leaves the logits as they are.
        noise: whether noise is fitted in the features.
        sites: ``skips`` (with the bottleneck), ``encoder``, or names joined by commas.
        pattern: of the noise.
        length: its correlation length in image pixels.
        n_eff: effective independent pixels of a tile; the dial of dispersion.
        gates: one number per site, or a function of the features (``input``).
        logit_noise: whether noise in logit space is fitted.
        marginal: weight of the pixels' NLL beside the tiles' in the fit of noise in the features.
        auto: leave it all to `penumbra calibrate`, which keeps what pays on validation; only
            `sites` and `n_eff` count then.
    """

    temperature: Literal["none", "global", "class", "local"] = "global"
    noise: bool = False
    sites: str = "skips"
    pattern: PatternName = "lattice"
    length: float = Field(default=32.0, gt=0)
    n_eff: float = Field(default=16.0, gt=0)
    gates: Literal["scalar", "input"] = "scalar"
    logit_noise: bool = False
    marginal: float = Field(default=0.5, ge=0, le=1)
    auto: bool = False

    @property
    def name(self) -> str:
        """A file name that says all of it.

        Examples:
            >>> CalibrationChoice().name, CalibrationChoice(noise=True, length=8).name
            ('global', 'global+noise-skips-scalar-lattice-8-n16')
        """
        if self.auto:
            return f"auto-{self.sites.replace(',', '_').replace(' ', '')}-n{self.n_eff:g}"
        parts: list[str] = [self.temperature]
        if self.noise:
            sites = self.sites.replace(",", "_").replace(" ", "")
            shape = f"{self.pattern}-{self.length:g}"
            parts.append(f"noise-{sites}-{self.gates}-{shape}-n{self.n_eff:g}")
            parts[-1] += f"-m{self.marginal:g}" if self.marginal != 0.5 else ""
        if self.logit_noise:
            parts.append(f"logit-n{self.n_eff:g}")
        return "+".join(parts)


class Row(Named):
    """One way to predict, evaluated on every set with every seed.

    Attributes:
        kind: the kind of network.
        sampler: which passes; see `Sampler`. ``null`` for what the calibration chose.
        calibration: what is fitted first; ``null`` for nothing.
        members: networks of an ensemble; by default all seeds.
        symmetry: the symmetries of augmentation; by default those that the set's images have.
        sets: only these sets; by default all that have what the sampler needs.
        seeds: only these seeds; by default all of the kind.
    """

    kind: str = "plain"
    sampler: str | None = "deterministic"
    calibration: CalibrationChoice | None = CalibrationChoice()
    members: int | None = Field(default=None, ge=2)
    symmetry: Symmetry | None = None
    sets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None

    @field_validator("sampler")
    @classmethod
    def _can_be_read(cls, text: str | None) -> str | None:
        try:
            return None if text is None else str(Sampler.parse(text))
        except SettingsError as error:
            raise ValueError(str(error)) from error

    @property
    def plan(self) -> Sampler:
        """The sampler; one pass where the calibration chooses."""
        return Sampler.parse(self.sampler or "deterministic")


class ShiftSettings(Part):
    """Which rows are evaluated under which shifts, after everything on clean images.

    Attributes:
        cells: ``kind:severity``, ``kind`` or ``all``.
        rows: which rows.
        sets: only these sets; by default all.
        seeds: only these seeds; by default all of the row.
    """

    cells: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    sets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None

    @field_validator("cells")
    @classmethod
    def _exist(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(f"{s.kind}:{s.severity}" for s in parse_shifts(texts)) if texts else ()
        except SettingsError as error:
            raise ValueError(str(error)) from error

    @property
    def shifts(self) -> tuple[Shift, ...]:
        """The shifts."""
        return parse_shifts(self.cells) if self.cells else ()


class StudyExperiment(Part):
    """A whole study.

    Attributes:
        version: format of the file.
        sets: the data sets, the smallest first.
        experiment: settings of every training, as those of `penumbra train`, without source.
        seeds: of the trainings.
        kinds: kinds of networks by name.
        rows: what is compared, what teaches most first.
        baselines: rows that every other row is compared with.
        shifts: rows under shift.
        metrics: what the tables show; every metric is kept.
        hours: bound on one start of the study; what is missing then is done by the next start.
    """

    version: int = STUDY_VERSION
    sets: tuple[SetSettings, ...] = Field(min_length=1)
    experiment: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    kinds: dict[str, KindSettings] = Field(default_factory=lambda: {"plain": KindSettings()})
    rows: tuple[Row, ...] = Field(min_length=1)
    baselines: tuple[str, ...] = ()
    shifts: ShiftSettings = ShiftSettings()
    metrics: tuple[str, ...] = ("dice", "nll", "joint_nll", "ece", "aurc", "image_aurc")
    hours: float | None = Field(default=None, gt=0)

    @classmethod
    def parse(cls, document: object, *, origin: str = "the study") -> Self:
        """Check plain values and make a study of them.

        Raises:
            SettingsError: an unknown key or name, or a wrong value.
        """
        version = document.get("version") if isinstance(document, Mapping) else None
        if isinstance(version, int) and version > STUDY_VERSION:
            raise SettingsError(
                expected(f"version in {origin}", f"at most {STUDY_VERSION}", version,
                         "upgrading Penumbra, since a newer version wrote this file")
            )  # fmt: skip
        try:
            study = cls.model_validate(document)
        except ValidationError as error:
            raise SettingsError(_first_problem(error, origin)) from error
        _check_names(study, origin)
        for settings in study.sets:
            for kind in study.kinds:
                study.training_of(settings, kind, study.seeds[0])
        return study

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a study from YAML.

        Raises:
            SettingsError: the file is missing, not YAML, or not a study.
        """
        try:
            document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            if isinstance(error, FileNotFoundError):
                reason = "no such file"
            raise SettingsError(
                expected(str(path), "a readable YAML file", reason, "checking the path")
            ) from error
        return cls.parse(document, origin=str(path))

    def training_of(self, settings: SetSettings, kind: str, seed: int) -> Experiment:
        """Give the experiment of one training, without its source.

        Raises:
            SettingsError: a setting is not one of `penumbra train`.
        """
        base = Experiment.parse(self.experiment, origin="section experiment of the study")
        document = base.model_dump(mode="json")
        document["image"] = settings.image.model_dump(mode="json")
        document["model"]["arguments"] |= settings.model
        document["training"]["seed"] = seed
        return Experiment.parse(document).with_settings(self.kinds[kind].set)

    def set_named(self, name: str) -> SetSettings:
        """Give a set by its name."""
        return next(each for each in self.sets if each.name == name)

    def row_named(self, name: str) -> Row:
        """Give a row by its name."""
        return next(each for each in self.rows if each.name == name)

    def seeds_of(self, kind: str) -> tuple[int, ...]:
        """Give the seeds, or folds, that a kind is trained with."""
        chosen = self.kinds[kind]
        return chosen.seeds or (tuple(range(chosen.folds)) if chosen.folds else self.seeds)


def _check_names(study: StudyExperiment, origin: str) -> None:
    sets = [each.name for each in study.sets]
    rows = [each.name for each in study.rows]
    for what, names in (("sets", sets), ("rows", rows)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(
                expected(f"the names of {what} in {origin}", "different", f"{twice[0]!r} twice",
                         "another name")
            )  # fmt: skip
    checks: list[tuple[str, tuple[str, ...], list[str]]] = [
        (f"kind of row {row.name}", (row.kind,), list(study.kinds)) for row in study.rows
    ]
    checks += [(f"sets of row {row.name}", row.sets or (), sets) for row in study.rows]
    checks += [
        ("baselines", study.baselines, rows),
        ("shifts.rows", study.shifts.rows, rows),
        ("shifts.sets", study.shifts.sets or (), sets),
    ]
    for what, wanted, known in checks:
        unknown = next((name for name in wanted if name not in known), None)
        if unknown is not None:
            near = difflib.get_close_matches(unknown, known, n=1)
            raise SettingsError(
                expected(f"{what} in {origin}", f"among {', '.join(known)}", repr(unknown),
                         repr(near[0]) if near else "one of them")
            )  # fmt: skip


def _first_problem(error: ValidationError, origin: str) -> str:
    problem = error.errors()[0]
    key = ".".join(map(str, problem["loc"])) or "the file"
    if problem["type"] == "extra_forbidden":
        return expected(f"every key in {origin}", "known", repr(key), "removing or correcting it")
    if problem["type"] == "missing":
        return expected(f"{key} in {origin}", "there", "nothing", f"a line `{key}: …`")
    wanted = problem["msg"].removeprefix("Value error, ")
    wanted = wanted[:1].lower() + wanted[1:]
    return expected(
        f"{key} in {origin}", f"valid ({wanted})", repr(problem["input"])[:80], "correcting it"
    )
