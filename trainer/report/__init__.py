"""The report of an evaluation: Markdown, drawings, and the figures as JSON."""
