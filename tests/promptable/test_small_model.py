"""The small model: what it is, that it loads as any SAM does, and learns what it then answers."""

import json

import numpy as np
import pytest
import torch

from penumbra.errors import ModelError
from penumbra.promptable import PromptableSegmenter
from penumbra.promptable.decoding import NetworkPrompts, decode_small
from penumbra.promptable.embedding import Embedding
from penumbra.promptable.interactive import Clicks, decode, interactive_step
from penumbra.promptable.prompt_sampling import PromptSampling, SampledPrompts, keyed_generator
from penumbra.promptable.prompts import Prompts
from penumbra.promptable.scenes import Scene
from penumbra.promptable.small import find_small, new_small_model, save_model, small_config

pytest.importorskip("transformers")

TINY = {"widths": (8, 8, 16), "deepest": 16, "layers": 1, "heads": 2,
        "decoder_width": 16, "decoder_mlp": 32}  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    return new_small_model(small_config(**TINY), seed=3).eval()


def _clicks(count, clicks, *, has_box, seed=0):
    generator = np.random.default_rng(seed)
    near = generator.uniform(0, 100, (count, 2))
    boxes = np.concatenate([near, near + generator.uniform(5, 150, (count, 2))], 1)
    points = generator.uniform(0, 255, (count, clicks, 2)).astype(np.float32)
    labels = generator.integers(0, 2, (count, clicks)).astype(np.int8)
    has_box = np.asarray(has_box)
    labels[has_box, 0] = -1
    prompts = SampledPrompts(boxes.astype(np.float32), has_box, points, labels)
    return Clicks(prompts, np.zeros(count, np.int64))


def test_the_checkpoint_is_small():
    model = new_small_model()
    assert sum(p.numel() for p in model.parameters()) * 4 < 15e6


def test_weights_are_a_function_of_the_seed_and_torchs_state_stays(tiny):
    before = torch.get_rng_state()
    again = new_small_model(small_config(**TINY), seed=3)
    assert torch.equal(before, torch.get_rng_state())
    for name, value in tiny.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    other = new_small_model(small_config(**TINY), seed=4).state_dict()
    assert not torch.equal(other["mask_decoder.iou_token.weight"],
                           tiny.state_dict()["mask_decoder.iou_token.weight"])  # fmt: skip


def test_positions_are_shared_and_of_moderate_frequency(tiny):
    mine = tiny.shared_image_embedding.positional_embedding
    assert torch.equal(mine, tiny.prompt_encoder.shared_embedding.positional_embedding)
    assert 0 < float(mine.abs().max()) <= 3.01
    assert not mine.requires_grad


def test_it_loads_as_any_model_of_its_family_does(tiny, tmp_path):
    save_model(tiny, tmp_path / "small")
    segmenter = PromptableSegmenter.from_pretrained(tmp_path / "small", precision="float32")
    assert segmenter.size == 256
    assert {"box", "point", "mask"} <= set(segmenter.accepts)
    for name, value in segmenter.model.state_dict().items():
        assert torch.equal(value, tiny.state_dict()[name]), name
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 1), np.uint8)
    answer = segmenter.predict(segmenter.embed(image), boxes=np.array([[5, 5, 40, 30]]))
    assert answer[0].probabilities.shape == (2, 60, 80)


def test_small_is_looked_for_where_the_variable_says(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PENUMBRA_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"promptable_small\.py"):
        find_small()
    save_model(tiny, tmp_path / "small")
    assert find_small() == tmp_path / "small"
    assert json.loads((tmp_path / "small" / "config.json").read_text())["model_type"] == "sam"
    assert PromptableSegmenter.from_pretrained("small").size == 256


def _encoded(model, pixels):
    found = model.vision_encoder(pixels)
    return [found.last_hidden_state, *found.intermediate_embeddings]


def _alone(model, features, clicks, row):
    """Answer one prompt as the segmenter does: first the single mask, then the three."""
    p, first = clicks.prompts, 1 if clicks.prompts.has_box[row] else 0
    further = p.points.shape[1] > first
    prompts = NetworkPrompts(
        boxes=torch.from_numpy(p.boxes[row])[None, None] if p.has_box[row] else None,
        points=torch.from_numpy(p.points[row, first:])[None, None] if further else None,
        labels=torch.from_numpy(p.labels[row, first:].astype(int))[None, None] if further else None,
        masks=None if clicks.previous is None else clicks.previous[row : row + 1],
    )
    embedding = Embedding(features[0], (256, 256), (256, 256), "", "", tuple(features[1:]))
    pairs = [decode_small(model, embedding, prompts, multimask=many) for many in (False, True)]
    return tuple(torch.cat([one[part][0] for one in pairs]) for part in (0, 1))


