"""Photos that are away or still being copied, and jobs that are paused."""

from collections.abc import Mapping
from contextlib import suppress

from bench.faults.context import Fault, FaultContext
from tagger.errors import JobFinished
from tagger.ledger.job_control import pause, resume
from tagger.ledger.progress import list_jobs

FOLDER_OUTAGE_S = 15.0
COPY_S = 4.0
PAUSE_S = 10.0
COPIED_SHARE = 20
"""One in so many photos is copied again."""


def unmount_folder(context: FaultContext) -> None:
    system = context.system
    with system.photos_lock:
        unmounted = system.photos.rename(system.folder / "unmounted")
        context.pause(FOLDER_OUTAGE_S)
        unmounted.rename(system.photos)


def copy_photos_slowly(context: FaultContext) -> None:
    """Write some photos again, first their first half: none may be stored by its half."""
    with context.system.photos_lock:
        photos = sorted(context.system.photos.rglob("*.jpg"))[::COPIED_SHARE]
        contents = {photo: photo.read_bytes() for photo in photos}
        for photo, content in contents.items():
            photo.write_bytes(content[: len(content) // 2])
        context.pause(COPY_S)
        for photo, content in contents.items():
            with photo.open("ab") as file:
                file.write(content[len(content) // 2 :])


def pause_jobs(context: FaultContext) -> None:
    database = context.system.database
    jobs = [job.job for job in list_jobs(database) if not job.is_over]
    for act, seconds in ((pause, PAUSE_S), (resume, 0.0)):
        for job in jobs:
            with suppress(JobFinished):  # the workers still store their current batches
                act(database, job)
        context.pause(seconds)


FILE_FAULTS: Mapping[str, Fault] = {
    "photo folder unmounted for 15 s": unmount_folder,
    "photos copied again slowly": copy_photos_slowly,
    "job paused for 10 s": pause_jobs,
}
