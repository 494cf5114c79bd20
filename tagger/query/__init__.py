"""Queries: photos by their tags, details of one photo, numbers of photos by landmark. Reads only."""
