"""The Celery worker: takes chunks from Redis, runs them through tagger's pipeline, looks after lost work."""
