"""Workers that are killed, stopped or frozen."""

import signal
from collections.abc import Mapping
from pathlib import Path

from bench.faults.context import Fault, FaultContext

FREEZE_S = 55.0
"""Longer than a lease and a sweep."""
REPEATED_KILLS = 6
"""As many deaths as would make a photo suspicious several times over."""
START_KILLS = 3
STARTING_S = 1.5
"""A worker that is so old is still importing torch."""
INVALID_MODEL_S = 12.0


def kill_one(context: FaultContext) -> None:
    if worker := context.choose_worker():
        context.kill("one worker", [worker])


def kill_all(context: FaultContext) -> None:
    context.choose_worker()  # waits until a worker is busy
    context.kill("all workers", context.system.supervisor.running())


def kill_after_each_claim(context: FaultContext) -> None:
    """Kill a worker as soon as it has claimed a chunk, again and again: no photo may be blamed."""
    for _ in range(REPEATED_KILLS):
        if worker := context.choose_worker():
            context.kill("soon after a claim", [worker])


def kill_during_start(context: FaultContext) -> None:
    for _ in range(START_KILLS):
        context.kill("all workers", context.system.supervisor.running())
        while not context.system.supervisor.running() and not context.system.stopping.is_set():
            context.pause(0.1)
        context.pause(STARTING_S)
    context.kill("all workers", context.system.supervisor.running())


def stop_one(context: FaultContext) -> None:
    if worker := context.choose_worker():
        worker.process.send_signal(signal.SIGTERM)


def freeze_one(context: FaultContext) -> None:
    if worker := context.choose_worker():
        context.freezes += 1
        worker.process.send_signal(signal.SIGSTOP)
        context.pause(FREEZE_S)
        worker.process.send_signal(signal.SIGCONT)


def replace_model(context: FaultContext) -> None:
    """Replace the model file by an invalid one: running workers keep their model, new ones do not start."""
    model = context.system.model
    valid = model.read_bytes()
    _replace(model, b"invalid")
    kill_one(context)
    context.pause(INVALID_MODEL_S)
    _replace(model, valid)


def _replace(file: Path, content: bytes) -> None:
    replacement = file.with_name("replacement.pt")
    replacement.write_bytes(content)
    replacement.replace(file)


WORKER_FAULTS: Mapping[str, Fault] = {
    "worker killed": kill_one,
    "all workers killed": kill_all,
    "worker killed after each of six claims": kill_after_each_claim,
    "workers killed while they start": kill_during_start,
    "worker stopped with SIGTERM": stop_one,
    "worker frozen for longer than its lease": freeze_one,
    "model file replaced and a worker killed": replace_model,
}
