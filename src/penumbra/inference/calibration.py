"""What `penumbra calibrate` learned about a run: `calibration.json`, read and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from penumbra.errors import RunError, SettingsError, expected
from penumbra.inference.samplers import Sampler
from penumbra.inference.scores import SCORES
from penumbra.noise.patterns import Pattern
from penumbra.storage import write_json

CALIBRATION_VERSION = 1
CALIBRATION_FILE = "calibration.json"

Vector = tuple[float, ...]


class _Settings(BaseModel):
    """Frozen; a key that is not known is an error rather than a silently ignored line."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


class LinearMap(_Settings):
    """A linear map of standardised features, level by level, upsampled and summed.

    out_r(x) = bias_r + Σ_level up(Σ_c weight[level][r][c] · (f_c − mean_c) / std_c).

    Attributes:
        taps: names of the submodules whose outputs are the features, one per level.
        mean: per level, per channel.
        std: per level, per channel; positive.
        weight: per level, R rows of one number per channel.
        bias: (R,).
    """

    taps: tuple[str, ...]
    mean: tuple[Vector, ...]
    std: tuple[Vector, ...]
    weight: tuple[tuple[Vector, ...], ...]
    bias: Vector

    @model_validator(mode="after")
    def _whole(self) -> Self:
        levels = (self.mean, self.std, self.weight)
        if {len(level) for level in levels} != {len(self.taps)}:
            raise ValueError(f"mean, std or weight are not of {len(self.taps)} levels")
        for name, mean, std, rows in zip(self.taps, *levels, strict=True):
            if len(rows) != len(self.bias):
                raise ValueError(f"{len(rows)} rows at {name} for {len(self.bias)} biases")
            if {len(mean), len(std), *map(len, rows)} != {len(mean)}:
                raise ValueError(f"mean, std and weight at {name} differ in their channels")
            if not all(s > 0 for s in std):
                raise ValueError(f"a standard deviation at {name} that is not above 0")
        return self


class Temperature(_Settings):
    """How logits are scaled before they become probabilities.

    ``global``: μ / T; ``class``: μ_k / T_k; ``local``: μ / T · exp(−1.5 · tanh h(x)) with a linear
    map h of decoder features, so that a mask at ½ stays the same.
    """

    kind: Literal["global", "class", "local"] = "global"
    values: Vector = Field(default=(1.0,), min_length=1)
    map: LinearMap | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not all(value > 0 for value in self.values):
            raise ValueError(f"a temperature that is not above 0 among {self.values}")
        if self.kind != "class" and len(self.values) != 1:
            raise ValueError(f"{len(self.values)} values for a {self.kind} temperature")
        if self.kind == "local" and (self.map is None or len(self.map.bias) != 1):
            raise ValueError("a local temperature without a map of one row")
        return self


class NoiseSite(_Settings):
    """Noise at one site: h′ = h + gate · s_c · n, or softplus(w·f + b) for the gate.

    Attributes:
        gate: amplitude in standard deviations of the channel.
        std: (C,) stored standard deviations s_c.
        pattern: of n.
        gate_weight: (C,) w of an input-dependent gate on standardised features; empty where the
            gate is one number.
        gate_bias: b of an input-dependent gate.
        mean: (C,) stored means, for standardising; empty where the gate is one number.
    """

    gate: float = Field(ge=0)
    std: Vector = Field(min_length=1)
    pattern: Pattern = Pattern()
    gate_weight: Vector = ()
    gate_bias: float = 0.0
    mean: Vector = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not all(s >= 0 for s in self.std):
            raise ValueError("a standard deviation below 0")
        for name, given in (("gate_weight", self.gate_weight), ("mean", self.mean)):
            if given and len(given) != len(self.std):
                raise ValueError(f"{len(given)} numbers of {name} for {len(self.std)} channels")
        if self.gate_weight and not self.mean:
            raise ValueError("a gate that depends on the features, without their means")
        return self


class FeatureNoise(_Settings):
    """Calibrated noise in features, by site; there is at least one."""

    sites: dict[str, NoiseSite] = Field(min_length=1)
    antithetic: bool = True


class LogitNoise(_Settings):
    """Noise in logit space: η = μ/T + e^s · Σ_r P_r(x) · n_r.

    Attributes:
        map: gives P, R · K rows (all classes of r = 0 first).
        log_scale: s.
        lengths: per r, the cell of its unit-variance lattice field in image pixels; 0 stands for
            a factor that is one number for the whole image.
        temperature: T of μ here.
    """

    map: LinearMap
    log_scale: float = Field(ge=-50, le=50)
    lengths: Vector = Field(min_length=1)
    temperature: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if min(self.lengths) < 0:
            raise ValueError(f"a length below 0 among {self.lengths}")
        rows = len(self.map.bias)
        if rows == 0 or rows % len(self.lengths):
            raise ValueError(f"{rows} rows of the map for {len(self.lengths)} lengths")
        return self


class AreaInterval(_Settings):
    """Split-conformal intervals for areas and for volumes of a group, per class.

    An interval is estimate ± quantile · scale. `quantile` and `group_quantile` may be absent for
    a class that validation never showed.

    Attributes:
        level: nominal coverage.
        class_names: which classes the rows belong to.
        quantile: per class, for one image.
        group_quantile: per class, for the sum over a group's images.
        n_groups: validation groups it rests on.
        coverage: per class, of images of groups left out of the fit, one group at a time.
        sampler: whose predictions it was fitted on; ``None`` stands for the calibration's.
    """

    level: float = Field(gt=0, lt=1)
    class_names: tuple[str, ...]
    quantile: tuple[float | None, ...]
    group_quantile: tuple[float | None, ...]
    n_groups: int = Field(ge=0)
    coverage: tuple[float | None, ...] = ()
    sampler: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        rows = {
            "quantile": self.quantile,
            "group_quantile": self.group_quantile,
            "coverage": self.coverage,
        }
        for name, row in rows.items():
            if len(row) != len(self.class_names) and (row or name != "coverage"):
                raise ValueError(f"{len(row)} values of {name} for {len(self.class_names)} classes")
            if any(value is not None and value < 0 for value in row):
                raise ValueError(f"a value of {name} below 0")
        _check_sampler(self.sampler)
        return self


