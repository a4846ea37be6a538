"""Each embedding is computed once, held within a bound, and never met by what it is not of."""

import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from penumbra.errors import SettingsError, StorageError
from penumbra.imaging.files import read_image
from penumbra.promptable import Embedding, PromptableSegmenter
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.embedding_files import path_of, read_embedding


@pytest.fixture(scope="module")
def segmenter(tiny_sam):
    return PromptableSegmenter.from_pretrained(tiny_sam, precision="float32", device="cpu")


@pytest.fixture
def image():
    return np.random.default_rng(3).integers(0, 255, (40, 60, 1), dtype=np.uint8)


def changed_copies(image):
    """What must not be taken for `image`, each for another reason."""
    one_pixel = image.copy()
    one_pixel[-1, -1] ^= 1
    return {
        "a pixel": one_pixel,
        "the shape": image.reshape(60, 40, 1),
        "the type": image.astype(np.uint16),
        "the channels": np.repeat(image, 3, axis=2),
        "a crop": image[:, :-1],
        "a flip": image[::-1],
    }


def counts(cache):
    found = cache.counts
    return found.memory, found.disk, found.computed


def embedding(key, values=8, *, scale=1.0):
    features = torch.arange(values, dtype=torch.float32).reshape(1, 1, 1, values) * scale
    return Embedding(features, (4, 8), (4, 8), key * 64, "model")


