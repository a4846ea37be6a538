"""In which form an answer is given: JSON, one PNG, all arrays, or events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from penumbra.serving.messages import Answer, media_type
from penumbra.serving.problems import Problem
from penumbra.storage import json_ready

JSON, PNG, NPZ, EVENTS = "application/json", "image/png", "application/x-npz", "text/event-stream"


def preferred(request: Request, offers: Sequence[str]) -> str:
    """Choose a media type by the Accept header; the first offer where nothing is said.

    Raises:
        Problem: 406 where none of the offers is accepted.
    """
    weights = _weights(request.headers.get("accept", "*/*")[:1000])
    best = max(offers, key=lambda offer: _weight(offer, weights))
    if _weight(best, weights) <= 0:
        raise Problem(406, f"An answer can be {', '.join(offers)}.")
    return best


def json_reply(document: dict[str, Any], status: int = 200, **headers: str) -> Response:
    """Write a document as JSON; what is not finite becomes null."""
    return Response(json_bytes(document), status, headers, media_type=JSON)


def json_bytes(document: dict[str, Any]) -> bytes:
    """Write a document as one line."""
    text = json.dumps(json_ready(document), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def file_reply(answer: Answer, name: str | None = None) -> Response:
    """Give one file of an answer, with the number under which it can be asked for again.

    Raises:
        Problem: 422 where there is none: the model has no such map, or no card was found.
    """
    found = name if name in answer.files else next(iter(answer.files), None)
    if found is None:
        raise Problem(422, _why_none(answer.document), code="no-file")
    headers = {"Penumbra-Answer": answer.id}
    return Response(answer.files[found], 200, headers, media_type=media_type(found))


def _why_none(document: dict[str, Any]) -> str:
    said = [str(note) for note in document.get("notes", ())]
    for card in document.get("cards", ()):
        said += [str(reason) for reason in card.get("reasons", ())]
    return " ".join([*said, "There is no such picture. Accept: application/json has the rest."])


def event(name: str, document: dict[str, Any]) -> bytes:
    r"""Write a server-sent event.

    Examples:
        >>> event("done", {"a": 1})
        b'event: done\ndata: {"a": 1}\n\n'
    """
    return b"event: " + name.encode("ascii") + b"\ndata: " + json_bytes(document) + b"\n\n"


def _weights(header: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in header.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    weight = min(1.0, max(0.0, float(value)))
                except ValueError:
                    weight = 0.0
        found[media] = weight
    return found


def _weight(offer: str, weights: dict[str, float]) -> float:
    for pattern in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        if pattern in weights:
            return weights[pattern]
    return 0.0
