"""An evaluation as people read it: Markdown, drawings, and the figures as JSON."""

from trainer.report.document import figures_of
from trainer.report.writing import REPORT, write_report, write_validation_report

__all__ = ["REPORT", "figures_of", "write_report", "write_validation_report"]
