"""Promptable segmentation: a box, points or a mask say what, the SAM family says where."""

from penumbra.promptable.embedding import Embedding
from penumbra.promptable.prediction import PromptedPrediction
from penumbra.promptable.prompts import Prompts
from penumbra.promptable.segmenter import PromptableSegmenter

__all__ = ["Embedding", "PromptableSegmenter", "PromptedPrediction", "Prompts"]
