"""Other ways to look for duplicates, as far as the audit's benchmark needs them.

`looped` is how difPy compares: every pair of small colour images, one by one, by their mean squared
error. `phash` is the 64-bit perceptual hash (32×32 greys, cosine transform, the 8×8 lowest
frequencies against their median), written here because imagededup, which made it well known for
this use, asks for torchvision. Its own hashing needs none of that: `imagededup` measures the real
one where `pip install --no-deps --target FOLDER imagededup PyWavelets tqdm` put it.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

SIDE = 50  # pixels of the images that difPy compares


def looped(paths: Sequence[Path]) -> tuple[float, float]:
    """Time the loop: seconds to read an image, and seconds to compare a pair."""
    started = time.perf_counter()
    images = [
        np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE))).astype(float)
        for path in paths
    ]
    read = time.perf_counter() - started
    started = time.perf_counter()
    near = 0
    for first, one in enumerate(images):
        for other in images[first + 1 :]:
            near += float(np.square(one - other).mean()) < 25
    pairs = len(images) * (len(images) - 1) // 2
    return read / len(images), (time.perf_counter() - started) / pairs


def phash(path: Path) -> NDArray[np.uint8]:
    """Hash an image to 8 bytes."""
    with Image.open(path) as opened:
        grey = opened.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(grey, dtype=np.float64))[:8, :8].ravel()
    return np.packbits(low >= np.median(low[1:]))


def hashed(paths: Sequence[Path], workers: int, *, most: int = 10) -> set[tuple[int, int]]:
    """Find the pairs whose hashes differ in at most `most` bits, all against all."""
    with ThreadPoolExecutor(workers) as pool:
        hashes = np.stack(list(pool.map(phash, paths))).view(np.uint64).ravel()
    near: set[tuple[int, int]] = set()
    for first, one in enumerate(hashes):
        bits = np.bitwise_count(hashes[first + 1 :] ^ one)
        near |= {(first, first + 1 + int(at)) for at in np.flatnonzero(bits <= most)}
    return near


def _busy() -> float:
    """Give the processor seconds of this process and of those it started and that ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def imagededup(
    images: Path, installed: Path, workers: int, *, most: int = 10
) -> tuple[float, float, set[tuple[str, str]]]:
    """Hash a folder and find its duplicates with imagededup's own PHash.

    Its packages are entered without their `__init__`, which import torchvision for other methods.

    Returns:
        Seconds of the clock and of the processor, and the pairs of file stems.
    """
    sys.path.insert(0, str(installed))
    for name in ("imagededup.methods", "imagededup.utils"):
        package = ModuleType(name)
        package.__path__ = [str(installed.joinpath(*name.split(".")))]
        sys.modules[name] = package
    method = import_module("imagededup.methods.hashing").PHash(verbose=False)
    wall, busy = time.perf_counter(), _busy()
    hashes = method.encode_images(str(images), num_enc_workers=workers)
    found = method.find_duplicates(
        encoding_map=hashes, max_distance_threshold=most, num_dist_workers=workers
    )
    wall, busy = time.perf_counter() - wall, _busy() - busy
    stems = {
        tuple(sorted((Path(one).stem, Path(other).stem)))
        for one, others in found.items()
        for other in others
    }
    return wall, busy, {(first, second) for first, second in stems}
