"""One pass over the files: what is learned, what is kept, and what bad files do."""

import hashlib
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

import penumbra.audit.scan as scan_module
from penumbra.audit.comparison import comparison_image
from penumbra.audit.scan import scan
from penumbra.data.layouts.opening import open_source
from penumbra.errors import SettingsError, SourceError


def picture(seed, size=(40, 56)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size, dtype=np.uint8)


def make(folder, count=6, size=(40, 56)):
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(picture(index, size)).save(folder / "images" / f"{index}.png")
        mask = np.zeros(size, np.uint8)
        mask[4 : 8 + index, 6:16] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
    return folder


def opened(folder):
    return open_source(f"folder:{folder}")


def decoded_in(monkeypatch):
    """Count the decoded samples of the scans that follow."""
    seen = []
    learn = scan_module.learn
    monkeypatch.setattr(
        scan_module, "learn", lambda source, record: seen.append(record.id) or learn(source, record)
    )
    return seen


def png_header(width, height):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    # One megabyte of zeros in a kilobyte: what a bomb looks like from outside.
    data = chunk(b"IDAT", zlib.compress(bytes(2**20)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


# --- what is learned -----------------------------------------------------------------------------


def test_facts_of_a_sample(tmp_path):
    make(tmp_path)
    found = scan(opened(tmp_path))
    assert [sample.id for sample in found.samples] == [str(index) for index in range(6)]
    sample, image = found.samples[2], picture(2)
    path = tmp_path / "images" / "2.png"
    assert sample.error is None
    assert sample.size == (40, 56)
    assert (sample.channels, sample.dtype, sample.bits, sample.format) == (1, "uint8", 8, "png")
    assert sample.file_digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sample.file_bytes == path.stat().st_size
    assert sample.mean == pytest.approx(image.mean())
    assert sample.std == pytest.approx(image.std())
    assert (sample.low, sample.high) == (image.min(), image.max())
    mask = sample.mask
    assert mask.counts == (40 * 56 - 60, 60)
    assert (mask.components, mask.largest, mask.foreground) == (1, 60, 60)
    assert mask.objects[0].box == (6, 4, 16, 10)
    assert mask.objects[0].centroid == (10.5, 6.5)
    assert np.array_equal(found.grey(2), comparison_image(image[..., None]))
    thumbnail = found.grey(2).reshape(32, 8, 32, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(found.thumbnails()[2], thumbnail)
    # Every block has the same area, so their mean is the part of foreground.
    assert found.soft_mask(2).mean() == pytest.approx(60 / (40 * 56), abs=1e-3)


def test_colours_count_into_mean_and_spread(tmp_path):
    (tmp_path / "images").mkdir()
    image = np.random.default_rng(1).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    sample = scan(opened(tmp_path)).samples[0]
    assert sample.mean == pytest.approx(image.mean())
    assert sample.std == pytest.approx(image.std())
    assert sample.mask is None
    assert sample.mask_error is None


def test_pixel_digests_are_equal_for_equal_pixels_of_one_shape_only(tmp_path):
    (tmp_path / "images").mkdir()
    image = picture(3)
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    Image.fromarray(image).save(tmp_path / "images" / "b.bmp")
    Image.fromarray(image.reshape(56, 40)).save(tmp_path / "images" / "c.png")
    Image.fromarray(image).convert("RGB").save(tmp_path / "images" / "d.png")
    a, b, c, d = scan(opened(tmp_path)).samples
    assert a.pixel_digest == b.pixel_digest
    assert a.file_digest != b.file_digest
    assert len({a.pixel_digest, c.pixel_digest, d.pixel_digest}) == 3


# --- what is kept --------------------------------------------------------------------------------


def test_a_second_scan_decodes_nothing_and_says_the_same(tmp_path, monkeypatch):
    make(tmp_path / "data")
    source = opened(tmp_path / "data")
    first = scan(source, state=tmp_path / "state")
    seen = decoded_in(monkeypatch)
    second = scan(source, state=tmp_path / "state")
    assert seen == []
    assert second.samples == first.samples
    for index in range(6):
        assert np.array_equal(second.grey(index), first.grey(index))
        assert np.array_equal(second.soft_mask(index), first.soft_mask(index))


def test_an_added_or_changed_image_is_decoded_alone(tmp_path, monkeypatch):
    make(tmp_path / "data")
    scan(opened(tmp_path / "data"), state=tmp_path / "state")
    seen = decoded_in(monkeypatch)
    Image.fromarray(picture(77)).save(tmp_path / "data" / "images" / "10.png")
    Image.fromarray(picture(78)).save(tmp_path / "data" / "images" / "3.png")
    again = scan(opened(tmp_path / "data"), state=tmp_path / "state")
    assert sorted(seen) == ["10", "3"]
    assert again.samples[3].pixel_digest != again.samples[2].pixel_digest
    assert np.array_equal(again.grey(3), comparison_image(picture(78)[..., None]))
    assert np.array_equal(again.grey(6), comparison_image(picture(77)[..., None]))


@pytest.mark.parametrize("stop_after", [0, 1, 5, 17])
def test_a_stopped_scan_goes_on_where_it_was(tmp_path, monkeypatch, stop_after):
    monkeypatch.setattr(scan_module, "SHARD", 4)
    make(tmp_path / "data", 20, (16, 16))
    source = opened(tmp_path / "data")
    whole = scan(source)

    def stopping(items, *, total, what):
        for done, item in enumerate(items):
            if done == stop_after:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        scan(source, state=tmp_path / "state", progress=stopping)
    seen = decoded_in(monkeypatch)
    rest = scan(source, state=tmp_path / "state")
    assert len(seen) == 20 - stop_after
    assert rest.samples == whole.samples
    assert all(np.array_equal(rest.grey(index), whole.grey(index)) for index in range(20))


@pytest.mark.parametrize("suffix", [".jsonl", ".grey", ".sums", ".soft"])
def test_a_damaged_shard_is_learned_again(tmp_path, suffix):
    make(tmp_path / "data")
    source = opened(tmp_path / "data")
    first = scan(source, state=tmp_path / "state")
    grey = first.grey(5)
    (shard,) = (tmp_path / "state").rglob(f"*{suffix}")
    shard.write_bytes(shard.read_bytes()[:-7])
    again = scan(source, state=tmp_path / "state")
    assert again.samples == first.samples
    assert np.array_equal(again.grey(5), grey)


def test_the_number_of_threads_changes_nothing(tmp_path):
    make(tmp_path, 12)
    one, four = (scan(opened(tmp_path), workers=workers) for workers in (1, 4))
    assert one.samples == four.samples
    assert np.array_equal(one.thumbnails(), four.thumbnails())
    with pytest.raises(SettingsError, match="workers"):
        scan(opened(tmp_path), workers=0)


# --- bad input -----------------------------------------------------------------------------------


def test_one_bad_file_among_many_stops_nothing(tmp_path):
    images = make(tmp_path, 20) / "images"
    whole = (images / "4.png").read_bytes()
    (images / "4.png").write_bytes(whole[: len(whole) // 2])
    (images / "5.png").write_bytes(b"")
    (images / "6.png").write_bytes(b"<!DOCTYPE html><html></html>" * 20)
    (images / "7.png").write_bytes(png_header(30_000, 30_000))
    (images / "8.png").write_bytes(png_header(9_000, 9_000))
    (images / "9.png").unlink()
    (images / "9.png").symlink_to(images / "9.png")
    (images / "11.png").unlink()
    (images / "11.png").symlink_to(images / "gone.png")
    (images / "12.png").unlink()
    os.mkfifo(images / "12.png")
    found = scan(opened(tmp_path))
    bad = {sample.id for sample in found.samples if sample.error}
    assert bad == {"4", "5", "6", "7", "8", "9", "11", "12"}
    assert len(found.readable) == len(found) - len(bad)
    by_id = {sample.id: sample for sample in found.samples}
    assert "30000×30000" in by_id["7"].error
    assert "empty" in by_id["5"].error
    # What could be opened and not decoded is still known by its bytes.
    assert by_id["6"].file_digest
    with pytest.raises(SourceError, match="'4'"):
        found.grey(4)


def test_bad_masks_leave_their_images_in(tmp_path):
    masks = make(tmp_path) / "masks"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(masks / "1.png")
    (masks / "2.png").write_bytes(b"nothing")
    Image.fromarray(np.full((40, 56), 3, np.uint8)).save(masks / "3.png")
    source = open_source(f"folder:{tmp_path}", class_names=("background", "thing"))
    found = scan(source)
    assert [sample.mask_fault for sample in found.samples] == [
        None, "size", "unreadable", "values", None, None,
    ]  # fmt: skip
    assert len(found.readable) == 6
    assert all(sample.mask is None for sample in found.samples if sample.mask_fault)
    assert found.soft_mask(2) is None


def test_a_mask_that_was_mended_is_seen(tmp_path):
    masks = make(tmp_path / "data") / "masks"
    whole = (masks / "2.png").read_bytes()
    (masks / "2.png").unlink()
    source = opened(tmp_path / "data")
    (masks / "2.png").write_bytes(b"nothing")
    source = opened(tmp_path / "data")
    assert scan(source, state=tmp_path / "state").samples[2].mask_fault == "unreadable"
    (masks / "2.png").write_bytes(whole)
    assert scan(source, state=tmp_path / "state").samples[2].mask_fault is None


def test_files_that_change_while_the_scan_runs_are_noticed(tmp_path, monkeypatch):
    images = make(tmp_path / "data", 12) / "images"
    source = opened(tmp_path / "data")
    turn = threading.Lock()
    learn = scan_module.learn

    def meddling(source, record):
        with turn:
            if record.id == "3":  # while it is read
                Image.fromarray(picture(99)).save(images / "3.png")
            if record.id == "8":  # one that was read before, and one that comes later
                Image.fromarray(picture(98)).save(images / "1.png")
                (images / "10.png").unlink()
            return learn(source, record)

    monkeypatch.setattr(scan_module, "learn", meddling)
    found = scan(source, state=tmp_path / "state", workers=2)
    assert set(found.changed) == {"3", "1", "10"}
    monkeypatch.setattr(scan_module, "learn", learn)
    (images / "10.png").write_bytes((images / "0.png").read_bytes())
    again = scan(opened(tmp_path / "data"), state=tmp_path / "state")
    assert again.changed == ()
    assert np.array_equal(again.grey(3), comparison_image(picture(99)[..., None]))
    assert np.array_equal(again.grey(1), comparison_image(picture(98)[..., None]))


def test_odd_names_are_names(tmp_path):
    (tmp_path / "images").mkdir()
    names = ["a b", "quote'\"", "comma,", "emoji 🩻", "CON", "aux.txt", "-rf", "x" * 120]
    for index, name in enumerate(names):
        Image.fromarray(picture(index)).save(tmp_path / "images" / f"{name}.png")
    found = scan(opened(tmp_path), state=tmp_path / "state")
    assert {sample.image.stem for sample in found.samples} == set(names)
    assert scan(opened(tmp_path), state=tmp_path / "state").samples == found.samples
