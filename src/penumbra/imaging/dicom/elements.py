"""The values of a DICOM data set, as numbers and words.

pydicom finds the elements and their values are turned into plain ones here. Its own conversion
warns of odd values by quoting them, and a quoted patient name would stand in a log.
"""

from __future__ import annotations

import struct
from typing import cast

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

_WORDS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "OW": "H"}


class Elements:
    """The elements of one level of a data set, as plain values.

    An element that is absent or empty gives the empty value of its kind; one that cannot be
    understood raises, and `guarded` turns that into our error.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def _item(self, keyword: str) -> RawDataElement | DataElement | None:
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self._dataset:
            return None
        return cast("RawDataElement | DataElement", self._dataset.get_item(tag))

    def raw(self, keyword: str) -> bytes:
        """Give the bytes of an element's value."""
        item = self._item(keyword)
        return bytes(item.value or b"") if isinstance(item, RawDataElement) else b""

    def words(self, keyword: str, code: str) -> tuple[float, ...]:
        """Give an element's value as numbers of the `struct` code `code`, in its byte order."""
        item, value = self._item(keyword), self.raw(keyword)
        little = not isinstance(item, RawDataElement) or item.is_little_endian
        count = len(value) // struct.calcsize(code)
        return struct.unpack_from(f"{'<' if little else '>'}{count}{code}", value)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Give an element's values as text, without padding."""
        text = self.raw(keyword).decode("latin-1").strip(" \0")
        return tuple(part.strip(" \0") for part in text.split("\\")) if text else ()

    def text(self, keyword: str) -> str:
        """Give an element's first value as text; empty where there is none."""
        return next(iter(self.texts(keyword)), "")

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Give an element's values as numbers, whether they are stored as text or in binary."""
        item = self._item(keyword)
        if item is None:
            return ()
        name = str(item.VR or "UN")
        if name == "UN":
            name = dictionary_VR(item.tag)[:2]
        if name in _WORDS:
            return self.words(keyword, _WORDS[name])
        return tuple(float(text) for text in self.texts(keyword) if text)

    def whole(self, keyword: str, default: int) -> int:
        """Give an element's first value as a whole number, or `default` where there is none."""
        values = self.numbers(keyword)
        if not values:
            return default
        if values[0] != int(values[0]):
            raise ValueError(keyword)
        return int(values[0])

    def items(self, keyword: str) -> list[Elements]:
        """Give the items of a sequence."""
        item = self._item(keyword)
        value = None if item is None else self._dataset[item.tag].value
        if not isinstance(value, Sequence):
            return []
        return [Elements(each) for each in value]

    def is_signed(self, keyword: str) -> bool:
        """Tell whether an element is stored as signed 16-bit words."""
        item = self._item(keyword)
        return item is not None and str(item.VR) == "SS"

    def __len__(self) -> int:
        return len(self._dataset)
