"""What both Celery peers share: where the broker, the network and the database are, and a network in every child."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from sqlalchemy import Engine
from torchvision import transforms

from bench.peers import BROKER, DATABASE, MODEL
from bench.peers.network import Network, cores, load, transform_of
from bench.peers.store import open_store

CHILD_START_S = 60.0
"""Celery ends a child that is not up after 4 s; loading a network may take longer on a busy machine."""


@dataclass(frozen=True)
class Tools:
    """What a child of the pool keeps from task to task."""

    network: Network
    transform: transforms.Compose
    engine: Engine


def load_tools() -> Tools:
    """Loaded in each child by itself: neither torch's threads nor a database's connection survive a fork.

    Each child gets its share of the cores, or their threads would wait for each other:
    https://docs.pytorch.org/docs/stable/notes/multiprocessing.html#avoid-cpu-oversubscription
    """
    torch.set_num_threads(max(1, cores() // children()))
    network = load(Path(os.environ[MODEL]))
    return Tools(network, transform_of(network.rule), open_store(Path(os.environ[DATABASE])))


def children() -> int:
    """As many as there are cores, which is Celery's default."""
    return cores()


def broker_url() -> str:
    return os.environ[BROKER]
