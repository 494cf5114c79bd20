"""Celery with celery-batches: one message per photo, delivered to the pool in batches of 32.

    celery -A bench.peers.batched_tasks worker --pool prefork

Follows https://celery-batches.readthedocs.io/en/latest/examples.html, with its flush_interval of 10 s. The prefetch multiplier
exceeds the batch size, as https://celery-batches.readthedocs.io/en/latest/ requires. A batch is one forward pass and one
transaction.
"""

from typing import Any

import torch
from celery import Celery
from celery.signals import worker_process_init
from celery_batches import Batches, SimpleRequest

from bench.peers.celery_settings import CHILD_START_TIMEOUT_S, ChildState, broker_url, load_child_state
from bench.peers.network import open_photo
from bench.peers.store import store_tags

FLUSH_EVERY = 32
FLUSH_INTERVAL_S = 10

app = Celery("batched_tasks", broker=broker_url())
app.conf.update(
    task_ignore_result=True,
    worker_proc_alive_timeout=CHILD_START_TIMEOUT_S,
    worker_prefetch_multiplier=2 * FLUSH_EVERY,
)

_state: ChildState


@worker_process_init.connect
def _load(**_: Any) -> None:
    global _state  # noqa: PLW0603 - the usual way to keep objects in Celery's child processes
    _state = load_child_state()


@app.task(name="tag", base=Batches, flush_every=FLUSH_EVERY, flush_interval=FLUSH_INTERVAL_S)
def tag(requests: list[SimpleRequest]) -> None:
    """Tag a batch of photos."""
    paths = [request.args[0] for request in requests]
    images = torch.stack([open_photo(path, _state.transform) for path in paths])
    store_tags(_state.engine, zip(paths, _state.network.predict(images), strict=True))
