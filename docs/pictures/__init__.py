"""Draws the photos of the documentation's screenshots, and takes these."""
