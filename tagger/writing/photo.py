"""One photo's metadata: which of its files are to change, prepared, and put in place. Knows no SQL.

A refused embedding leaves the photo as it is; its tags go into a sidecar, unless it is not the photo it was.
"""

from dataclasses import dataclass, field
from pathlib import Path

from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata.additions import Additions
from tagger.metadata.described import packet_of
from tagger.metadata.planning import FindKept, Plan, check_picture, plan_embed, plan_sidecar
from tagger.metadata.refusals import RefusalKind, WriteRefused
from tagger.metadata.replacing import Prepared, WriteFailed, clear_leftover, prepare
from tagger.metadata.sidecars import sidecar_of, sidecars_there
from tagger.metadata.xmp import is_ours
from tagger.photos.reading import read_photo
from tagger.tables import Outcome, Target

NO_SIDECAR_FOR = (RefusalKind.CHANGED, RefusalKind.BUSY)
"""What a sidecar would say of such a photo may be wrong."""


@dataclass(frozen=True)
class PhotoToWrite:
    """`picture` is the digest that the photo was tagged under, None where any will do. `target` is None where nothing is to be added.

    `written` are the places where this program has written before.
    """

    path: Path
    picture: str | None
    additions: Additions
    target: Target | None
    written: frozenset[Target]
    max_bytes: int
    of_job: bool = False
    """Only what one job wrote is taken back, so nothing that is in no row of its."""

    @property
    def slugs(self) -> tuple[str, ...]:
        return tuple(landmark.slug for landmark in self.additions.landmarks)


@dataclass(frozen=True)
class Planned:
    """A file of a photo, and what it should be."""

    target: Target
    plan: Plan


@dataclass(frozen=True)
class PlannedPhoto:
    """All files of a photo that matter. `refusal`: why its own file is left alone though it was asked for."""

    photo: PhotoToWrite
    files: tuple[Planned, ...] = ()
    refusal: WriteRefused | None = None


@dataclass
class ReadyPhoto:
    """A planned photo whose changed files wait beside the old ones. `discard` or `put_in_place` ends that."""

    planned: PlannedPhoto
    prepared: tuple[tuple[Planned, Prepared], ...] = ()
    replaced: list[tuple[Planned, Prepared]] = field(default_factory=list)

    def put_in_place(self) -> None:
        """Raises:
        WriteRefused, WriteFailed: the file is as it was; those before it are written.
        """
        try:
            for planned, prepared in self.prepared:
                prepared.replace()
                self.replaced.append((planned, prepared))
        finally:
            self.discard()

    def discard(self) -> None:
        for _, prepared in self.prepared:
            prepared.discard()

    @property
    def outcome(self) -> Outcome:
        """Once all is in place."""
        if self.planned.refusal is not None:
            return Outcome.REFUSED
        return Outcome.WRITTEN if self.prepared else Outcome.UNCHANGED


def plan_photo(photo: PhotoToWrite, find_kept: FindKept) -> PlannedPhoto:
    """What is to become of the photo's files; nothing is changed.

    Sidecars that are there are kept right whatever the target is: where there is one, programs believe it more than the
    photo itself.

    Raises:
        WriteRefused: nothing can be written for it, not even beside it.
        WriteFailed: a file cannot be read.
    """
    if not photo.additions and not photo.written and photo.target is not None:
        return PlannedPhoto(photo)
    refusal = None
    embedded: tuple[Planned, ...] = ()
    try:
        embedded = _embedded(photo, find_kept)
    except WriteRefused as refused:
        if refused.kind in NO_SIDECAR_FOR:
            raise
        refusal = refused
    may_make = photo.target is Target.SIDECAR or refusal is not None
    return PlannedPhoto(photo, (*embedded, *_sidecars(photo, find_kept, may_make=may_make)), refusal)


def ready_photo(photo: PhotoToWrite, find_kept: FindKept) -> ReadyPhoto:
    """Plan a photo's files and prepare those that change.

    What cannot be kept of the photo's own file, its owner say, shows only when the new one is made: then, too, the tags
    go into a sidecar.

    Raises:
        WriteRefused, WriteFailed: as `plan_photo` and `make_ready`.
    """
    planned = plan_photo(photo, find_kept)
    try:
        return make_ready(planned)
    except WriteRefused as refused:
        embedding = photo.target is Target.EMBED and photo.additions and planned.refusal is None
        if not embedding or refused.kind in NO_SIDECAR_FOR:
            raise
        return make_ready(PlannedPhoto(photo, _sidecars(photo, find_kept, may_make=True), refused))


