"""All pairs of images that are the same or nearly so: exact, in blocks, resumable."""

from __future__ import annotations

from penumbra.audit.blockwise import Blockwise, keys_of, readable
from penumbra.audit.found import LEVELS, Level, Pairs
from penumbra.audit.kept_pairs import KeptPairs
from penumbra.audit.pruning import COARSE, FINE, Grid, Search
from penumbra.audit.scan import Scan
from penumbra.errors import SettingsError, expected
from penumbra.progress import Progress, silent

__all__ = ["LEVELS", "Level", "Pairs", "find_pairs"]

_MOST_FINE = 30_000
_MOST_SHIFT = 32


def find_pairs(
    scan: Scan,
    *,
    threshold: float = 5.0,
    turns: bool = False,
    shifts: int = 0,
    block: int = 2048,
    known: Pairs | None = None,
    grid: Grid | None = None,
    progress: Progress = silent,
) -> Pairs:
    """Find every pair of readable images with a root mean square difference below the threshold.

    And no other: thumbnails only rule out, with a bound that holds; what they leave is compared on
    the comparison images, in whole numbers. Images with equal pixels are pairs at any threshold.

    What is finished of the work is kept beside the scan's state, by rows of blocks, and a later
    call with the same settings goes on there. An added image is compared with all others, and
    these not again with each other.

    Args:
        scan: the images.
        threshold: on the scale 0–255; pairs at or above it are not near.
        turns: whether flips and quarter turns of an image count as the same.
        shifts: whether images moved by up to this many pixels (of 256) along either axis do.
        block: images per block; memory grows with it, and not with the number of pairs looked at.
        known: pairs of an earlier scan with the same settings, of which no image is gone or
            changed; others are of no use and passed over. By default those kept beside the state.
        grid: block means along a side of the thumbnails that the histogram of all differences is
            of; 32 for up to 30,000 images where not given, and 8, which is faster, for more.
        progress: is wrapped around the blocks.

    Raises:
        SettingsError: a setting is out of range.
        StorageError: the state cannot be written.
    """
    _check(threshold, shifts, block)
    keys = readable(keys_of(scan))
    kept = KeptPairs(scan.folder / "pairs")
    grids = (grid,) if grid else (FINE, COARSE) if len(keys) <= _MOST_FINE else (COARSE, FINE)
    searches = [
        Search(threshold=float(threshold), turns=turns, shifts=shifts, grid=each) for each in grids
    ]
    offered = [known] if known is not None else [kept.read(search) for search in searches]
    usable = next(
        (
            old
            for old in offered
            if old is not None
            and old.search in searches
            and readable(old.keys).keys() <= keys.keys()
        ),
        None,
    )
    search = usable.search if usable is not None else searches[0]
    pairs = Blockwise(scan, search, usable, block).run(kept, progress)
    if usable is None or pairs.keys != usable.keys:
        kept.write(pairs)
    return pairs


def _check(threshold: float, shifts: int, block: int) -> None:
    if not 0 <= threshold <= 255:
        raise SettingsError(
            expected("`threshold`", "between 0 and 255 greys", threshold, "5, the default")
        )
    if not 0 <= shifts <= _MOST_SHIFT:
        raise SettingsError(
            expected("`shifts`", f"between 0 and {_MOST_SHIFT} pixels", shifts, "2 or 4")
        )
    if block < 1:
        raise SettingsError(expected("`block`", "at least 1", block, "2048, the default"))
