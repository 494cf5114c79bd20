"""What people read of jobs and workers, in the language of the reader: in commands and on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tagger.database.enums import stored_note
from tagger.texts.text_format import NN_, gettext, ngettext, number_text, rounded_duration

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tagger.ledger.job_control import JobProgress
    from tagger.ledger.workers import WorkerStatus

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


def counts_text(job: JobProgress, always: Collection[str] = ()) -> str:
    """`2 tagged, 1 failed`. `always`: the outcomes that are named although no photo has them."""
    counts = job.counts.items()
    shown = {name: count for name, count in counts if count or name in always}
    return ", ".join(ngettext(*COUNT_TEXTS[name], count) for name, count in shown.items())


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
    return gettext("about %(duration)s left", duration=rounded_duration(job.eta_seconds))


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
    return gettext("No worker starts work now: %(reasons)s.", reasons="; ".join(reasons))


def note_text(note: str | None, message: Mapping[str, Any] | None) -> str:
    """A note in the reader's language; one without a message, such as an error, is English."""
    stored = stored_note(note, message)
    return (note or "") if stored is None else gettext(stored.code.text).format(**stored.values)
