"""The parts of `bench.compare`: programs, the measurement of one program, and the report."""

TOP_K = 5
"""The number of tags that every program stores for each photo."""
BROKER, MODEL, DATABASE = "PEER_BROKER", "PEER_MODEL", "PEER_DATABASE"
"""The environment variables that configure the Celery app."""
TASK = "tag"
"""The name of its task."""
