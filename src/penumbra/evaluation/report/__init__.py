"""The evaluation report: one HTML file that a person reads first.

`write_report` takes a `ReportData` and needs no network, neither to write nor to read.
"""

from penumbra.evaluation.report.choose import images_to_show
from penumbra.evaluation.report.data import ReportData, ReportPicture
from penumbra.evaluation.report.doubt import ErrorsByDoubt
from penumbra.evaluation.report.page import write_report

__all__ = ["ErrorsByDoubt", "ReportData", "ReportPicture", "images_to_show", "write_report"]
