"""What `tagger status --watch` shows, as lines that fit a terminal: from numbers to text, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from tagger.cli.output import printable
from tagger.cli.pace import duration, seconds_left

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tagger.ledger.progress import HeldChunk, JobProgress, WorkerSeen

LEAST_BAR, LONGEST_BAR = 5, 40
BESIDE_BAR = 61
NAME_CELLS = 20
NOTES_SHOWN = 3
URGENCY = ("running", "scanning", "waiting", "paused", "queued")
"""Jobs in the order that people look for them; those that are over come last."""


@dataclass(frozen=True)
class View:
    """One look at everything. `rates` are photos/s by job; `troubles` is what does not answer."""

    clock: str
    jobs: Sequence[JobProgress] = ()
    rates: Mapping[int, float] = field(default_factory=dict)
    workers: Sequence[WorkerSeen] = ()
    held: Sequence[HeldChunk] = ()
    queues: Mapping[str, int | None] = field(default_factory=dict)
    troubles: Sequence[str] = ()


def lines_of(view: View, width: int, height: int) -> list[str]:
    """At most `height` lines of at most `width` cells; what has no room is counted."""
    notes = _notes(view)[:NOTES_SHOWN]
    room = max(4, height - 2 - len(view.troubles) - len(notes))
    workers = _cut(_worker_lines(view), max(2, room // 3), "workers")
    jobs = _cut(_job_lines(view, width), room - len(workers), "jobs")
    lines = [_title(view), *view.troubles, *jobs, *workers, _queues(view), *notes]
    return [fitted(line, width) for line in lines][:height]


def fitted(text: str, width: int) -> str:
    """The text in at most so many cells, harmless for a terminal; a wide character takes two."""
    shown = printable(text)
    return shown if cell_len(shown) <= width else set_cell_size(shown, width - 1).rstrip() + "…"


def job_line(job: JobProgress, rate: float) -> str:
    """A job in a line of its own, where there is no terminal to draw on."""
    left = seconds_left(job, rate)
    done = f"job {job.job} {job.state}: {job.total - job.queued - job.running} of {job.total} photos"
    speed = f", {rate:.1f} photos/s" if rate else ""
    return done + speed + (f", about {duration(left)} left" if left else "")


def _title(view: View) -> str:
    still_open = [job for job in view.jobs if not job.is_over]
    rate = sum(view.rates.get(job.job, 0.0) for job in still_open)
    return (
        f"{view.clock}  open jobs: {len(still_open)}, workers: {len(view.workers)}, {rate:.1f} photos/s; "
        "Ctrl-C ends this view"
    )


def _job_lines(view: View, width: int) -> list[str]:
    if not view.jobs:
        return ["no jobs yet; start one with: tagger enqueue FOLDER"]
    bar = max(LEAST_BAR, min(LONGEST_BAR, width - BESIDE_BAR))
    names = f"{'job':>5} {'state':9} {'':{bar}} {'':>4} {'done':>17} {'photos/s':>8} {'left':>12}"
    ordered = sorted(view.jobs, key=lambda job: (_urgency(job), -job.job))
    return [names, *(_job_line(job, view.rates.get(job.job, 0.0), bar) for job in ordered)]


def _urgency(job: JobProgress) -> int:
    return URGENCY.index(job.state) if job.state in URGENCY else len(URGENCY)


def _job_line(job: JobProgress, rate: float, bar: int) -> str:
    done = job.total - job.queued - job.running
    share = done / job.total if job.total else float(job.is_over)
    filled = "█" * int(share * bar)
    left = seconds_left(job, rate)
    shown_rate = f"{rate:.1f}" if rate else "-"
    shown_left = duration(left) if left else "-"
    return (
        f"{job.job:>5} {job.state:9} {filled:░<{bar}} {int(share * 100):>3}% "
        f"{f'{done}/{job.total}':>17} {shown_rate:>8} {shown_left:>12}"
    )


def _worker_lines(view: View) -> list[str]:
    if not view.workers and not view.held:
        return ["no worker is there; start one with: tagger worker"]
    by_name: dict[str, list[HeldChunk]] = {worker.name: [] for worker in view.workers}
    for held in view.held:
        by_name.setdefault(held.worker, []).append(held)
    seen = {worker.name: f"{worker.device}, {worker.seen_seconds_ago:.0f} s ago" for worker in view.workers}
    lines = [f"{'worker':{NAME_CELLS}} {'seen':14} in hand"]
    for name, chunks in by_name.items():
        # One that is in no list of workers is a process that runs its own job, or has fallen silent.
        in_hand = ", ".join(f"job {c.job} chunk {c.chunk} {c.stored}/{c.photos}" for c in chunks)
        shown = set_cell_size(fitted(name, NAME_CELLS), NAME_CELLS)
        lines.append(f"{shown} {seen.get(name, '-'):14} {in_hand or 'nothing'}")
    return lines


def _queues(view: View) -> str:
    depths = [f"{name} {depth}" for name, depth in view.queues.items() if depth is not None]
    return f"messages waiting: {', '.join(depths) or 'no Redis is running'}"


def _notes(view: View) -> list[str]:
    """The newest first."""
    noted = [job for job in view.jobs if job.note and not job.is_over]
    return [f"job {job.job}: {job.note}" for job in sorted(noted, key=lambda job: -job.job)]


def _cut(lines: list[str], most: int, what: str) -> list[str]:
    """The first lines, and how many more there are."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"… and {len(lines) - most + 1} more {what}"]
