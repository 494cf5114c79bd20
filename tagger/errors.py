"""What can go wrong, as people read it.

Failure of the program is an exception from this tree; its docstring is the message, with the remedy.
Failure of one photo is a value (`PhotoFailure`), raised as `PhotoFailed` only inside the reading of that photo.
"""

import inspect
from dataclasses import dataclass
from enum import StrEnum


class TaggerError(Exception):
    """Something could not be done."""

    def __init__(self, **values: object) -> None:
        self.values = values
        template = inspect.cleandoc(type(self).__doc__ or "").replace("\n", " ")
        super().__init__(template.format(**values))


class FolderNotFound(TaggerError):
    """There is no file or folder at {path}. Check the name, and that the disk or share it is on is mounted."""


class SystemRefused(TaggerError):
    """The system does not allow it: {what!r}: {reason}. Check the name, and the rights of this user there."""


class SettingsInvalid(TaggerError):
    """A setting cannot be used: {reason}. Correct it in the option, environment variable or tagger.toml named."""


class ModelRefused(TaggerError):
    """The model file {path} cannot be used: {reason}. Export it again with `trainer export`."""


class ModelNotFound(TaggerError):
    """There is no model {wanted}: it is neither a registered name ({names}) nor a file. Choose one that `tagger model list` shows, or name a file."""


class ModelGone(TaggerError):
    """The file of the model {name} is no longer there ({reason}). Register a copy with `tagger model add FILE`, or choose another with `tagger model use NAME`."""


class ModelChanged(TaggerError):
    """The file {path} is not the one that was registered as {name}: its digest differs. Put that file back, or register this one with `tagger model add`."""


class ModelNameTaken(TaggerError):
    """Another model is registered as {name}. Choose another --name, or leave it out."""


class NoModel(TaggerError):
    """No model is in use and this installation ships none. Name one with --model FILE, or with `tagger model add FILE` and `tagger model use NAME`."""


class LandmarkNotFound(TaggerError):
    """No registered model knows the landmark {wanted}.{close} `tagger landmarks` lists those found in photos."""


class LandmarkAmbiguous(TaggerError):
    """Several landmarks are named {wanted}: {slugs}. Use one of these."""


class CountryNotFound(TaggerError):
    """No landmark is in the country {wanted}.{close} Countries are named as `tagger landmarks` shows them."""


class PhotoNotKnown(TaggerError):
    """Nothing at {path} is in the database. `tagger tag` puts photos there; `tagger query --any-rank --format paths` lists them."""


class PhotoNumberNotKnown(TaggerError):
    """There is no photo with the number {photo} in the database; it may have been forgotten. Look for it in the library."""


class CursorInvalid(TaggerError):
    """The page of the answer cannot be found: `after` is not what an answer to the same query gave as `next`. Ask for the first page again, without it."""


class QueryInvalid(TaggerError):
    """The query cannot be answered: {reason}."""


class PhotoNotLookedAt(TaggerError):
    """Which picture {path} shows is not known, as no model could look at it yet{why}. Look at it with `tagger tag`, then say this again."""


class VerdictsInvalid(TaggerError):
    """The verdicts in {file} cannot be taken over: {where}: {reason}. Nothing was imported; correct that, or write them anew with `tagger verdicts export`."""


class FileThere(TaggerError):
    """There is a file {path} already. Choose another name, or replace it with --force."""


class ImportRefused(TaggerError):
    """{file} cannot be imported: {reason}. Nothing was changed; {remedy}."""


class DatabaseNotEmpty(TaggerError):
    """The database {url} is not empty: it holds {found}. A whole database can be imported into a new one only: name one with TAGGER_DATABASE_URL."""


class DatabaseUnavailable(TaggerError):
    """The database {url} cannot be opened: {reason}. Check TAGGER_DATABASE_URL, and that the server runs or the folder can be written."""


class DatabaseLost(TaggerError):
    """The database does not answer any more: {reason}. What was stored is safe; run the same command again when it is back."""


class SchemaOutdated(TaggerError):
    """The database {url} was not set up for this version of tagger. Run `tagger db upgrade` once."""


class SchemaNewer(TaggerError):
    """The database {url} was made by a newer version of tagger (schema {revision}). Upgrade tagger on this machine."""


class ModelFailed(TaggerError):
    """The model {name} failed on a batch of photos: {reason}. Nothing of that batch was stored; try TAGGER_DEVICE=cpu or a smaller
    TAGGER_BATCH_SIZE, and check the file with `tagger model verify`.
    """


class ReadsHang(TaggerError):
    """Reading photos hangs: {count} reads did not end within {timeout_s:g} s each. Check the disk or share they are on, then start this again."""


class LeaseLost(TaggerError):
    """Chunk {chunk} of job {job} was taken over by another worker; what this one found later was not stored."""


class ScanEnded(TaggerError):
    """Job {job} was cancelled or given up while its folders were searched; what was found until then is recorded. Run the same command again to find the rest."""


class JobNotFound(TaggerError):
    """There is no job {job}. `tagger status` lists the jobs there are."""


class ScheduleInvalid(TaggerError):
    """The schedule cannot be kept: {reason}."""


class ScheduleExists(TaggerError):
    """There is a schedule {name} already. Choose another name, or `tagger schedule remove {name}` first."""


class ScheduleNotFound(TaggerError):
    """There is no schedule {name}; there are: {names}. `tagger schedule list` shows them."""


class JobOver(TaggerError):
    """Job {job} is {state} already; there is nothing left of it to {wish}. `tagger status {job}` shows how it went."""


class JobNotRetriable(TaggerError):
    """Job {job} writes metadata, and is not retried: `tagger metadata write` finds by itself what is not written yet. `tagger failures {job}` says what stood in the way."""


class JobNotPausable(TaggerError):
    """Job {job} is run by `tagger tag` in a process of its own, which does not pause. End it with `tagger cancel {job}`; the same `tagger tag` again goes on where it stopped."""


class RedisUnavailable(TaggerError):
    """Redis at {url} does not answer: {reason}. Check TAGGER_REDIS_URL and that the server runs; jobs are kept and go on then."""


class WorkerFailed(TaggerError):
    """The {name} ends as soon as it is started: {reason} The whole log is {log}."""


class ExtraMissing(TaggerError):
    """The page needs an extra that is not installed ({missing}). Run: pip install 'landmark-tagger[web]'."""


class AddressTaken(TaggerError):
    """Another program listens at {host}, port {port}. If it is another `tagger serve` or `tagger up`, use that one; else choose another --port."""


class AddressRefused(TaggerError):
    """The page cannot be served at {host}, port {port}: {reason}. Choose another --host or --port."""


class RootAway(TaggerError):
    """The folder {folder} is empty or missing though {known} photos are known in it. If it is on a disk or share that is not
    mounted, mount it and try again; nothing was marked as gone. If the photos were really deleted, run `tagger forget {folder}`.
    """


class FailureKind(StrEnum):
    """Why one photo could not be looked at; people filter and retry by these names."""

    GONE = "gone"
    UNREADABLE = "unreadable"
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


@dataclass(frozen=True)
class PhotoFailure:
    """One photo's failure: a kind to filter by and a text that a person can act on."""

    kind: FailureKind
    text: str


class PhotoFailed(Exception):
    """Carries a `PhotoFailure` out of the reading of one photo."""

    def __init__(self, kind: FailureKind, text: str) -> None:
        super().__init__(text)
        self.failure = PhotoFailure(kind, text)
