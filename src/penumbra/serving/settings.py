"""How a server is set up: which runs it serves, to whom, and how much it takes on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from penumbra.errors import SettingsError, expected
from penumbra.serving.addresses import is_loopback

_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)=(?P<path>.+)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MIB = 2**20


class ServeSettings(BaseModel):
    """How a server is set up.

    Attributes:
        runs: what segments, by name: run folders, or ``classical:NAME,foreground=bright``.
        promptable: what answers prompts, by name: folders or names of promptable models.
        host: address to listen on; others than the loopback ones need `api_key_file`.
        port: to listen on; 0 for a free one.
        api_key_file: one key per line, at least 16 characters; ``#`` begins a comment.
        workers: processes that hold the models.
        threads: of each worker; ``None`` for the cores shared out evenly.
        max_batch: most images that go through a network together.
        max_wait_ms: how long an image waits for company.
        max_queue: most requests that wait; further ones are refused with 429.
        max_upload_bytes: of a request's image.
        max_pixels: of an image, by its header, before anything is decoded.
        max_samples: most noisy passes of a request.
        session_ttl_s: how long an embedded image is kept after its last prompt.
        session_bytes: that all embedded images take together.
        results_ttl_s: how long the files of an answer are kept.
        results_bytes: that the files of all answers take together.
        rate_per_s: requests per second and key, or per client's address without keys; 0: no limit.
        burst: requests that may come at once before the rate counts.
        request_timeout_s: after which a request is given up.
        cors_origins: pages of other origins that may use the interface.
        ui: whether the Streamlit app is mounted, where it is installed.

    Examples:
        >>> ServeSettings(runs={"first": "runs/first"}).max_queue
        16
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    runs: dict[str, str] = Field(default_factory=dict)
    promptable: dict[str, str] = Field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    api_key_file: Path | None = None
    workers: int = Field(default=1, ge=1, le=64)
    threads: int | None = Field(default=None, ge=1, le=1024)
    max_batch: int = Field(default=8, ge=1, le=1024)
    max_wait_ms: float = Field(default=2.0, ge=0, le=10_000)
    max_queue: int = Field(default=16, ge=1, le=100_000)
    max_upload_bytes: int = Field(default=32 * _MIB, ge=1024)
    max_pixels: int = Field(default=40_000_000, ge=1)
    max_samples: int = Field(default=64, ge=1, le=10_000)
    session_ttl_s: float = Field(default=1800.0, gt=0)
    session_bytes: int = Field(default=256 * _MIB, ge=0)
    results_ttl_s: float = Field(default=600.0, gt=0)
    results_bytes: int = Field(default=256 * _MIB, ge=0)
    rate_per_s: float = Field(default=0.0, ge=0)
    burst: int = Field(default=32, ge=1)
    request_timeout_s: float = Field(default=120.0, gt=0)
    cors_origins: tuple[str, ...] = ()
    ui: bool = True

    @model_validator(mode="after")
    def _together(self) -> Self:
        for name in (*self.runs, *self.promptable):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    expected("the name of a model", "letters, digits, dots, dashes", repr(name),
                             "NAME=PATH with a short name")
                )  # fmt: skip
        if both := sorted(self.runs.keys() & self.promptable.keys()):
            raise ValueError(
                expected("every model's name", "given once", both[0], "NAME=PATH with another name")
            )
        if self.api_key_file is None and not is_loopback(self.host):
            raise ValueError(
                expected("the host of a server without API keys", "this machine's own, 127.0.0.1",
                         self.host, "--api-key-file FILE with one key per line")
            )  # fmt: skip
        return self

    @property
    def body_bytes(self) -> int:
        """Most bytes of a request: the image, and room for the fields around it."""
        return self.max_upload_bytes + 256 * 1024

    @classmethod
    def of(cls, **given: Any) -> ServeSettings:
        """Build settings; what is wrong is said in one sentence.

        Raises:
            SettingsError: a setting is unknown or not possible.

        Examples:
            >>> ServeSettings.of(workers=0)
            Traceback (most recent call last):
            penumbra.errors.SettingsError: Expected `workers` to be one that can be, but got 0 (Input should be greater than or equal to 1). Try another value.
        """  # noqa: E501 - a doctest's line
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError(_sentence(error)) from error

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **given: Any
    ) -> ServeSettings:
        """Read settings from variables: ``PENUMBRA_RUNS``, ``PENUMBRA_MAX_QUEUE`` and so on.

        What is `given` is taken instead of the variable.

        ``PENUMBRA_RUNS`` and ``PENUMBRA_PROMPTABLE`` are lists of ``NAME=PATH``, or of paths alone,
        with commas between; ``PENUMBRA_CORS_ORIGINS`` is a list of origins.

        Raises:
            SettingsError: a value is not possible.

        Examples:
            >>> settings = ServeSettings.from_environment({"PENUMBRA_RUNS": "a=runs/first,runs/b"})
            >>> settings.runs
            {'a': 'runs/first', 'b': 'runs/b'}
        """
        variables = os.environ if environment is None else environment
        for name in (field for field in cls.model_fields if field not in given):
            text = variables.get(f"PENUMBRA_{name.upper()}", "").strip()
            if not text:
                continue
            given[name] = text
            if name in ("runs", "promptable"):
                given[name] = named(_pieces(text))
            elif name == "cors_origins":
                given[name] = tuple(part.strip() for part in text.split(",") if part.strip())
        return cls.of(**given)


def named(texts: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=PATH``, or a path whose last part is the name.

    Raises:
        SettingsError: two have one name.

    Examples:
        >>> named(["a=runs/first", "runs/second", "classical:otsu,foreground=dark"])
        {'a': 'runs/first', 'second': 'runs/second', 'otsu': 'classical:otsu,foreground=dark'}
    """
    found: dict[str, str] = {}
    for text in texts:
        match = _NAMED.fullmatch(text)
        name, path = (match["name"], match["path"]) if match else (_name_of(text), text)
        if name in found:
            raise SettingsError(
                expected("every run's name", "given once", repr(name), f"NAME={path}, another name")
            )
        found[name] = path
    return found


def _name_of(text: str) -> str:
    plain = text.removeprefix("classical:").split(",")[0] if "classical:" in text else text
    return re.sub(r"[^A-Za-z0-9._-]", "-", Path(plain).resolve().name)[:64].strip("-.") or "model"


def _pieces(text: str) -> list[str]:
    """Split at commas, but not within the settings of a classical method."""
    pieces: list[str] = []
    for piece in (part.strip() for part in text.split(",")):
        of_last = pieces and "classical:" in pieces[-1] and piece.split("=")[0] in _settings()
        if of_last:
            pieces[-1] += f",{piece}"
        elif piece:
            pieces.append(piece)
    return pieces


def _settings() -> set[str]:
    from penumbra.inference.classical.catalogue import METHODS  # noqa: PLC0415 - seldom needed

    return {"foreground"}.union(*(method.settings for method in METHODS))


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return expected("every setting", "one that there is", f"`{name}`", "leaving it out")
    got = f"{first['input']!r:.60} ({message})"
    return expected(f"`{name}`", "one that can be", got, "another value")
