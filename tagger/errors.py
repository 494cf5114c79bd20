"""The errors of the program, with the messages that users read.

A failure of the program is a `TaggerError`; the docstring of its class is the message and includes a remedy.
A failure of one photo is a value, `PhotoFailure`; the code that reads the photo raises it as `PhotoFailed`.
"""

import copyreg
import errno
import inspect
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

# Numbers of an `OSError`: the disk, or what its user may have of it, is full.
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNREACHABLE = """
    EIO ENODEV ESTALE EREMOTEIO ENOMEDIUM ENOLINK ECOMM EPROTO ETIME EPIPE ENOTCONN ECONNABORTED
    ECONNREFUSED ECONNRESET ESHUTDOWN ETIMEDOUT EHOSTDOWN EHOSTUNREACH ENETDOWN ENETUNREACH ENETRESET ENONET
"""
# A disk fails, or a share or its server does not answer: nothing that a person may or may not do.
UNREACHABLE_ERRNOS = frozenset(
    getattr(errno, name) for name in _UNREACHABLE.split() if hasattr(errno, name)
)
# Another program uses a file, or the system is short of something now.
BUSY_ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ETXTBSY,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.ENFILE,
        errno.EMFILE,
    }
    | {errno.EINTR, errno.EDEADLK, errno.ENOLCK, *DISK_FULL_ERRNOS}
)


class PicklableError(Exception):
    """An exception that another process can receive: it is restored without its constructor."""

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), {"args": self.args, **vars(self)}  # type: ignore[attr-defined]


class TaggerError(PicklableError):
    """The root of all errors. `values` fill the placeholders of the class docstring."""

    def __init__(self, **values: object) -> None:
        self.values = values
        super().__init__(self._template().format(**values))

    @classmethod
    def _template(cls) -> str:
        return inspect.cleandoc(cls.__doc__ or "").replace("\n", " ")

    def parts(self) -> tuple[str, str]:
        """The first sentence, whose values may have several, and what follows it: the remedy."""
        sentence, stop, remedy = self._template().partition(". ")
        if not stop:
            sentence, _, remedy = str(self).partition(". ")
            return sentence, remedy
        return sentence.format(**self.values), remedy.format(**self.values)


class NotFound(TaggerError):
    """{reason}"""


class Conflict(TaggerError):
    """{reason}"""


class Unavailable(TaggerError):
    """{reason}"""


class InputInvalid(TaggerError):
    """{reason}"""


class PathNotFound(NotFound):
    """There is no file or folder at {path}. Check the name, and that its disk, share or bucket is there."""


class PathUnreachable(PathNotFound):
    """The disk or share of {path} cannot be reached: {reason}. Check the disk, or the share and its server,
    mount it again, and repeat the command. No photo was marked as gone.
    """


class ObjectAddressInvalid(TaggerError):
    """The address of a bucket is not valid: {reason}. Credentials come from the environment alone."""


class ObjectUnsupported(Conflict):
    """{path} is in a bucket, and this works with files and folders only. Copy the photos to a
    folder first.
    """


class SystemRefused(TaggerError):
    """The operating system refuses access to {what!r}: {reason}. Check the name and your permissions."""


class InstallationDamaged(Unavailable):
    """The file {path}, a part of this program, is damaged or missing. Install tagger again; the database is
    safe.
    """


class PermissionsUnsafe(TaggerError):
    """{path} is not used, because {reason}. Run: {remedy}"""


class SettingsInvalid(TaggerError):
    """Invalid setting: {reason}. Correct the option, environment variable or tagger.toml that sets it."""


class NameNotFound(NotFound):
    """There is no {kind} {name}. {known}."""


class NameAmbiguous(TaggerError):
    """Several {kinds} match {name}. Use the {key} of one of them: {keys}."""


class ModelRefused(Unavailable):
    """The model file {path} cannot be used: {reason}. Export it again with `trainer export`."""


class ModelNotFound(NotFound):
    """No model is registered as {name} (registered: {names}). Name one of these, or register a file with
    `tagger model add FILE`.
    """


class ModelPathNotFound(ModelNotFound):
    """There is no model file {name}. Check the name, or name a registered model (registered: {names})."""


