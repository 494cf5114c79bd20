"""The checks of `tagger doctor`. They are read-only and suggest a remedy."""
