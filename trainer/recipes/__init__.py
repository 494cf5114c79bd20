"""Recipes: each trains one kind of classifier, from photos to a finished run."""
