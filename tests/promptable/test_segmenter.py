"""A promptable model: embeddings, prompts, and which mask is given."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penumbra.errors import ImageFileError, SettingsError
from penumbra.inference.prediction import entropy
from penumbra.promptable import PromptableSegmenter, Prompts
from penumbra.promptable.encoding import encode
from penumbra.promptable.families import family_named
from penumbra.promptable.prediction import stability_score, to_image_size


def _image(seed=0, shape=(50, 80, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def segmenter(tiny_sam):
    return PromptableSegmenter.from_pretrained(tiny_sam, precision="float32")


@pytest.fixture(scope="module")
def embedding(segmenter):
    return segmenter.embed(_image())


@pytest.fixture(scope="module")
def reference(tiny_sam):
    """The library's own way from image and prompts to logits, processor and model."""
    from transformers import SamImageProcessorPil, SamModel, SamProcessor

    images = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    processor = SamProcessor(images)
    model = SamModel.from_pretrained(tiny_sam).eval()

    def logits(image, *, multimask, **prompts):
        given = processor(image, **prompts, return_tensors="pt")
        wanted = ("pixel_values", "input_boxes", "input_points", "input_labels")
        inputs = {k: v.float() if v.is_floating_point() else v
                  for k, v in given.items() if k in wanted}  # fmt: skip
        with torch.no_grad():
            found = model(**inputs, multimask_output=multimask)
        return found.pred_masks[0].numpy(), found.iou_scores[0].numpy()

    return logits


BOXES = [[4, 4, 30, 30], [10, 2, 70, 45]]
POINTS = [[[8, 9]], [[30, 20]]]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"boxes": BOXES}, {"input_boxes": [BOXES]}),
        (
            {"points": [[[8, 9], [3, 3]], [[30, 20], [5, 40]]], "labels": [[1, 0], [1, 1]]},
            {"input_points": [[[[8, 9], [3, 3]], [[30, 20], [5, 40]]]],
             "input_labels": [[[1, 0], [1, 1]]]},
        ),
        (
            {"boxes": BOXES, "points": POINTS},
            {"input_boxes": [BOXES], "input_points": [POINTS], "input_labels": [[[1], [1]]]},
        ),
    ],
    ids=["box", "points", "box and point"],
)  # fmt: skip
def test_clear_prompts_give_the_librarys_single_mask(segmenter, embedding, reference, ours, theirs):
    found = segmenter.predict(embedding, **ours)
    logits, iou = reference(_image(), multimask=False, **theirs)
    assert len(found) == 2
    for number, one in enumerate(found):
        assert one.candidate == 0
        np.testing.assert_allclose(one.logits, logits[number, 0], atol=2e-4)
        assert one.predicted_iou == pytest.approx(np.clip(iou[number, 0], 0, 1), abs=1e-4)


def test_one_point_gives_the_mask_of_three_with_the_highest_predicted_iou(
    segmenter, embedding, reference
):
    found = segmenter.predict(embedding, points=POINTS)
    logits, iou = reference(
        _image(), multimask=True, input_points=[POINTS], input_labels=[[[1], [1]]]
    )
    for number, one in enumerate(found):
        best = int(iou[number].argmax())
        assert one.candidate == best + 1
        np.testing.assert_allclose(one.logits, logits[number, best], atol=2e-4)


def test_all_three_or_a_chosen_one(segmenter, embedding):
    three = segmenter.predict(embedding, points=POINTS, choice="all")
    assert len(three) == 6
    for prompt in (three[:3], three[3:]):
        assert sorted(one.candidate for one in prompt) == [1, 2, 3]
        assert prompt[0].predicted_iou >= prompt[1].predicted_iou >= prompt[2].predicted_iou
    for one in three[:3]:
        (same,) = segmenter.predict(embedding, points=POINTS[:1], choice=one.candidate)
        np.testing.assert_allclose(same.logits, one.logits, atol=1e-4)
    (single,) = segmenter.predict(embedding, points=POINTS[:1], choice=0)
    assert single.candidate == 0
    with pytest.raises(SettingsError, match="best, all, or 0 to 3"):
        segmenter.predict(embedding, points=POINTS, choice=7)


def test_a_prediction_is_one_like_any_other(segmenter, embedding):
    (one,) = segmenter.predict(embedding, boxes=[[4, 4, 30, 30]])
    assert one.probabilities.shape == (2, 50, 80)
    assert one.probabilities.dtype == np.float32
    np.testing.assert_allclose(one.probabilities.sum(axis=0), 1, atol=1e-6)
    assert np.array_equal(one.mask, one.probabilities[1] >= 0.5)
    np.testing.assert_allclose(one.uncertainty["entropy"], entropy(one.probabilities), atol=1e-4)
    assert 0 <= one.predicted_iou <= 1
    assert 0 <= one.stability <= 1
    assert one.class_names == ("background", "object")


def test_the_same_image_gives_the_same_bits_whatever_came_before(segmenter, embedding):
    segmenter.embed(_image(5, (33, 20, 1)))
    again = segmenter.embed(_image())
    assert torch.equal(again.features, embedding.features)
    assert again.key == embedding.key == segmenter.embedding_key(_image())


