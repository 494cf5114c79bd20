"""What stored rows may hold: the checks of `tagger db check`, which every import has to pass too."""
