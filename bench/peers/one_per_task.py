"""Celery as its first steps teach it: one photo, one task, one transaction; the network loaded once per child process.

    celery -A bench.peers.one_per_task worker --pool prefork

https://docs.celeryq.dev/en/stable/getting-started/first-steps-with-celery.html for the task,
https://docs.celeryq.dev/en/stable/userguide/signals.html#worker-process-init for what children keep,
https://docs.celeryq.dev/en/stable/userguide/optimizing.html for settings; results are ignored, as nobody asks for them.
"""

from typing import Any

from celery import Celery
from celery.signals import worker_process_init

from bench.peers.celery_settings import CHILD_START_S, Tools, broker_url, load_tools
from bench.peers.network import open_photo
from bench.peers.store import store

app = Celery("one_per_task", broker=broker_url())
app.conf.update(task_ignore_result=True, worker_proc_alive_timeout=CHILD_START_S)

_tools: Tools


@worker_process_init.connect
def _load(**_: Any) -> None:
    global _tools  # noqa: PLW0603 - how Celery's children keep things
    _tools = load_tools()


@app.task(name="tag")
def tag(path: str) -> None:
    """Tag one photo."""
    image = open_photo(path, _tools.transform)
    best = _tools.network.best(image.unsqueeze(0))[0]
    store(_tools.engine, [(path, best)])
