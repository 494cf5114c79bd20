"""Evaluation of a model file on photos that it was not trained on: figures with confidence intervals."""