def make_ready(planned: PlannedPhoto) -> ReadyPhoto:
    """Prepare every file that changes.

    Raises:
        WriteRefused, WriteFailed: nothing is left of it; no file was changed.
    """
    ready: list[tuple[Planned, Prepared]] = []
    try:
        for each in planned.files:
            if not each.plan.changes:
                clear_leftover(each.plan.original.path)  # who died over it may have wanted something else
                continue
            prepared = prepare(each.plan.original, each.plan.data, photo=planned.photo.path)
            ready.append((each, prepared))
    except BaseException:
        for _, prepared in ready:
            prepared.discard()
        raise
    return ReadyPhoto(planned, tuple(ready))


def described(ready: ReadyPhoto) -> str:
    """What came of it, for people."""
    planned = ready.planned
    names = ", ".join(landmark.name for landmark in planned.photo.additions.landmarks)
    files = ", ".join(_in_words(each) for each, _ in ready.replaced)
    parts = [planned.refusal.text] if planned.refusal else []
    if names and (files or planned.refusal):
        parts.append(f"{names} → {files or _there(planned)}")
    elif files:
        parts.append(", ".join(_taken_out(each) for each, _ in ready.replaced))
    elif not planned.refusal:
        nothing = "nothing of ours is in it" if planned.photo.target is None else "no accepted tag to write"
        parts.append(f"{names}: there already" if names else nothing)
    return " ".join(parts) + (" (XMP alone)" if any(each.plan.notes for each in planned.files) else "")


def _embedded(photo: PhotoToWrite, find_kept: FindKept) -> tuple[Planned, ...]:
    to_add = photo.target is Target.EMBED and bool(photo.additions)
    to_take = photo.target is not Target.SIDECAR and Target.EMBED in photo.written
    # Of copies that others changed, what was kept may have gone with the one they were copied from.
    to_take = to_take or (photo.target is None and not photo.of_job and _says_ours(photo))
    if not to_add and not to_take:
        return ()
    plan = plan_embed(
        photo.path, photo.additions, find_kept, picture=photo.picture, max_bytes=photo.max_bytes
    )
    return (Planned(Target.EMBED, plan),)


def _says_ours(photo: PhotoToWrite) -> bool:
    """Whether the photo's own file says that something of ours is in it; not where it cannot be read."""
    try:
        return is_ours(packet_of(read_photo(photo.path, max_bytes=photo.max_bytes).data))
    except (PhotoFailed, WriteRefused):
        return False


def _sidecars(photo: PhotoToWrite, find_kept: FindKept, *, may_make: bool) -> tuple[Planned, ...]:
    # Of what is taken back, sidecars are looked at in any case: those that were copied with a photo are in no row.
    known_only = photo.target is not None or photo.of_job
    if not photo.additions and known_only and Target.SIDECAR not in photo.written:
        return ()
    paths = sidecars_there(photo.path)
    if may_make or not photo.additions:  # one that was removed already is noted, and not made
        paths = paths or (sidecar_of(photo.path),)
    of_photo = _tagged_bytes(photo) if photo.additions and paths else None
    plans = (plan_sidecar(path, photo.additions, find_kept, of_photo=of_photo) for path in paths)
    return tuple(Planned(Target.SIDECAR, plan) for plan in plans)


def _tagged_bytes(photo: PhotoToWrite) -> bytes:
    """The photo, if it still is the one that was tagged."""
    try:
        data = read_photo(photo.path, max_bytes=photo.max_bytes).data
    except PhotoFailed as failed:
        gone = failed.failure.kind is FailureKind.GONE
        raise WriteFailed("gone" if gone else "unreadable", failed.failure.text) from failed
    check_picture(data, photo.picture)
    return data


def _taken_out(each: Planned) -> str:
    if each.plan.data is None:
        return f"{_in_words(each)} removed"
    how = ", which is the original again" if each.plan.restored else "; the rest is as others left it"
    return f"taken out of {_in_words(each)}{how}"


def _in_words(each: Planned) -> str:
    name = each.plan.original.path.name
    return name if each.target is Target.SIDECAR else "the photo itself"


def _there(planned: PlannedPhoto) -> str:
    return ", ".join(f"{each.plan.original.path.name} (there already)" for each in planned.files)
