"""Noise for features: draws, gates, the injector."""
