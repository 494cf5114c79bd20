"""Folders of labelled photos: looking through them, splitting them, fetching the course's, making one from corrections."""
