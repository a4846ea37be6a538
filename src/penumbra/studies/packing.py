"""Sums of groups as compact text, so that a cell of a study is one JSON file."""

from __future__ import annotations

import base64
import zlib
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def pack_array(array: NDArray[np.floating]) -> dict[str, Any]:
    """Write an array as its shape and its float32 bytes, compressed.

    Counts up to 2²⁴ stay exact; sums lose what is beyond seven digits.

    Examples:
        >>> array = np.arange(6.0).reshape(2, 3)
        >>> np.array_equal(unpack_array(pack_array(array)), array)
        True
    """
    values = np.asarray(array, dtype="<f4")
    packed = base64.b85encode(zlib.compress(values.tobytes(), 6)).decode("ascii")
    return {"shape": list(values.shape), "data": packed}


def unpack_array(document: dict[str, Any]) -> NDArray[np.float64]:
    """Read what `pack_array` wrote.

    Raises:
        ValueError: the text is damaged.
    """
    try:
        raw = zlib.decompress(base64.b85decode(document["data"]))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(raw, dtype="<f4").reshape(document["shape"]).astype(np.float64)


def pack(sums: Any) -> dict[str, Any]:
    """Write a dataclass of arrays, nested or not."""
    return {
        field.name: pack(value) if is_dataclass(value) else pack_array(np.asarray(value))
        for field in fields(sums)
        for value in (getattr(sums, field.name),)
    }


def unpack(kind: type[T], document: dict[str, Any]) -> T:
    """Read what `pack` wrote of a dataclass `kind`.

    Raises:
        KeyError, ValueError, TypeError: the document is of another form.
    """
    hints: dict[str, Any] = get_type_hints(kind)
    return kind(
        **{
            field.name: _unpack_part(hints[field.name], document[field.name])
            for field in fields(kind)  # type: ignore[arg-type]  # any dataclass
        }
    )


def _unpack_part(kind: Any, document: dict[str, Any]) -> Any:
    if not is_dataclass(kind):
        return unpack_array(document)
    inner: Any = kind
    return unpack(inner, document)
