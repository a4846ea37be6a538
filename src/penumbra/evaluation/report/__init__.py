"""The evaluation report: one HTML file that a person reads first.

`write_report` takes a `ReportData` and needs no network, neither to write nor to read.
"""

from penumbra.evaluation.report.connect import from_evaluation, images_to_show, picture
from penumbra.evaluation.report.data import ReportData, ReportPicture
from penumbra.evaluation.report.doubt import ErrorsByDoubt
from penumbra.evaluation.report.page import write_report

__all__ = [
    "ErrorsByDoubt",
    "ReportData",
    "ReportPicture",
    "from_evaluation",
    "images_to_show",
    "picture",
    "write_report",
]
