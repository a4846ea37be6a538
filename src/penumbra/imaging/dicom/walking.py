"""The elements of a DICOM data set, found without looking at what they say (PS3.5 chapter 7).

Not pydicom's reader: it warns and logs by quoting values, and where a length is damaged the quoted
value runs on into the patient's name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT"}
LONG_VRS |= {b"UV"}
"""Value representations whose length takes four bytes."""

UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_FRAGMENTS = {b"OB", b"OW"}
_DEEPEST = 32
_MOST_ELEMENTS = 200_000


class CutOffError(ValueError):
    """The file ends within what it announces."""


@dataclass(frozen=True)
class Element:
    """One element as it stands.

    Attributes:
        vr: value representation; empty where the file does not say.
        value: its bytes; empty for a sequence of undefined length.
        items: the items of a sequence of undefined length, else ``None``.
        is_little: byte order of the value.
        is_implicit: whether what is inside it, if it is a sequence, names no representations.
    """

    vr: str
    value: bytes
    items: tuple[DataSet, ...] | None
    is_little: bool
    is_implicit: bool


DataSet = dict[int, Element]
"""Elements by tag, the group in the upper 16 bits."""


@dataclass(frozen=True)
class Head:
    """Tag, representation, length, and how many bytes these took."""

    tag: int
    vr: bytes
    length: int
    size: int


def read_head(stream: BinaryIO, *, is_little: bool, is_implicit: bool) -> Head | None:
    """Read the head of the next element; ``None`` at the end of the stream.

    Raises:
        CutOffError: the stream ends within the head.
    """
    head = stream.read(8)
    if not head:
        return None
    if len(head) < 8:
        raise CutOffError
    order = "<" if is_little else ">"
    group, element = struct.unpack(f"{order}HH", head[:4])
    tag, vr = group << 16 | element, head[4:6]
    if group != 0xFFFE and not is_implicit and vr in LONG_VRS:
        rest = stream.read(4)
        if len(rest) < 4:
            raise CutOffError
        return Head(tag, vr, struct.unpack(f"{order}I", rest)[0], 12)
    # Some writers fall back to implicit elements in the midst of explicit ones.
    if group != 0xFFFE and not is_implicit and vr.isalpha() and vr.isupper():
        return Head(tag, vr, struct.unpack(f"{order}H", head[6:8])[0], 8)
    return Head(tag, b"", struct.unpack(f"{order}I", head[4:8])[0], 8)


class Walker:
    """Walks one stream; counts elements, so that no file keeps it busy without end."""

    def __init__(self, stream: BinaryIO, *, is_little: bool) -> None:
        self._stream, self._is_little, self._seen = stream, is_little, 0

    def data_set(
        self,
        *,
        is_implicit: bool,
        end: int | None = None,
        depth: int = 0,
        stop: Callable[[int], bool] = lambda _tag: False,
    ) -> DataSet:
        """Read elements up to `end`, a delimiter, the end of the stream, or a tag to stop before.

        Raises:
            CutOffError: the stream ends within an element.
            ValueError: sequences are nested too deeply, or there are too many elements.
        """
        found: DataSet = {}
        if depth > _DEEPEST:
            raise ValueError("depth")
        while end is None or self._stream.tell() < end:
            place = self._stream.tell()
            head = self._head(is_implicit=is_implicit)
            if head is None:
                if end is not None or depth:
                    raise CutOffError
                break
            if head.tag in {_ITEM_END, _SEQUENCE_END}:
                break
            if stop(head.tag):
                self._stream.seek(place)
                break
            found[head.tag] = self._element(head, is_implicit=is_implicit, depth=depth)
        return found

    def items(self, *, is_implicit: bool, end: int | None, depth: int = 0) -> tuple[DataSet, ...]:
        """Read the items of a sequence up to `end` or its delimiter.

        Raises:
            CutOffError: the stream ends within an item.
            ValueError: what stands there is no item.
        """
        found: list[DataSet] = []
        while end is None or self._stream.tell() < end:
            head = self._head(is_implicit=True)
            if head is None:
                raise CutOffError
            if head.tag == _SEQUENCE_END:
                break
            if head.tag != _ITEM:
                raise ValueError("no item")
            last = None if head.length == UNDEFINED else self._stream.tell() + head.length
            found.append(self.data_set(is_implicit=is_implicit, end=last, depth=depth + 1))
        return tuple(found)

    def _head(self, *, is_implicit: bool) -> Head | None:
        self._seen += 1
        if self._seen > _MOST_ELEMENTS:
            raise ValueError("elements")
        return read_head(self._stream, is_little=self._is_little, is_implicit=is_implicit)

    def _element(self, head: Head, *, is_implicit: bool, depth: int) -> Element:
        # What an unknown element holds is written implicitly, whatever is around it.
        inside = is_implicit or head.vr == b"UN"
        value, items = b"", None
        if head.length != UNDEFINED:
            value = self._stream.read(head.length)
            if len(value) < head.length:
                raise CutOffError
        elif head.vr in _FRAGMENTS:
            self._skip_fragments()
        else:
            items = self.items(is_implicit=inside, end=None, depth=depth)
        return Element(head.vr.decode("ascii"), value, items, self._is_little, inside)

    def _skip_fragments(self) -> None:
        while True:
            head = self._head(is_implicit=True)
            if head is None:
                raise CutOffError
            if head.tag == _SEQUENCE_END:
                return
            if head.tag != _ITEM or len(self._stream.read(head.length)) < head.length:
                raise CutOffError
