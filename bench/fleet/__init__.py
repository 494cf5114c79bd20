"""Measures how a fleet's costs grow with the number of photos."""
