"""Segmentation over HTTP: workers that hold the models, a queue in front of them, REST, pages."""
