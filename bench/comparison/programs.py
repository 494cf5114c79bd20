"""The programs that are compared."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.comparison.measurement import Measured, Task, celery_peer, peer_command, tag, workers


@dataclass(frozen=True)
class Program:
    """`name` is what --peers takes, `title` what the report says; the optional ones run only where they are named."""

    name: str
    title: str
    measure: Callable[[Task], Measured]
    optional: bool = False


OURS, OURS_ON_TORCHSCRIPT = "tag", "tag-torchscript"
TORCHSCRIPT = {"backend": "torchscript"}
WORKER, WORKERS = "worker", "workers"
REFERENCE = "loader"
"""Decodes photos whole and computes in float32: what others name is held against what it names."""
STEPS = (REFERENCE, "loader-scaled", "loader-frozen", OURS_ON_TORCHSCRIPT, OURS)
"""From the one to the other, what is gained is told apart."""

PROGRAMS = (
    Program(OURS, "`tagger tag`", tag()),
    Program(OURS_ON_TORCHSCRIPT, "`tagger tag`, TorchScript", tag(**TORCHSCRIPT)),
    Program(WORKER, "`tagger worker`", workers(1)),
    Program(WORKERS, "`tagger worker`, two of them", workers(2)),
    Program("celery", "Celery, a photo a task", celery_peer("bench.peers.one_per_task")),
    Program("celery-batches", "celery-batches", celery_peer("bench.peers.batched_tasks")),
    Program(REFERENCE, "DataLoader", peer_command("bench.peers.loader")),
    Program("loader-scaled", "DataLoader, scaled", peer_command("bench.peers.loader", "--scaled")),
    Program(
        "loader-frozen",
        "DataLoader, scaled, frozen",
        peer_command("bench.peers.loader", "--scaled", "--frozen"),
    ),
    Program("plain", "plain script", peer_command("bench.peers.plain"), optional=True),
)


def program(name: str) -> Program:
    """The program of this name."""
    return next(each for each in PROGRAMS if each.name == name)
