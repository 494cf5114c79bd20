"""The values of columns that hold one of a few words, or a note, which is one of a few texts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from tagger.system.text_format import N_


class Outcome(StrEnum):
    """The outcome of one photo in one job. `cancelled`: the job was cancelled before."""

    TAGGED = N_("tagged")
    UNKNOWN = N_("unknown")
    WRITTEN = N_("written")
    UNCHANGED = N_("unchanged")
    REFUSED = N_("refused")
    SKIPPED = N_("skipped")
    FAILED = N_("failed")
    CANCELLED = N_("cancelled")


CLASSIFIED_OUTCOMES = (Outcome.TAGGED, Outcome.UNKNOWN)
"""The outcomes of a photo that a job classified."""


class TripEditKind(StrEnum):
    """How a person changed a trip."""

    RENAME = "rename"
    SPLIT = "split"
    MERGE = "merge"


class JobKind(StrEnum):
    """What a job does. `compare` reads no photo; the last two change metadata, the others classify photos."""

    TAG = "tag"
    RETRY = "retry"
    BACKFILL = "backfill"
    COMPARE = "compare"
    WRITE = "write"
    UNDO = "undo"


CLASSIFICATION_KINDS = (JobKind.TAG, JobKind.RETRY, JobKind.BACKFILL)
METADATA_KINDS = (JobKind.WRITE, JobKind.UNDO)


class Target(StrEnum):
    """Where metadata is written: a sidecar file beside the photo, or the photo itself."""

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
    """Who runs a job: Celery workers, or the process that created it."""

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


STATED = (PositionSource.CAMERA, PositionSource.SIDECAR, PositionSource.TAKEOUT)
"""The sources of positions that the photo's own files state: they count as measured."""


class VerdictKind(StrEnum):
    """Whether the landmark is in the image (confirmed) or not (rejected)."""

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
    """What the odds of a landmark follow from. The last two decide about suggestions alone."""

    POSITION = TagReason.POSITION.value
    SPEED = TagReason.SPEED.value
    TRIP = "trip"
    LIBRARY = "library"


class ClockSource(StrEnum):
    """Who says how a camera's clock is set: a person, or photos that show it."""

    GIVEN = "given"
    ESTIMATED = "estimated"


class Role(StrEnum):
    """What somebody may do on the page. Each role may do what those before it may."""

    VIEWER = N_("viewer")
    EDITOR = N_("editor")
    ADMIN = N_("admin")

    @property
    def rights(self) -> str:
        """What a person with this role does, as it follows the name of the role in a sentence."""
        return {
            Role.VIEWER: N_("looks and searches"),
            Role.EDITOR: N_("also changes what is known of photos and starts jobs"),
            Role.ADMIN: N_("also manages access"),
        }[self]


class NoteCode(StrEnum):
    """Why a job waits, ended early or lacks results, or why a run or a worker starts nothing."""

    FOLDER_UNAVAILABLE = "folder-unavailable"
    SCAN_INTERRUPTED = "scan-interrupted"
    PROCESS_SILENT = "process-silent"
    PAUSED_UNTIL_NEXT_RUN = "paused-until-next-run"
    NOTHING_TO_DO = "nothing-to-do"
    RUN_UNFINISHED = "run-unfinished"
    MODEL_LEFT_OUT = "model-left-out"
    STARTING = "starting"
    REDIS_REFUSES = "redis-refuses"
    ROOTS_MISSING = "roots-missing"

    @property
    def text(self) -> str:
        """The text, with the names of its values in braces."""
        return {
            NoteCode.FOLDER_UNAVAILABLE: N_(
                "waiting for the folder “{name}”, which is unavailable (not mounted?)"
            ),
            NoteCode.SCAN_INTERRUPTED: N_(
                "its scan was interrupted; run the same command again to add the rest"
            ),
            NoteCode.PROCESS_SILENT: N_(
                "its process does not answer; if it has ended, run the same command again to continue"
            ),
            NoteCode.PAUSED_UNTIL_NEXT_RUN: N_(
                "paused at {end} ({zone}); the next run of the schedule {name} continues it"
            ),
            NoteCode.NOTHING_TO_DO: N_("nothing to do"),
            NoteCode.RUN_UNFINISHED: N_("job {job} of an earlier run has not finished"),
            NoteCode.MODEL_LEFT_OUT: N_("{problem} Until then, the job's other models classify its photos."),
            NoteCode.STARTING: N_("it is starting"),
            NoteCode.REDIS_REFUSES: N_("Redis accepts no messages"),
            NoteCode.ROOTS_MISSING: N_("unavailable on its machine: {names}"),
        }[self]


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
    if message is None or message["code"] not in set(NoteCode):
        return None
    note = Note(NoteCode(message["code"]), message["values"])
    return note if str(note) == text else None


def has_code(text: str | None, message: Mapping[str, Any] | None, code: NoteCode) -> bool:
    """Whether both columns have such a note."""
    note = stored_note(text, message)
    return note is not None and note.code is code