class ModelFileNotFound(Unavailable):
    """The file of model {name} is missing ({reason}). Register a copy with `tagger model add FILE`, or name
    all models to use instead: `tagger model use NAME…`.
    """


class ModelChanged(Unavailable):
    """The file {path} is not the one registered as {name}: its digest differs. Restore the original file, or
    register this one with `tagger model add`.
    """


class ModelNotSelected(Unavailable):
    """No model is in use, and this installation includes none. Pass --model FILE, or run `tagger model add
    FILE` and `tagger model use NAME`.
    """


class LandmarkNotFound(NotFound):
    """There is no landmark {name}.{close} `tagger landmark list --all` lists all; `tagger landmark add` adds
    one of your own.
    """


class ThingNotFound(NotFound):
    """There is no thing {name}. {remedy}"""


class SightNotFound(NotFound):
    """No sight is called {name}. Look it up with a part of its name, like louvre."""


class LandmarkAmbiguous(Conflict):
    """Several landmarks have the name {name}, in {cities}: {slugs}. Use one of these slugs."""


class LandmarkInvalid(InputInvalid):
    """Invalid landmark: {reason}."""


class LandmarkExists(Conflict):
    """The name {name} belongs to {owner}{place} already, whose slug is {slug}. If you mean that one, use
    {slug}; otherwise give the new one a slug of its own.
    """


class LandmarkOfModel(Conflict):
    """{name} ({slug}) cannot be removed: it is a label of the model {models}, which would find it again.
    Reject it on photos, change it with `tagger landmark edit`, or merge it into another one.
    """


class LandmarksDistinct(Conflict):
    """{name} ({merged}) cannot be merged into {other} ({target}): the model {models} tells them apart, with a
    label for each. Reject the wrong one on photos.
    """


class CountryNotFound(NotFound):
    """No landmark or photo is in the country {name}.{close} `tagger landmark list` shows countries."""


class CameraNotFound(NotFound):
    """No photo was taken with a camera {name}. Known cameras: {names}."""


class PhotoNotFound(NotFound):
    """The database has no photo at {path}. Add photos with `tagger tag`; list them with `tagger query
    --any-rank --format paths`.
    """


class PhotoIdNotFound(NotFound):
    """The database has no photo with the number {photo_id}. It may have been removed by `tagger forget`."""


class CursorInvalid(TaggerError):
    """Invalid cursor: `after` must be the `next` value of a page of the same query. Request the first page
    again, without `after`.
    """


class ArgumentInvalid(InputInvalid, ValueError):
    """Invalid argument: {argument}: {reason}."""


class ProcessBound(TaggerError, TypeError):
    """{what} can only be used in the process that opened it. In each other process, call {call}."""


class LibraryClosed(TaggerError):
    """The library is closed, with its jobs and queries. Open it again with tagger.open."""


class QueryInvalid(TaggerError):
    """Invalid query: {reason}."""


class QueryOptionInvalid(QueryInvalid, InputInvalid):
    """Invalid query: {option}: {reason}."""


class SearchTextInvalid(QueryInvalid):
    """The search does not understand {text}: {reason}"""


class PhotoNotClassified(Conflict):
    """The image content of {path} is not known, because no model has classified the photo{why}. Classify it
    with `tagger tag`, then repeat the command.
    """


class EmbeddingsMissing(Conflict):
    """The model {name} gives no embeddings, which teaching landmarks and finding similar photos need. Use one
    that does, too: `tagger model list` shows the models, `tagger model use NAME…` takes all to use.
    """


class ExamplesMissing(Conflict):
    """None of the photos can be an example. Name photos that `tagger tag` can tag."""


class QuestionNotFound(NotFound):
    """There is no question {number}, or it is not in the state that this needs. `tagger review questions`
    lists those that wait for an answer.
    """


class TripNotFound(NotFound):
    """No trip has the name {trip}. `tagger trips` lists the names."""


class TripsApart(Conflict):
    """The trips {trip} and {other} cannot be merged: there are more than {days} days between them."""


class TripEditFollowed(Conflict):
    """A later change of this trip depends on this one. Undo the later one first."""


class AlreadyExists(Conflict):
    """{what} exists already. {remedy}."""


