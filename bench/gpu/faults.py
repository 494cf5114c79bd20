"""What goes wrong around a GPU, each with real programs in jobs of their own: no photo may be lost, and none may fail that is good."""

import os
import re
import time
from pathlib import Path

from bench.gpu.jobs import LEASE_S, Library, Process, frozen
from bench.gpu.report import Report
from tagger.ledger.progress import JobProgress, find_job
from tests.rig.ledger_invariants import job_violations, library_violations

LOSS_AFTER, LOST = 1, "unspecified launch failure"
"""The device is lost after so many passes with photos, and what torch says then."""
LARGE_BATCH = 512
SIMULATED_BATCH, SIMULATED_LARGEST = 16, 4
HALVED = re.compile(r"out of device memory with a batch of \d+; the batch size is now (\d+)")
COMPLETE = "none lost, none failed"


def check_failing_photos(report: Report, library: Library, folder: Path, broken: int) -> None:
    """A job of files that are no photos: each fails alone, and the worker goes on."""
    job = library.wait_for(library.enqueue(folder))
    value, goal = (
        f"{count} failed, {good} classified" for count, good in ((job.failed, _good(job)), (broken, 1))
    )
    report.add(
        "a job of photos that fail", value, goal, passed=value == goal and not _violations(library, job)
    )


def check_two_workers(report: Report, library: Library, first: Process, folder: Path) -> Process:
    """A second worker beside the first one on the same device; then one is killed amid a job. Returns the other."""
    workers = first, library.start_worker()
    library.wait_until_ready(workers[1])
    busy: set[int] = set()

    def is_over() -> bool:
        busy.update(each.pid for each in workers if library.is_busy(each))
        return find_job(library.database, job).is_over

    with frozen(*workers):
        job = library.enqueue(folder)
    start = time.monotonic()
    library.wait_until(is_over)
    _add_end(report, f"a second worker on the device, {len(busy)} of 2 seen at work", library, job, start)
    with frozen(*workers):
        job = library.enqueue(folder)
    library.wait_until(lambda: any(map(library.is_busy, workers)))
    killed, other = workers if library.is_busy(first) else workers[::-1]
    killed.kill()
    start = time.monotonic()
    _add_end(report, f"a worker is killed amid a job, with leases of {LEASE_S} s", library, job, start)
    return other


def check_lost_device(report: Report, library: Library, other: Process, folder: Path) -> None:
    """The device of a worker is lost amid a job: on a GPU it exits, to be started again. The other continues the job."""
    lost = library.start_worker(loss_after=LOSS_AFTER)
    library.wait_until_ready(lost)

    def said() -> str:
        return find_job(library.database, job).note or ""

    with frozen(other):  # it would process all photos
        job = library.enqueue(folder)
        library.wait_until(lambda: LOST in said() or lost.poll() is not None)
        report.add("a lost device (simulated)", f"{said()[:120]}…", "the job says it", passed=LOST in said())
    start = time.monotonic()
    if report.has_gpu:
        library.wait_until(lambda: lost.poll() is not None)
    else:
        library.stop(lost)
    code = f"code {lost.returncode}"
    report.add_for_gpu("its worker exits", code, goal := f"code {os.EX_TEMPFAIL}", passed=code == goal)
    _add_end(report, "another worker continues", library, job, start)


def check_small_memory(report: Report, library: Library, folder: Path, fraction: float | None) -> None:
    """A batch that does not fit: on a GPU, of whose memory the process may take this fraction; on a CPU, simulated."""
    if fraction is None:
        size, how = SIMULATED_BATCH, "simulated"
        variables = library.simulated(largest_batch=SIMULATED_LARGEST)
    else:
        size, how = LARGE_BATCH, f"in {fraction:.2%} of the memory"
        variables = library.simulated(memory_fraction=fraction)
    done = library.tag("--batch-size", str(size), folder, **variables)
    smaller = HALVED.findall(done.err)
    value = f"{' → '.join([str(size), *smaller])}, exit code {done.code}"
    is_right = bool(smaller) and done.code == 0
    report.add(f"a batch that does not fit ({how})", value, "halved, said, done", passed=is_right)


def _add_end(report: Report, what: str, library: Library, job_id: int, start: float) -> None:
    """Wait for the end of a job of good photos, and add how it ended, in seconds from `start`."""
    job = library.wait_for(job_id)
    violations = [*([f"{job.failed} failed"] if job.failed else []), *_violations(library, job)]
    value = f"{_good(job)} of {job.total} photos, over after {time.monotonic() - start:.1f} s"
    report.add(what, "; ".join([value, *violations[:2]]), COMPLETE, passed=not violations)


def _violations(library: Library, job: JobProgress) -> list[str]:
    return [*job_violations(library.database, job.job), *library_violations(library.database)]


def _good(job: JobProgress) -> int:
    return job.tagged + job.unknown
