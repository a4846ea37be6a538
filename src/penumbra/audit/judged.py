"""What `penumbra.audit.label_noise.label_noise` gives: labels, judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from penumbra.audit.label_scores import ImageScores
from penumbra.data.sample import Finding

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Suspect:
    """A component of an image in which a network contradicts the label.

    Attributes:
        sample: the image's id.
        labelled: name of the class that the label has there.
        predicted: name of the class that the network has there.
        pixels: its area.
        box: xyxy in pixels, the far edges exclusive.
        score: 1 − mean p(labelled class), in [0, 1], higher is more suspicious.
        confident: whether the mean p(predicted class) reaches the threshold of that class.
    """

    sample: str
    labelled: str
    predicted: str
    pixels: int
    box: tuple[int, int, int, int]
    score: float
    confident: bool


@dataclass(frozen=True)
class JudgedImage:
    """What a network that never saw the label says about it.

    Attributes:
        id: the sample.
        group: its group.
        run: the run that judged it.
        role: ``"test"``, ``"unseen"`` (not in the run's manifest) or ``"val"``, whose samples chose
            the run's best epoch and so are judged a little mildly.
        scores: of the whole image.
        components: where label and network differ, the largest area times score first.
    """

    id: str
    group: str
    run: str
    role: str
    scores: ImageScores
    components: tuple[Suspect, ...]

    @property
    def score(self) -> float:
        """Label-error score of the image in [0, 1], higher is more suspicious."""
        return self.scores.score


@dataclass(frozen=True)
class LabelNoise:
    """The labels of a source, judged.

    Attributes:
        images: those that were judged, the most suspicious first.
        thresholds: class → t_c, the mean p(c) over all pixels labelled c; not a number for a class
            that no label has.
        findings: ``label-error`` for each image with a score of ½ or more, or with a confident
            component; ``in-fold`` for samples that every run was trained on; files that could not
            be read.
    """

    images: tuple[JudgedImage, ...]
    thresholds: Mapping[str, float]
    findings: tuple[Finding, ...]

    @property
    def components(self) -> tuple[Suspect, ...]:
        """All components, the largest area times score first."""
        every = (each for image in self.images for each in image.components)
        return tuple(sorted(every, key=lambda each: -each.score * each.pixels))

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "thresholds": dict(self.thresholds),
            "images": [asdict(image) for image in self.images],
            "findings": [finding.to_json() for finding in self.findings],
        }

    def to_frame(self) -> pd.DataFrame:
        """Give the images as a table, the most suspicious first."""
        import pandas as pd  # noqa: PLC0415  # half a second that most callers do not need

        return pd.DataFrame(
            [
                {"id": each.id, "group": each.group, "run": each.run, "role": each.role,
                 **asdict(each.scores), "components": len(each.components)}
                for each in self.images
            ]
        )  # fmt: skip

    def components_frame(self) -> pd.DataFrame:
        """Give the components as a table, the largest area times score first."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame([asdict(each) for each in self.components])
