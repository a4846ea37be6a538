"""Samples, sources, the layouts they lie in, and how they are split."""
