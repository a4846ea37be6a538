"""The decoder with its products in another order gives what the library's own gives."""

import numpy as np
import pytest
import torch

from penumbra.promptable import PromptableSegmenter, Prompts
from penumbra.promptable.decoding import decode_sam, to_network
from penumbra.promptable.folded import can_fold

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
MASKS = np.random.default_rng(1).random((3, 50, 80))
BOXES = [[4, 4, 30, 30], [10, 2, 70, 45], [0, 0, 80, 50]]
POINTS = [[[8, 9], [3, 3]], [[30, 20], [5, 40]], [[60, 40], [1, 1]]]


@pytest.fixture(scope="module")
def segmenter(tiny_sam):
    return PromptableSegmenter.from_pretrained(tiny_sam, precision="float32")


def _both(segmenter, asked, *, multimask):
    """Decode once as predictions do, once as training does, which needs gradients."""
    embedding = segmenter.embed(IMAGE)
    prompts = to_network(asked, resized=embedding.resized, side=segmenter.size,
                         low=segmenter.low, device=segmenter.device)  # fmt: skip
    with torch.no_grad():
        folded = decode_sam(segmenter.model, embedding, prompts, multimask=multimask)
    with torch.enable_grad():
        plain = decode_sam(segmenter.model, embedding, prompts, multimask=multimask)
    assert plain[0].requires_grad
    return folded, plain


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize(
    "asked",
    [
        {"boxes": BOXES},
        {"boxes": BOXES[:1]},
        {"points": POINTS},
        {"boxes": BOXES, "points": POINTS},
        {"mask": MASKS},
        {"mask": MASKS[:1]},
        {"boxes": BOXES, "points": POINTS, "mask": MASKS},
    ],
    ids="+".join,
)
def test_the_same_masks_and_scores(segmenter, asked, multimask):
    prompts = Prompts.of(size=(50, 80), **asked)
    folded, plain = _both(segmenter, prompts, multimask=multimask)
    for ours, theirs in zip(folded, plain, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs.detach(), atol=5e-4, rtol=1e-4)


def test_adapters_that_are_not_merged_are_not_passed_over(tiny_sam):
    from peft import LoraConfig, get_peft_model

    segmenter = PromptableSegmenter.from_pretrained(tiny_sam, precision="float32")
    assert can_fold(segmenter.model.mask_decoder)
    prompts = Prompts.of(boxes=BOXES, size=(50, 80))
    _, before = _both(segmenter, prompts, multimask=False)
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    segmenter.model = get_peft_model(segmenter.model, settings).eval().base_model.model
    assert not can_fold(segmenter.model.mask_decoder)
    adapted, plain = _both(segmenter, prompts, multimask=False)
    np.testing.assert_allclose(adapted[0], plain[0].detach(), atol=5e-4)
    assert not np.allclose(adapted[0], before[0].detach(), atol=1e-2)
