"""What `penumbra calibrate` learned about a run: `calibration.json`, read and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penumbra.errors import RunError, expected
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


class Temperature(_Settings):
    """How logits are scaled before they become probabilities.

    ``global``: μ / T; ``class``: μ_k / T_k; ``local``: μ / T · exp(−1.5 · tanh h(x)) with a linear
    map h of decoder features, so that a mask at ½ stays the same.
    """

    kind: Literal["global", "class", "local"] = "global"
    values: Vector = Field(default=(1.0,), min_length=1)
    map: LinearMap | None = None


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
    std: Vector
    pattern: Pattern = Pattern()
    gate_weight: Vector = ()
    gate_bias: float = 0.0
    mean: Vector = ()


class FeatureNoise(_Settings):
    """Calibrated noise in features, by site."""

    sites: dict[str, NoiseSite]
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
    log_scale: float
    lengths: Vector
    temperature: float = Field(default=1.0, gt=0)


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
    """

    level: float = Field(gt=0, lt=1)
    class_names: tuple[str, ...]
    quantile: tuple[float | None, ...]
    group_quantile: tuple[float | None, ...]
    n_groups: int
    coverage: tuple[float | None, ...] = ()


class Flag(_Settings):
    """When an image asks to be looked at: a score above a threshold, both from validation."""

    score: str
    threshold: float
    share: float = 0.2


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
        record: how it was fitted, and what was kept against what, in plain values.
    """

    version: int = CALIBRATION_VERSION
    temperature: Temperature = Temperature()
    noise_temperature: Temperature | None = None
    noise: FeatureNoise | None = None
    logit_noise: LogitNoise | None = None
    sampler: str = "deterministic"
    area: AreaInterval | None = None
    flag: Flag | None = None
    record: dict[str, Any] = Field(default_factory=dict)

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
        except (OSError, ValueError, ValidationError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(
                expected(str(path), "a calibration", reason, "`penumbra calibrate` again")
            ) from error

    def write(self, run: Path) -> None:
        """Write `calibration.json` into a run folder, atomically."""
        write_json(Path(run) / CALIBRATION_FILE, self.model_dump(mode="json"))
