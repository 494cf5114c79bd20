"""Other designs of a photo tagger, each written as the documentation of its libraries teaches.

All use the tagger's artifact and store the five best tags of each photo in SQLite with SQLAlchemy. Unlike the tagger, they do
not apply the orientation, recognise copies of an image, resume an interrupted run, or survive a photo that cannot be opened.
"""

BROKER, MODEL, DATABASE = "PEER_BROKER", "PEER_MODEL", "PEER_DATABASE"
"""The environment variables that configure a Celery app."""
TOP_K = 5
"""The number of tags that every program stores for each photo."""
