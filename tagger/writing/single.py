"""Files that nobody keeps anything of: taking out of them what they say themselves is ours."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tagger.database import Database
from tagger.errors import PhotoNotKnown
from tagger.metadata.additions import Additions
from tagger.metadata.refusals import WriteRefused
from tagger.metadata.replacing import WriteFailed
from tagger.query.details import find_photo
from tagger.roots import Places
from tagger.settings import Settings
from tagger.tables import Target
from tagger.writing.photo import PhotoToWrite, described, make_ready, plan_photo
from tagger.writing.preview import Previewed, finder
from tagger.writing.wanted import wanted_tags


def plan_unknown(database: Database, settings: Settings, paths: Iterable[Path]) -> Iterator[Previewed]:
    """What taking back would change in each of these files that no job would touch; folders are left to jobs."""
    for path in paths:
        if path.is_file() and not _is_kept(database, path, settings.roots):
            photo = PhotoToWrite(path, None, Additions(), None, frozenset(Target), settings.max_bytes)
            try:
                yield Previewed(path, plan_photo(photo, finder(database, None)))
            except (WriteRefused, WriteFailed) as problem:
                yield Previewed(path, None, problem)


def undo_unknown(previewed: Previewed) -> str:
    """Do it; returns what came of it, in words."""
    if previewed.planned is None:
        return f"left as it is: {previewed.problem}"
    try:
        ready = make_ready(previewed.planned)
        ready.put_in_place()
    except (WriteRefused, WriteFailed) as problem:
        return f"left as it is: {problem}"
    return described(ready)


def _is_kept(database: Database, path: Path, places: Places) -> bool:
    try:
        with database.read() as connection:
            photo_id = find_photo(connection, path, places)
    except PhotoNotKnown:
        return False
    known = wanted_tags(database, [photo_id]).get(photo_id)
    return known is not None and bool(known.written)
