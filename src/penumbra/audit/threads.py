"""Threads that work on many small things at once, each on a core of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2

MOST_WORKERS = 16


@contextlib.contextmanager
def in_threads(workers: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads; while it is open, OpenCV starts none of its own.

    Threads inside of threads are many times slower.

    Args:
        workers: how many; as many as there are cores, at most `MOST_WORKERS`, where not given.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(workers or min(MOST_WORKERS, os.cpu_count() or 1)) as pool:
            yield pool
    finally:
        cv2.setNumThreads(before)
