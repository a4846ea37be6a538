"""What is logged: what Penumbra says, and nothing that decoders quote of files."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

DECODERS = (
    "PIL", "imagecodecs", "multipart", "penumbra.imaging", "pydicom", "python_multipart",
    "tifffile",
)  # fmt: skip
"""Names of loggers of what reads what clients send."""
_SERVERS = ("uvicorn", "uvicorn.access", "uvicorn.asgi", "uvicorn.error", "websockets")


def silence_decoders() -> None:
    """Have decoders say nothing of damaged files and forms.

    What they say is told to who sent the file, less its words; in a log it would be noise that
    anybody can make, and may hold whatever a DICOM file says of a person.
    """
    for name in DECODERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        # Levels do not last: pydicom sets its own when it is imported, which is at the first file.
        logger.propagate = False
        if not any(isinstance(one, logging.NullHandler) for one in logger.handlers):
            logger.addHandler(logging.NullHandler())
        warnings.filterwarnings("ignore", module=rf"{name.replace('.', '[.]')}\b")


@contextlib.contextmanager
def servers_as_they_are() -> Iterator[None]:
    """Undo what is done meanwhile to the logs of servers: Streamlit takes them over at its import.

    Else every request would be written to the log, with its address, whoever asked for that.
    """
    loggers = [logging.getLogger(name) for name in _SERVERS]
    before = [(one.level, one.propagate, list(one.handlers)) for one in loggers]
    try:
        yield
    finally:
        for one, (level, propagate, handlers) in zip(loggers, before, strict=True):
            one.setLevel(level)
            one.propagate, one.handlers = propagate, handlers
