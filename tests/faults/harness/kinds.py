"""All kinds of faults: those of servers, and of workers, photos and jobs."""

import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tagger.errors import JobFinished
from tagger.ledger.job_control import list_jobs, pause, resume
from tests.faults.harness.server_faults import POSTGRES_FAULTS, REDIS_FAULTS, SQLITE_FAULTS
from tests.faults.harness.system import Fault, FaultContext

FREEZE_S = 55.0
"""Longer than a lease and a sweep."""
REPEATED_KILLS = 6
"""As many deaths as would make a photo suspicious several times over."""
START_KILLS = 3
STARTING_S = 1.5
"""A worker of this age is still importing torch."""
INVALID_MODEL_S = 12.0


def kill_one(context: FaultContext) -> None:
    if worker := context.choose_worker():
        context.kill([worker])


def kill_all(context: FaultContext) -> None:
    context.choose_worker()  # waits until a worker is busy
    context.kill(context.system.supervisor.running())


def kill_after_each_claim(context: FaultContext) -> None:
    """Kill a worker as soon as it has claimed a chunk, again and again: no photo may be blamed."""
    for _ in range(REPEATED_KILLS):
        kill_one(context)


def kill_during_start(context: FaultContext) -> None:
    for _ in range(START_KILLS):
        context.kill(context.system.supervisor.running())
        while not context.system.supervisor.running() and not context.system.stopping.is_set():
            context.pause(0.1)
        context.pause(STARTING_S)
    context.kill(context.system.supervisor.running())


def stop_one(context: FaultContext) -> None:
    if worker := context.choose_worker():
        worker.send_signal(signal.SIGTERM)


def freeze_one(context: FaultContext) -> None:
    if worker := context.choose_worker():
        context.freezes += 1
        worker.send_signal(signal.SIGSTOP)
        context.pause(FREEZE_S)
        worker.send_signal(signal.SIGCONT)


def hold_lock_in_one(context: FaultContext) -> None:
    """Let a thread of one worker keep the interpreter's lock: no Python runs in it, until a thread in C ends it."""
    context.choose_worker()
    context.kills += 1
    file = context.system.folder / "freeze.worker"
    file.touch()
    while file.exists() and not context.system.stopping.is_set():
        context.pause(0.1)


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


FOLDER_OUTAGE_S = 15.0
COPY_PARTS = 4
COPY_PAUSE_S = 2.0
"""The pause between two parts of a photo. It is shorter than TAGGER_SETTLE_S: no reader can recognise a copy that pauses for longer."""
PAUSE_S = 10.0
COPIED_SHARE = 20
"""One photo in this many is copied again."""


def unmount_folder(context: FaultContext) -> None:
    system = context.system
    with system.photos_lock:
        unmounted = system.photos.rename(system.folder / "unmounted")
        context.pause(FOLDER_OUTAGE_S)
        unmounted.rename(system.photos)


def copy_photos_slowly(context: FaultContext) -> None:
    """Write some photos again, in parts with pauses: none may be stored before its last part."""
    with context.system.photos_lock:
        photos = sorted(context.system.photos.rglob("*.jpg"))[::COPIED_SHARE]
        contents = {photo: photo.read_bytes() for photo in photos}
        for photo in photos:
            photo.write_bytes(b"")
        for part in range(COPY_PARTS):
            for photo, content in contents.items():
                begin, end = (len(content) * number // COPY_PARTS for number in (part, part + 1))
                with photo.open("ab") as file:
                    file.write(content[begin:end])
            if part < COPY_PARTS - 1:
                context.pause(COPY_PAUSE_S)


def pause_jobs(context: FaultContext) -> None:
    database = context.system.database
    jobs = [job.job for job in list_jobs(database) if not job.is_over]
    for act, seconds in ((pause, PAUSE_S), (resume, 0.0)):
        for job in jobs:
            with suppress(JobFinished):  # the workers still store their current batches
                act(database, job)
        context.pause(seconds)


OTHER_FAULTS: Mapping[str, Fault] = {
    "worker killed": kill_one,
    "all workers killed": kill_all,
    "worker killed after each of six claims": kill_after_each_claim,
    "workers killed while they start": kill_during_start,
    "worker stopped with SIGTERM": stop_one,
    "worker frozen for longer than its lease": freeze_one,
    "interpreter's lock kept in a worker": hold_lock_in_one,
    "model file replaced and a worker killed": replace_model,
    "photo folder unmounted for 15 s": unmount_folder,
    "photos copied again slowly": copy_photos_slowly,
    "job paused for 10 s": pause_jobs,
}


def faults_for(*, postgres: bool) -> Mapping[str, Fault]:
    """Return the faults by name, with those of the database."""
    return {**OTHER_FAULTS, **REDIS_FAULTS, **(POSTGRES_FAULTS if postgres else SQLITE_FAULTS)}
