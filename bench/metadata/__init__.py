"""Embeds tags into copies of photos, checks the files, and undoes the writes."""