class ImportRefused(TaggerError):
    """{file} cannot be imported: {reason}. Nothing of it was stored; {remedy}."""


class DatabaseUnavailable(Unavailable):
    """The database {url} cannot be opened: {reason}. {remedy}."""


class DiskFull(Unavailable):
    """No space is left for {what} ({reason}). Free space on its disk, then try again; stored results are
    safe.
    """


class DatabaseConnectionLost(Unavailable):
    """The connection to the database is lost: {reason}. Stored results are safe; run the same command again
    when the database is back.
    """


class DatabaseLimitReached(DatabaseConnectionLost):
    """The database server is at one of its limits: {reason}. Stored results are safe; run the same command
    again later, or raise this limit of the server.
    """


class StatementRefused(TaggerError):
    """The database refuses a statement of this program: {reason}. `tagger db check` names rows that another
    program damaged; if there are none, this is a defect: run the command again with -vv, and report what it
    prints.
    """


class DatabaseReadOnly(DatabaseConnectionLost):
    """The database is read-only here, so only commands that read it work: {reason}. Run this as the user to
    whom the file belongs, with write permission for the file and its folder; of servers, set
    TAGGER_DATABASE_URL to the primary.
    """


class DatabaseRemoved(TaggerError):
    """The database file {path} was deleted, moved or replaced while this command was using it. Put it back,
    or start the command again to use what is there now.
    """


class DatabasePermissionMissing(Unavailable):
    """The role of TAGGER_DATABASE_URL may not do this: {reason}. Run the command as the role that owns the
    schema; if that is this one, grant it the right.
    """


class SchemaOutdated(Unavailable):
    """The database {url} is empty or of another version, or its upgrade was interrupted. Run `tagger db
    upgrade`.
    """


class ModelFailed(Unavailable):
    """The model {name} failed on a batch of photos: {reason}. Nothing of this batch was stored. Try
    TAGGER_DEVICE=cpu or a smaller TAGGER_BATCH_SIZE, and check the file with `tagger model verify`.
    """


class ReadsTimedOut(Unavailable):
    """Reading photos hangs: {count} reads did not finish within {timeout_s:g} s each. Check the disk, the
    share or the bucket with the photos, then run the command again.
    """


class LeaseLost(TaggerError):
    """Another process goes on with photos of job {job}, or the job was paused or cancelled."""


class ScanInterrupted(Conflict):
    """Job {job} was cancelled or abandoned while its folders were scanned. Photos found before that are
    recorded; run the same command again to find the rest.
    """


class JobUnfinished(TaggerError, TimeoutError):
    """Job {job} is not over after {timeout_s:g} s. It goes on: wait again, or see `tagger job show {job}`."""


class JobNotFound(NotFound):
    """There is no job {job}. `tagger status` lists the jobs."""


class ScheduleInvalid(InputInvalid):
    """Invalid schedule: {reason}."""


class ScheduleExists(Conflict):
    """The schedule {name} exists already. Use another name, or run `tagger schedule remove {name}` first."""


class ScheduleNotFound(NotFound):
    """There is no schedule {name}. The schedules are: {names}. `tagger schedule list` shows them."""


class JobFinished(Conflict):
    """Job {job} is {state} already, so you cannot {action} it. Its results stay; to process what is open or
    new, tag its folders again.
    """


class JobNotRetriable(Conflict):
    """Job {job} writes metadata and cannot be retried. Run `tagger metadata write` again: it selects the
    photos that are not written yet. `tagger job failures {job}` lists the reasons.
    """


class JobNotPausable(Conflict):
    """Job {job} runs inside a `tagger tag` process and cannot be paused. Stop it with `tagger job cancel
    {job}`; the same `tagger tag` command continues it later.
    """


class RedisUnavailable(Unavailable):
    """Redis at {url} does not answer: {reason}. Check TAGGER_REDIS_URL and that the server is running. Jobs
    are safe in the database and continue when Redis is back.
    """


class EmbeddedRedisUnavailable(RedisUnavailable):
    """No TAGGER_REDIS_URL is set, and the embedded Redis cannot start: {reason}. Jobs are safe in SQL."""


