"""The values of a DICOM data set, as numbers and words."""

from __future__ import annotations

import io
import struct

from pydicom.datadict import dictionary_VR, tag_for_keyword

from penumbra.imaging.dicom.walking import DataSet, Element, Walker

_WORDS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "OW": "H"}


class Elements:
    """The elements of one level of a data set, as plain values.

    An element that is absent or empty gives the empty value of its kind; one that cannot be
    understood raises, and the parser's guard turns that into our error.
    """

    def __init__(self, data_set: DataSet) -> None:
        self._data_set = data_set

    def _item(self, keyword: str) -> Element | None:
        tag = tag_for_keyword(keyword)
        return None if tag is None else self._data_set.get(tag)

    def raw(self, keyword: str) -> bytes:
        """Give the bytes of an element's value."""
        item = self._item(keyword)
        return b"" if item is None else item.value

    def words(self, keyword: str, code: str) -> tuple[float, ...]:
        """Give an element's value as numbers of the `struct` code `code`, in its byte order."""
        item = self._item(keyword)
        if item is None:
            return ()
        count = len(item.value) // struct.calcsize(code)
        return struct.unpack_from(f"{'<' if item.is_little else '>'}{count}{code}", item.value)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Give an element's values as text, without padding."""
        text = self.raw(keyword).decode("latin-1").strip(" \0")
        return tuple(part.strip(" \0") for part in text.split("\\")) if text else ()

    def text(self, keyword: str) -> str:
        """Give an element's first value as text; empty where there is none."""
        return next(iter(self.texts(keyword)), "")

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Give an element's values as numbers, whether they are stored as text or in binary."""
        item, tag = self._item(keyword), tag_for_keyword(keyword)
        if item is None or tag is None:
            return ()
        name = item.vr if item.vr not in {"", "UN"} else dictionary_VR(tag)[:2]
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
        if item is None:
            return []
        found = item.items
        if found is None:
            # Sequences that say how long they are were passed over; most are never asked for.
            walker = Walker(io.BytesIO(item.value), is_little=item.is_little)
            found = walker.items(is_implicit=item.is_implicit, end=len(item.value))
        return [Elements(each) for each in found]

    def is_signed(self, keyword: str) -> bool:
        """Tell whether an element is stored as signed 16-bit words."""
        item = self._item(keyword)
        return item is not None and item.vr == "SS"

    def __len__(self) -> int:
        return len(self._data_set)
