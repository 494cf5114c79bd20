"""Makes the classifier that the tagger runs: data, recipes, evaluation, export."""
