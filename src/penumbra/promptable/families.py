"""The one visible list of families of promptable models, and what each of them needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from penumbra.errors import MissingExtraError, ModelError, expected
from penumbra.promptable.prompts import PromptKind

ALL_KINDS: frozenset[PromptKind] = frozenset(("box", "point", "mask"))


@dataclass(frozen=True)
class Family:
    """What models of one kind have in common.

    Attributes:
        name: short, stable.
        model_types: what ``config.json`` may call it; models of video hold one of images, and their
            configuration is what is published.
        architecture: the class in transformers.
        accepts: the kinds of prompt it was trained with.
        fit: how an image is brought to its square input.
        values: how pixel values are scaled.
        decoder: which way its masks are computed.
        halves: whether its encoder runs in bfloat16 on its own.
        needs: packages beside those of ``[sam]``.
        extra: how many further features of the encoder its decoder wants (`Embedding.extra`).
        least_iou: predicted IoU that everything-mode keeps by default; Kirillov et al.'s.
        least_stability: of a mask that everything-mode keeps by default; theirs too.
    """

    name: str
    model_types: tuple[str, ...]
    architecture: str
    accepts: frozenset[PromptKind] = ALL_KINDS
    fit: Literal["longest", "stretch"] = "longest"
    values: Literal["standard", "minmax"] = "standard"
    decoder: Literal["sam", "sam-hq", "sam2", "small"] = "sam"
    halves: bool = True
    needs: tuple[str, ...] = ()
    extra: int = 0
    least_iou: float = 0.88
    least_stability: float = 0.95


FAMILIES: tuple[Family, ...] = (
    Family("sam", ("sam",), "SamModel"),
    Family("sam-hq", ("sam_hq",), "SamHQModel", decoder="sam-hq", extra=1),
    # MedSAM has SAM's architecture and was tuned with one box per image, images stretched to the
    # square and each scaled from 0 to 1 (Ma et al., 10.1038/s41467-024-44824-z).
    Family("medsam", ("sam",), "SamModel", frozenset(("box",)), "stretch", "minmax"),
    # Our own (`small_network`), so quick that bfloat16 would gain nothing.
    # Its limits were chosen on validation images; none was right for cells, which crowd.
    Family("small", ("sam",), "SmallSamModel", decoder="small", halves=False, extra=2,
           least_iou=0.5, least_stability=0.6),
    # Part of these encoders' output passes through a layer of the decoder, so both stay in float32.
    Family("sam2", ("sam2", "sam2_video"), "Sam2Model", fit="stretch", decoder="sam2", halves=False,
           needs=("torchvision",), extra=2),
    Family("edgetam", ("edgetam", "edgetam_video"), "EdgeTamModel", fit="stretch", decoder="sam2",
           halves=False, needs=("torchvision", "timm"), extra=2),
    Family("sam3-tracker", ("sam3_tracker", "sam3_video"), "Sam3TrackerModel", fit="stretch",
           decoder="sam2", halves=False, needs=("torchvision",), extra=2),
)  # fmt: skip
"""Those of SAM 2 and later are loaded where torchvision is installed, which parts of their library
need; the core of this project never needs it. EdgeTAM's encoder is one of timm."""


def family_named(name: str) -> Family:
    """Give the family of this name.

    Raises:
        ModelError: there is none.

    Examples:
        >>> sorted(family_named("medsam").accepts)
        ['box']
    """
    for family in FAMILIES:
        if family.name == name:
            return family
    names = ", ".join(family.name for family in FAMILIES)
    raise ModelError(expected("`family`", f"one of {names}", repr(name), "one of these"))


FAMILY_KEY = "penumbra_family"
"""Says in a ``config.json`` that we wrote which family the model is of."""


def family_of(config: dict[str, Any], *, called: str) -> Family:
    """Recognise the family by what we wrote, else by ``model_type``.

    MedSAM has the type of SAM. Where nothing else says so, it is known by the last part of the name
    or path that it was asked for by; the folders above say nothing.

    Args:
        config: what ``config.json`` holds.
        called: the name or path it was asked for by.

    Raises:
        ModelError: no family has this type, or the one that is written there has another.

    Examples:
        >>> family_of({"model_type": "sam"}, called="wanglab/medsam-vit-base").name
        'medsam'
        >>> family_of({"model_type": "sam"}, called="medsam-study/sam-vit-base").name
        'sam'
    """
    kind = config.get("model_type")
    known = [family for family in FAMILIES if kind in family.model_types]
    if not known:
        names = ", ".join(sorted({kind for family in FAMILIES for kind in family.model_types}))
        raise ModelError(
            expected(f"the model_type of {called}", f"one of {names}", repr(kind),
                     "a checkpoint of the SAM family")
        )  # fmt: skip
    written = config.get(FAMILY_KEY)
    if written is not None:
        known = [family for family in known if family.name == written]
        if not known:
            raise ModelError(
                expected(f"the {FAMILY_KEY} of {called}", f"a family of the type {kind}",
                         repr(written), "taking that line out, or a fresh copy of config.json")
            )  # fmt: skip
    elif "conv_widths" in config:
        return family_named("small")
    elif kind == "sam":
        origins = (called, str(config.get("_name_or_path") or ""))
        return family_named("medsam" if any(map(_says_medsam, origins)) else "sam")
    return known[0]


def _says_medsam(name: str) -> bool:
    """Tell by the last part of a name, or the repository that a folder of the hub's cache is of."""
    path = Path(os.path.normpath(Path(name).absolute())) if name else Path()
    # The hub keeps `owner/model` as `models--owner--model/snapshots/<commit>`.
    cached = path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--")
    own = path.parent.parent.name.rsplit("--", 1)[-1] if cached else path.name
    return "medsam" in own.lower()


def require(family: Family) -> None:
    """Check that what this family needs is installed.

    Raises:
        MissingExtraError: the text says what to install.
    """
    if find_spec("transformers") is None:
        raise MissingExtraError(
            expected("transformers", "installed, since a promptable model is to be loaded",
                     "nothing", 'pip install "penumbra-segmentation[sam]"')
        )  # fmt: skip
    missing = [package for package in family.needs if find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            expected(f"{', '.join(missing)} for a model of the family {family.name}", "installed",
                     "nothing", f"pip install {' '.join(missing)} in the build that fits your "
                     "torch, or a model of the families sam, sam-hq or medsam")
        )  # fmt: skip
