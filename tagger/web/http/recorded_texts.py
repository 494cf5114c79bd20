"""Texts that the database has in English, in the reader's language: failures, refusals, and notes of jobs and workers."""

import re
from collections.abc import Mapping

from tagger.errors import FailureKind
from tagger.jobs.enqueue.backfill import NOTHING_TO_DO
from tagger.jobs.enqueue.schedule_runs import RUN_UNFINISHED
from tagger.jobs.enqueue.schedules import PAUSED_UNTIL_NEXT_RUN
from tagger.ledger.job_control import SCAN_INTERRUPTED
from tagger.ledger.jobs import FOLDER_UNAVAILABLE
from tagger.ledger.workers import REDIS_REFUSES, ROOTS_MISSING, STARTING
from tagger.metadata.errors import RefusalKind
from tagger.system.text_format import N_, gettext, reader_language

FAILURES: Mapping[str, str] = {
    FailureKind.GONE: N_("file is gone"),
    FailureKind.UNREADABLE: N_("not readable"),
    FailureKind.SETTLING: N_("being written"),
    FailureKind.EMPTY: N_("empty file"),
    FailureKind.TOO_LARGE: N_("file too large"),
    FailureKind.NOT_AN_IMAGE: N_("not an image"),
    FailureKind.UNSUPPORTED: N_("not supported"),
    FailureKind.TRUNCATED: N_("cut off"),
    FailureKind.CORRUPT: N_("damaged"),
    FailureKind.TOO_MANY_PIXELS: N_("too many pixels"),
    FailureKind.TIMED_OUT: N_("took too long"),
    FailureKind.CRASHED: N_("cannot be decoded"),
    FailureKind.INTERNAL: N_("internal error"),
}
REFUSALS: Mapping[str, str] = {
    **FAILURES,
    FailureKind.TOO_LARGE: N_("no room"),
    "disk-full": N_("disk full"),
    RefusalKind.BUCKET: N_("in a bucket"),
    RefusalKind.FORMAT: N_("format not writable"),
    RefusalKind.STRUCTURE: N_("invalid structure"),
    RefusalKind.OFFSETS: N_("fixed offsets"),
    RefusalKind.SIGNED: N_("signed (C2PA)"),
    RefusalKind.XMP: N_("unsupported XMP"),
    RefusalKind.LINK: N_("a link"),
    RefusalKind.CHANGED: N_("changed meanwhile"),
    RefusalKind.BUSY: N_("in use"),
    RefusalKind.CHECK: N_("check failed"),
    RefusalKind.SIDECAR: N_("sidecar of two photos"),
    RefusalKind.READ_ONLY: N_("read-only"),
}
"""Kinds of failures and refusals in few words; templates/failure.html has what they mean."""

NOTES = (
    FOLDER_UNAVAILABLE,
    NOTHING_TO_DO,
    PAUSED_UNTIL_NEXT_RUN,
    STARTING,
    REDIS_REFUSES,
    ROOTS_MISSING,
    RUN_UNFINISHED,
    SCAN_INTERRUPTED,
)
_PATTERNS = {
    note: re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.*)", re.escape(note)), re.DOTALL) for note in NOTES
}


def note_text(recorded: str) -> str:
    """Return a note in the reader's language, if it is one of NOTES; others, such as errors, stay English."""
    if reader_language() is not None:
        for note, pattern in _PATTERNS.items():
            if match := pattern.fullmatch(recorded):
                return gettext(note).format(**match.groupdict())
    return recorded
