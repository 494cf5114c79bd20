"""Two ways to process photos with Celery: one photo per task, and with celery-batches 32 photos per task.

    celery -A bench.peers.celery_apps:one_per_task worker --pool prefork
    celery -A bench.peers.celery_apps:batched worker --pool prefork

Follows https://docs.celeryq.dev/en/stable/getting-started/first-steps-with-celery.html for the first task,
https://celery-batches.readthedocs.io/en/latest/examples.html for the other, with its flush_interval of 10 s,
https://docs.celeryq.dev/en/stable/userguide/signals.html#worker-process-init for the network, which each child process loads once,
and https://docs.celeryq.dev/en/stable/userguide/optimizing.html for the settings. The prefetch multiplier of batches exceeds the
batch size, as https://celery-batches.readthedocs.io/en/latest/ requires. Results are ignored. A task is one forward pass and one
transaction.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from celery import Celery
from celery.signals import worker_process_init
from celery_batches import Batches, SimpleRequest
from sqlalchemy import Engine
from torchvision import transforms

from bench.peers import BROKER, DATABASE, MODEL
from bench.peers.network import Network, load_network, make_transform, open_photo
from bench.peers.store import open_store, store_tags

CHILD_START_TIMEOUT_S = 60.0
"""Celery's default is 4 s; loading a network may take longer on a busy machine."""
FLUSH_EVERY = 32
FLUSH_INTERVAL_S = 10

one_per_task = Celery("one_per_task", broker=os.environ[BROKER])
batched = Celery("batched", broker=os.environ[BROKER])
for app in (one_per_task, batched):
    app.conf.update(task_ignore_result=True, worker_proc_alive_timeout=CHILD_START_TIMEOUT_S)
batched.conf.update(worker_prefetch_multiplier=2 * FLUSH_EVERY)


@dataclass(frozen=True)
class ChildState:
    """What a child process keeps from task to task."""

    network: Network
    transform: transforms.Compose
    engine: Engine


_state: ChildState


@worker_process_init.connect
def _load(**_: Any) -> None:
    """Load the network and connect to the database; neither torch's threads nor a connection survive a fork.

    The pool has one process per core, so each uses one thread:
    https://docs.pytorch.org/docs/stable/notes/multiprocessing.html#avoid-cpu-oversubscription
    """
    global _state  # noqa: PLW0603 - the usual way to keep objects in Celery's child processes
    torch.set_num_threads(1)
    network = load_network(Path(os.environ[MODEL]))
    transform = make_transform(network.input_rule)
    _state = ChildState(network, transform, open_store(Path(os.environ[DATABASE])))


@one_per_task.task(name="tag")
def tag(path: str) -> None:
    """Tag one photo."""
    image = open_photo(path, _state.transform)
    predictions = _state.network.predict(image.unsqueeze(0))[0]
    store_tags(_state.engine, [(path, predictions)])


@batched.task(name="tag", base=Batches, flush_every=FLUSH_EVERY, flush_interval=FLUSH_INTERVAL_S)
def tag_batch(requests: list[SimpleRequest]) -> None:
    """Tag a batch of photos."""
    paths = [request.args[0] for request in requests]
    images = torch.stack([open_photo(path, _state.transform) for path in paths])
    store_tags(_state.engine, zip(paths, _state.network.predict(images), strict=True))
