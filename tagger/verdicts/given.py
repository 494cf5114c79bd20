"""Giving verdicts and taking them back: on one photo, or on all that a query finds."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, func, select

from tagger.database import Database
from tagger.errors import PhotoNotLookedAt, PhotoNumberNotKnown
from tagger.landmarks import Landmark, all_landmarks, find_landmark
from tagger.query import PhotoQuery, TaggedPhoto, find_tagged
from tagger.query.details import find_photo
from tagger.roots import Places
from tagger.tables import contents, photos
from tagger.verdicts.kept import (
    NewVerdict,
    Word,
    drop_verdicts,
    hold_contents,
    pages,
    verdicts_before,
    write_verdicts,
)
from tagger.verdicts.listed import VerdictFilter, verdict_pages


@dataclass(frozen=True)
class Given:
    """A verdict on one photo. `before` is what stood there until then; `photos` show the same picture, this one included."""

    digest: str
    landmark: Landmark
    before: Word | None
    photos: int


@dataclass(frozen=True)
class GivenToFound:
    """Verdicts on all that a query found: photos, their tags, and how many of these had the other verdict until then."""

    photos: int = 0
    tags: int = 0
    replaced: int = 0


@dataclass(frozen=True)
class GivenToPhotos:
    """Verdicts on photos that were named: `before` has what stood on each that changed, by number; None: nothing.

    `left_out` are those whose picture is not known, as nothing has looked at them.
    """

    landmark: Landmark
    before: dict[int, Word | None]
    left_out: tuple[int, ...]


def give_verdict(
    database: Database,
    photo: Path | int,
    landmark: str,
    word: Word,
    by: str | None,
    places: Places,
    *,
    dry_run: bool = False,
) -> Given:
    """Record a person's word on the picture of a photo (its path or its number), in the place of an earlier one.

    Raises:
        PhotoNotKnown, PhotoNumberNotKnown, PhotoNotLookedAt: which picture the photo shows is not known.
        LandmarkNotFound, LandmarkAmbiguous: no registered model knows the landmark by that name.
    """
    with database.write() as connection:
        content_id, given = _judged(connection, photo, landmark, places)
        if not dry_run:
            new = NewVerdict(content_id, given.landmark.id, word, by, datetime.now(UTC))
            write_verdicts(connection, [new])
    return given


def take_back(
    database: Database,
    photo: Path | int,
    landmark: str,
    word: Word,
    places: Places,
    *,
    dry_run: bool = False,
) -> Given:
    """Take a person's word back, if it stands there: the photo has again what its model said.

    Raises:
        PhotoNotKnown, PhotoNumberNotKnown, PhotoNotLookedAt, LandmarkNotFound, LandmarkAmbiguous: as for giving it.
    """
    with database.write() as connection:
        content_id, given = _judged(connection, photo, landmark, places)
        if given.before is word and not dry_run:
            drop_verdicts(connection, [(content_id, given.landmark.id)], word)
    return given


def _judged(connection: Connection, named: Path | int, typed: str, places: Places) -> tuple[int, Given]:
    landmark = find_landmark(connection, typed)
    number = named if isinstance(named, int) else find_photo(connection, named, places)
    photo = connection.execute(
        select(photos.c.content_id, photos.c.failure_kind, contents.c.digest)
        .outerjoin(contents, contents.c.id == photos.c.content_id)
        .where(photos.c.id == number)
    ).one_or_none()
    if photo is None:
        raise PhotoNumberNotKnown(photo=number)
    held = hold_contents(connection, [photo.digest]) if photo.digest else {}
    if photo.digest not in held:
        why = f": it failed ({photo.failure_kind})" if photo.failure_kind else ""
        path = f"Photo {named}" if isinstance(named, int) else named
        raise PhotoNotLookedAt(path=path, why=why)
    key = (photo.content_id, landmark.id)
    before, _ = verdicts_before(connection, [key]).get(key, (None, None))
    sharing = select(func.count()).where(
        photos.c.content_id == photo.content_id, photos.c.gone_since.is_(None)
    )
    return photo.content_id, Given(photo.digest, landmark, before, connection.scalar(sharing) or 0)


def give_to_photos(
    database: Database,
    numbers: Sequence[int],
    landmark: str,
    word: Word,
    by: str | None,
    *,
    dry_run: bool = False,
) -> GivenToPhotos:
    """Give one word on a landmark to photos by number, in one transaction.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: no registered model knows the landmark by that name.
    """
    with database.write() as connection:
        place, shown, said = _said_of(connection, numbers, landmark)
        before = {number: old for number, old in said.items() if old is not word}
        if not dry_run:
            now = datetime.now(UTC)
            write_verdicts(
                connection, [NewVerdict(shown[number], place.id, word, by, now) for number in before]
            )
    return GivenToPhotos(place, before, tuple(number for number in numbers if number not in shown))


def take_back_from_photos(
    database: Database, numbers: Sequence[int], landmark: str, word: Word, *, dry_run: bool = False
) -> int:
    """Take that word back on photos by number, in one transaction; returns on how many photos it stood.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: as for giving it.
    """
    with database.write() as connection:
        place, shown, said = _said_of(connection, numbers, landmark)
        meant = [number for number, old in said.items() if old is word]
        if not dry_run:
            drop_verdicts(connection, sorted({(shown[number], place.id) for number in meant}), word)
    return len(meant)


def _said_of(
    connection: Connection, numbers: Sequence[int], typed: str
) -> tuple[Landmark, dict[int, int], dict[int, Word | None]]:
    """The landmark, the pictures that photos show, and what was said of it on each; photos by number."""
    landmark = find_landmark(connection, typed)
    shown = _shown_contents(connection, numbers)
    stood = verdicts_before(connection, {(content_id, landmark.id) for content_id in shown.values()})
    said: dict[int, Word | None] = {
        number: stood[content_id, landmark.id][0] if (content_id, landmark.id) in stood else None
        for number, content_id in shown.items()
    }
    return landmark, shown, said


def _shown_contents(connection: Connection, numbers: Sequence[int]) -> dict[int, int]:
    rows = connection.execute(
        select(photos.c.id, contents.c.id.label("content_id"), contents.c.digest)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(photos.c.id.in_(numbers))
        .order_by(photos.c.id)
    ).all()
    held = hold_contents(connection, {row.digest for row in rows})
    return {row.id: row.content_id for row in rows if row.digest in held}


def give_to_found(
    database: Database,
    query: PhotoQuery,
    word: Word,
    by: str | None,
    places: Places,
    *,
    dry_run: bool = False,
) -> GivenToFound:
    """Give one word on every tag that the query finds; with `any_rank` on its landmark alone, accepted or not.

    What is found is noted in a file first: verdicts change what a query finds while it is still reading.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name that means nothing here.
    """
    with database.read() as connection:
        ids = {landmark.slug: landmark.id for landmark in all_landmarks(connection)}
        only = find_landmark(connection, query.landmark).slug if query.landmark else None
    with tempfile.TemporaryFile("w+", encoding="utf-8") as noted:
        counted = _note(find_tagged(database, query, places), only, word, noted)
        if not dry_run:
            now = datetime.now(UTC)
            for page in pages(_noted(noted)):
                _give_page(database, page, ids, NewVerdict(0, 0, word, by, now))
    return counted


def _note(found: Iterable[TaggedPhoto], only: str | None, word: Word, noted: IO[str]) -> GivenToFound:
    photos_found = tags = replaced = 0
    for photo in found:
        meant = [tag for tag in photo.tags if only in {None, tag.landmark} and tag.verdict != word]
        photos_found += bool(meant)
        tags += len(meant)
        replaced += sum(tag.verdict is not None for tag in meant)
        noted.writelines(json.dumps([photo.digest, tag.landmark]) + "\n" for tag in meant)
    return GivenToFound(photos_found, tags, replaced)


def _noted(noted: IO[str]) -> Iterator[tuple[str, str]]:
    noted.seek(0)
    for line in noted:
        digest, slug = json.loads(line)
        yield digest, slug


def _give_page(
    database: Database, page: Iterable[tuple[str, str]], landmark_ids: dict[str, int], pattern: NewVerdict
) -> None:
    pairs = set(page)
    with database.write() as connection:
        content_ids = hold_contents(connection, {digest for digest, _ in pairs})
        new = (
            replace(pattern, content_id=content_ids[digest], landmark_id=landmark_ids[slug])
            for digest, slug in pairs
            if digest in content_ids  # else it was forgotten meanwhile
        )
        write_verdicts(connection, new)


def take_back_found(
    database: Database, wanted: VerdictFilter, places: Places, *, dry_run: bool = False
) -> int:
    """Take back every verdict that fits; returns how many. The filter has to say which word.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name that means nothing here.
    """
    if wanted.word is None:
        raise ValueError("which word is to be taken back has to be said")
    count = 0
    for page in verdict_pages(database, wanted, places):
        keys = [(row.content_id, row.landmark_id) for row in page]
        if dry_run:
            count += len(keys)
            continue
        with database.write() as connection:
            count += drop_verdicts(connection, keys, wanted.word)
    return count
