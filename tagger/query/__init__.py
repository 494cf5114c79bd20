"""Asking the database: which photos show what, what is known of one, how many there are. Reads only."""

from tagger.query.beside import Beside, find_beside
from tagger.query.details import (
    LandmarkCount,
    PhotoDetails,
    details_of,
    landmark_counts,
    photo_details,
)
from tagger.query.find import AnswerPage, Position, find_tagged, find_tagged_page
from tagger.query.tagged import Tag, TaggedPhoto
from tagger.query.wanted import Near, PhotoQuery

__all__ = [
    "AnswerPage",
    "Beside",
    "LandmarkCount",
    "Near",
    "PhotoDetails",
    "PhotoQuery",
    "Position",
    "Tag",
    "TaggedPhoto",
    "details_of",
    "find_beside",
    "find_tagged",
    "find_tagged_page",
    "landmark_counts",
    "photo_details",
]
