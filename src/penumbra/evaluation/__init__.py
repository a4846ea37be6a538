"""How good predictions are: overlap, boundaries, calibration, and intervals for all of them."""
