"""The predictor: images in, predictions out, the same bits wherever it runs."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from penumbra.errors import RunError, SettingsError, expected
from penumbra.inference.backend import Engine, Precision
from penumbra.inference.calibration import Calibration
from penumbra.inference.disturbances import has_own_noise
from penumbra.inference.finish import Finish
from penumbra.inference.groups import TileResult, with_presence
from penumbra.inference.jobs import Job, TileRef, grouped, prepare
from penumbra.inference.members import Member, check_members
from penumbra.inference.passes import MaskFrom, run_group
from penumbra.inference.prediction import Prediction
from penumbra.inference.preprocess import Preprocess
from penumbra.inference.presence import PresenceRule
from penumbra.inference.run_files import load_network
from penumbra.inference.running import running
from penumbra.inference.samplers import Cost, Pass, Sampler
from penumbra.inference.symmetry import Symmetries, symmetries_of
from penumbra.models.presence import PresenceWatch, head_of
from penumbra.models.storage import WEIGHTS_FILE
from penumbra.models.weights import check_weights, digest_of

_MOST_KEPT = 2**31
"""Bytes of single passes kept for one image; beyond that they are refused rather than swapped."""


class Predictor:
    """Segment images: preprocessing, tiling, passes, probabilities, mask, doubt.

    Results do not depend on what else is in the call: for one back end, precision and kind of
    machine an image gives the same bits alone and in any batch.

    Args:
        model: any module under the house's contract (float images in, logits out, same size).
        preprocess: the settings it was trained with.
        class_names: one name per class, background first.
        calibration: what `penumbra calibrate` learned of the model.
        presence: the rule that takes islands off masks and empties those of images that seem to
            show nothing.
        sampler: which passes; by default the calibration's choice, else one pass.
        members: further networks for an ensemble, each with its calibration.
        symmetry: which symmetries the images have.
        threshold: least foreground probability of the mask where there are two classes.
        overlap: least share of a tile that its neighbour repeats.
        batch_size: tiles per forward pass on a GPU; a CPU takes them one by one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        precision: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"fp16"``.

    Raises:
        SettingsError: the threshold, the overlap, the batch size, the device or the sampler is
            not possible.
        RunError: a weight is not finite, or the calibration is that of another network.

    Attributes:
        between: called before every pass over a group of tiles, also of what `using` gives; what
            it raises ends the call.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        preprocess: Preprocess,
        class_names: Sequence[str],
        calibration: Calibration | None = None,
        presence: PresenceRule | None = None,
        sampler: Sampler | str | None = None,
        members: Sequence[tuple[nn.Module, Calibration | None]] = (),
        symmetry: Symmetries = "none",
        threshold: float = 0.5,
        overlap: float = 0.25,
        batch_size: int = 4,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        _check_threshold(threshold)
        if batch_size < 1:
            raise SettingsError(expected("`batch_size`", "at least 1", batch_size, "4"))
        self.preprocess = preprocess
        self.class_names = tuple(class_names)
        self.calibration = calibration
        self.presence = presence
        self.threshold = threshold
        self.overlap = overlap
        self.batch_size = batch_size
        _check_classes(calibration, self.class_names)
        self.sampler = _choose(sampler, calibration)
        self.symmetries = symmetries_of(symmetry)
        self.mask_from: MaskFrom = "off"
        self.between: Callable[[], None] | None = None
        self._networks = [(model, calibration), *members]
        check_members([network for network, _ in self._networks], getattr(model, "n_classes", 1))
        self._engines: dict[int, Engine] = {}
        self._watches: dict[int, PresenceWatch] = {}
        self._wanted: dict[str, Any] = {
            "device": device, "precision": precision, "batch_size": batch_size,
        }  # fmt: skip
        self.members = self._members()
        if presence is not None and presence.score == "head" and not self._watches:
            presence.apply(np.zeros((1, 1), dtype=np.uint8))  # It says what is missing.
        self.passes = self._passes()

    def _members(self) -> tuple[Member, ...]:
        """Make ready the networks that the sampler needs; each is laid out once."""
        networks = self._networks if self.sampler.ensemble else self._networks[:1]
        side, channels = self.preprocess.size, self.preprocess.channels
        for number, (network, _) in enumerate(networks):
            if number not in self._engines:
                check_weights(network)
                engine = self._engines[number] = Engine.of(network, **self._wanted)
                if head_of(engine.module) is not None:
                    self._watches[number] = PresenceWatch(engine.module)
        return tuple(
            Member(
                self._engines[number],
                calibration=learned,
                sampler=self.sampler,
                network=network,
                example=torch.zeros(1, channels, side, side),
            )
            for number, (network, learned) in enumerate(networks)
        )

    def _passes(self) -> tuple[Pass, ...]:
        return self.sampler.passes_of(symmetries=len(self.symmetries), members=len(self.members))

    def using(
        self,
        *,
        sampler: Sampler | str | None = None,
        threshold: float | None = None,
        mask_from: MaskFrom = "off",
    ) -> Predictor:
        """Give a predictor with other settings that shares this one's networks.

        Args:
            sampler: which passes; by default this one's.
            threshold: of the mask; by default this one's.
            mask_from: the mask that each prediction shows: that of the undisturbed pass
                (``"off"``), or of the mean over the passes (``"mean"``). Nothing was calibrated
                for the latter, so that intervals and flags are withheld.

        Raises:
            SettingsError: as the constructor.
        """
        other = copy.copy(self)
        if threshold is not None:
            _check_threshold(threshold)
            other.threshold = threshold
        other.mask_from = mask_from
        chosen = self.sampler if sampler is None else _choose(sampler, self.calibration)
        if chosen != self.sampler:
            other.sampler = chosen
            other.members = other._members()  # noqa: SLF001 - its own class
            other.passes = other._passes()  # noqa: SLF001
        return other

    @property
    def has_own_noise(self) -> bool:
        """Whether ``noise:K`` needs no strength: the run was calibrated or trained with noise."""
        return has_own_noise(*self._networks[0])

    @property
    def engine(self) -> Engine:
        """The first network, ready to run."""
        return self.members[0].engine

    @property
    def precision(self) -> str:
        """What the networks compute in: fp32, bf16 or fp16."""
        return self.engine.precision

    @property
    def n_samples(self) -> int:
        """How many passes, or samples behind them, a prediction is made of."""
        return self.sampler.samples if self.sampler.head else len(self.passes)

    @property
    def cost(self) -> Cost:
        """What a tile costs."""
        return self.sampler.cost(
            symmetries=len(self.symmetries),
            members=len(self.members),
            encodes_once=self.members[0].encodes_once,
        )

    @classmethod
    def load(
        cls,
        run: Path | str,
        *,
        members: Sequence[Path | str] = (),
        calibration: Calibration | bool = True,
        presence: PresenceRule | bool | None = None,
        symmetry: Symmetries | None = None,
        **options: Any,
    ) -> Predictor:
        """Load a run folder, with its calibration where there is one.

        Args:
            run: the run folder.
            members: further run folders, for an ensemble.
            calibration: another calibration than the run's own, or ``False`` for none.
            presence: another presence rule than the run's own, or ``False`` for none; by default
                the run's own unless `calibration` is ``False``.
            symmetry: which symmetries the images have; by default what training noted.
            options: those of the constructor.

        Raises:
            RunError: a folder is missing, incomplete, damaged, or from a newer version.
        """
        model, document, own = load_network(Path(run), calibrated=calibration is True)
        learned = own if calibration is True else calibration or None
        if presence is None or presence is True:
            wanted = presence is True or calibration is not False
            presence = _presence(Path(run)) if wanted else None
        others = []
        for member in members:
            network, described, theirs = load_network(
                Path(member), calibrated=calibration is not False
            )
            if described["class_names"] != document["class_names"]:
                raise SettingsError(
                    expected(f"the classes of {member}", document["class_names"],
                             described["class_names"], "runs of one and the same source")
                )  # fmt: skip
            if described["preprocess"] != document["preprocess"]:
                raise SettingsError(
                    expected(f"the preprocessing of {member}", document["preprocess"],
                             described["preprocess"], "runs trained with the same image settings")
                )  # fmt: skip
            others.append((network, theirs))
        return cls(
            model,
            preprocess=document["preprocess"],
            class_names=document["class_names"],
            calibration=learned,
            presence=presence or None,
            members=others,
            symmetry=symmetry or document.get("symmetry", "none"),
            **options,
        )

    def __call__(
        self, images: Sequence[NDArray[np.generic]], *, seed: int = 0, keep_samples: int = 0
    ) -> list[Prediction]:
        """Segment images.

        Args:
            images: each (H, W, C), uint8, uint16 or float32, C = 1 or 3, of any size.
            seed: every draw is made from it and from the content of the image.
            keep_samples: how many of the passes to keep whole in `Prediction.samples`.

        Returns:
            One prediction per image, in order, at the image's own size.

        Raises:
            ImageFileError: an image has another shape or holds NaN.
            SettingsError: keeping so many passes would take more than 2 GiB for one image.
        """
        started = time.perf_counter()
        keep = min(keep_samples, self.n_samples)
        jobs = [self.prepare(image, seed=seed, keep=keep) for image in images]
        spent = (time.perf_counter() - started) / max(1, len(jobs))
        # Tiles flow through the network and are blended as they come, so that memory holds one
        # image's sums and one group of tiles, however many tiles and passes there are.
        results = self._run((TileRef(job, n) for job in jobs for n in range(job.n_tiles)), keep)
        finish = Finish(self, kept=keep, seed=seed)
        return [finish(job, results, prepare_seconds=spent) for job in jobs]

    def prepare(self, image: NDArray[np.generic], *, seed: int, keep: int) -> Job:
        """Bring an image to the network's resolution and plan its tiles.

        Raises:
            ImageFileError, SettingsError: as a call.
        """
        job = prepare(image, self.preprocess, overlap=self.overlap, seed=seed)
        _check_kept(keep, job, len(self.class_names))
        return job

    def running(
        self,
        image: NDArray[np.generic],
        *,
        seed: int = 0,
        every: int = 2,
        keep_samples: int = 0,
    ) -> Iterator[Prediction]:
        """Segment one image and say in between what the passes so far make of it.

        Args:
            image: (H, W, C), as for a call.
            seed: every draw is made from it and from the content of the image.
            every: passes from one estimate to the next; pairs of opposite noise are whole at even
                numbers.
            keep_samples: as for a call.

        Yields:
            Predictions of ever more passes. The last is bit for bit that of a call.

        Raises:
            ImageFileError, SettingsError: as a call; or `every` is below 1.
        """
        return running(self, image, seed=seed, every=every, keep_samples=keep_samples)

    def _run(self, tiles: Iterable[TileRef], keep: int) -> Iterator[TileResult]:
        """Run tiles through the networks, neighbours of one shape together, order kept."""
        alike = itertools.groupby(tiles, key=lambda tile: tile.shape)
        for _, refs in alike:
            while some := list(itertools.islice(refs, self.engine.group)):
                self.take_presence()  # What a call that failed may have left.
                results = run_group(
                    grouped(some, self.engine.group), passes=self.passes, **self.how(keep)
                )
                yield from with_presence(results, self.take_presence())

    def how(self, keep: int) -> dict[str, Any]:
        """Say how a group of tiles is run, less the passes; see `passes.RunningGroup`."""
        return {
            "members": self.members,
            "sampler": self.sampler,
            "symmetries": self.symmetries,
            "threshold": self.threshold,
            "keep": keep,
            "mask_from": self.mask_from,
            "between": self.between,
        }

    def take_presence(self) -> list[float]:
        """Give what the presence heads said of the last tiles, the mean over the networks."""
        each = [logits for watch in self._watches.values() if (logits := watch.take()) is not None]
        if not each:
            return []
        logits = torch.stack([one.float() for one in each])
        return [float(value) for value in torch.sigmoid(logits).mean(dim=0).cpu().tolist()]


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold < 1:
        raise SettingsError(expected("`threshold`", "between 0 and 1", threshold, "0.5"))


