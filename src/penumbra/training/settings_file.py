"""Settings that live in a YAML file: read, checked, changed from the command line, written."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from penumbra.errors import SettingsError, expected

FILE_VERSION = 1


class Settings(BaseModel):
    """Frozen, and a typo is an error rather than a silently ignored line."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class SettingsFile(Settings):
    """All that one YAML file holds.

    Attributes:
        version: format of the file.
        shorthands: key at the top of a file → the key in a section that it stands for.
    """

    shorthands: ClassVar[Mapping[str, str]] = {}

    version: int = FILE_VERSION

    @classmethod
    def parse(cls, document: object, *, origin: str = "the experiment") -> Self:
        """Check plain values and make settings of them.

        Raises:
            SettingsError: an unknown key (the nearest known one is named) or a wrong value, or one
                that is given twice, by itself and by its shorthand.
        """
        if document is None:
            document = {}
        if isinstance(document, Mapping) and isinstance(document.get("version"), int):
            version = document["version"]
            if version > FILE_VERSION:
                raise SettingsError(
                    expected(f"version in {origin}", f"at most {FILE_VERSION}", version,
                             "upgrading Penumbra, since a newer version wrote this file")
                )  # fmt: skip
        if isinstance(document, Mapping):
            document = _without_shorthands(document, cls.shorthands, origin)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise SettingsError(_first_problem(error, origin, cls)) from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read settings from YAML.

        Raises:
            SettingsError: the file is missing, not YAML, or holds an unknown key or wrong value.
        """
        try:
            document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason, try_ = " ".join(str(error).split()), "`penumbra train --help`"
            if isinstance(error, FileNotFoundError):
                reason, try_ = "no such file", "checking the path"
            raise SettingsError(
                expected(str(path), "a readable YAML file", reason, try_)
            ) from error
        return cls.parse(document, origin=str(path))

    def to_yaml(self) -> str:
        """Give the settings as YAML that `read` takes back unchanged."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def with_settings(self, changes: Sequence[str]) -> Self:
        """Give the settings with ``section.key=value`` changes applied; values are YAML.

        Raises:
            SettingsError: a change is not of that form, or its key or value is not possible.

        Examples:
            >>> class File(SettingsFile):
            ...     epochs: int = 60
            >>> File().with_settings(["epochs=2"]).epochs
            2
        """
        document = self.model_dump(mode="json")
        for change in changes:
            key, separator, value = change.partition("=")
            if not separator or not key:
                raise SettingsError(
                    expected("--set", "section.key=value", change, "--set training.loss=ce")
                )
            place = document
            *sections, last = self.shorthands.get(key, key).split(".")
            for section in sections:
                inner = place.get(section)
                if not isinstance(inner, dict):
                    inner = place[section] = {}
                place = inner
            try:
                place[last] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise SettingsError(
                    expected(f"the value of {key}", "YAML", repr(value), f"{key}=1")
                ) from error
        return self.parse(document, origin="--set")


def _without_shorthands(
    document: Mapping[Any, Any], shorthands: Mapping[str, str], origin: str
) -> dict[Any, Any]:
    """Put what a shorthand says where it belongs."""
    made = dict(document)
    for short, key in shorthands.items():
        if short not in made:
            continue
        value = made.pop(short)
        section, name = key.split(".")
        inner = made.get(section, {})
        if not isinstance(inner, Mapping):
            continue  # No section at all, which is what the user has to hear first.
        if name in inner:
            raise SettingsError(
                expected(f"{key} in {origin}", "given once", f"`{short}` and `{key}`",
                         "leaving one of them out")
            )  # fmt: skip
        made[section] = {**inner, name: value}
    return made


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return list(model.model_fields)


def _first_problem(error: ValidationError, origin: str, model: type[SettingsFile]) -> str:
    problem = error.errors()[0]
    location = problem["loc"]
    key = ".".join(map(str, location)) or "the file"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        known += [] if location[:-1] else list(model.shorthands)
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        section = ".".join(map(str, location[:-1]))
        where = f" in section {section}" if section else ""
        return expected(
            f"every key in {origin}",
            f"known{where}",
            f"{key!r}",
            f"{near[0]!r}" if near else f"one of {', '.join(known)}",
        )
    if problem["type"] == "model_type":
        got = repr(problem["input"])
        if not location:
            try_ = "a line `training:` with lines such as `  epochs: 20` below it"
            return expected(origin, "made of sections of `key: value`", got, try_)
        known = _fields_at(model, location)
        keys = ", ".join(known[:4]) + (", …" if len(known) > 4 else "")
        try_ = f"giving its keys ({keys}) below it, or leaving it out"
        return expected(f"section {key} in {origin}", "made of lines of `key: value`", got, try_)
    wanted = problem["msg"][:1].lower() + problem["msg"][1:]
    return expected(
        f"{key} in {origin}", f"valid ({wanted})", repr(problem["input"]), "its default"
    )
