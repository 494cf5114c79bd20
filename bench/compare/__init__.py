"""The parts of `bench.compare`: programs, the measurement of one program, and the report."""

TOP_K = 5  # the tags that every program stores for each photo
# Variables of the Celery app.
BROKER, MODEL, DATABASE = (
    "PEER_BROKER",
    "PEER_MODEL",
    "PEER_DATABASE",
)
TASK = "tag"  # the name of its task
