"""The one visible list of forms in which a source can be written."""

from __future__ import annotations

from penumbra.data.export import coco, folder, nerve, rsna, yolo
from penumbra.data.export.base import Form
from penumbra.errors import SettingsError, expected

FORMS: tuple[Form, ...] = (folder.FORM, coco.FORM, rsna.FORM, nerve.FORM, yolo.FORM)
"""Every form, the plain one first."""


def form_named(name: str) -> Form:
    """Give the form of that name.

    Raises:
        SettingsError: there is none; the text names those that there are.

    Examples:
        >>> form_named("coco").parts
        ('images', 'annotations')
    """
    for form in FORMS:
        if form.name == name.lower():
            return form
    names = ", ".join(form.name for form in FORMS)
    raise SettingsError(expected("the form", f"one of {names}", repr(name), "--to folder"))
