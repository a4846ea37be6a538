"""How large an image is, by its header, before anybody decodes it."""

from __future__ import annotations

import asyncio

from penumbra.serving.problems import Problem
from penumbra.serving.settings import ServeSettings
from penumbra.serving.uploads import UploadError, UploadLimits, sniff


async def size_of(upload: bytes, settings: ServeSettings) -> tuple[int, int]:
    """Give (H, W) of an image; the header alone is read, in a thread.

    Raises:
        Problem: 415 where it is no image, 413 where it has too many pixels, 422 where it is
            damaged.
    """
    limits = UploadLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
    try:
        found = await asyncio.to_thread(sniff, upload, limits)
    except UploadError as error:
        raise Problem(error.status, str(error), code=error.code) from None
    return found.height, found.width
