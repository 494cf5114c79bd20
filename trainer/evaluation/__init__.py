"""Evaluation of a model file on photos that it was not trained on, run as the tagger runs it: figures with confidence intervals."""
