"""The Celery app, made from an address; importing this configures nothing."""

from celery import Celery
from kombu.entity import Queue

from worker.celery_settings import CELERY_SETTINGS, QUEUES
from worker.transport import use_for_redis


def make_app(broker_url: str) -> Celery:
    """An app that sends to, or consumes from, the queues at `broker_url`."""
    use_for_redis()
    app = Celery("tagger", broker=broker_url, include=["worker.tasks"], set_as_current=False)
    app.conf.update(CELERY_SETTINGS)
    # With the default exchange ("") a message goes to the queue of its routing key by name: nothing in Redis has to
    # survive a flush for messages to arrive.
    app.conf.task_queues = [Queue(name, exchange="", routing_key=name) for name in QUEUES.values()]  # type: ignore[no-untyped-call]
    return app
