"""Celery as its documentation introduces it: one photo per task and transaction; the network loaded once per child process.

    celery -A bench.peers.one_per_task worker --pool prefork

Follows https://docs.celeryq.dev/en/stable/getting-started/first-steps-with-celery.html for the task,
https://docs.celeryq.dev/en/stable/userguide/signals.html#worker-process-init for the network, and
https://docs.celeryq.dev/en/stable/userguide/optimizing.html for the settings. Results are ignored.
"""

from typing import Any

from celery import Celery
from celery.signals import worker_process_init

from bench.peers.celery_settings import CHILD_START_TIMEOUT_S, ChildState, broker_url, load_child_state
from bench.peers.network import open_photo
from bench.peers.store import store_tags

app = Celery("one_per_task", broker=broker_url())
app.conf.update(task_ignore_result=True, worker_proc_alive_timeout=CHILD_START_TIMEOUT_S)

_state: ChildState


@worker_process_init.connect
def _load(**_: Any) -> None:
    global _state  # noqa: PLW0603 - the usual way to keep objects in Celery's child processes
    _state = load_child_state()


@app.task(name="tag")
def tag(path: str) -> None:
    """Tag one photo."""
    image = open_photo(path, _state.transform)
    predictions = _state.network.predict(image.unsqueeze(0))[0]
    store_tags(_state.engine, [(path, predictions)])
