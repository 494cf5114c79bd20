"""Names for slugs: pages show names, records may hold what a command was given."""

from tagger.database.connection import Database
from tagger.errors import LandmarkAmbiguous, LandmarkNotFound
from tagger.library.catalog.landmarks import find_landmark


def landmark_name(database: Database, landmark: str) -> str:
    """Return the name of a landmark that is given by slug or name; the text itself if there is no such landmark now."""
    try:
        with database.read() as connection:
            return find_landmark(connection, landmark).display_name
    except (LandmarkNotFound, LandmarkAmbiguous):
        return landmark
