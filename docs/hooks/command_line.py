"""Write the command line's reference from the command line itself, so that it cannot be wrong.

The page `reference/cli.md` has one marker; here it becomes a section per verb.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.structure.pages import Page
    from typer.core import TyperArgument, TyperCommand, TyperOption

MARKER = "<!-- verbs -->"


def _commands(command: TyperCommand, name: str) -> Iterator[tuple[str, TyperCommand]]:
    """Give (full name, command) of every verb, those of groups included, in alphabetical order."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word in sorted(inner):
        yield from _commands(inner[word], f"{name} {word}")


def _cell(text: str) -> str:
    """Make one line of plain text that a table can hold."""
    without_styles = re.sub(r"\[/?[a-z ]+\]", "", text)
    return " ".join(without_styles.split()).replace("|", "\\|").replace("<", "&lt;")


def _default(parameter: TyperArgument | TyperOption) -> str:
    value = parameter.default
    if parameter.required:
        return "*needed*"
    if callable(value):
        return ""
    if value is None or value is False or value in ((), []):
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return f"`{text}`"


def _name(parameter: TyperArgument | TyperOption) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`" + ("…" if parameter.nargs == -1 else "")
    return ", ".join(f"`{option}`" for option in [*parameter.opts, *parameter.secondary_opts])


def _section(name: str, command: TyperCommand) -> str:
    # The verbs escape brackets for the terminal, where they would be styles.
    text = inspect.cleandoc(command.help or "").replace("\b", "").replace("\\[", "[")
    lines = [f"## {name}", "", text, ""]
    shown = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    if shown:
        lines += ["| | what | default |", "| --- | --- | --- |"]
        for parameter in shown:
            what = _cell(getattr(parameter, "help", None) or "")
            lines.append(f"| {_name(parameter)} | {what} | {_default(parameter)} |")
    return "\n".join([*lines, ""])


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Put the verbs where the page has its marker; other pages stay as they are."""
    if page.file.src_uri != "reference/cli.md" or MARKER not in markdown:
        return markdown
    # Here rather than at the top: the other pages build without the package.
    from typer.main import get_command  # noqa: PLC0415

    from penumbra.cli.main import app  # noqa: PLC0415

    sections = [
        _section(name, command) for name, command in _commands(get_command(app), "penumbra")
    ]
    return markdown.replace(MARKER, "\n".join(sections))
