"""The registry of models: which there are, which are in use."""
