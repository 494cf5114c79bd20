"""What people read of jobs and workers, in the language of the reader: in commands and on the page."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from tagger.database import JobKind, stored_note
from tagger.photos.paths import printable_path
from tagger.texts.text_format import (
    N_,
    NN_,
    gettext,
    moment_text,
    ngettext,
    number_text,
    reader_zone,
    rounded_duration,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tagger.jobs.enqueue.submission import Backfill
    from tagger.ledger.job_control import JobProgress
    from tagger.ledger.workers import LastTick, WorkerStatus

# By the names of `JobProgress.counts`.
COUNT_TEXTS = {
    "tagged": NN_("%(count)s tagged", "%(count)s tagged"),
    "unknown": NN_("%(count)s unknown", "%(count)s unknown"),
    "written": NN_("%(count)s written", "%(count)s written"),
    "undone": NN_("%(count)s undone", "%(count)s undone"),
    "unchanged": NN_("%(count)s unchanged", "%(count)s unchanged"),
    "refused": NN_("%(count)s refused", "%(count)s refused"),
    "skipped": NN_("%(count)s skipped", "%(count)s skipped"),
    "gone": NN_("%(count)s gone", "%(count)s gone"),
    "failed": NN_("%(count)s failed", "%(count)s failed"),
    "cancelled": NN_("%(count)s cancelled", "%(count)s cancelled"),
}

# What jobs do, and backfills of each scope.
KIND_TEXTS = {
    JobKind.TAG: N_("Tag %(folders)s"),
    JobKind.RETRY: N_("Retry failed photos"),
    JobKind.BACKFILL: N_("Tag photos again"),
    JobKind.COMPARE: N_("Compare with taught landmarks"),
    JobKind.WRITE: N_("Write tags into metadata"),
    JobKind.UNDO: N_("Undo metadata changes"),
}
BACKFILL_TEXTS = {
    "untagged": N_("Tag new photos"),
    "outdated": N_("Update tags and things"),
    "failed": N_("Retry failed photos"),
    "taught": N_("Compare with taught landmarks"),
}
SCOPE_TEXTS = {
    "untagged": N_("Photos that are not processed"),
    "outdated": N_("Photos tagged by another model"),
    "failed": N_("Photos that fail now"),
    "all": N_("All photos"),
    "taught": N_("Photos not compared with what was taught"),
}
MAX_FOLDERS = 2


def job_title(job: JobProgress, options: Mapping[str, Any]) -> str:
    """What a job does: `Tag Pictures`, `Tag new photos`. `options`: those that it records."""
    if job.kind != JobKind.TAG:
        return gettext(
            BACKFILL_TEXTS.get(options.get("what", ""), KIND_TEXTS[JobKind(job.kind)])
        )
    names = [PurePath(path).name or path for path in job.paths]
    folders, more = ", ".join(names[:MAX_FOLDERS]), len(names) - MAX_FOLDERS
    if more > 0:
        folders = ngettext(
            "%(names)s and %(count)s more",
            "%(names)s and %(count)s more",
            more,
            names=folders,
        )
    return gettext(KIND_TEXTS[JobKind.TAG], folders=folders or gettext("photos"))


def job_about(options: Mapping[str, Any]) -> str:
    """Which photos the job with these options is about, if its title does not say that."""
    from tagger.jobs.enqueue.submission import UNDO_JOB, backfill_from_options

    if UNDO_JOB in options:
        return gettext("what job %(number)s wrote", number=options[UNDO_JOB])
    if "what" not in options:
        return ""
    conditions = {name: value for name, value in options.items() if name != "what"}
    backfill = backfill_from_options(options["what"], conditions)
    if backfill.scope not in BACKFILL_TEXTS:
        return backfill_text(backfill)
    return ", ".join(_backfill_parts(backfill))


def backfill_text(backfill: Backfill) -> str:
    """`Photos that are not processed, after scanning Pictures`."""
    return ", ".join([gettext(SCOPE_TEXTS[backfill.scope]), *_backfill_parts(backfill)])


def _backfill_parts(backfill: Backfill) -> Iterator[str]:
    from tagger.query.filter_words import conditions_text

    if conditions := conditions_text(backfill.query):
        yield conditions
    for folder in backfill.scan:
        name = printable_path(folder.name or folder)
        yield gettext("after scanning %(folder)s", folder=name)
    if backfill.write:
        yield gettext("tags written into metadata")


def time_text(time: datetime) -> str:
    """A time in the reader's zone; without the date if it is today."""
    local = time.astimezone(reader_zone())
    is_today = local.date() == datetime.now(local.tzinfo).date()
    return f"{local:%H:%M}" if is_today else moment_text(time)


def counts_text(job: JobProgress, always: Collection[str] = ()) -> str:
    """`2 tagged, 1 failed`. `always`: the outcomes that are named although no photo has them."""
    counts = job.counts.items()
    shown = {name: count for name, count in counts if count or name in always}
    return ", ".join(
        ngettext(*COUNT_TEXTS[name], count) for name, count in shown.items()
    )


def rate_text(photos_per_second: float | None) -> str:
    """`12.3 photos/s`; empty without a rate."""
    if not photos_per_second:
        return ""
    return gettext("%(number)s photos/s", number=number_text(photos_per_second, 1))


def remaining_text(job: JobProgress) -> str:
    """What is left of an open job; empty: it is not known."""
    if job.settling:
        return gettext("locating its photos")
    if not job.eta_seconds:
        return ""
    return gettext(
        "about %(duration)s left", duration=rounded_duration(job.eta_seconds)
    )


def duration_text(seconds: float) -> str:
    """`5 s`, `2 min 05 s` or `1 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


# What schedules need.
START_BEAT = "tagger beat and tagger worker (or both: tagger up)"


def tick_text(last_tick: LastTick) -> str:
    """`last tick 12 s ago`."""
    if last_tick.seconds_ago is None:
        return "no tick yet"
    if last_tick.seconds_ago < 0 and last_tick.is_late:
        return "no tick since the clock was set back"
    return f"last tick {duration_text(max(0.0, last_tick.seconds_ago))} ago"


def worker_text(worker: WorkerStatus) -> str:
    """What a worker does, how fast, and why it starts no work now."""
    progress = gettext("working") if worker.chunks else ""
    rate = rate_text(worker.photos_per_second) if worker.chunks else ""
    reason = note_text(worker.waits_for, worker.waits_for_message)
    waits = gettext("waits: %(reason)s", reason=reason) if reason else ""
    return ", ".join(filter(None, (progress, rate, waits))) or gettext("idle")


def idle_text(workers: Sequence[WorkerStatus]) -> str:
    """Why no worker starts work now, and what to do; empty if one does."""
    if not workers:
        return gettext(
            "No worker is running. Jobs are recorded and wait for one. Start it on the server with "
            "`tagger worker`, or start everything with `tagger up`."
        )
    reasons = dict.fromkeys(
        note_text(worker.waits_for, worker.waits_for_message) for worker in workers
    )
    if "" in reasons:
        return ""
    return gettext(
        "No worker starts work now: %(reasons)s.", reasons="; ".join(reasons)
    )


def note_text(note: str | None, message: Mapping[str, Any] | None) -> str:
    """A note in the reader's language; one without a message, such as an error, is English."""
    stored = stored_note(note, message)
    return (
        (note or "")
        if stored is None
        else gettext(stored.code.text).format(**stored.values)
    )