class RedisMisconfigured(RedisUnavailable):
    """Redis at {url} cannot be used: {reason}. Correct TAGGER_REDIS_URL, or the user's rights in Redis. Jobs
    are safe in the database and continue then.
    """


class RedisRefused(TaggerError):
    """Redis at {url} refuses messages: {reason}. Give it more memory if it is full; if it is a replica or
    lacks replicas, repair the replication. Jobs are safe in the database and continue when Redis accepts
    messages.
    """


class ProcessFailed(TaggerError):
    """The {name} process exits right after its start: {reason} The full log is {log}."""


class JobProcessesFailed(TaggerError):
    """The processes that classify photos keep ending before they have stored one: the last {end}. Check with
    dmesg whether memory ran out, or set TAGGER_PROCESSES=1.
    """


class ExtraMissing(TaggerError):
    """{feature} needs the extra {extra}, which is not installed. Run: {command}"""


class DataFramesMissing(TaggerError, ModuleNotFoundError):
    """to_dataframe needs pandas or polars, and neither is installed. Run: pip install pandas"""


class AddressRefused(TaggerError):
    """The web page cannot be served at {host}, port {port}: {reason}. Choose another --host or --port."""


class RootUnavailable(Conflict):
    """The folder {folder} {state}, but the database has {photos} in it. If its disk or share is not mounted,
    mount it and try again; no photo was marked as gone. If you deleted the photos, run `tagger forget
    {folder}`.
    """


class FolderReplaced(RootUnavailable):
    """The folder {folder} is now a link to {target}, which is not followed, but the database has {photos} in
    it. Tag {target}, then run `tagger forget {folder}`; no photo was marked as gone.
    """


class RootMoveRefused(Conflict):
    """The folder {old} cannot become {new} in the database: {reason}."""


class BucketUnavailable(RootUnavailable):
    """{folder} is not available: {reason}. No photo was marked as gone."""


class BucketExtraMissing(BucketUnavailable):
    """{folder} is not available: {reason}"""


class FailureKind(StrEnum):
    """Why one photo could not be classified. Users filter and retry failures by these names."""

    GONE = "gone"
    UNREADABLE = "unreadable"
    UNREACHABLE = "unreachable"
    SETTLING = "settling"
    EMPTY = "empty"
    TOO_LARGE = "too-large"
    NOT_AN_IMAGE = "not-an-image"
    UNSUPPORTED = "unsupported"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_MANY_PIXELS = "too-many-pixels"
    TIMED_OUT = "timed-out"
    CRASHED = "crashed"
    INTERNAL = "internal"

    @property
    def can_pass(self) -> bool:
        """Whether it may pass although nobody does anything, so that the photo is tried again by itself."""
        return self in {
            FailureKind.UNREACHABLE,
            FailureKind.TIMED_OUT,
            FailureKind.SETTLING,
        }

    def retry_pause(self, attempts: int) -> timedelta | None:
        """The pause after so many failed attempts; None: the photo is not tried again by itself."""
        return (
            RETRY_PAUSES[attempts - 1]
            if self.can_pass and attempts <= len(RETRY_PAUSES)
            else None
        )


# After each failed attempt; then a failure is final. A bit less than whole days, for nightly runs.
RETRY_PAUSES = tuple(timedelta(hours=hours) for hours in (0, 1, 6, 18, 42, 90, 186))


@dataclass(frozen=True)
class PhotoFailure:
    """The failure of one photo: a kind to filter by and a text with the reason and a remedy.

    The text is one line of printable characters. It may quote a photo, and databases refuse some characters:
    one such text would fail all photos that are stored with it.
    """

    kind: FailureKind
    text: str

    def __post_init__(self) -> None:
        if not self.text.isprintable():
            text = "".join(
                letter if letter.isprintable() else ascii(letter)[1:-1]
                for letter in self.text
            )
            object.__setattr__(self, "text", text)


class PhotoFailed(TaggerError):
    """Raised while a photo is read or decoded; carries its `PhotoFailure`, and a script's `path`."""

    def __init__(self, kind: FailureKind, text: str, path: str | None = None) -> None:
        self.values = {"kind": kind, "text": text, "path": path}
        self.failure = PhotoFailure(kind, text)
        self.path = path
        Exception.__init__(self, text if path is None else f"{path}: {text}")