class Flag(_Settings):
    """When an image asks to be looked at: a score above a threshold, both from validation.

    Attributes:
        score: one of `penumbra.inference.scores.SCORES`.
        threshold: above it, an image is flagged.
        share: of the validation images that may be above.
        sampler: whose predictions it was fitted on; ``None`` stands for the calibration's.
    """

    score: str
    threshold: float
    share: float = Field(default=0.2, gt=0, lt=1)
    sampler: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.score not in SCORES:
            raise ValueError(f"the score {self.score!r}, which is none of {', '.join(SCORES)}")
        _check_sampler(self.sampler)
        return self


def _check_sampler(text: str | None) -> None:
    try:
        Sampler.parse("deterministic" if text is None else text)
    except SettingsError as error:
        raise ValueError(f"the sampler {text!r}, which cannot be read") from error


class Calibration(_Settings):
    """Everything that was learned on held-out data after training; the network stays as it is.

    Attributes:
        version: format of the file.
        temperature: of the deterministic pass.
        noise_temperature: of noisy passes, where noise was fitted; else that of `temperature`.
        noise: feature noise, where it was fitted.
        logit_noise: noise in logit space, where it was fitted.
        sampler: what predict and evaluate use where nothing else is asked for.
        area: intervals for areas.
        flag: when to ask for a look.
        weights: SHA-256 of the file of weights that it belongs to; ``None`` where it is unknown.
        record: how it was fitted, and what was kept against what, in plain values.
    """

    version: int = Field(default=CALIBRATION_VERSION, ge=1, strict=True)
    temperature: Temperature = Temperature()
    noise_temperature: Temperature | None = None
    noise: FeatureNoise | None = None
    logit_noise: LogitNoise | None = None
    sampler: str = "deterministic"
    area: AreaInterval | None = None
    flag: Flag | None = None
    weights: str | None = None
    record: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _check_sampler(self.sampler)
        return self

    def promises_for(self, sampler: Sampler, part: AreaInterval | Flag | None) -> bool:
        """Say whether intervals or flags hold for predictions by this sampler.

        Examples:
            >>> learned = Calibration(sampler="noise:8", flag=Flag(score="soft_dice", threshold=1))
            >>> [learned.promises_for(Sampler.parse(text), learned.flag)
            ...  for text in ("noise:8", "deterministic")]
            [True, False]
        """
        if part is None:
            return False
        return str(Sampler.parse(part.sampler or self.sampler)) == str(sampler)

    def check_weights(self, digest: str) -> None:
        """Refuse to go with other weights than those it was fitted to.

        Raises:
            RunError: they are others.
        """
        if self.weights is not None and self.weights != digest:
            raise RunError(
                expected(CALIBRATION_FILE, "of the run's present weights", "that of other ones",
                         "`penumbra calibrate` again, or --uncalibrated")
            )  # fmt: skip

    def withheld(self, sampler: Sampler) -> str | None:
        """Say which promises do not hold for predictions by this sampler, if any.

        Examples:
            >>> learned = Calibration(sampler="noise:8", flag=Flag(score="soft_dice", threshold=1))
            >>> learned.withheld(Sampler.parse("deterministic"))
            'No flag: it was calibrated for noise:8. Try --sampler noise:8.'
            >>> learned.withheld(Sampler.parse("noise:8"))
        """
        parts = {"area intervals": self.area, "flag": self.flag}
        broken = {
            name: str(Sampler.parse(part.sampler or self.sampler))
            for name, part in parts.items()
            if part is not None and not self.promises_for(sampler, part)
        }
        if not broken:
            return None
        whose = ", ".join(dict.fromkeys(broken.values()))
        what, were = " and no ".join(broken), "they were" if len(broken) > 1 else "it was"
        return f"No {what}: {were} calibrated for {whose}. Try --sampler {whose}."

    @classmethod
    def read(cls, run: Path) -> Self | None:
        """Read the calibration of a run folder; ``None`` where it was never calibrated.

        Raises:
            RunError: the file is damaged, or of a newer version.
        """
        path = Path(run) / CALIBRATION_FILE
        if not path.is_file():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            version = document.get("version") if isinstance(document, dict) else None
            if isinstance(version, int) and version > CALIBRATION_VERSION:
                raise RunError(
                    expected(f"the version of {path}", f"at most {CALIBRATION_VERSION}", version,
                             "upgrading Penumbra, since a newer version wrote it")
                )  # fmt: skip
            return cls.model_validate(document)
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(
                expected(str(path), "a calibration", _reason(error), "`penumbra calibrate` again")
            ) from error

    def write(self, run: Path) -> None:
        """Write `calibration.json` into a run folder, atomically."""
        write_json(Path(run) / CALIBRATION_FILE, self.model_dump(mode="json"))


def _reason(error: Exception) -> str:
    """Say in a few words what is wrong with the file, and where."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = str(first["msg"]).removeprefix("Value error, ")
        return f"{place}: {message}" if place else message
    if isinstance(error, RecursionError):
        return "brackets within brackets without end"
    return " ".join(str(error).split())[:200]
