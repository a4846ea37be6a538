"""What a report is made of: plain values and a handful of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from penumbra.data.sample import Finding
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
        prediction: what the segmenter says about the image.
    """

    id: str
    role: Role
    scores: Mapping[str, float | None]
    image: NDArray[np.generic]
    truth: NDArray[np.uint8] | None
    prediction: Prediction


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
    history: Sequence[Mapping[str, Any]] = ()
    pictures: tuple[ReportPicture, ...] = ()
    findings: Sequence[Finding] = ()
    model_summary: str = ""
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    created: str = ""