def test_the_key_follows_pixels_type_weights_filters_and_precision(
    segmenter, embedding, make_tiny_sam, tmp_path
):
    other = PromptableSegmenter.from_pretrained(
        make_tiny_sam(tmp_path, seed=1), precision="float32"
    )
    half = PromptableSegmenter(_loaded(segmenter), name="half", precision="bfloat16")
    changed = _image()
    changed[0, 0, 0] ^= 1
    keys = [
        embedding.key,
        segmenter.embedding_key(changed),
        segmenter.embedding_key(_image().astype(np.uint16)),
        segmenter.embedding_key(_image().reshape(80, 50, 3)),
        segmenter.embedding_key(_image(), filters=["clahe"]),
        other.embedding_key(_image()),
        half.embedding_key(_image()),
    ]
    assert len(set(keys)) == len(keys)


def _loaded(segmenter):
    import copy

    from penumbra.promptable.loading import Loaded

    return Loaded(copy.deepcopy(segmenter.model), segmenter.family, segmenter.scaling)


def test_filters_stand_before_the_encoder(segmenter, embedding):
    from penumbra.imaging.filters import FilterChain

    filtered = segmenter.embed(_image(), filters=["clahe"])
    by_hand = segmenter.embed(FilterChain.parse(["clahe"]).apply(_image()))
    assert torch.equal(filtered.features, by_hand.features)
    assert not torch.equal(filtered.features, embedding.features)


def test_an_embedding_of_another_model_is_refused(embedding, make_tiny_sam, tmp_path):
    other = PromptableSegmenter.from_pretrained(make_tiny_sam(tmp_path, seed=1))
    with pytest.raises(SettingsError, match="embedding the image again"):
        other.predict(embedding, boxes=BOXES)


def test_prompts_for_another_image_are_refused(segmenter, embedding):
    with pytest.raises(SettingsError, match="that image's size"):
        segmenter.predict_many([embedding], [Prompts.of(boxes=BOXES, size=(99, 99))])
    with pytest.raises(SettingsError, match="one for each of 1"):
        segmenter.predict_many([embedding], [])


def test_many_prompts_answer_as_each_alone(segmenter, embedding):
    points = [[[8, 9]], [[30, 20], [3, 3]], [[60, 40]], [[2, 2], [9, 9]]]
    labels = [[1], [1, 0], [1], [0, 1]]
    together = segmenter.predict(embedding, points=points, labels=labels)
    for number, one in enumerate(together):
        (alone,) = segmenter.predict(embedding, points=[points[number]], labels=[labels[number]])
        assert one.candidate == alone.candidate
        np.testing.assert_allclose(one.probabilities, alone.probabilities, atol=1e-4)


def test_more_prompts_than_one_call_of_the_decoder_takes(segmenter, embedding):
    boxes = [[n, n, n + 20, n + 20] for n in range(25)]
    found = segmenter.predict(embedding, boxes=boxes)
    assert len(found) == 25
    (last,) = segmenter.predict(embedding, boxes=boxes[-1:])
    np.testing.assert_allclose(found[-1].logits, last.logits, atol=2e-4)


def test_images_by_prompts_answer_as_each_alone(segmenter, embedding):
    other = segmenter.embed(_image(3, (30, 30, 1)))
    asked = [
        Prompts.of(boxes=BOXES, size=(50, 80)),
        Prompts.of(points=[[[3, 4]], [[9, 9]], [[20, 20]]], size=(30, 30)),
    ]
    together = segmenter.predict_many([embedding, other], asked)
    assert [len(found) for found in together] == [2, 3]
    for one, prompts, found in zip([embedding, other], asked, together, strict=True):
        for a, b in zip(found, segmenter.predict_prompts(one, prompts), strict=True):
            assert np.array_equal(a.probabilities, b.probabilities)


def test_a_mask_prompt_is_heard(segmenter, embedding):
    left, right = np.zeros((50, 80)), np.zeros((50, 80))
    left[:, :40] = right[:, 40:] = 1
    found = segmenter.predict(embedding, mask=np.stack([left, right]))
    assert len(found) == 2
    assert found[0].candidate == 0
    assert not np.allclose(found[0].logits, found[1].logits)
    (refined,) = segmenter.predict(embedding, boxes=[BOXES[0]], mask=found[0].logits)
    (plain,) = segmenter.predict(embedding, boxes=[BOXES[0]])
    assert not np.allclose(refined.logits, plain.logits)
    asked = Prompts.of(boxes=[BOXES[0]], mask=found[0].logits, size=(50, 80), low=segmenter.low)
    (same,) = segmenter.predict_prompts(embedding, asked)
    assert np.array_equal(same.logits, refined.logits)


