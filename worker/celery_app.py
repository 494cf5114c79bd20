"""Makes the Celery app. Importing this module configures nothing."""

import importlib
from types import ModuleType
from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from kombu.entity import Queue

from worker.celery_config import CELERY_SETTINGS, QUEUES, TICK_QUEUE
from worker.redis_transport import use_for_redis


class Loader(AppLoader):  # type: ignore[misc]  # Celery has no types
    """Imports modules as Python does. Celery's own loader puts the working directory first, where a stranger's files may be."""

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> ModuleType:  # noqa: ARG002
        return importlib.import_module(module, package)


def make_app(broker_url: str) -> Celery:
    """An app that sends to, or consumes from, the queues at `broker_url`."""
    use_for_redis()
    url = _with_checked_certificate(broker_url)
    app = Celery("tagger", broker=url, include=["worker.tasks"], loader=Loader, set_as_current=False)
    app.conf.update(CELERY_SETTINGS)
    # The default exchange ("") routes a message to the queue named by its routing key, without bindings in Redis that a
    # flush would delete.
    names = (TICK_QUEUE, *QUEUES.values())
    app.conf.task_queues = [Queue(name, exchange="", routing_key=name) for name in names]  # type: ignore[no-untyped-call]
    app.on_after_finalize.connect(_remove_builtin_tasks)
    return app


def _with_checked_certificate(url: str) -> str:
    """The address of a broker whose certificate is checked, unless the address says otherwise. kombu's default is not to."""
    if not url.startswith("rediss:") or "ssl_cert_reqs=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"


def _remove_builtin_tasks(sender: Celery, **_: object) -> None:
    """Leave the tasks of worker.tasks alone. Celery's own could run other tasks, or delete results."""
    for name in [name for name in sender.tasks if name.startswith("celery.")]:
        sender.tasks.unregister(name)