def _choose(sampler: Sampler | str | None, calibration: Calibration | None) -> Sampler:
    if sampler is None:
        sampler = calibration.sampler if calibration else "deterministic"
    return Sampler.parse(sampler) if isinstance(sampler, str) else replace(sampler)


def _check_classes(calibration: Calibration | None, class_names: tuple[str, ...]) -> None:
    area = None if calibration is None else calibration.area
    foreign = [] if area is None else [n for n in area.class_names if n not in class_names]
    if foreign:
        raise RunError(
            expected("the classes of the calibration", f"among {', '.join(class_names)}",
                     ", ".join(foreign), "`penumbra calibrate` again")
        )  # fmt: skip


def _check_kept(keep: int, job: Job, n_classes: int) -> None:
    height, width = job.plan.size
    taken = 4 * keep * n_classes * height * width
    if taken > _MOST_KEPT:
        raise SettingsError(
            expected("`keep_samples`", f"at most {keep * _MOST_KEPT // taken} for an image of "
                     f"{height}×{width}", keep, "fewer; maps and scores need none of them")
        )  # fmt: skip


def _presence(folder: Path) -> PresenceRule | None:
    rule = PresenceRule.read(folder)
    if rule is not None:
        rule.check_weights(digest_of(folder / WEIGHTS_FILE))
    return rule
