"""Training data: folders of labelled photos, their inspection, split, download, and decoded pixels."""
