"""Backbones side by side on a person's own photos: how right, how large, how fast, and which one to take.

Each gets a linear layer on its features, kept as they are, which is cheap and tells what a backbone is worth.
"""

from trainer.comparison.comparing import Comparison, Row, compare_backbones
from trainer.comparison.trying import Plan
from trainer.comparison.writing import figures_of, text_table, write_comparison

__all__ = ["Comparison", "Plan", "Row", "compare_backbones", "figures_of", "text_table", "write_comparison"]
