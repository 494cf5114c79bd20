"""The values of columns that hold one of a few words; and notes of jobs, runs and workers.

A note is a text of this program, which pages translate, or an error.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from tagger.texts.text_format import N_


class Outcome(StrEnum):
    """The outcome of one photo in one job.

    `gone`: its file was deleted or moved. `cancelled`: the job was cancelled before.
    """

    TAGGED = N_("tagged")
    UNKNOWN = N_("unknown")
    WRITTEN = N_("written")
    UNCHANGED = N_("unchanged")
    REFUSED = N_("refused")
    SKIPPED = N_("skipped")
    GONE = N_("gone")
    FAILED = N_("failed")
    CANCELLED = N_("cancelled")


def failure_outcome(kind: str) -> Outcome:
    """The outcome of a photo with a failure of this kind: a deleted file is no failure."""
    return Outcome.GONE if kind == Outcome.GONE else Outcome.FAILED


# The outcomes of a photo that a job classified.
CLASSIFIED_OUTCOMES = (Outcome.TAGGED, Outcome.UNKNOWN)


class KeptStep(StrEnum):
    """What has to follow a change: positions; visits and numbers of a day, and then trips; numbers; trips."""

    POSITIONS = "positions"
    DAYS = "days"
    NUMBERS = "numbers"
    TRIPS = "trips"


class LookAnswer(StrEnum):
    YES = "yes"
    NONE = "none"


class TripEditKind(StrEnum):
    RENAME = "rename"
    SPLIT = "split"
    MERGE = "merge"


class JobKind(StrEnum):
    """`compare` reads no photo; the last two change metadata, the others classify photos."""

    TAG = "tag"
    RETRY = "retry"
    BACKFILL = "backfill"
    COMPARE = "compare"
    WRITE = "write"
    UNDO = "undo"


CLASSIFICATION_KINDS = (JobKind.TAG, JobKind.RETRY, JobKind.BACKFILL)
METADATA_KINDS = (JobKind.WRITE, JobKind.UNDO)


class Target(StrEnum):
    SIDECAR = "sidecar"
    EMBED = "embed"


class JobState(StrEnum):
    SCANNING = N_("scanning")
    QUEUED = N_("queued")
    RUNNING = N_("running")
    WAITING = N_("waiting")
    PAUSED = N_("paused")
    CANCELLED = N_("cancelled")
    FINISHED = N_("finished")


class Runner(StrEnum):
    WORKERS = "workers"
    LOCAL = "local"


class Priority(StrEnum):
    INTERACTIVE = "interactive"
    BULK = "bulk"


class FactSource(StrEnum):
    """Who says when or where a photo was taken, most trusted first. `name`: that of the file."""

    CAMERA = "camera"
    SIDECAR = "sidecar"
    TAKEOUT = "takeout"
    NAME = "name"


class FactProblem(StrEnum):
    """What of a photo's facts cannot be read: its date, while no other file has one, or a file beside it."""

    DATE = "date"
    SIDE_FILE = "side-file"


class PositionSource(StrEnum):
    """Where a photo's position comes from, most trusted first."""

    CAMERA = FactSource.CAMERA.value
    SIDECAR = FactSource.SIDECAR.value
    TAKEOUT = FactSource.TAKEOUT.value
    LANDMARK = "landmark"
    TRACK = "track"
    NEIGHBOUR = "neighbour"
    TRIP = "trip"


# The sources of positions that the photo's own files state: they count as measured.
STATED = (PositionSource.CAMERA, PositionSource.SIDECAR, PositionSource.TAKEOUT)
# Those that a receiver measured, or a person stated.
MEASURED = (*STATED, PositionSource.TRACK)


class VerdictKind(StrEnum):
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class TagState(StrEnum):
    """Whether a landmark counts as a tag of an image. One that a model only predicts has no state."""

    ACCEPTED = "accepted"
    DOUBTFUL = "doubtful"
    SUGGESTED = "suggested"
    REJECTED = "rejected"
    CONFIRMED = "confirmed"


class TagReason(StrEnum):
    """What decides about a landmark beside its score: another landmark, the position, or the image."""

    CONFIRMED_OTHER = "confirmed-other"
    TAUGHT_OTHER = "taught-other"
    SCORED_OTHER = "scored-other"
    CERTAIN_OTHER = "certain-other"
    POSITION = "position"
    SPEED = "speed"
    DAMAGED = "damaged"


class OddsReason(StrEnum):
    """What the odds of a landmark follow from. A trip decides about suggestions alone.

    `LIBRARY` is not written any more, and says nothing: the share of landmarks among all photos.
    """

    POSITION = TagReason.POSITION.value
    SPEED = TagReason.SPEED.value
    TRIP = "trip"
    LIBRARY = "library"


class ClockSource(StrEnum):
    GIVEN = "given"
    ESTIMATED = "estimated"


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
        N_(
            "its process does not answer; if it has ended, run the same command again to continue"
        ),
    )
    PAUSED_UNTIL_NEXT_RUN = (
        "paused-until-next-run",
        N_(
            "paused at {end} ({zone}); the next run of the schedule {name} continues it"
        ),
    )
    NOTHING_TO_DO = "nothing-to-do", N_("nothing to do")
    PHOTOS_GONE = "photos-gone", N_("photos that are gone: {number}")
    RUN_UNFINISHED = (
        "run-unfinished",
        N_("job {job} of an earlier run has not finished"),
    )
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
    """None for another text, or one of another version."""
    if not message:
        return None
    codes = {code.value: code for code in NoteCode}
    if message["code"] not in codes:
        return None
    note = Note(codes[message["code"]], message["values"])
    return note if str(note) == text else None


def has_code(
    text: str | None, message: Mapping[str, Any] | None, code: NoteCode
) -> bool:
    note = stored_note(text, message)
    return note is not None and note.code is code
