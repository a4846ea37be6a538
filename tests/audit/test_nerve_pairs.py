"""The ultrasound frames against a pass over all pairs that prunes nothing."""

import numpy as np
import pytest
from PIL import Image

from penumbra.audit.blockwise import readable
from penumbra.audit.groups import groups_of
from penumbra.audit.pairs import find_pairs
from penumbra.audit.scan import scan
from penumbra.data.layouts.opening import open_source


def every_pair_below(found, threshold):
    """A pass that prunes nothing: all pairs at all 65,536 pixels, in exact blocks of products."""
    n = len(found)
    # Decoded here, by another decoder's interface: these frames have the size of comparison.
    flat = np.stack(
        [np.asarray(Image.open(s.image).convert("L")).reshape(65536) for s in found.samples]
    )
    norms = np.array([int((row.astype(np.int64) ** 2).sum()) for row in flat])
    near = set()
    for start in range(0, n, 256):
        products = np.zeros((min(256, n - start), n))
        # In float64 these sums are whole numbers below 2⁵³, so nothing is lost.
        for cut in range(0, 65536, 4096):
            part = flat[:, cut : cut + 4096].astype(np.float32)
            # 256 pixels at a time stay below 2²⁴ even in single precision.
            for inner in range(0, 4096, 256):
                piece = part[:, inner : inner + 256]
                products += piece[start : start + 256] @ piece.T
        squares = norms[start : start + 256, None] + norms - 2 * products
        i, j = np.nonzero(squares < threshold**2 * 65536)
        near |= {(int(x) + start, int(y)) for x, y in zip(i, j, strict=True) if x + start < y}
    return near


@pytest.mark.slow
@pytest.mark.real_data
def test_the_nerve_frames_against_a_pass_over_all_pairs(real_data):
    found = scan(open_source(f"nerve:{real_data / 'nerve'}"))
    assert len(found) == len(found.readable) == 2323
    pairs = find_pairs(found)
    assert len(pairs) == 534
    assert set(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True)) == every_pair_below(found, 5.0)
    files = pairs.level == "bytes"

    class Identical:
        a, b = pairs.a[files], pairs.b[files]

    groups = groups_of(len(found), Identical)
    assert len(groups) == 24
    samples = found.samples
    halves = [{samples[index].image.parent.parent.name for index in group} for group in groups]
    assert sum(len(half) > 1 for half in halves) == 8
    assert sum(len({samples[index].group for index in group}) > 1 for group in groups) == 2
    assert readable(pairs.keys).keys() == set(pairs.keys)
