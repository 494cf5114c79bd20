"""Roots: the folders and buckets that were scanned, whether they are there, and where they were moved."""
