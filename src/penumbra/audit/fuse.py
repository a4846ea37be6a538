"""Several masks of one image into one: union, intersection, majority, STAPLE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.staple import staple
from penumbra.data.sample import IGNORE
from penumbra.errors import SettingsError, expected

Fusion = Literal["union", "intersection", "majority", "staple"]
"""How masks become one."""

FUSIONS: tuple[Fusion, ...] = get_args(Fusion)

Masks = NDArray[np.uint8]


def fuse(masks: Masks, rule: Fusion, *, n_classes: int) -> NDArray[np.uint8]:
    """Make one mask of several.

    - ``"union"``: foreground where anybody wrote foreground; the class with most votes there.
    - ``"intersection"``: a class where all agree on it, background elsewhere.
    - ``"majority"``: the class with most votes.
    - ``"staple"``: see `penumbra.audit.staple.staple`.

    Of classes with equally many votes the lowest is taken, so that a foreground needs more than
    half of two classes' votes. A pixel that a mask ignores (255) is no vote; where all ignore it,
    it stays ignored.

    Args:
        masks: (R, H, W) uint8 class indices, 255 = ignore.
        rule: how.
        n_classes: C ≥ 2, background included.

    Returns:
        (H, W) uint8.

    Raises:
        SettingsError: the rule is none of these.

    Examples:
        >>> masks = np.array([[[0, 1, 1]], [[0, 0, 1]]], dtype=np.uint8)
        >>> [fuse(masks, rule, n_classes=2).tolist() for rule in ("union", "intersection")]
        [[[0, 1, 1]], [[0, 0, 1]]]
    """
    made = _RULES.get(rule)
    if made is None:
        raise SettingsError(expected("the rule", f"one of {', '.join(FUSIONS)}", rule, "majority"))
    return np.where((masks == IGNORE).all(axis=0), IGNORE, made(masks, n_classes)).astype(np.uint8)


def _votes(masks: Masks, n_classes: int) -> NDArray[np.int64]:
    return np.stack([(masks == index).sum(axis=0) for index in range(n_classes)])


def _union(masks: Masks, n_classes: int) -> NDArray[np.intp]:
    votes = _votes(masks, n_classes)[1:]
    return np.where(votes.any(axis=0), votes.argmax(axis=0) + 1, 0)


def _intersection(masks: Masks, n_classes: int) -> NDArray[np.intp]:
    votes = _votes(masks, n_classes)
    return np.where((votes > 0).sum(axis=0) == 1, votes.argmax(axis=0), 0)


def _majority(masks: Masks, n_classes: int) -> NDArray[np.intp]:
    return np.asarray(_votes(masks, n_classes).argmax(axis=0))


def _staple(masks: Masks, n_classes: int) -> NDArray[np.uint8]:
    return staple(masks, n_classes=n_classes).mask


_RULES: Mapping[str, Callable[[Masks, int], NDArray[np.generic]]] = MappingProxyType(
    {"union": _union, "intersection": _intersection, "majority": _majority, "staple": _staple}
)
