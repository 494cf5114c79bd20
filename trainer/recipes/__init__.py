"""Ways to make a classifier: each recipe is one module that reads top to bottom."""
