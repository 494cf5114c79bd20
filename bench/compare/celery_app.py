"""Celery as its documentation teaches it: one photo per task, decoded at full size, and a transaction.

    celery -A bench.compare.celery_app worker --pool prefork

Follows https://docs.celeryq.dev/en/stable/getting-started/first-steps-with-celery.html for the task, and
https://docs.celeryq.dev/en/stable/userguide/signals.html#worker-process-init for the network, which each
child process loads once. The pool has one process per core. Results are ignored.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

import torch
from celery import Celery
from celery.signals import worker_process_init
from PIL import Image

from bench.compare import BROKER, DATABASE, MODEL, TASK, TOP_K
from bench.compare.loader import (
    best_scores,
    load_network,
    make_transform,
    open_database,
    store,
)

app = Celery("peer", broker=os.environ[BROKER])
# By default a child must start in 4 s; loading a network may take longer on a busy machine.
app.conf.update(task_ignore_result=True, worker_proc_alive_timeout=60.0)
# What a child process keeps from task to task.
_state: dict[str, Any] = {}


@worker_process_init.connect
def _load(**_: Any) -> None:
    # Load the network and connect: neither torch's threads nor a connection survive a fork.
    torch.set_num_threads(1)
    network, manifest = load_network(Path(os.environ[MODEL]))
    _state["network"] = network
    _state["slugs"] = [label["slug"] for label in manifest["labels"]]
    _state["transform"] = make_transform(manifest["input"])
    _state["connection"] = open_database(Path(os.environ[DATABASE]))


@app.task(name=TASK)
def tag(path: str) -> None:
    with Image.open(path) as photo:
        image = _state["transform"](photo.convert("RGB"))
    top = best_scores(
        _state["network"],
        image.unsqueeze(0),
        min(TOP_K, len(_state["slugs"])),
    )
    connection: sqlite3.Connection = _state["connection"]
    store(connection, [path], top, _state["slugs"])
