"""The loop and what it needs: views, batches, checkpoints. Knows nothing of recipes."""
