"""What a training must not change around it: threads, warnings, switches, the keyboard."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import Iterator

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException


@contextlib.contextmanager
def passed_on_keyboard() -> Iterator[None]:
    """Pass Ctrl-C on: Lightning turns it into an exit, and leaves the signal ignored.

    A request of the system to end (SIGTERM) is passed on too, as ``KeyboardInterrupt("SIGTERM")``.
    """
    ours = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if ours else None
    try:
        yield
    except SystemExit as stop:
        reason = ("SIGTERM",) if isinstance(stop, SIGTERMException) else ()
        raise KeyboardInterrupt(*reason) from stop
    finally:
        if ours:
            signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def bounded_threads(count: int) -> Iterator[None]:
    """Bound torch's CPU threads for a while; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advice off the terminal, and its global switches from outliving us."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*(isinstance\\(treespec|LeafSpec).*")
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
