"""Training data: folders of labelled photos, their inspection, split, download and export from verdicts, and decoded pixels."""
