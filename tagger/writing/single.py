"""Files that nobody keeps anything of: taking out of them what they say themselves is ours."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tagger.database import Database
from tagger.errors import PhotoFailed, PhotoNotKnown
from tagger.metadata.additions import Additions
from tagger.metadata.described import packet_of
from tagger.metadata.planning import FindKept, digest_file, plan_sidecar
from tagger.metadata.refusals import WriteRefused
from tagger.metadata.replacing import WriteFailed
from tagger.metadata.sidecars import is_sidecar_name
from tagger.metadata.xmp import is_ours
from tagger.photos import path_text
from tagger.photos.reading import read_photo
from tagger.query.details import find_photo
from tagger.roots import Places
from tagger.settings import Settings
from tagger.tables import Target
from tagger.writing.kept import forget_orphaned
from tagger.writing.photo import (
    PhotoToWrite,
    Planned,
    PlannedPhoto,
    described,
    make_ready,
    plan_photo,
)
from tagger.writing.preview import Previewed, finder
from tagger.writing.wanted import wanted_tags


def plan_unknown(database: Database, settings: Settings, paths: Iterable[Path]) -> Iterator[Previewed]:
    """What taking back would change in each of these files that no job would touch; folders are left to jobs."""
    for path in paths:
        if path.is_file() and not _is_kept(database, path, settings.roots):
            try:
                yield Previewed(path, _planned(path, finder(database, None), settings.max_bytes))
            except (WriteRefused, WriteFailed) as problem:
                yield Previewed(path, None, problem)


def undo_unknown(database: Database, previewed: Previewed) -> str:
    """Do it; returns what came of it, in words."""
    if previewed.planned is None:
        return f"left as it is: {previewed.problem}"
    try:
        ready = make_ready(previewed.planned)
        ready.put_in_place()
    except (WriteRefused, WriteFailed) as problem:
        return f"left as it is: {problem}"
    for planned, _ in ready.replaced:
        original = planned.plan.original
        if original.data is not None:
            forget_orphaned(database, path_text(original.path.name)[0], digest_file(original.data))
    return described(ready)


def _planned(path: Path, find_kept: FindKept, max_bytes: int) -> PlannedPhoto:
    """A sidecar that is named itself may have lost its photo."""
    if is_sidecar_name(path.name):
        sidecar = PhotoToWrite(path, None, Additions(), None, frozenset({Target.SIDECAR}), max_bytes)
        plan = plan_sidecar(path, sidecar.additions, find_kept)
        return PlannedPhoto(sidecar, (Planned(Target.SIDECAR, plan),))
    places = frozenset(Target) if _may_hold_ours(path, max_bytes) else frozenset({Target.SIDECAR})
    return plan_photo(PhotoToWrite(path, None, Additions(), None, places, max_bytes), find_kept)


def _may_hold_ours(path: Path, max_bytes: int) -> bool:
    """What is never written into, or may not be, is no reason to leave its sidecar as it is."""
    try:
        return is_ours(packet_of(read_photo(path, max_bytes=max_bytes).data))
    except (PhotoFailed, WriteRefused):
        return True


def _is_kept(database: Database, path: Path, places: Places) -> bool:
    try:
        with database.read() as connection:
            photo_id = find_photo(connection, path, places)
    except PhotoNotKnown:
        return False
    known = wanted_tags(database, [photo_id]).get(photo_id)
    return known is not None and bool(known.written)
