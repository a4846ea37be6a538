"""The few named errors that bad input raises.

Every message reads *Expected X to be …, but got …. Try ….*: what was wanted, what was found,
and what the reader can do about it. `expected` builds that sentence.
"""

from __future__ import annotations


class PenumbraError(Exception):
    """Base of every error that a user's input can cause; its text says what to do."""


class ImageFileError(PenumbraError):
    """A file could not be read as an image or a mask, or is larger than the limits allow.

    Attributes:
        truncated: whether what was found is the beginning of a longer file.
        over_limit: whether the file, or the image that it announces, is larger than allowed.
    """

    def __init__(
        self, message: str = "", *, truncated: bool = False, over_limit: bool = False
    ) -> None:
        super().__init__(message)
        self.truncated, self.over_limit = truncated, over_limit


class SourceError(PenumbraError):
    """A folder, layout, manifest or sample does not hold what the verb needs."""


class SettingsError(PenumbraError):
    """A setting, an option or an experiment file is not valid."""


class ModelError(PenumbraError):
    """A network could not be built, loaded or wrapped."""


class NotFiniteError(ModelError):
    """A network gave NaN or infinity for an image; other images may go well."""


class RunError(PenumbraError):
    """A run folder is missing, incomplete, or written by another version."""


class StorageError(PenumbraError):
    """A result could not be written (no space, no permission, target exists)."""


class FileNameError(StorageError):
    """A result's file name is longer than the file system holds; other files can be written."""


class DownloadError(PenumbraError):
    """A file could not be fetched whole, is not what it should be, or is not safe to unpack."""


class MissingExtraError(PenumbraError):
    """An optional dependency is not installed; the text names the extra that brings it."""


def expected(what: str, to_be: str, got: object, try_: str) -> str:
    """Build the house's error sentence.

    Args:
        what: the thing that was checked.
        to_be: what it should have been.
        got: what it was; shown with `str`, without the full stop of a sentence.
        try_: what the reader can do, starting with a small letter and without a full stop.

    Returns:
        One sentence of the form *Expected X to be …, but got …. Try ….*

    Examples:
        >>> expected("`width`", "at least 1", 0, "a width such as 32")
        'Expected `width` to be at least 1, but got 0. Try a width such as 32.'
    """
    # What another library said often ends with a full stop of its own.
    shown = str(got)
    if shown.endswith(".") and not shown.endswith(".."):
        shown = shown[:-1]
    return f"Expected {what} to be {to_be}, but got {shown}. Try {try_}."
