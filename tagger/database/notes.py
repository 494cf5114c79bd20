"""Notes of jobs, runs and workers: texts of this program, which pages translate, or errors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from tagger.texts.text_format import N_


class NoteCode(StrEnum):
    """Why a job waits, ended early or lacks results, or why a run or a worker starts nothing.

    `text`: with the names of its values in braces.
    """

    FOLDER_UNAVAILABLE = (
        "folder-unavailable",
        N_("waiting for the folder “{name}”, which is unavailable (not mounted?)"),
    )
    SCAN_INTERRUPTED = (
        "scan-interrupted",
        N_("its scan was interrupted; run the same command again to add the rest"),
    )
    PROCESS_SILENT = (
        "process-silent",
        N_("its process does not answer; if it has ended, run the same command again to continue"),
    )
    PAUSED_UNTIL_NEXT_RUN = (
        "paused-until-next-run",
        N_("paused at {end} ({zone}); the next run of the schedule {name} continues it"),
    )
    NOTHING_TO_DO = "nothing-to-do", N_("nothing to do")
    RUN_UNFINISHED = "run-unfinished", N_("job {job} of an earlier run has not finished")
    MODEL_LEFT_OUT = (
        "model-left-out",
        N_("{problem} Until then, the job's other models classify its photos."),
    )
    STARTING = "starting", N_("it is starting")
    REDIS_REFUSES = "redis-refuses", N_("Redis accepts no messages")
    ROOTS_MISSING = "roots-missing", N_("unavailable on its machine: {names}")

    text: str

    def __new__(cls, code: str, text: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.text = text
        return member


@dataclass(frozen=True)
class Note:
    """A note that pages translate. The database has its English text, and this as JSON beside it."""

    code: NoteCode
    values: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.code.text.format(**self.values)


def note_columns(note: Note | str | None, column: str = "note") -> dict[str, Any]:
    """The columns of a note and of its message. Other texts, like errors, have no message."""
    return {
        column: None if note is None else str(note),
        f"{column}_message": asdict(note) if isinstance(note, Note) else None,
    }


def stored_note(text: str | None, message: Mapping[str, Any] | None) -> Note | None:
    """The note of both columns; None for another text, or one of another version."""
    if not message:
        return None
    codes = {code.value: code for code in NoteCode}
    if message["code"] not in codes:
        return None
    note = Note(codes[message["code"]], message["values"])
    return note if str(note) == text else None


def has_code(text: str | None, message: Mapping[str, Any] | None, code: NoteCode) -> bool:
    """Whether both columns have such a note."""
    note = stored_note(text, message)
    return note is not None and note.code is code
