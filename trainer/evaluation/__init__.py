"""Evaluation of an artifact on photos that it was not trained on, run as the tagger runs it.

The results are figures with confidence intervals. Knows nothing of reports.
"""
