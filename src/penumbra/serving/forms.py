"""Forms with an image: read part by part in memory, within bounds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from penumbra.serving.limits import too_large
from penumbra.serving.options import Asked
from penumbra.serving.problems import Problem, not_valid

IMAGE = "image"
_MOST_PARTS, _MOST_FIELD, _MOST_HEADERS = 32, 4096, 16
_MOST_HEADER = 4096

Options = TypeVar("Options", bound=Asked)


@dataclass
class Form:
    """What a form holds.

    Attributes:
        fields: texts by name; empty ones are left out, as a page sends them for what nobody chose.
        image: the file, or ``None``. The name that the client gives it is not looked at.
    """

    fields: dict[str, str] = field(default_factory=dict)
    image: bytes | None = field(default=None, repr=False)


class _Parts:
    """Collects the parts of a form as the parser meets them."""

    def __init__(self, most_image: int, known: Collection[str]) -> None:
        self.form = Form()
        self._known = known
        self.is_whole = False
        self._most_image = most_image
        self._count = 0
        self._header = (bytearray(), bytearray())
        self._name: str | None = None
        self._data = bytearray()
        self._seen: set[str] = set()

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._take,
            "on_part_end": self._end,
            "on_end": self._whole,
        }

    def _whole(self) -> None:
        self.is_whole = True

    def _begin(self) -> None:
        self._count += 1
        if self._count > _MOST_PARTS:
            raise Problem(422, f"A form may have {_MOST_PARTS} parts at most.", close=True)
        self._name, self._data = None, bytearray()
        self._header = (bytearray(), bytearray())

    def _header_end(self) -> None:
        name, value = self._header
        if bytes(name).lower() == b"content-disposition":
            given = parse_options_header(bytes(value))[1].get(b"name")
            self._name = None if given is None else given.decode("utf-8", "replace")
        self._header = (bytearray(), bytearray())

    def _headers_end(self) -> None:
        if not self._name:
            raise _framing("a part has no name")
        if self._name != IMAGE and self._name not in self._known:
            there_are = ", ".join([IMAGE, *self._known])
            raise _of_field(self._name, f"no field of this request; there are {there_are}")
        if self._name in self._seen:
            raise _of_field(self._name, "given more than once")
        self._seen.add(self._name)

    def _take(self, data: bytes, start: int, end: int) -> None:
        most = self._most_image if self._name == IMAGE else _MOST_FIELD
        if len(self._data) + end - start > most:
            raise (
                too_large(most)
                if self._name == IMAGE
                else _of_field(self._name or "", f"longer than {_MOST_FIELD} bytes")
            )
        self._data += data[start:end]

    def _end(self) -> None:
        name = self._name or ""
        if name == IMAGE:
            self.form.image = bytes(self._data)
        elif self._data:
            try:
                self.form.fields[name] = self._data.decode("utf-8")
            except UnicodeDecodeError:
                raise _of_field(name, "not text in UTF-8") from None
        self._data = bytearray()


async def read_form(request: Request, *, most_image: int, known: Collection[str]) -> Form:
    """Read a form as it comes.

    Args:
        request: whose body is a form; its type and length have been checked.
        most_image: bytes.
        known: names of the fields beside the image.

    Raises:
        Problem: 400 where the body is no whole form, 413 and 422 where a part is unknown or too
            much.
    """
    boundary = _boundary(request.headers.get("content-type", ""))
    parts = _Parts(most_image, known)
    try:
        parser = MultipartParser(
            boundary,
            parts.callbacks(),  # type: ignore[arg-type]
            max_header_count=_MOST_HEADERS,
            max_header_size=_MOST_HEADER,
        )
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise _framing("its framing is broken") from None
    if not parts.is_whole:
        raise _framing("it ends too soon")
    return parts.form


async def read_request(
    request: Request, options: type[Options], *, most_image: int, most_samples: int
) -> tuple[bytes, Options]:
    """Read a form and check what it asks for.

    Raises:
        Problem: as `read_form`; 422 where a field is unknown or not possible, or no image came.
    """
    form = await read_form(request, most_image=most_image, known=options.model_fields)
    try:
        asked = options.model_validate(form.fields)
    except ValidationError as error:
        raise not_valid(error) from None
    try:
        asked.check_samples(most_samples)
    except ValueError as error:
        raise _of_field("samples", str(error)) from None
    if form.image is None:
        raise _of_field(IMAGE, "missing: send the file as a part of this name")
    if not form.image:
        raise _of_field(IMAGE, "empty: the file has no bytes")
    return form.image, asked


def _boundary(content_type: str) -> bytes:
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise _framing("its Content-Type has no boundary of 1 to 70 characters")
    return boundary


def _framing(reason: str) -> Problem:
    return Problem(400, f"The body is not a whole multipart/form-data form: {reason}.", close=True)


def _of_field(name: str, message: str) -> Problem:
    shown = name[:40]
    return Problem(
        422, f"`{shown}`: {message}", errors=[{"field": shown, "message": message}], close=True
    )
