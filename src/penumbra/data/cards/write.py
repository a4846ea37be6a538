"""Write a set of card photographs: the ``folder`` layout, with the true corners beside it."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.data.cards.geometry import read_geometry
from penumbra.data.cards.photograph import CardPhoto, Draw, photograph
from penumbra.data.cards.photos import Photos
from penumbra.data.cards.quads import Geometry
from penumbra.data.cards.table import COLUMNS, CORNERS_FILE, SETTINGS_FILE
from penumbra.data.made_set import MadeSet
from penumbra.errors import SettingsError, expected
from penumbra.progress import Progress, silent
from penumbra.storage import write_json

_SET = MadeSet(
    what="set of cards",
    settings=SETTINGS_FILE,
    parts=("images", "masks", CORNERS_FILE, "groups.csv"),
)
_VERSION = 1
_SIDES = (64, 8192)
_MOST_JOBS = 256
_BACKGROUNDS_EACH = 8  # drawn grounds that belong to one template

Row = tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class CardSet:
    """What a set of card photographs is a function of.

    Attributes:
        count: how many photographs.
        frame: (width, height) in pixels.
        seed: decides every draw; other seeds have other templates and other grounds.
        templates: how many kinds of card; photographs take them in turn.
        upside_down: share of cards that read upside down.
        geometry: where the cards lie.
        photos: the user's photographs to lay cards on; without, grounds are drawn.
    """

    count: int = 1000
    frame: tuple[int, int] = (640, 1138)
    seed: int = 0
    templates: int = 40
    upside_down: float = 0.0
    geometry: Geometry = field(default_factory=Geometry)
    photos: Photos = field(default_factory=Photos)

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("`count`", self.count, 1, 10**6),
            ("`seed`", self.seed, 0, 2**63),
            ("`templates`", self.templates, 1, 10**5),
            ("the frame's width", self.frame[0], *_SIDES),
            ("the frame's height", self.frame[1], *_SIDES),
            ("`upside_down`", self.upside_down, 0, 1),
        ):
            if not low <= value <= high:
                raise SettingsError(
                    expected(name, f"from {low} to {high}", value, "a value in between")
                )

    @property
    def groups(self) -> int:
        """How many groups share neither a template nor a ground."""
        return min(self.templates, len(self.photos) or self.templates)

    def draw(self, index: int) -> Draw:
        """Say how photograph `index` is drawn.

        Templates and grounds are dealt out to groups, so that what is held out by group is held
        out with its templates **and** its grounds.
        """
        template, turn = index % self.templates, index // self.templates
        group = template % self.groups
        # Which of a group's grounds comes next: templates of one group take them in turn too.
        turn = turn * -(-self.templates // self.groups) + template // self.groups
        many = len(range(group, len(self.photos), self.groups)) or _BACKGROUNDS_EACH
        background = group + self.groups * (turn % many)
        return Draw(self.seed, index, template, background, self.frame, self.upside_down)

    def photo(self, index: int) -> CardPhoto:
        """Make photograph `index`."""
        draw = self.draw(index)
        ground = self.photos.read(draw.background, self.frame) if len(self.photos) else None
        return photograph(draw, self.geometry, ground)


def _encoded(suffix: str, pixels: NDArray[np.uint8], *options: int) -> bytes:
    _, data = cv2.imencode(suffix, pixels, list(options))
    return data.tobytes()


def _write_photo(made: CardSet, folder: Path, index: int) -> Row:
    photo, draw = made.photo(index), made.draw(index)
    name = f"card_{index:06d}"
    jpeg = _encoded(".jpg", photo.image[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, photo.quality)
    (folder / "images" / f"{name}.jpg").write_bytes(jpeg)
    mask = _encoded(".png", photo.mask * np.uint8(255), cv2.IMWRITE_PNG_COMPRESSION, 3)
    (folder / "masks" / f"{name}.png").write_bytes(mask)
    group = f"cards_{draw.template % made.groups:04d}"
    numbers = [f"{value:.3f}" for value in photo.corners.ravel()]
    shares = [f"{value:.4f}" for value in (photo.outside, photo.covered, photo.glare)]
    blurs = [f"{value:.2f}" for value in (photo.blur, photo.motion)]
    fixed = (name, group, draw.template, draw.background, *draw.frame)
    return (*fixed, *numbers, *shares, *blurs, int(photo.upside_down))


def _one_thread() -> None:
    cv2.setNumThreads(1)


@contextlib.contextmanager
def _mapping(jobs: int) -> Iterator[Callable[[Callable[[int], Row], range], Iterable[Row]]]:
    """Give a `map` that works here, or in other processes with one thread each."""
    if jobs == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    pool = futures.ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread)
    try:
        yield functools.partial(pool.map, chunksize=4)
    finally:
        pool.shutdown(cancel_futures=True)


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write_set(made: CardSet, folder: Path, jobs: int, progress: Progress) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    task = functools.partial(_write_photo, made, folder)
    with _mapping(min(jobs, made.count)) as mapped:
        done = mapped(task, range(made.count))
        rows = list(progress(done, total=made.count, what="photographing"))
    (folder / CORNERS_FILE).write_bytes(_csv([COLUMNS, *rows]))
    (folder / "groups.csv").write_bytes(_csv([("id", "group"), *(row[:2] for row in rows)]))
    settings = {
        "version": _VERSION,
        "count": made.count,
        "frame": list(made.frame),
        "seed": made.seed,
        "templates": made.templates,
        "groups": made.groups,
        "upside_down": made.upside_down,
        "geometry": made.geometry.source,
        "backgrounds": made.photos.names or "drawn",
        "mask": "the whole quadrilateral within the frame, covered parts and corners included",
        "corners": "TL, TR, BR, BL of the card as it reads; pixels from the outer corner of the "
        "first pixel; they may lie outside the frame",
    }
    write_json(folder / SETTINGS_FILE, settings)


def make_id_cards(
    out: Path | str,
    *,
    count: int = 1000,
    frame: tuple[int, int] = (640, 1138),
    seed: int = 0,
    templates: int = 40,
    upside_down: float = 0.0,
    geometry: Path | str | None = None,
    backgrounds: Path | str | None = None,
    jobs: int = 1,
    progress: Progress = silent,
) -> CardSet:
    """Write photographs of cards that do not exist, with masks and the true corners.

    ``images/ID.jpg``, ``masks/ID.png`` (0 and 255), ``corners.csv`` (see
    `penumbra.data.cards.table`), ``groups.csv`` (groups share neither templates nor grounds) and
    ``id_cards.json`` (the settings). The set is made beside `out` and moved there when it is
    whole; an earlier set of cards in `out` is replaced, other files in it stay.

    Args:
        out: the folder to write.
        count: how many photographs; the first ones are the same whatever the count.
        frame: (width, height) in pixels.
        seed: a set is a function of its arguments, the same bytes for any `jobs`.
        templates: how many kinds of card.
        upside_down: share of cards that read upside down, in [0, 1].
        geometry: a file or folder of real quadrilaterals to choose from, see `read_geometry`; by
            default they are drawn from the description of MIDV-500's frames.
        backgrounds: a folder of photographs to lay the cards on; by default grounds are drawn.
        jobs: processes.
        progress: shows how many photographs have been made.

    Returns:
        The set's settings; findings about unreadable backgrounds are in ``.photos.findings``.

    Raises:
        SettingsError: an argument is outside its range.
        SourceError: `geometry` or `backgrounds` holds nothing that can be used.
        StorageError: `out` holds something else, or cannot be written.
    """
    out = Path(out)
    if not 1 <= jobs <= _MOST_JOBS:
        raise SettingsError(expected("`jobs`", f"from 1 to {_MOST_JOBS}", jobs, "2"))
    made = CardSet(
        count=count,
        frame=frame,
        seed=seed,
        templates=templates,
        upside_down=upside_down,
        geometry=Geometry() if geometry is None else read_geometry(geometry),
        photos=Photos() if backgrounds is None else Photos.of(backgrounds),
    )
    with _SET.replacing(out) as staged:
        _write_set(made, staged, jobs, progress)
    return made
