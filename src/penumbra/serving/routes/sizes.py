"""How large an image is, by its header, before anybody decodes it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from penumbra.serving.problems import Problem
from penumbra.serving.settings import ServeSettings
from penumbra.serving.uploads import UploadError, UploadLimits, sniff

_HEADERS = ThreadPoolExecutor(2, thread_name_prefix="penumbra-headers")
"""Threads that do nothing else: what is slow to measure delays no start of a worker."""


async def size_of(upload: bytes, settings: ServeSettings) -> tuple[int, int]:
    """Give (H, W) of an image; the header alone is read, in one of two threads for that.

    Raises:
        Problem: 415 where it is no image, 413 where it has too many pixels, 422 where it is
            damaged.
    """
    limits = UploadLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
    try:
        found = await asyncio.get_running_loop().run_in_executor(_HEADERS, sniff, upload, limits)
    except UploadError as error:
        raise Problem(error.status, str(error), code=error.code) from None
    return found.height, found.width
