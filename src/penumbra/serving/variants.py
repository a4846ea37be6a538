"""One model under several plans of passes; all of them share its network."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from penumbra.errors import SettingsError, expected
from penumbra.inference.classical.predictor import ClassicalPredictor
from penumbra.inference.contract import ImagePredictor, load_predictor
from penumbra.inference.predictor import Predictor
from penumbra.inference.samplers import Sampler
from penumbra.serving.requests import DEFAULT_SAMPLES, SegmentRequest
from penumbra.serving.specs import ModelSpec, WorkerSettings

DEFAULT_STRENGTH = 0.3
"""Of noise in standard deviations, where the run has none of its own."""


@dataclass(frozen=True)
class Plan:
    """Which passes, and from what the mask.

    Attributes:
        sampler: the passes; ``None`` for the run's own.
        threshold: of the mask; ``None`` for the run's own.
        mask_from: the undisturbed pass, or the mean over the passes.
    """

    sampler: Sampler | None = None
    threshold: float | None = None
    mask_from: Literal["off", "mean"] = "off"


class ServedSegmenter:
    """A run, or a classical method, that is served.

    Args:
        spec: which.
        settings: bounds; so many `variants` are kept ready.

    Raises:
        RunError, SettingsError: it cannot be loaded.
    """

    def __init__(self, spec: ModelSpec, settings: WorkerSettings) -> None:
        self.name, self.settings = spec.name, settings
        options: dict[str, Any] = {"device": settings.device, "precision": settings.precision}
        self.base = load_predictor(_source(spec.source), **options)
        self._variants: OrderedDict[Plan, ImagePredictor] = OrderedDict()

    def describe(self) -> dict[str, Any]:
        """Give plain values for the list of models."""
        base = self.base
        network = base if isinstance(base, Predictor) else None
        return {
            "name": self.name,
            "kind": "segmenter",
            "classes": list(base.class_names),
            "network": network is not None,
            "has_noise": network is not None and network.has_own_noise,
            "sampler": str(base.sampler),
            "calibrated": base.calibration is not None,
            "threshold": base.threshold,
            "size": None if network is None else network.preprocess.size,
            "accepts": ["image"],
        }

    def plan(self, request: SegmentRequest) -> Plan:
        """Choose the passes that a request asks for.

        Raises:
            SettingsError: this model cannot make them.
        """
        mode, asked = request.noise_mode, (request.pattern, request.noise_strength)
        # The default must be possible, whatever the server's bound.
        usual = min(DEFAULT_SAMPLES, self.settings.max_samples)
        samples = usual if request.samples is None else request.samples
        sampler: Sampler | None = None
        if request.sampler is not None:
            sampler = Sampler.parse(request.sampler)
        elif mode == "disabled":
            sampler = Sampler()
        elif mode is not None:
            sampler = self._noise(request, 1 if mode == "single" else samples)
        elif any(one is not None for one in (*asked, request.samples)):
            sampler = self._noise(request, samples)
        mask_from: Literal["off", "mean"] = "mean" if mode in ("single", "ensemble") else "off"
        return Plan(sampler, request.threshold, mask_from)

    def predictor(self, plan: Plan) -> ImagePredictor:
        """Give what predicts by a plan; the last few are kept.

        Raises:
            SettingsError: the plan is not possible, or of more passes than may be asked for.
        """
        if plan not in self._variants:
            self._variants[plan] = self._made(plan)
        self._variants.move_to_end(plan)
        while len(self._variants) > self.settings.variants:
            self._variants.popitem(last=False)
        return self._variants[plan]

    def _noise(self, request: SegmentRequest, passes: int) -> Sampler:
        strength, pattern = request.noise_strength, None
        if request.pattern is not None:
            pattern = Sampler.parse(f"noise:1@1~{request.pattern}").pattern
        own = isinstance(self.base, Predictor) and self.base.has_own_noise
        if strength is None and (pattern is not None or not own):
            strength = DEFAULT_STRENGTH
        return Sampler(disturbance="noise", passes=passes, strength=strength, pattern=pattern)

    def _made(self, plan: Plan) -> ImagePredictor:
        if isinstance(self.base, Predictor):
            made = self.base.using(
                sampler=plan.sampler, threshold=plan.threshold, mask_from=plan.mask_from
            )
            # What the run itself draws behind its passes costs next to nothing.
            passes = len(made.passes) if plan.sampler is None else made.n_samples
            if passes > self.settings.max_samples:
                raise SettingsError(self._too_many(plan, made, passes))
            return made
        if plan.sampler not in (None, Sampler()):
            raise SettingsError(
                expected(f"the passes of {self.name}", "one without noise, as it is no network",
                         str(plan.sampler), "noise_mode=disabled, or another model")
            )  # fmt: skip
        threshold = self.base.threshold if plan.threshold is None else plan.threshold
        if not isinstance(self.base, ClassicalPredictor):
            return self.base
        return ClassicalPredictor(
            self.base.baseline, class_names=self.base.class_names, threshold=threshold
        )

    def _too_many(self, plan: Plan, made: Predictor, passes: int) -> str:
        most = self.settings.max_samples
        if plan.sampler is not None:
            return expected("the passes", f"at most {most}", passes, "fewer samples")
        return expected(
            f"the passes of {self.name}",
            f"at most {most}, which is all that this server makes for a request",
            f"{passes} by its own sampler, {made.sampler}",
            f"samples={most}, noise_mode=disabled, or a server with more max_samples",
        )


def _source(text: str) -> str | Path:
    return text if text.startswith("classical:") else Path(text)
