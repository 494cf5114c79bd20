"""Copying a database into an empty one, and checking its integrity."""
