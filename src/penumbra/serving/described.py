"""What the fields of requests mean, taken from where the code says it: the docstrings."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import BaseModel

_NAMED = re.compile(r"(?P<name>[a-z_]+): (?P<text>.+)")


def described(model: type[BaseModel]) -> dict[str, str]:
    """Give what the docstrings of a model and of those that it extends say of each attribute.

    Examples:
        >>> from penumbra.serving.options import ReloadBody
        >>> described(ReloadBody)
        {'name': 'Of the model that is read anew; all of them by default.'}
    """
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        _, _, listed = inspect.cleandoc(one.__doc__ or "").partition("\nAttributes:\n")
        name = ""
        for line in listed.splitlines():
            if line and not line.startswith("    "):
                break  # The next section.
            if match := _NAMED.fullmatch(line.removeprefix("    ")):
                name = match["name"]
                found[name] = match["text"]
            elif line.strip() and name:
                found[name] += f" {line.strip()}"
    return {
        name: (text[:1].upper() + text[1:]).replace("``", "`")
        for name, text in found.items()
        if name in model.model_fields
    }


def describe_fields(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Add to the JSON schema of a model what its fields mean; leaves what already says it."""
    schema["description"] = (model.__doc__ or "").partition("\n")[0].replace("``", "`")
    said = described(model)
    for name, field in schema.get("properties", {}).items():
        if name in said:
            field.setdefault("description", said[name])
