"""Copying a database into an empty one, upgrading one, and checking its integrity."""
