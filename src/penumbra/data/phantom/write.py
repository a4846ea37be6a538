"""Write a phantom set to disk, in the ``folder`` layout with the truth beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.made_set import MadeSet
from penumbra.data.phantom.sample import KINDS, PhantomKind, PhantomSample, phantom_sample
from penumbra.errors import SettingsError, expected
from penumbra.progress import Progress, silent

SETTINGS_FILE = "phantom.json"
_FOLDERS = ("images", "masks", "truth", "readers")
_SET = MadeSet(what="phantom set", settings=SETTINGS_FILE, parts=(*_FOLDERS, "groups.csv"))
_VERSION = 1


def _check_request(count: int, kinds: Sequence[str]) -> None:
    if count < 1:
        raise SettingsError(expected("`count`", "at least 1", count, "a count such as 200"))
    wrong = [kind for kind in kinds if kind not in KINDS]
    if wrong or not kinds:
        raise SettingsError(
            expected("`kinds`", f"some of {', '.join(KINDS)}", repr(wrong or kinds), "one of those")
        )


def _write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = pixels[..., ::-1].copy()  # OpenCV stores blue first
    _, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    path.write_bytes(encoded.tobytes())


def _write_sample(folder: Path, stem: str, sample: PhantomSample) -> None:
    _write_png(folder / "images" / f"{stem}.png", sample.image)
    _write_png(folder / "masks" / f"{stem}.png", sample.mask * np.uint8(255))
    truth = np.rint(sample.truth.astype(np.float64) * 65535).astype(np.uint16)
    _write_png(folder / "truth" / f"{stem}.png", truth)
    for number, mask in enumerate(sample.readers):
        _write_png(folder / "readers" / f"{stem}_r{number}.png", mask * np.uint8(255))


def _write_set(
    folder: Path,
    *,
    count: int,
    size: int,
    seed: int,
    kinds: Sequence[PhantomKind],
    progress: Progress,
) -> None:
    for name in _FOLDERS:
        (folder / name).mkdir()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("id", "group"))
    for number in progress(range(count), total=count, what="drawing"):
        kind, index = kinds[number % len(kinds)], number // len(kinds)
        sample = phantom_sample(kind, size=size, seed=seed, index=index)
        stem = f"{kind}_{index:05d}"
        _write_sample(folder, stem, sample)
        writer.writerow((stem, sample.group))
    (folder / "groups.csv").write_bytes(table.getvalue().encode())
    settings = {
        "version": _VERSION,
        "count": count,
        "size": size,
        "seed": seed,
        "kinds": list(kinds),
        "truth": "16-bit PNG, foreground probability = value / 65535",
        "readers": "readers/ID_rN.png, one simulated reader per N",
    }
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def make_phantom(
    out: Path | str,
    *,
    count: int = 200,
    size: int = 128,
    seed: int = 0,
    kinds: Sequence[PhantomKind] = KINDS,
    progress: Progress = silent,
) -> Path:
    """Write a phantom set: the ``folder`` layout, with the truth and the readers beside it.

    ``images/ID.png``, ``masks/ID.png`` (0 and 255), ``truth/ID.png`` (16 bit, probability =
    value / 65535), ``readers/ID_rN.png`` (0 and 255), ``groups.csv`` (``id,group``) and
    ``phantom.json`` (the settings). Kinds take turns. The set is made beside `out` and moved
    there when it is whole; an earlier phantom set in `out` is replaced, other files in it stay.
    Killed in between, it leaves a folder without ``phantom.json`` that the next call replaces.

    Args:
        out: the folder to write.
        count: how many images.
        size: pixels per side, at least 16.
        seed: a set is a function of count, size, seed and kinds.
        kinds: what the images look like.
        progress: shows how many images have been drawn.

    Returns:
        `out`.

    Raises:
        SettingsError: an argument is outside its range.
        StorageError: `out` holds something else, or cannot be written.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = make_phantom(Path(folder) / "set", count=3, size=32)
        ...     sorted(path.name for path in (made / "images").iterdir())
        ['card_00000.png', 'ultrasound_00000.png', 'xray_00000.png']
    """
    out = Path(out)
    _check_request(count, kinds)
    with _SET.replacing(out) as staged:
        _write_set(staged, count=count, size=size, seed=seed, kinds=kinds, progress=progress)
    return out
