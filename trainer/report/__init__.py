"""The report of an evaluation: Markdown, drawings, and the figures as JSON."""

from trainer.report.files import REPORT, evaluation_document, write_report, write_validation_report

__all__ = ["REPORT", "evaluation_document", "write_report", "write_validation_report"]
