"""The programs that are compared."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.compare.measurement import (
    Measurement,
    Workload,
    measure_celery_app,
    measure_script,
    measure_tag,
    measure_workers,
)


@dataclass(frozen=True)
class Program:
    """`name` is for --programs, `title` for the report; an optional program runs only if it is named."""

    name: str
    title: str
    measure: Callable[[Workload], Measurement]
    optional: bool = False


TAG, TAG_TORCHSCRIPT = "tag", "tag-torchscript"
TORCHSCRIPT = {"backend": "torchscript"}
WORKER, WORKERS = "worker", "workers"
REFERENCE = "loader"
"""Decodes photos at full size and computes in float32; the other programs' tags are compared with its tags."""
STEPS = (REFERENCE, "loader-scaled", "loader-frozen", TAG_TORCHSCRIPT, TAG)
"""Each adds one optimisation to the program before it."""

PROGRAMS = (
    Program(TAG, "`tagger tag`", measure_tag()),
    Program(TAG_TORCHSCRIPT, "`tagger tag`, TorchScript", measure_tag(**TORCHSCRIPT)),
    Program(WORKER, "`tagger worker`", measure_workers(1)),
    Program(WORKERS, "`tagger worker`, two of them", measure_workers(2)),
    Program("celery", "Celery, one photo per task", measure_celery_app("bench.peers.one_per_task")),
    Program("celery-batches", "celery-batches", measure_celery_app("bench.peers.batched_tasks")),
    Program(REFERENCE, "DataLoader", measure_script("bench.peers.loader")),
    Program("loader-scaled", "DataLoader, scaled", measure_script("bench.peers.loader", "--scaled")),
    Program(
        "loader-frozen",
        "DataLoader, scaled, frozen",
        measure_script("bench.peers.loader", "--scaled", "--frozen"),
    ),
    Program("plain", "plain script", measure_script("bench.peers.plain"), optional=True),
)


def find_program(name: str) -> Program:
    return next(program for program in PROGRAMS if program.name == name)
