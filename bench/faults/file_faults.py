"""Photos that are away or still being copied, and jobs that are paused."""

from collections.abc import Mapping
from contextlib import suppress

from bench.faults.context import Fault, FaultContext
from tagger.errors import JobFinished
from tagger.ledger.job_control import pause, resume
from tagger.ledger.progress import list_jobs

FOLDER_OUTAGE_S = 15.0
COPY_PARTS = 4
COPY_PAUSE_S = 2.0
"""Between two parts of a photo. Less than TAGGER_SETTLE_S: no reader can recognise a copy that pauses for longer."""
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


FILE_FAULTS: Mapping[str, Fault] = {
    "photo folder unmounted for 15 s": unmount_folder,
    "photos copied again slowly": copy_photos_slowly,
    "job paused for 10 s": pause_jobs,
}