def test_a_mask_of_another_size_or_range_is_refused(segmenter, embedding):
    for mask in (np.eye(64), np.eye(50, 80) * 255, np.eye(32), np.full((64, 64), -4.0)):
        with pytest.raises(SettingsError, match="50×80 with values from 0 to 1, or logits of 32×"):
            segmenter.predict(embedding, mask=mask)
    other = Prompts.of(mask=np.full((64, 64), -4.0), size=(50, 80), low=64)
    with pytest.raises(SettingsError, match="to be 32×32, but got 64×64"):
        segmenter.predict_prompts(embedding, other)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64, np.int16])
def test_images_of_more_bits_are_windowed(segmenter, dtype):
    image = (_image(0, (50, 80, 1)).astype(np.float64) * 16).astype(dtype)
    few_hot = image.copy()
    few_hot[0, 0] = 30_000
    a, b = segmenter.embed(image), segmenter.embed(few_hot)
    assert torch.isfinite(a.features).all()
    assert (a.features - b.features).abs().mean() < 0.1 * a.features.std()


def test_monochrome1_is_turned_when_it_is_read(segmenter, tmp_path):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    from penumbra.imaging.files import read_image

    values = np.random.default_rng(0).integers(0, 4096, (40, 60), dtype=np.uint16)

    def written(name, interpretation, pixels):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, interpretation
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation, dataset.PixelData = 0, pixels.tobytes()
        dataset.save_as(tmp_path / name, enforce_file_format=True)
        return segmenter.embed(read_image(tmp_path / name))

    turned = written("one.dcm", "MONOCHROME1", values)
    plain = written("two.dcm", "MONOCHROME2", (4095 - values).astype(np.uint16))
    assert (turned.features - plain.features).abs().mean() < 0.02 * plain.features.std()


def test_grey_is_repeated(segmenter):
    grey = _image(0, (50, 80, 1))
    colour = np.repeat(grey, 3, axis=2)
    assert torch.equal(segmenter.embed(grey).features, segmenter.embed(colour).features)


def test_an_image_that_is_none_is_refused(segmenter):
    for image in (np.zeros((5, 5)), np.zeros((0, 5, 1)), np.full((5, 5, 1), np.nan)):
        with pytest.raises(ImageFileError, match="Try"):
            segmenter.embed(image)


def test_bfloat16_encodes_nearly_the_same(tiny_sam, embedding):
    half = PromptableSegmenter.from_pretrained(tiny_sam, precision="bfloat16")
    features = half.embed(_image()).features
    assert features.dtype == torch.float32
    apart = (features - embedding.features).square().mean().sqrt()
    assert apart < 0.05 * embedding.features.std()


@pytest.mark.parametrize(
    "vision", [{}, {"use_rel_pos": False}, {"use_abs_pos": False}, {"image_size": 136}], ids=str
)
def test_the_encoder_gives_the_librarys_features(make_tiny_sam, tmp_path, vision):
    from transformers import SamModel

    folder = make_tiny_sam(tmp_path, **vision)
    model = SamModel.from_pretrained(folder).eval()
    side = vision.get("image_size", 64)
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    features, extra = encode(model, pixels, family_named("sam"))
    theirs = model.get_image_embeddings(pixels)
    np.testing.assert_allclose(features, theirs, atol=2e-5)
    assert extra == ()


def test_sam_hq_answers_as_the_library(make_tiny_sam, tmp_path):
    from transformers import SamHQModel

    folder = make_tiny_sam(tmp_path, kind="sam-hq")
    segmenter = PromptableSegmenter.from_pretrained(folder, precision="float32")
    image = _image(2, (64, 64, 3))
    embedding = segmenter.embed(image)
    found = segmenter.predict(embedding, boxes=BOXES[:1] * 3)
    model = SamHQModel.from_pretrained(folder).eval()
    pixels, _ = segmenter.scaling.pixels(image)
    with torch.no_grad():
        theirs = model(
            pixels, input_boxes=torch.tensor([BOXES[:1]]).float(), multimask_output=False
        )
    for one in found:
        np.testing.assert_allclose(one.logits, theirs.pred_masks[0, 0, 0].numpy(), atol=5e-4)


def test_stability_of_an_empty_mask_is_nought_and_never_nan():
    scores = stability_score(torch.tensor([[[-9.0]], [[0.0]], [[9.0]]]))
    assert scores.tolist() == [0, 0, 1]


@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_logits_are_scaled_as_bilinear_interpolation_of_the_cut_out_part_says(height, width):
    side, low = 64, 32
    scale = side / max(height, width)
    resized = tuple(max(1, int(n * scale + 0.5)) for n in (height, width))
    ramp = torch.arange(low).float()
    plane = (ramp[:, None] * 2 + ramp[None, :])[None, None]
    found = to_image_size(plane, resized=resized, side=side, size=(height, width))[0, 0]
    assert found.shape == (height, width)
    # A linear ramp is interpolated exactly, save at the outer half pixel, where it is held.
    y = ((np.arange(height) + 0.5) * resized[0] / side * low / height - 0.5).clip(0, low - 1)
    x = ((np.arange(width) + 0.5) * resized[1] / side * low / width - 0.5).clip(0, low - 1)
    np.testing.assert_allclose(found.numpy(), y[:, None] * 2 + x[None, :], atol=1e-3)
