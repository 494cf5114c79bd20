"""The `tagger metadata` commands over many photos: their cost, and the result after the process was killed."""

import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import func, select

from bench.metadata.library import OWNERS_KEYWORD, DrawnPhoto, Library, make_library
from bench.processes import TAGGER, Finished, run
from bench.report import note, print_table
from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.tables import job_items, metadata_writes
from tagger.ledger.progress import list_jobs
from tagger.metadata.formats import read_blocks
from tagger.metadata.xmp import properties, written_landmarks
from tagger.photos.digest import digest_photo

KILLS = 3
POLL_S = 0.01
WRITE = ("metadata", "write", "--to", "embed", "--gps", "--description")
UNDO = ("metadata", "undo", "--all")


def run_commands(count: int) -> list[str]:
    """Write and undo; then repeat it, killing the command several times. Print the cost, and return the problems."""
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as folder:
        note(f"drawing {count} photos")
        library = make_library(Path(folder), count)
        print(f"### {count} drawn photos\n")
        return [*_measure(library), *_kill_and_resume(library)]


def _measure(library: Library) -> list[str]:
    count = len(library.photos)
    before = library.database_bytes()
    write = run([*TAGGER, *WRITE], library.environment).checked()
    growth = library.database_bytes() - before
    with library.opened() as database, database.read() as connection:
        undo_bytes = connection.scalar(select(func.sum(func.length(metadata_writes.c.undo)))) or 0
    rewrite = run([*TAGGER, *WRITE], library.environment).checked()
    problems = _problems_after_write(library)
    undo = run([*TAGGER, *UNDO], library.environment).checked()
    print_table(
        ("command", "files/s", "CPU ms/file", "peak MiB"),
        [_row("write", write, count), _row("write again", rewrite, count), _row("undo", undo, count)],
    )
    print(
        f"The database grew by {growth / count:.0f} bytes per file, {undo_bytes / count:.0f} of them for undo records.\n"
    )
    return problems + _problems_after_undo(library)


def _row(name: str, finished: Finished, count: int) -> tuple[str, float, float, float]:
    usage = finished.usage
    return name, count / usage.wall_s, 1000 * usage.cpu_s / count, usage.peak_mib


def _kill_and_resume(library: Library) -> list[str]:
    count, interrupted = len(library.photos), 0
    with library.opened() as database:
        last_job = max(job.job for job in list_jobs(database))
        for kill in range(1, KILLS + 1):
            done = _kill_at(library, lambda: _written(database, last_job), kill * count // (KILLS + 1))
            interrupted += done < count
            note(f"killed after {done} of {count} photos were stored as written")
        leftovers = sum(1 for _ in library.folder.rglob("*.part"))
        finished = run([*TAGGER, *WRITE], library.environment).checked()
        uncounted = count - _written(database, last_job)
    print(
        f"Killed {interrupted} times during the work with SIGKILL, which left {leftovers} hidden files. The same command "
        f"then finished in {finished.usage.wall_s:.1f} s. It found {uncounted} written photos that no job had stored.\n"
    )
    problems = _problems_after_write(library)
    run([*TAGGER, *UNDO], library.environment).checked()
    return problems + _problems_after_undo(library)


def _kill_at(library: Library, written: Callable[[], int], count: int) -> int:
    """Start a write, and kill it once `count` photos are stored as written; return their number after that."""
    process = subprocess.Popen(
        [*TAGGER, *WRITE], env=library.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and written() < count:
        time.sleep(POLL_S)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return written()


def _written(database: Database, last_job: int) -> int:
    """The number of photos that jobs after `last_job` stored as written."""
    query = select(func.count(job_items.c.photo_id.distinct())).where(
        job_items.c.outcome == Outcome.WRITTEN, job_items.c.job_id > last_job
    )
    with database.read() as connection:
        return connection.scalar(query) or 0


def _problems_after_write(library: Library) -> list[str]:
    """Check that every file has its tag once, the owner's keyword, and one complete row in the undo log, and nothing else."""
    problems = [
        f"{photo.path} {problem}" for photo in library.photos for problem in _photo_problems(library, photo)
    ]
    with library.opened() as database, database.read() as connection:
        rows = connection.execute(select(metadata_writes.c.photo_id, metadata_writes.c.complete)).all()
    row_counts = Counter(row.photo_id for row in rows)
    problems += [f"photo {photo} has {count} rows" for photo, count in row_counts.items() if count != 1]
    problems += [f"the row of photo {row.photo_id} is not complete" for row in rows if not row.complete]
    if len(row_counts) != len(library.photos):
        problems.append(f"{len(row_counts)} of {len(library.photos)} photos can be undone")
    return problems + _leftovers(library)


def _photo_problems(library: Library, photo: DrawnPhoto) -> Iterator[str]:
    data = library.bytes_of(photo)
    packet = read_blocks(data).xmp
    if digest_photo(data) != photo.image_digest:
        yield "has another image"
    names = [landmark.name for landmark in written_landmarks(packet)]
    keywords = properties(packet).get("dc:subject", [])
    owner_keywords = [OWNERS_KEYWORD] if photo.has_xmp else []
    if len(names) != 1 or keywords != [*owner_keywords, *names]:
        yield f"holds {names} and the keywords {keywords}"


def _problems_after_undo(library: Library) -> list[str]:
    problems = [f"{photo.path} is not the same after undo" for photo in library.changed()]
    with library.opened() as database, database.read() as connection:
        row_count = connection.scalar(select(func.count()).select_from(metadata_writes))
    if row_count:
        problems.append(f"{row_count} rows remain after undo")
    return problems + _leftovers(library)


def _leftovers(library: Library) -> list[str]:
    expected = {photo.path for photo in library.photos}
    files = (str(file.relative_to(library.folder)) for file in library.folder.rglob("*") if file.is_file())
    return [f"left behind: {path}" for path in files if path not in expected]
