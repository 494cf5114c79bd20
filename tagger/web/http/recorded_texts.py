"""Texts that the database has in English, in the reader's language: failures, refusals, and notes of jobs and workers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tagger.errors import FailureKind
from tagger.jobs.enqueue.schedule_runs import NOTHING_TO_DO, RUN_UNFINISHED
from tagger.jobs.enqueue.schedules import PAUSED_UNTIL_NEXT_RUN
from tagger.ledger.job_control import SCAN_INTERRUPTED
from tagger.ledger.jobs import FOLDER_UNAVAILABLE
from tagger.ledger.workers import REDIS_REFUSES, ROOTS_MISSING
from tagger.metadata.errors import RefusalKind
from tagger.system.text_format import N_, gettext, reader_language

Texts = Mapping[str, tuple[str, str]]
"""A kind in few words, and a sentence of what it means and what to do."""

FAILURES: Texts = {
    "unavailable": (
        N_("not available now"),
        N_("The disk or share with this photo is not available. Connect it, then try again."),
    ),
    FailureKind.GONE: (
        N_("file is gone"),
        N_("The file is no longer where it was. If it was moved, process the folder it is in now."),
    ),
    FailureKind.UNREADABLE: (
        N_("not readable"),
        N_("The file cannot be read. Check its permissions, and its disk or network share."),
    ),
    FailureKind.SETTLING: (
        N_("being written"),
        N_("The file was still being written. Try again once it is copied completely."),
    ),
    FailureKind.EMPTY: (N_("empty file"), N_("The file is empty. Copy it again from its source.")),
    FailureKind.TOO_LARGE: (
        N_("file too large"),
        N_("The file is larger than this server allows. Save the photo smaller."),
    ),
    FailureKind.NOT_AN_IMAGE: (
        N_("not an image"),
        N_("The file is not an image, whatever its name says. Remove it, or restore it from a backup."),
    ),
    FailureKind.UNSUPPORTED: (
        N_("not supported"),
        N_("This format cannot be read here. Convert the photo to JPEG or PNG."),
    ),
    FailureKind.TRUNCATED: (
        N_("cut off"),
        N_("The end of the file is missing. Copy it again from its source."),
    ),
    FailureKind.CORRUPT: (
        N_("damaged"),
        N_("The image is damaged. Restore it from a backup, or save it again in a program that can open it."),
    ),
    FailureKind.TOO_MANY_PIXELS: (
        N_("too many pixels"),
        N_("The image has more pixels than this server allows. Scale it down."),
    ),
    FailureKind.TIMED_OUT: (
        N_("took too long"),
        N_("Reading the photo took too long. Check its disk or network share, then try again."),
    ),
    FailureKind.CRASHED: (
        N_("cannot be decoded"),
        N_("The photo could not be decoded. Save it again in another program, or restore it from a backup."),
    ),
    FailureKind.INTERNAL: (
        N_("internal error"),
        N_("This is a bug of landmark tagger, not of the photo. Please report it with the details."),
    ),
}
REFUSALS: Texts = {
    **FAILURES,
    "disk-full": (N_("disk full"), N_("The disk is full. Free some space, then write again.")),
    RefusalKind.BUCKET: (
        N_("in a bucket"),
        N_("Photos in this bucket are not changed. The details say why."),
    ),
    RefusalKind.FORMAT: (
        N_("format not writable"),
        N_("Photos of this format are not changed. Their tags go into sidecars."),
    ),
    RefusalKind.STRUCTURE: (
        N_("invalid structure"),
        N_(
            "The file is not structured as it should be. Copy it again from its source, or save it again in another program."
        ),
    ),
    RefusalKind.OFFSETS: (
        N_("fixed offsets"),
        N_("The file has data that must not move, so it is not changed. Its tags go into a sidecar."),
    ),
    RefusalKind.SIGNED: (
        N_("signed (C2PA)"),
        N_("The photo has content credentials, which a change would break. Its tags go into a sidecar."),
    ),
    RefusalKind.XMP: (
        N_("unsupported XMP"),
        N_(
            "The XMP that is there cannot be extended without loss. Save it again in the program that wrote it."
        ),
    ),
    RefusalKind.TOO_LARGE: (
        N_("no room"),
        N_("The file has no room for the tags. They go into a sidecar, if possible."),
    ),
    RefusalKind.LINK: (
        N_("a link"),
        N_("The file is a link and is not changed. Process the folder of the original."),
    ),
    RefusalKind.CHANGED: (
        N_("changed meanwhile"),
        N_("The photo was changed after it was processed. Process it again, then write."),
    ),
    RefusalKind.BUSY: (
        N_("in use"),
        N_("Another program uses the file. Close it there, then write again."),
    ),
    RefusalKind.CHECK: (
        N_("check failed"),
        N_("The check of the new file failed, so the old one stays. Please report it with the details."),
    ),
    RefusalKind.SIDECAR: (
        N_("sidecar of two photos"),
        N_("The sidecar could belong to two photos. Rename one of the two."),
    ),
    RefusalKind.READ_ONLY: (
        N_("read-only"),
        N_("The file or its folder is write-protected. Let the server write there."),
    ),
}


@dataclass(frozen=True)
class FailureText:
    """Why a photo failed. `detail`: the recorded English text, unless `text` is that text already."""

    text: str
    detail: str = ""


def failure_text(kind: str, recorded: str, texts: Texts = FAILURES) -> FailureText:
    """Return why a photo failed: in English the recorded text, in other languages what its kind means, with that text as a detail."""
    if reader_language() is None:
        return FailureText(recorded or kind)
    return FailureText(gettext(texts[kind][1]) if kind in texts else "", recorded or kind)


def kind_text(kind: str, texts: Texts = FAILURES) -> str:
    """Return the kind of a failure, or with REFUSALS of a refusal to write, in few words."""
    return gettext(texts[kind][0]) if kind in texts else kind


NOTES = (
    FOLDER_UNAVAILABLE,
    NOTHING_TO_DO,
    PAUSED_UNTIL_NEXT_RUN,
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
