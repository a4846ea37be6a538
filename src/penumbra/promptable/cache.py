"""Embeddings kept: in memory up to a number of bytes, and in a folder if one is given.

An embedding is found by what it was made of (the pixels, the weights, the filters, size, scaling
and precision), never by a name. So a changed image or model never meets a stale one: it has another
key, and what was kept under the old key is simply not asked for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.promptable.embedding import Embedding
from penumbra.promptable.embedding_files import in_half, in_single, read_embedding, write_embedding

MEMORY_BYTES = 512 * 2**20
"""By default some 250 embeddings of a SAM of 1024², whose 256 × 64 × 64 features take 2 MiB."""


class Embeds(Protocol):
    """What the cache asks of a segmenter."""

    def embedding_key(self, image: NDArray[np.generic], *, filters: Any = None) -> str:
        """Hash all that the features of an image follow from, without computing them."""
        ...

    def embed(self, image: NDArray[np.generic], *, filters: Any = None) -> Embedding:
        """Compute the features of an image (H, W, C)."""
        ...


@dataclass(frozen=True)
class CacheCounts:
    """Where the embeddings that were asked for came from.

    Attributes:
        memory: found in memory.
        disk: read from the folder.
        computed: by the encoder.
    """

    memory: int = 0
    disk: int = 0
    computed: int = 0


class EmbeddingCache:
    """Computes each embedding once.

    Features are kept, and given back, at 16-bit precision: an answer is the same bits whether its
    embedding was computed, was in memory, or was read from disk. Safe to share between threads.

    Args:
        folder: where embeddings are written and looked for; made if needed. ``None`` keeps them in
            memory alone.
        memory_bytes: most bytes of features held in memory; the least recently used go first. 0
            holds none.

    Raises:
        SettingsError: `memory_bytes` is below 0.

    Examples:
        >>> EmbeddingCache(memory_bytes=0).nbytes
        0
    """

    def __init__(
        self, folder: str | Path | None = None, *, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        if memory_bytes < 0:
            raise SettingsError(
                expected("`memory_bytes`", "at least 0", memory_bytes, f"{MEMORY_BYTES}")
            )
        self.folder = None if folder is None else Path(folder)
        self.memory_bytes = memory_bytes
        self._held: OrderedDict[str, Embedding] = OrderedDict()
        self._bytes = 0
        self._counts = CacheCounts()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of features held in memory now; never above `memory_bytes`."""
        return self._bytes

    @property
    def counts(self) -> CacheCounts:
        """Where the embeddings came from so far."""
        return self._counts

    def __len__(self) -> int:
        return len(self._held)

    def embed(
        self, segmenter: Embeds, image: NDArray[np.generic], *, filters: Any = None
    ) -> Embedding:
        """Give the embedding of an image: from memory, from the folder, or computed and kept.

        Args:
            segmenter: computes it if need be.
            image: (H, W, C).
            filters: as `segmenter.embed` takes them; by default the segmenter's own.

        Raises:
            ImageFileError: the image is empty, not finite, or has other channels than 1 or 3.
            StorageError: the folder cannot be written.
        """
        found = self.get(segmenter.embedding_key(image, filters=filters))
        if found is not None:
            return found
        return self.put(segmenter.embed(image, filters=filters))

    def get(self, key: str) -> Embedding | None:
        """Give the embedding of a key, or ``None``."""
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
                self._count(memory=1)
        if held is not None:
            return in_single(held)
        read = None if self.folder is None else read_embedding(self.folder, key)
        if read is None:
            return None
        with self._lock:
            self._hold(read)
            self._count(disk=1)
        return in_single(read)

    def put(self, embedding: Embedding) -> Embedding:
        """Keep an embedding that was computed, and give it as it will be given from now on.

        Raises:
            StorageError: the folder cannot be written.
        """
        kept = in_half(embedding)
        with self._lock:
            self._hold(kept)
            self._count(computed=1)
        if self.folder is not None:
            write_embedding(self.folder, kept)
        return in_single(kept)

    def drop(self, key: str) -> None:
        """Forget one embedding in memory, where it is held; its file stays."""
        with self._lock:
            held = self._held.pop(key, None)
            self._bytes -= 0 if held is None else held.nbytes

    def clear(self) -> None:
        """Forget what is in memory; files stay."""
        with self._lock:
            self._held.clear()
            self._bytes = 0

    def _hold(self, embedding: Embedding) -> None:
        replaced = self._held.pop(embedding.key, None)
        self._bytes -= 0 if replaced is None else replaced.nbytes
        if embedding.nbytes > self.memory_bytes:
            return
        self._held[embedding.key] = embedding
        self._bytes += embedding.nbytes
        while self._bytes > self.memory_bytes:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.nbytes

    def _count(self, *, memory: int = 0, disk: int = 0, computed: int = 0) -> None:
        now = self._counts
        self._counts = CacheCounts(now.memory + memory, now.disk + disk, now.computed + computed)
