"""Asking the database: which photos show what, what is known of one, how many there are. Reads only."""

from tagger.query.details import LandmarkCount, PhotoDetails, landmark_counts, photo_details
from tagger.query.find import find_tagged
from tagger.query.tagged import Tag, TaggedPhoto
from tagger.query.wanted import Near, PhotoQuery

__all__ = [
    "LandmarkCount",
    "Near",
    "PhotoDetails",
    "PhotoQuery",
    "Tag",
    "TaggedPhoto",
    "find_tagged",
    "landmark_counts",
    "photo_details",
]