def test_it_is_computed_once_and_read_back_the_same(segmenter, image, tmp_path):
    cache = EmbeddingCache(tmp_path)
    first, again = cache.embed(segmenter, image), cache.embed(segmenter, image)
    assert counts(cache) == (1, 0, 1)
    other = EmbeddingCache(tmp_path)
    read = other.embed(segmenter, image)
    assert counts(other) == (0, 1, 0)
    for one in (again, read):
        assert torch.equal(one.features, first.features)
        assert (one.size, one.resized, one.key, one.model) == (
            first.size, first.resized, first.key, first.model,
        )  # fmt: skip
    assert first.features.dtype == torch.float32
    box = [5, 5, 30, 30]
    answers = [segmenter.predict(one, boxes=box)[0].probabilities for one in (first, again, read)]
    assert (answers[0] == answers[1]).all()
    assert (answers[0] == answers[2]).all()
    # Half precision is close to what the encoder gave.
    assert torch.allclose(first.features, segmenter.embed(image).features, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("what", list(changed_copies(np.zeros((40, 60, 1), np.uint8))))
def test_a_changed_image_never_meets_a_stale_embedding(segmenter, image, tmp_path, what):
    cache = EmbeddingCache(tmp_path)
    kept = cache.embed(segmenter, image)
    other = changed_copies(image)[what]
    found = cache.embed(segmenter, other)
    assert counts(cache) == (0, 0, 2)
    assert found.key != kept.key
    assert found.size == other.shape[:2]


def test_a_file_that_was_overwritten_on_disk_is_another_image(segmenter, image, tmp_path):
    cache, file = EmbeddingCache(tmp_path / "cache"), tmp_path / "a.png"
    Image.fromarray(image[..., 0]).save(file)
    before = cache.embed(segmenter, read_image(file))
    Image.fromarray(255 - image[..., 0]).save(file)
    after = cache.embed(segmenter, read_image(file))
    assert not torch.equal(before.features, after.features)
    assert torch.allclose(
        after.features, segmenter.embed(255 - image).features, rtol=1e-3, atol=1e-3
    )


def test_a_changed_model_never_meets_a_stale_embedding(
    segmenter, image, tiny_sam, make_tiny_sam, tmp_path
):
    cache = EmbeddingCache(tmp_path / "cache")
    cache.embed(segmenter, image)
    nudged = tmp_path / "nudged"
    shutil.copytree(tiny_sam, nudged)
    weights = load_file(nudged / "model.safetensors")
    name = next(n for n in sorted(weights) if n.startswith("vision_encoder") and "proj" in n)
    weights[name].view(-1)[0] += 1e-3
    save_file(weights, nudged / "model.safetensors", metadata={"format": "pt"})
    others = [
        PromptableSegmenter.from_pretrained(nudged, precision="float32", device="cpu"),
        PromptableSegmenter.from_pretrained(
            make_tiny_sam(tmp_path / "other", seed=5), precision="float32", device="cpu"
        ),
        PromptableSegmenter.from_pretrained(tiny_sam, precision="bfloat16", device="cpu"),
    ]
    for other in others:
        cache.embed(other, image)
    assert counts(cache) == (0, 0, 4)


def test_a_model_with_another_decoder_shares_embeddings(segmenter, image, tiny_sam, tmp_path):
    tuned = tmp_path / "tuned"
    shutil.copytree(tiny_sam, tuned)
    weights = load_file(tuned / "model.safetensors")
    name = next(n for n in sorted(weights) if n.startswith("mask_decoder"))
    weights[name] = weights[name] + 1
    save_file(weights, tuned / "model.safetensors", metadata={"format": "pt"})
    other = PromptableSegmenter.from_pretrained(tuned, precision="float32", device="cpu")
    cache = EmbeddingCache()
    cache.embed(segmenter, image)
    other.predict(cache.embed(other, image), points=[[9, 9]])
    assert counts(cache) == (1, 0, 1)


def test_a_decoder_that_needs_more_never_meets_an_embedding_without_it(
    segmenter, image, tiny_sam, make_tiny_sam, tmp_path
):
    folder = make_tiny_sam(tmp_path / "hq", kind="sam-hq")
    encoder = {
        name: value
        for name, value in load_file(tiny_sam / "model.safetensors").items()
        if name.startswith("vision_encoder.")
    }
    weights = load_file(folder / "model.safetensors") | encoder
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    fine = PromptableSegmenter.from_pretrained(folder, precision="float32", device="cpu")
    assert fine.encoder_digest == segmenter.encoder_digest
    cache = EmbeddingCache(tmp_path / "cache")
    plain = cache.embed(segmenter, image)
    found = cache.embed(fine, image)
    assert counts(cache) == (0, 0, 2)
    assert [len(one.extra) for one in (plain, found)] == [0, 1]
    assert found.key == fine.embedding_key(image) != plain.key
    assert len(fine.predict(found, boxes=[5, 5, 30, 30])) == 1
    with pytest.raises(SettingsError, match="further features that the decoder"):
        fine.predict(plain, boxes=[5, 5, 30, 30])


def test_filters_tell_embeddings_apart_by_every_setting(segmenter, image):
    cache = EmbeddingCache()
    chains = [
        None, "[clahe]", "[clahe: {clip: 3}]", "[sobel]", "[clahe, sobel]", "[sobel, clahe]",
        "[sobel: {mode: blend, weight: 0.2}]", "[sobel: {mode: blend, weight: 0.3}]",
    ]  # fmt: skip
    keys = {cache.embed(segmenter, image, filters=chain).key for chain in chains}
    assert len(keys) == len(chains)
    # A prompt made of edges does not change what the encoder sees.
    cache.embed(segmenter, image, filters="[sobel: {mode: prompt}]")
    assert counts(cache) == (1, 0, len(chains))


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 0x10
    path.write_bytes(bytes(raw))


def of_another_size(path):
    path.write_bytes(path.read_bytes().replace(b"[40, 60]", b"[60, 40]"))


def pickled(path):
    torch.save({"features": torch.zeros(3)}, path)


def foreign(path):
    save_file({"features": torch.zeros(1, 32, 8, 8, dtype=torch.float16)}, path)


def bare_text(path):
    path.write_text("I am no embedding")


DAMAGE = [cut, empty, flip_a_bit, of_another_size, pickled, foreign, bare_text]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_embedded_again(segmenter, image, tmp_path, damage):
    good = EmbeddingCache(tmp_path).embed(segmenter, image)
    path = path_of(tmp_path, good.key)
    damage(path)
    cache = EmbeddingCache(tmp_path)
    found = cache.embed(segmenter, image)
    assert counts(cache) == (0, 0, 1)
    assert torch.equal(found.features, good.features)
    assert read_embedding(tmp_path, good.key) is not None, "the damaged file was not replaced"


def test_a_file_under_another_name_is_never_used(segmenter, image, tmp_path):
    kept = EmbeddingCache(tmp_path).embed(segmenter, image)
    other = "0" * 64
    path_of(tmp_path, other).parent.mkdir(exist_ok=True)
    shutil.copy(path_of(tmp_path, kept.key), path_of(tmp_path, other))
    assert read_embedding(tmp_path, other) is None
    assert read_embedding(tmp_path, kept.key) is not None


def test_memory_is_bounded_and_the_least_recently_used_goes_first():
    cache = EmbeddingCache(memory_bytes=48)  # three of 8 values in half precision
    for key in "abc":
        cache.put(embedding(key))
    assert (len(cache), cache.nbytes) == (3, 48)
    assert cache.get("a" * 64) is not None
    cache.put(embedding("d"))
    assert [cache.get(key * 64) is not None for key in "abcd"] == [True, False, True, True]
    cache.put(embedding("e", 16))
    assert cache.nbytes <= 48
    cache.put(embedding("f", 100))
    assert cache.get("f" * 64) is None, "larger than all of the memory"
    assert cache.get("e" * 64) is not None
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_what_half_precision_cannot_hold_stays_single(tmp_path):
    cache = EmbeddingCache(tmp_path, memory_bytes=0)
    large = embedding("a", scale=1e5)
    cache.put(large)
    read = cache.get(large.key)
    assert torch.equal(read.features, large.features)
    assert len(cache) == 0


def test_extra_features_come_back_in_order(tmp_path):
    base = embedding("a")
    extra = (torch.ones(1, 2, 2), torch.zeros(1, 3))
    cache = EmbeddingCache(tmp_path, memory_bytes=0)
    cache.put(Embedding(base.features, base.size, base.resized, base.key, base.model, extra))
    read = cache.get(base.key)
    assert [tuple(t.shape) for t in read.extra] == [(1, 2, 2), (1, 3)]
    assert all(torch.equal(mine, other) for mine, other in zip(read.extra, extra, strict=True))


def test_threads_may_share_one():
    cache = EmbeddingCache(memory_bytes=16 * 5)

    def work(offset):
        for number in range(60):
            key = "abcdefghij"[(number + offset) % 10]
            if cache.get(key * 64) is None:
                cache.put(embedding(key))

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(cache), cache.nbytes) == (5, 80)
    assert sum(counts(cache)) == 240


def test_what_cannot_be_is_refused(segmenter, image, tmp_path):
    with pytest.raises(SettingsError, match="memory_bytes"):
        EmbeddingCache(memory_bytes=-1)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        EmbeddingCache(tmp_path / "file" / "cache").embed(segmenter, image)
