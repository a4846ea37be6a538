"""What becomes of a network when the images change: corruption by severity, deterministic."""

from penumbra.evaluation.shift.catalogue import KINDS, SEVERITIES, Shift, parse_shifts
from penumbra.evaluation.shift.corrupt import ShiftedSource, corrupt, corrupt_sample

__all__ = [
    "KINDS",
    "SEVERITIES",
    "Shift",
    "ShiftedSource",
    "corrupt",
    "corrupt_sample",
    "parse_shifts",
]
