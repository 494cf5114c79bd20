"""Queries: photos by their tags, details of one photo, numbers of photos by landmark. Reads only."""

from tagger.query.details import PhotoDetails, photo_details, photo_details_by_id
from tagger.query.find import PhotoPage, ScanPosition, find_tagged, find_tagged_page
from tagger.query.landmark_counts import LandmarkCount, landmark_counts
from tagger.query.neighbours import Neighbours, SurroundingPhotos, find_neighbours, find_surrounding
from tagger.query.options import Near, PhotoQuery, parse_query
from tagger.query.tagged_photos import Tag, TaggedPhoto

__all__ = [
    "LandmarkCount",
    "Near",
    "Neighbours",
    "PhotoDetails",
    "PhotoPage",
    "PhotoQuery",
    "ScanPosition",
    "SurroundingPhotos",
    "Tag",
    "TaggedPhoto",
    "find_neighbours",
    "find_surrounding",
    "find_tagged",
    "find_tagged_page",
    "landmark_counts",
    "parse_query",
    "photo_details",
    "photo_details_by_id",
]
