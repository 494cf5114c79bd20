"""The Celery worker: takes chunks from Redis, processes them, and requeues lost chunks."""
