"""What people would write instead: programs that tag a folder of photos, each as its own documentation teaches.

All run the artifact that the tagger runs and store the top 5 of every photo in SQLite, by SQLAlchemy. None turns a
photo upright, knows a picture again, goes on where it stopped, or survives a photo that cannot be opened: those are
the tagger's extras, which cost the peers nothing.
"""

BROKER, MODEL, DATABASE = "PEER_BROKER", "PEER_MODEL", "PEER_DATABASE"
"""The environment variables that tell a Celery peer where these are."""
TOP_K = 5
"""How many tags of each photo every program stores."""
