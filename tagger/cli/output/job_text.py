"""Jobs as text: one line of counts for a job, a table of jobs, and the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagger.cli.output.formats import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tagger.errors import TaggerError
    from tagger.ledger.progress import JobProgress
    from tagger.ledger.workers import LastTick, WorkerStatus
    from tagger.photos.photo_names import OtherFiles


def duration_text(seconds: float) -> str:
    """`5 s`, `2 min 05 s` or `1 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )


WAITING_WORKERS_SHOWN = 3
EXTENSIONS_SHOWN = 3
START_BEAT = "tagger beat and tagger worker (or both: tagger up)"
"""What schedules need."""


def count_of(number: int, noun: str) -> str:
    """`1 photo`, `2 photos`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def gone_text(number: int) -> str:
    """`1 photo is gone`, `2 photos are gone`."""
    return f"{count_of(number, 'photo')} {'is' if number == 1 else 'are'} gone"


def other_files_lines(other_files: OtherFiles) -> list[str]:
    """How many files a scan left out, with the most frequent extensions, and how to read those that need an extra."""
    from tagger.photos.photo_names import needed_extra

    by_count = sorted(other_files.by_extension.items(), key=lambda each: (-each[1], each[0]))
    frequent = by_count[:EXTENSIONS_SHOWN]
    kinds = [f"{count} {printable(extension)}" for extension, count in frequent]
    rest = other_files.count - sum(count for _, count in frequent)
    kinds += [f"{rest} more"] if kinds and rest else []
    lines = [other_files_text(other_files.count) + (f" ({', '.join(kinds)})" if kinds else "")]
    extras = {extension: needed_extra(extension) for extension in sorted(other_files.by_extension)}
    lines += [
        f"to read {extension} files, run: pip install 'landmark-tagger[{extra}]'"
        for extension, extra in extras.items()
        if extra
    ]
    return lines if other_files.count else []


def other_files_text(count: int) -> str:
    return f"left out by extension: {count_of(count, 'file')}"


def job_summary(progress: JobProgress) -> str:
    """The state and the counts of a job in one line."""
    from tagger.database.enums import METADATA_KINDS, JobKind

    if progress.kind in METADATA_KINDS:
        changed = "undone" if progress.kind == JobKind.UNDO else "written"
        parts = [f"{progress.written} {changed}", f"{progress.unchanged} unchanged"]
        parts += [f"{progress.refused} refused"] if progress.refused else []
        parts += [f"{progress.skipped} skipped"] if progress.skipped else []
    else:
        parts = [f"{progress.tagged} tagged", f"{progress.unknown} unknown", f"{progress.skipped} skipped"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [f"{progress.cancelled} cancelled"] if progress.cancelled else []
    rate = f", {progress.photos_per_second:.1f} photos/s" if progress.photos_per_second else ""
    action = {"write": ", metadata written", "undo": ", metadata undone"}.get(progress.kind, "")
    photos = count_of(progress.total, "photo")
    return f"job {progress.job} {progress.state}{action}: {photos}: {', '.join(parts)}{rate}"


def job_lines(progress: JobProgress) -> list[str]:
    """Everything about one job: its counts, model, runner, author, related jobs and note."""
    from tagger.database.actor import author_text

    remainder = ""
    if not progress.is_over:
        eta = f", about {duration_text(progress.eta_seconds)} left" if progress.eta_seconds else ""
        remainder = f"; {progress.running} running, {progress.queued} queued{eta}"
    author = author_text(progress.author)
    started = f", started by {printable(author)}" if author else ""
    lines = [
        job_summary(progress) + remainder,
        f"  model {progress.model}, {progress.priority}, runner {progress.runner}{started}{_relation(progress)}",
    ]
    lines += [f"  {other_files_text(progress.other_files)}"] if progress.other_files else []
    return [*lines, f"  {progress.note}"] if progress.note else lines


def _relation(progress: JobProgress) -> str:
    if progress.parent:
        relation = "a retry" if progress.kind == "retry" else "writes the tags"
        return f", {relation} of job {progress.parent}"
    return f", its tags are written by job {progress.write_job}" if progress.write_job else ""


NO_WORKER_YET = "no worker is running yet; one is starting"


def overview_lines(jobs: Sequence[JobProgress], older_count: int = 0) -> list[str]:
    """The latest jobs as a table, metadata jobs as one line each, and the notes of open ones."""
    from tagger.database.enums import METADATA_KINDS

    classifications = [job for job in jobs if job.kind not in METADATA_KINDS]
    lines = _table(classifications) if classifications else []
    lines += [job_lines(job)[0] for job in jobs if job.kind in METADATA_KINDS]
    lines += _notes(jobs)
    if older_count:
        lines.append(
            f"… and {count_of(older_count, 'older job')}, finished; to list all, run: tagger job list"
        )
    return lines


def service_lines(
    workers: Sequence[WorkerStatus],
    queues: Mapping[str, int | None],
    last_tick: LastTick | None,
    *,
    redis_problem: TaggerError | None,
    is_worker_starting: bool,
) -> list[str]:
    """The workers, the queues and, where schedules are enabled, the last tick.

    `redis_problem`: why the queues cannot be read, if Redis should be running.
    """
    lines = ["workers: none yet; one is starting"] if is_worker_starting else worker_lines(workers)
    lines.append(_queues_line(queues, redis_problem))
    return lines if last_tick is None else [*lines, f"schedules: {tick_text(last_tick)}"]


def _queues_line(queues: Mapping[str, int | None], problem: TaggerError | None) -> str:
    """`queued messages: interactive 0, bulk 2`, or why that is unknown."""
    depths = [f"{name} {depth}" for name, depth in queues.items() if depth is not None]
    missing = "Redis is not running; a worker starts it" if problem is None else "Redis does not answer"
    return f"queued messages: {', '.join(depths) or missing}"


def worker_text(worker: WorkerStatus) -> str:
    """`tagger-1@rack (cpu, 2 chunks, 51.0 photos/s)`, with why it starts no work now."""
    rate = f", {worker.photos_per_second:.1f} photos/s" if worker.photos_per_second else ""
    waits = f", waits: {worker.waits_for}" if worker.waits_for else ""
    return f"{worker.name} ({worker.device}, {count_of(worker.chunks, 'chunk')}{rate}{waits})"


def idle_workers_text(workers: Sequence[WorkerStatus]) -> str | None:
    """Why no worker starts work now, and what to do; None if one does."""
    if not workers:
        return "no worker is running; start one with: tagger worker (or all services with: tagger up)"
    if not all(worker.waits_for for worker in workers):
        return None
    waits = "; ".join(f"{worker.name}: {worker.waits_for}" for worker in workers[:WAITING_WORKERS_SHOWN])
    more = len(workers) - WAITING_WORKERS_SHOWN
    return f"no worker starts work now ({waits}{f'; and {more} more' if more > 0 else ''})"


def worker_lines(workers: Sequence[WorkerStatus]) -> list[str]:
    """The workers, and the sums of each kind of device where there are several."""
    from tagger.ledger.workers import by_device

    lines = [f"workers: {', '.join(map(worker_text, workers)) or 'none'}"]
    if len(workers) > 1:
        kinds = (
            f"{kind.device} {kind.photos_per_second:.1f} photos/s ({count_of(kind.workers, 'worker')})"
            for kind in by_device(workers)
        )
        lines.append(f"devices: {', '.join(kinds)}")
    return lines


def late_tick_problem(last_tick: LastTick | None) -> str | None:
    """Why schedules do not run, if they do not."""
    if last_tick is None or not last_tick.is_late:
        return None
    return f"schedules do not run ({tick_text(last_tick)}): start {START_BEAT}"


def tick_text(last_tick: LastTick) -> str:
    """`last tick 12 s ago`."""
    if last_tick.seconds_ago is None:
        return "no tick yet"
    return f"last tick {duration_text(last_tick.seconds_ago)} ago"


def _table(jobs: Sequence[JobProgress]) -> list[str]:
    """Columns of plain text that fit 80 columns."""
    names = ["job", "state", "total", "done", "tagged", "unknown", "skipped", "failed", "photos/s", "ETA"]
    rows = [names, *(_cells(job) for job in jobs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(_aligned, range(len(row)), row, widths)) for row in rows]


def _aligned(column: int, cell: str, width: int) -> str:
    return cell.ljust(width) if column == 1 else cell.rjust(width)


def _cells(job: JobProgress) -> list[str]:
    numbers = (job.total, job.done, job.tagged, job.unknown, job.skipped, job.failed)
    rate = f"{job.photos_per_second:.1f}" if job.photos_per_second else "-"
    eta = duration_text(job.eta_seconds) if job.eta_seconds and job.running else "-"
    return [str(job.job), job.state, *map(str, numbers), rate, eta]


def _notes(jobs: Sequence[JobProgress]) -> list[str]:
    if not jobs:
        return ["there are no jobs; start one with: tagger tag FOLDER"]
    return [f"job {job.job}: {job.note}" for job in jobs if job.note and not job.is_over]
