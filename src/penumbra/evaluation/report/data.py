"""What a report is made of: plain values and a handful of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Finding
from penumbra.inference.calibration import Calibration
from penumbra.inference.prediction import Prediction

Role = Literal["best", "median", "worst"]
Interval = Mapping[str, object]
"""``{"mean": …, "low": …, "high": …}``; NaN or ``None`` where undefined, shown as –."""


@dataclass(frozen=True)
class ReportPicture:
    """One evaluated image that the report shows.

    Attributes:
        id: the sample's id.
        role: why it is shown. The first of each role is drawn large; then come all the worst.
        scores: the image's metrics by name, such as ``{"dice": 0.91}``.
        image: (H, W), (H, W, 1) or (H, W, 3), uint8, uint16 or float32.
        truth: (H, W) class indices, 255 = ignore; ``None`` where unknown.
        prediction: what the segmenter says about the image; with its samples, six of them are
            drawn, and with `flagged`, the picture says whether somebody was asked to look.
        threshold: least foreground probability of a mask of two classes.
    """

    id: str
    role: Role
    scores: Mapping[str, float | None]
    image: NDArray[np.generic]
    truth: NDArray[np.uint8] | None
    prediction: Prediction
    threshold: float = 0.5


@dataclass(frozen=True)
class AreaRow:
    """The area of one class in one image, as it was foretold and as it is.

    Attributes:
        id: the sample's id.
        class_name: the class.
        low: lower end of the interval in pixels.
        estimate: in pixels.
        high: upper end of the interval in pixels.
        truth: pixels of the class in the truth; ``None`` where unknown.
    """

    id: str
    class_name: str
    low: float
    estimate: float
    high: float
    truth: float | None


@dataclass(frozen=True)
class ReportData:
    """Everything `write_report` puts on the page. Any collection may be empty.

    Attributes:
        title: heading of the page.
        run_name: name of the run that was evaluated.
        source_name: where the images came from, such as ``"dsb2018:"``.
        split: which split was evaluated.
        n_images: images evaluated.
        n_groups: groups they belong to; intervals are resampled over these.
        overall: metric → interval, over the foreground classes together.
        per_class: class name → metric → interval.
        class_names: all class names by index, background included.
        per_image: rows of the table: ``id``, ``group``, ``class`` (or ``class_name``), then
            metrics by name. Rows whose ``scored`` is false, such as those of the background, are
            left out. From ``mean_entropy`` (nats) risk against coverage is drawn.
        reliability: rows ``{"low", "high", "confidence", "accuracy", "count"}``, one for each
            bin of confidence; see `ReliabilityBin`.
        doubt: rows ``{"pixels", "errors"}``: the share of pixels most in doubt and the share of
            all errors among them; see `ErrorsByDoubt`. Worked out from the pictures when empty.
        reliability_before: the same rows as `reliability`, before calibration.
        pixel_risk: rows ``{"coverage", "risk"}``: the share of pixels kept, least doubtful first,
            and the share of errors among them, up to a coverage of 1; see `ErrorsByDoubt`.
        pixel_aurc: area under risk against coverage of the pixels, as measured.
        image_doubt: sample id → doubt about the whole image, for risk against coverage; the mean
            entropy of the table where it is empty.
        image_doubt_name: what that doubt is called.
        image_aurc: area under risk against coverage of the images by that doubt, as measured.
        areas: areas with their intervals; see `AreaRow`.
        area_level: coverage that the intervals aim at, in (0, 1).
        area_coverage: class name → measured coverage with its interval.
        area_note: a sentence to add, such as why intervals have no ends.
        flags: sample id → whether somebody was asked to look at it; of every scored image.
        presence: class name → how many images that show it, or do not, were said to; see
            `penumbra.evaluation.presence.presence_section`.
        sampler: a sentence about the passes behind each prediction and their cost.
        calibration: what `penumbra calibrate` learned about the run.
        history: rows of ``history.jsonl``: ``epoch`` and whatever was logged; every column with
            ``loss`` or ``dice`` in its name is drawn.
        pictures: what to show; the worst from the worst on.
        findings: what was noticed about the data on the way.
        model_summary: one line about the network, such as ``"U-Net, width 32, 7.8 M weights"``.
        command: what to type to repeat the evaluation.
        versions: version by package or tool.
        seeds: seed by what it is for.
        created: when, as text.
    """

    title: str
    run_name: str
    source_name: str
    split: str
    n_images: int
    n_groups: int
    overall: Mapping[str, Interval]
    per_class: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    per_image: Sequence[Mapping[str, Any]] = ()
    reliability: Sequence[Mapping[str, float]] = ()
    doubt: Sequence[Mapping[str, float]] = ()
    reliability_before: Sequence[Mapping[str, float]] = ()
    pixel_risk: Sequence[Mapping[str, float]] = ()
    pixel_aurc: Interval | None = None
    image_doubt: Mapping[str, float] = field(default_factory=dict)
    image_doubt_name: str = "mean entropy"
    image_aurc: Interval | None = None
    areas: Sequence[AreaRow] = ()
    area_level: float | None = None
    area_note: str = ""
    area_coverage: Mapping[str, Interval] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    presence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sampler: str = ""
    calibration: Calibration | None = None
    history: Sequence[Mapping[str, Any]] = ()
    pictures: tuple[ReportPicture, ...] = ()
    findings: Sequence[Finding] = ()
    model_summary: str = ""
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    created: str = ""
