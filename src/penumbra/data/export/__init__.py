"""Write a source in the form that other programs read: one file per form, one visible list."""

from penumbra.data.export.catalogue import FORMS, form_named
from penumbra.data.export.run import Exported, export_source

__all__ = ["FORMS", "Exported", "export_source", "form_named"]
