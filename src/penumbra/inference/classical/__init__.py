"""Segmenters that need no training: what a network has to be better than."""