@pytest.mark.parametrize("clicks", [1, 2, 4])
@pytest.mark.parametrize("after", [False, True])
@torch.no_grad()
def test_what_is_learned_is_what_the_segmenter_answers(tiny, clicks, after):
    """Boxes and points answered in one call are what each kind is answered alone."""
    generator = torch.Generator().manual_seed(0)
    features = _encoded(tiny, torch.randn(1, 3, 256, 256, generator=generator))
    mixed = _clicks(4, clicks, has_box=[True, False, True, False])
    if after:
        previous = 9 * torch.randn(4, 1, 128, 128, generator=generator)
        mixed = Clicks(mixed.prompts, mixed.image, previous)
    logits, iou = decode(tiny, features, mixed)
    for row in range(4):
        wanted, scores = _alone(tiny, features, mixed, row)
        torch.testing.assert_close(logits[row], wanted, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(iou[row], scores, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_mask_alone_is_asked_with_its_box(tiny):
    features = _encoded(tiny, torch.zeros(1, 3, 256, 256))
    embedding = Embedding(features[0], (256, 256), (256, 256), "", "", tuple(features[1:]))
    masks = torch.full((2, 1, 128, 128), -10.0)
    masks[1, :, 30:60, 20:70] = 10
    boxes = torch.tensor([[[0.0, 0, 256, 256]], [[40, 60, 140, 120]]])
    alone, boxed = (
        decode_small(tiny, embedding, NetworkPrompts(given, None, None, masks), multimask=False)[0]
        for given in (None, boxes)
    )
    assert alone.shape == (2, 1, 128, 128)
    assert torch.equal(alone, boxed)


def test_kept_features_are_brought_to_where_the_network_is(tiny, tmp_path):
    save_model(tiny, tmp_path)
    segmenter = PromptableSegmenter.from_pretrained(tmp_path)
    kept = segmenter.embed(np.zeros((40, 60, 1), np.uint8))
    elsewhere = torch.device("meta")
    segmenter.model.to(elsewhere)
    segmenter.device = elsewhere
    asked = Prompts.of(size=kept.size, boxes=[[5, 5, 30, 30]], points=[[[9, 9]]], labels=[[1]])
    ((_, decoded),) = segmenter.decode(kept, asked)
    assert decoded.logits.device == elsewhere
    assert kept.on(torch.device("cpu")) is kept


@pytest.mark.parametrize("widths", [None, [8, 8], [8, 8, 12], "888", [8, 8, -8]])
def test_a_config_without_the_encoders_widths_is_said_to_be_at_fault(tiny, tmp_path, widths):
    save_model(tiny, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"conv_widths": widths}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="conv_widths in the config"):
        PromptableSegmenter.from_pretrained(tmp_path)


def test_it_is_known_without_our_word_for_it(tiny, tmp_path):
    save_model(tiny, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["penumbra_family"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert PromptableSegmenter.from_pretrained(tmp_path).family.name == "small"


def test_no_click_lands_where_the_image_is_ignored_or_ends(monkeypatch):
    asked = []

    def watched(model, features, clicks):
        asked.append(clicks)
        return decode(model, features, clicks)

    monkeypatch.setattr("penumbra.promptable.interactive.decode", watched)
    masks = np.zeros((4, 256, 256), bool)
    masks[:2, 40:80, 40:80], masks[2:, 20:100, 96:120] = True, True
    valid = np.zeros((256, 256), bool)
    valid[16:104, 32:60], valid[16:104, 100:128] = True, True
    scene = Scene(np.zeros((3, 256, 256), np.float32), masks, valid)
    model = new_small_model(small_config(**TINY), seed=0)
    for seed in range(6):
        interactive_step(model, [scene], keyed_generator(seed), rounds=4,
                         sampling=PromptSampling())  # fmt: skip
    later = [clicks.prompts.points[:, 1:] for clicks in asked]
    columns, rows = np.concatenate([p.reshape(-1, 2) for p in later]).astype(int).T
    assert len(rows) > 30
    assert valid[rows, columns].all()


def test_a_step_survives_objects_that_vanish():
    model = new_small_model(small_config(**TINY), seed=0)
    dots = np.zeros((2, 256, 256), bool)
    dots[0, 3, 3], dots[1, 90, 91] = True, True
    valid = np.ones((256, 256), bool)
    none = Scene(np.zeros((3, 256, 256), np.float32), dots[:0], valid)
    specks = Scene(np.zeros((3, 256, 256), np.float32), dots, valid)
    for scenes in ([specks], [none, specks], [specks, none]):
        value = interactive_step(model, scenes, keyed_generator(0), rounds=3,
                                 sampling=PromptSampling())  # fmt: skip
        assert np.isfinite(value)
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    model.zero_grad(set_to_none=True)
    assert interactive_step(model, [none], keyed_generator(0), rounds=3,
                            sampling=PromptSampling()) == 0  # fmt: skip
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_step_leaves_gradients_everywhere_and_is_repeatable(rounds):
    masks = np.zeros((3, 256, 256), bool)
    masks[0, 20:90, 30:80], masks[1, 100:200, 150:230] = True, True
    masks[2, 50:150, 100:140] = True
    pixels = masks.any(0).astype(np.float32)[None].repeat(3, 0)
    scenes = [Scene(pixels, masks, np.ones((256, 256), bool))] * 2
    found = []
    for _ in range(2):
        model = new_small_model(small_config(**TINY), seed=0)
        interactive_step(model, scenes, keyed_generator(1), rounds=rounds,
                         sampling=PromptSampling(mask_share=1))  # fmt: skip
        found.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for name, gradient in found[0].items():
        # That there is no mask, the drawing says.
        if gradient is None:
            assert "no_mask_embed" in name
            continue
        assert torch.isfinite(gradient).all()
        assert torch.equal(gradient, found[1][name]), name
    assert float(found[0]["vision_encoder.down.0.0.weight"].abs().max()) > 0
