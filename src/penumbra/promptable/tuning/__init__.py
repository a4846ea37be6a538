"""Tuning of promptable models: the decoder on cached embeddings, LoRA, or all of it."""
