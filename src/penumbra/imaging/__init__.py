"""Pixels in, pixels out: image and mask files, and pictures for people."""
