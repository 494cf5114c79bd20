"""The configuration of both Celery apps, and what each child process of the pool loads."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from sqlalchemy import Engine
from torchvision import transforms

from bench.peers import BROKER, DATABASE, MODEL
from bench.peers.network import Network, load_network, make_transform
from bench.peers.store import open_store

CHILD_START_TIMEOUT_S = 60.0
"""Celery's default is 4 s; loading a network may take longer on a busy machine."""


@dataclass(frozen=True)
class ChildState:
    """What a child process keeps from task to task."""

    network: Network
    transform: transforms.Compose
    engine: Engine


def load_child_state() -> ChildState:
    """Load the network and connect to the database; neither torch's threads nor a connection survive a fork.

    The pool has one process per core, so each uses one thread:
    https://docs.pytorch.org/docs/stable/notes/multiprocessing.html#avoid-cpu-oversubscription
    """
    torch.set_num_threads(1)
    network = load_network(Path(os.environ[MODEL]))
    return ChildState(network, make_transform(network.input_rule), open_store(Path(os.environ[DATABASE])))


def broker_url() -> str:
    return os.environ[BROKER]
