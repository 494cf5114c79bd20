"""The command that writes metadata over many photos: what it costs, and what is left when it is killed on the way."""

import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import func, select

from bench.processes import TAGGER, Finished, run
from bench.report import note, print_table
from bench.tagged_library import OWNERS_KEYWORD, DrawnPhoto, Library, make_library
from tagger.database import Database
from tagger.ledger.progress import list_jobs
from tagger.metadata.formats import read_blocks
from tagger.metadata.xmp import landmarks, properties
from tagger.photos import digest_photo
from tagger.tables import Outcome, job_items, metadata_writes

KILLS = 3
POLL_S = 0.01
WRITE = ("metadata", "write", "--to", "embed", "--gps", "--description")
UNDO = ("metadata", "undo", "--all")


def write_many(count: int) -> list[str]:
    """Write and take back; then again, killed and typed anew. Prints what it cost, and returns what is wrong."""
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as made:
        note(f"drawing {count} photos")
        library = make_library(Path(made), count)
        print(f"### {count} drawn photos through the command\n")
        return [*_measured(library), *_killed_and_resumed(library)]


def _measured(library: Library) -> list[str]:
    """Nobody kills it."""
    count = len(library.photos)
    before = library.database_bytes()
    write = run([*TAGGER, *WRITE], library.environment).checked()
    grown = library.database_bytes() - before
    with closing(library.opened()) as database, database.read() as connection:
        kept = connection.scalar(select(func.sum(func.length(metadata_writes.c.undo)))) or 0
    again = run([*TAGGER, *WRITE], library.environment).checked()
    wrong = _wrong_when_written(library)
    undo = run([*TAGGER, *UNDO], library.environment).checked()
    print_table(
        ("the command, its start included", "files/s", "CPU ms/file", "peak MiB"),
        [_row("write", write, count), _row("write again", again, count), _row("undo", undo, count)],
    )
    print(
        f"The database grew by {grown / count:.0f} bytes per file, {kept / count:.0f} of them for the undo.\n"
    )
    return wrong + _wrong_when_taken_back(library)


def _row(name: str, finished: Finished, count: int) -> tuple[str, float, float, float]:
    usage = finished.usage
    return name, count / usage.wall_s, 1000 * usage.cpu_s / count, usage.peak_mib


def _killed_and_resumed(library: Library) -> list[str]:
    count, amid = len(library.photos), 0
    with closing(library.opened()) as database:
        earlier = max(each.job for each in list_jobs(database))
        for kill in range(1, KILLS + 1):
            done = _kill_at(library, lambda: _written(database, earlier), kill * count // (KILLS + 1))
            amid += done < count
            note(f"killed when {done} of {count} counted as written")
        left = sum(1 for _ in library.folder.rglob("*.part"))
        finished = run([*TAGGER, *WRITE], library.environment).checked()
        unsaid = count - _written(database, earlier)
    print(
        f"Killed {amid} times amid the work with SIGKILL, which left {left} hidden files behind; the same command then ended the work "
        f"in {finished.usage.wall_s:.1f} s. It found {unsaid} photos written that no job had come to count.\n"
    )
    wrong = _wrong_when_written(library)
    run([*TAGGER, *UNDO], library.environment).checked()
    return wrong + _wrong_when_taken_back(library)


def _kill_at(library: Library, written: Callable[[], int], count: int) -> int:
    """Start writing and kill it once so many photos count as written; returns how many do then."""
    process = subprocess.Popen(
        [*TAGGER, *WRITE], env=library.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and written() < count:
        time.sleep(POLL_S)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return written()


def _written(database: Database, earlier: int) -> int:
    """How many photos count as written by jobs later than that one."""
    query = select(func.count(job_items.c.photo_id.distinct())).where(
        job_items.c.outcome == Outcome.WRITTEN, job_items.c.job_id > earlier
    )
    with database.read() as connection:
        return connection.scalar(query) or 0


def _wrong_when_written(library: Library) -> list[str]:
    """Every file whole, with its tag once and the owner's keyword; each kept once for the undo; nothing left over."""
    wrong = [f"{photo.path} {problem}" for photo in library.photos for problem in _wrong_in(library, photo)]
    with closing(library.opened()) as database, database.read() as connection:
        rows = connection.execute(select(metadata_writes.c.photo_id, metadata_writes.c.confirmed)).all()
    kept = Counter(row.photo_id for row in rows)
    wrong += [f"photo {photo} is kept {times} times" for photo, times in kept.items() if times != 1]
    wrong += [f"what is kept of photo {row.photo_id} is not confirmed" for row in rows if not row.confirmed]
    if len(kept) != len(library.photos):
        wrong.append(f"{len(kept)} of {len(library.photos)} photos can be taken back")
    return wrong + _leftovers(library)


def _wrong_in(library: Library, photo: DrawnPhoto) -> Iterator[str]:
    data = library.bytes_of(photo)
    packet = read_blocks(data).xmp
    if digest_photo(data) != photo.picture:
        yield "shows another picture"
    names = [landmark.name for landmark in landmarks(packet)]
    keywords = properties(packet).get("dc:subject", [])
    owners = [OWNERS_KEYWORD] if photo.has_xmp else []
    if len(names) != 1 or keywords != [*owners, *names]:
        yield f"holds {names} and the keywords {keywords}"


def _wrong_when_taken_back(library: Library) -> list[str]:
    wrong = [f"{photo.path} is not the same after undo" for photo in library.changed()]
    with closing(library.opened()) as database, database.read() as connection:
        left = connection.scalar(select(func.count()).select_from(metadata_writes))
    if left:
        wrong.append(f"{left} writes are still kept after undo")
    return wrong + _leftovers(library)


def _leftovers(library: Library) -> list[str]:
    known = {photo.path for photo in library.photos}
    found = (str(file.relative_to(library.folder)) for file in library.folder.rglob("*") if file.is_file())
    return [f"left behind: {path}" for path in found if path not in known]
