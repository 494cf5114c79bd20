"""Landmarks: finding, adding, changing, merging and removing them."""
