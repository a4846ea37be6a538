"""The report of an audit: one self-contained HTML file."""

from penumbra.audit.report.page import write_report

__all__ = ["write_report"]
