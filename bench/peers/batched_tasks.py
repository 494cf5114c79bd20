"""Celery with celery-batches: messages of one photo each, handed to the pool 32 at a time.

    celery -A bench.peers.batched_tasks worker --pool prefork

https://celery-batches.readthedocs.io/en/latest/examples.html, with its flush_interval of 10 s; the prefetch multiplier
is such that more messages are fetched than a batch holds, which https://celery-batches.readthedocs.io/en/latest/ asks
for. A batch is one forward pass and one transaction.
"""

from typing import Any

import torch
from celery import Celery
from celery.signals import worker_process_init
from celery_batches import Batches, SimpleRequest

from bench.peers.celery_settings import CHILD_START_S, Tools, broker_url, load_tools
from bench.peers.network import open_photo
from bench.peers.store import store

FLUSH_EVERY = 32
FLUSH_INTERVAL_S = 10

app = Celery("batched_tasks", broker=broker_url())
app.conf.update(
    task_ignore_result=True,
    worker_proc_alive_timeout=CHILD_START_S,
    worker_prefetch_multiplier=2 * FLUSH_EVERY,
)

_tools: Tools


@worker_process_init.connect
def _load(**_: Any) -> None:
    global _tools  # noqa: PLW0603 - how Celery's children keep things
    _tools = load_tools()


@app.task(name="tag", base=Batches, flush_every=FLUSH_EVERY, flush_interval=FLUSH_INTERVAL_S)
def tag(requests: list[SimpleRequest]) -> None:
    """Tag a batch of photos."""
    paths = [request.args[0] for request in requests]
    images = torch.stack([open_photo(path, _tools.transform) for path in paths])
    store(_tools.engine, zip(paths, _tools.network.best(images), strict=True))
