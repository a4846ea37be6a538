"""All pairs, against a pass over all of them that prunes nothing."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penumbra.audit import pruning
from penumbra.audit.block_means import (
    multiplier,
    rounded,
    squared_differences,
    squared_differences_at,
)
from penumbra.audit.comparison import best_match, turned
from penumbra.audit.groups import groups_of
from penumbra.audit.pairs import find_pairs
from penumbra.audit.scan import scan
from penumbra.data.layouts.opening import open_source
from penumbra.errors import SettingsError


def smooth(rng):
    """An image with structure at every scale, as photographs have it."""
    levels = [
        np.kron(rng.normal(0, 18, (2**k, 2**k)), np.ones((256 >> k, 256 >> k))) for k in range(7)
    ]
    return np.clip(128 + sum(levels), 0, 255).astype(np.uint8)


def noisy(image, sigma, rng):
    return np.clip(np.rint(image + rng.normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


def folder_of(path, images):
    (path / "images").mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        Image.fromarray(image).save(path / "images" / f"{name}.png")
    return open_source(f"folder:{path}")


def brute_force(found, threshold):
    """Every pair, in 64-bit whole numbers, one by one."""
    greys = [found.grey(index).astype(np.int64) for index in found.readable.tolist()]
    near = {}
    for i, a in zip(found.readable.tolist(), greys, strict=True):
        for j, b in zip(found.readable.tolist(), greys, strict=True):
            if i < j:
                rms = np.sqrt(((a - b) ** 2).mean())
                if rms < threshold:
                    near[i, j] = rms
    return near


def as_dict(pairs):
    return {
        (int(a), int(b)): float(rms) for a, b, rms in zip(pairs.a, pairs.b, pairs.rms, strict=True)
    }


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("a", "b", "level", "rms", "turn", "shift", "counts")
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """40 images; 12 of them with a noisy copy, 3 with the same pixels, 2 with the same bytes."""
    rng = np.random.default_rng(7)
    images = {f"o{index:02d}": smooth(rng) for index in range(40)}
    for index in range(12):
        images[f"n{index:02d}"] = noisy(images[f"o{index:02d}"], 1 + index / 2, rng)
    folder = tmp_path_factory.mktemp("planted")
    folder_of(folder, images)
    for index in range(3):
        Image.fromarray(images[f"o{index + 20}"]).save(folder / "images" / f"p{index}.bmp")
    for index in range(2):
        whole = (folder / "images" / f"o{index + 30}.png").read_bytes()
        (folder / "images" / f"b{index}.png").write_bytes(whole)
    (folder / "images" / "bad.png").write_bytes(b"no image")
    (folder / "images" / "bad2.png").write_bytes(b"no image")
    return open_source(f"folder:{folder}")


@pytest.fixture(scope="module")
def planted_scan(planted):
    return scan(planted)


@pytest.mark.parametrize("grid", [8, 32])
@pytest.mark.parametrize("block", [7, 16, 2048])
def test_the_pairs_are_those_of_a_brute_force_pass(planted_scan, block, grid):
    pairs = find_pairs(planted_scan, block=block, grid=grid)
    wanted = brute_force(planted_scan, 5.0)
    found = as_dict(pairs)
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, rel=1e-6)
    assert len(found) >= 13
    ids = [sample.id for sample in planted_scan.samples]
    levels = {(ids[a], ids[b]): lv for a, b, lv in zip(pairs.a, pairs.b, pairs.level, strict=True)}
    assert {pair for pair, level in levels.items() if level == "bytes"} == {
        ("b0", "o30"), ("b1", "o31"),
    }  # fmt: skip
    assert {pair for pair, level in levels.items() if level == "pixels"} == {
        ("o20", "p0"), ("o21", "p1"), ("o22", "p2"),
    }  # fmt: skip
    assert not pairs.turn.any()
    assert not pairs.shift.any()


@pytest.mark.parametrize("grid", [8, 32])
def test_the_histogram_counts_every_pair_once(planted_scan, grid):
    counts, edges = find_pairs(planted_scan, grid=grid, block=9).histogram
    n = len(planted_scan.readable)
    assert counts.sum() == n * (n - 1) // 2
    side = 32 // grid
    sums = planted_scan.block_sums(planted_scan.readable).astype(np.int64)
    sums = sums.reshape(n, grid, side, grid, side).sum(axis=(2, 4))
    means = np.floor(sums / (64 * side**2) + 0.5).reshape(n, -1)
    apart = np.sqrt(((means[:, None] - means) ** 2).mean(axis=-1))[np.triu_indices(n, 1)]
    assert np.array_equal(counts, np.histogram(apart, edges)[0])


@pytest.mark.parametrize("threshold", [0, 0.5, 3, 7.7, 40, 255])
def test_every_threshold(planted_scan, threshold):
    wanted = brute_force(planted_scan, threshold)
    found = as_dict(find_pairs(planted_scan, threshold=threshold))
    # Equal pixels are pairs even where nothing can be below the threshold.
    found = {pair: rms for pair, rms in found.items() if threshold > 0 or rms > 0}
    assert found.keys() == wanted.keys()


def test_settings_out_of_range_are_refused(planted_scan):
    for wrong in ({"threshold": -1}, {"threshold": 256}, {"shifts": 33}, {"block": 0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            find_pairs(planted_scan, **wrong)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_bound_holds_for_any_two_images(data):
    """Whatever rounding takes away, no near pair is ever ruled out."""
    seed = data.draw(st.integers(0, 10_000))
    sigma = data.draw(st.sampled_from([0, 0.3, 1, 3, 4.9]))
    rng = np.random.default_rng(seed)
    base = smooth(rng)
    greys = np.stack([base, noisy(base, sigma, rng), noisy(base, 2 * sigma, rng), smooth(rng)])
    sums = greys.reshape(4, 32, 8, 32, 8).sum(axis=(2, 4), dtype=np.uint16)
    fine = rounded(sums, 64)
    coarse = rounded(sums.reshape(4, 8, 4, 8, 4).sum(axis=(2, 4), dtype=np.int64), 1024)
    for means, blocks in ((fine, 1024), (coarse, 64)):
        bound = np.sqrt(squared_differences(means, means, multiplier(4)) / blocks)
        bound -= means.slack[:, None] + means.slack
        true = np.array([[best_match(a, b)[0] for b in greys] for a in greys])
        assert (bound <= true + 1e-9).all()


def test_products_of_whole_numbers_are_exact():
    rng = np.random.default_rng(0)
    extremes = rng.choice([0, 64 * 255], (40, 32, 32)).astype(np.uint16)
    means = rounded(np.concatenate([extremes, rng.integers(0, 16321, (40, 32, 32))]), 64)
    values = means.values.astype(np.int64)
    wanted = ((values[:, None] - values) ** 2).sum(axis=-1)
    for images in (10, 10**6):  # with floats, and with whatever is quickest
        assert np.array_equal(squared_differences(means, means, multiplier(images)), wanted)
    i, j = np.nonzero(wanted >= 0)
    assert np.array_equal(squared_differences_at(means, means, i, j), wanted.ravel())


# --- turns and moves -----------------------------------------------------------------------------


def test_turned_and_moved_copies(tmp_path):
    rng = np.random.default_rng(3)
    large = np.pad(smooth(rng), 4, mode="reflect")
    a = large[4:260, 4:260]
    copies = {f"t{turn}": turned(a, turn) for turn in range(8)}
    copies["m"] = noisy(large[6:262, 3:259], 1, rng)
    copies["tm"] = np.rot90(large[2:258, 4:260])
    others = {f"x{index}": smooth(rng) for index in range(6)}
    source = folder_of(tmp_path, {**copies, **others})
    found = scan(source)
    ids = [sample.id for sample in source.records]

    def near(**options):
        pairs = find_pairs(found, **options)
        return pairs, {(ids[i], ids[j]) for i, j in zip(pairs.a, pairs.b, strict=True)}

    assert near()[1] == set()
    turns = near(turns=True)
    assert turns[1] == {(f"t{i}", f"t{j}") for i in range(8) for j in range(8) if i < j}
    assert ("m", "t0") in near(shifts=3)[1]
    pairs, both = near(turns=True, shifts=3)
    assert {("t0", "tm"), ("m", "t0")} <= both
    assert not any(name.startswith("x") for pair in both for name in pair)
    for i, j, rms, turn, move in zip(
        pairs.a, pairs.b, pairs.rms, pairs.turn, pairs.shift, strict=True
    ):
        match = best_match(found.grey(i), found.grey(j), turns=True, shifts=3)
        assert match == (pytest.approx(float(rms), rel=1e-6), int(turn), tuple(move.tolist()))


def test_moves_and_turns_agree_with_trying_every_pair(planted_scan):
    ids = [sample.id for sample in planted_scan.samples]
    few = [ids.index(name) for name in ("o00", "o01", "o07", "o35", "p2")]
    wanted = {
        (i, j)
        for i in range(len(planted_scan))
        for j in few
        if i < j
        and {i, j} <= set(planted_scan.readable.tolist())
        and best_match(planted_scan.grey(i), planted_scan.grey(j), turns=True, shifts=1)[0] < 12
    }
    pairs = find_pairs(planted_scan, threshold=12, turns=True, shifts=1, block=20)
    found = {(int(i), int(j)) for i, j in zip(pairs.a, pairs.b, strict=True) if j in few}
    assert found == wanted
    assert wanted


# --- stopping, going on, adding ------------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [0, 1, 4, 9, 14])
def test_a_stopped_search_goes_on_and_finds_the_same(planted, planted_scan, tmp_path, stop_after):
    whole = find_pairs(planted_scan, block=14)
    state = tmp_path / "state"
    looked = []

    def stopping(items, *, total, what):
        for done, item in enumerate(items):
            if done == stop_after:
                raise KeyboardInterrupt
            yield item

    def counting(items, *, total, what):
        looked.append(total)
        return items

    with pytest.raises(KeyboardInterrupt):
        find_pairs(scan(planted, state=state), block=14, progress=stopping)
    rest = find_pairs(scan(planted, state=state), block=14, progress=counting)
    assert same(rest, whole)
    # Rows of 1, 2, 3, … blocks: those that were finished are not looked at again.
    finished = sum(row for row in range(1, 6) if row * (row + 1) // 2 <= stop_after)
    assert looked == [15 - finished]
    again = find_pairs(scan(planted, state=state), block=14, progress=counting)
    assert same(again, whole)
    assert looked[1:] == [0]


def test_an_added_image_costs_one_row(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    images = {f"k{index:02d}": smooth(rng) for index in range(30)}
    source = folder_of(tmp_path / "data", images)
    state = tmp_path / "state"
    find_pairs(scan(source, state=state), block=8)
    looked = []
    plain = pruning.squared_differences

    def counting(a, b, multiply):
        looked.append(len(a) * len(b))
        return plain(a, b, multiply)

    monkeypatch.setattr(pruning, "squared_differences", counting)
    # By its name it comes before all others, so that every index moves by one.
    source = folder_of(tmp_path / "data", {"a": noisy(images["k07"], 3, rng)})
    found = scan(source, state=state)
    pairs = find_pairs(found, block=8)
    assert as_dict(pairs).keys() == {(0, 8)}
    assert sum(looked) == 31
    monkeypatch.undo()
    assert same(pairs, find_pairs(scan(source), block=8))


def test_known_pairs_of_turned_images_follow_their_samples(tmp_path):
    rng = np.random.default_rng(6)
    image = smooth(rng)
    source = folder_of(tmp_path, {"k1": image, "k2": np.rot90(image)})
    known = find_pairs(scan(source), turns=True)
    assert known.turn.tolist() == [3]
    source = folder_of(tmp_path, {"a": smooth(rng), "k3": np.rot90(image, 2)})
    pairs = find_pairs(scan(source), turns=True, known=known)
    assert same(pairs, find_pairs(scan(source), turns=True))
    backwards = source.subset([3, 2, 1, 0])
    again = find_pairs(scan(backwards), turns=True, known=pairs)
    assert same(again, find_pairs(scan(backwards), turns=True))


def test_known_pairs_of_other_images_are_of_no_use(planted, planted_scan, tmp_path):
    rng = np.random.default_rng(8)
    image = smooth(rng)
    source = folder_of(tmp_path, {"a": image, "b": noisy(image, 2, rng), "c": smooth(rng)})
    known = find_pairs(scan(source))
    folder_of(tmp_path, {"b": smooth(rng)})
    assert len(known) == 1
    assert len(find_pairs(scan(source), known=known)) == 0
    assert same(find_pairs(planted_scan, known=known), find_pairs(planted_scan))


def test_damaged_pairs_on_disk_are_made_again(planted, tmp_path):
    first = find_pairs(scan(planted, state=tmp_path))
    (kept,) = tmp_path.rglob("pairs-*.npz")
    kept.write_bytes(kept.read_bytes()[:-40])
    assert same(find_pairs(scan(planted, state=tmp_path)), first)


def test_nothing_to_compare(tmp_path):
    source = folder_of(tmp_path, {"a": np.zeros((5, 5), np.uint8)})
    assert len(find_pairs(scan(source))) == 0
    (tmp_path / "images" / "a.png").write_bytes(b"")
    pairs = find_pairs(scan(source))
    assert len(pairs) == 0
    assert pairs.histogram[0].sum() == 0


# --- memory --------------------------------------------------------------------------------------


class Made:
    """Block sums of images that are nowhere, of which no two are near."""

    def __init__(self, n):
        self.n = n

    def block_sums(self, indices):
        rng = np.random.default_rng(int(indices[0]))
        return rng.integers(0, 16321, (len(indices), 32, 32)).astype(np.uint16)


@pytest.mark.parametrize("grid", [8, 32])
def test_memory_grows_with_the_block(grid):
    search = pruning.Search(threshold=5.0, turns=False, shifts=0, grid=grid)

    def peak(n, block):
        tracemalloc.start()
        made, counts = Made(n), np.zeros(pruning.BINS, np.int64)
        row = pruning.rows_of(made, np.arange(block), search)
        for start in range(0, n, block):
            columns = pruning.Columns(made, np.arange(start, start + block))
            pruning.candidates(row, columns, search, multiplier(1), below=False, counts=counts)
        assert counts.sum() == n * block
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(2048, 128) < 1.2 * peak(512, 128)
    assert peak(2048, 512) > 1.5 * peak(2048, 128)


def test_memory_of_a_whole_search_does_not_grow_with_the_square(tmp_path):
    rng = np.random.default_rng(5)
    images = {f"{n:04d}": rng.integers(0, 256, (16, 16), np.uint8) for n in range(960)}
    whole = folder_of(tmp_path, images)

    def peak(n):
        part = scan(whole.subset(range(n)))
        tracemalloc.start()
        assert len(find_pairs(part, block=64)) == 0
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # A table of all differences would grow to nine times its size: 3.7 MB in single precision.
    assert peak(960) < peak(320) + 1.2e6


def test_groups_of_pairs(planted_scan):
    pairs = find_pairs(planted_scan)
    groups = groups_of(len(planted_scan), pairs)
    assert sum(len(group) for group in groups) == len(set(pairs.a) | set(pairs.b))
    assert all(list(group) == sorted(group) for group in groups)
