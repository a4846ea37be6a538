"""Names of places in a network: a submodule's output, one element of it, or one of its inputs.

``encoder`` means the output of the submodule `encoder`, ``encoder[2]`` the third feature in it
where it is a list, a tuple, a mapping or an object with `hidden_states`, and ``up.0(1)`` the
second positional argument that `up.0` is called with.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_NAME = re.compile(r"(?P<module>.*?)(\[(?P<item>\d+)\]|\((?P<argument>\d+)\))?")
_HIDDEN = ("hidden_states", "feature_maps", "features")


@dataclass(frozen=True)
class Place:
    """A place.

    Attributes:
        name: as it was written.
        module: the submodule's name.
        item: which feature of its output, or ``None``.
        argument: which of its positional arguments, or ``None``.

    Examples:
        >>> Place.parse("encoder[2]").item, Place.parse("up.0(1)").argument
        (2, 1)
    """

    name: str
    module: str
    item: int | None = None
    argument: int | None = None

    @classmethod
    def parse(cls, name: str) -> Place:
        """Read a place's name; any text is one."""
        match = _NAME.fullmatch(name)
        if match is None:
            return cls(name, name)
        item, argument = match["item"], match["argument"]
        return cls(
            name,
            match["module"],
            item=int(item) if item else None,
            argument=int(argument) if argument else None,
        )


def features_of(output: Any) -> list[Any] | None:
    """List the features in an output that holds several; ``None`` for a tensor or anything else.

    Examples:
        >>> features_of({"hidden_states": (1, 2), "logits": 3})
        [1, 2]
    """
    if isinstance(output, (list, tuple)):
        return list(output)
    for key in _HIDDEN:
        found = output.get(key) if isinstance(output, Mapping) else getattr(output, key, None)
        if isinstance(found, (list, tuple)):
            return list(found)
    return list(output.values()) if isinstance(output, Mapping) else None


def with_features(output: Any, features: list[Any]) -> Any:
    """Give a copy of an output with other features, as `features_of` listed them.

    Examples:
        >>> with_features((1, 2), [1, 5])
        (1, 5)
    """
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*features)
    if isinstance(output, (list, tuple)):
        return type(output)(features)
    changed = copy.copy(output)
    for key in _HIDDEN:
        found = output.get(key) if isinstance(output, Mapping) else getattr(output, key, None)
        if isinstance(found, (list, tuple)):
            if isinstance(output, Mapping):
                changed[key] = type(found)(features)
            else:
                setattr(changed, key, type(found)(features))
            return changed
    for key, feature in zip(output, features, strict=True):
        changed[key] = feature
    return changed


def is_feature(value: Any) -> bool:
    """Whether a value is a batch of feature maps (N, C, H, W)."""
    return isinstance(value, Tensor) and value.ndim == 4
