"""Conditions in SQL on a photo: its path, tags, position and verdicts, and what it belongs to.

Paths are selected below folders, by name, or by how the file's name begins.
"""

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Select,
    Table,
    and_,
    exists,
    func,
    or_,
    select,
    true,
    union,
)

from tagger.database.connection import Database
from tagger.database.enums import CLASSIFIED_OUTCOMES, PositionSource, TagState
from tagger.database.statements import among, calendar_day_of, month_of, name_of, unindexed
from tagger.database.tables import effective_tags, job_items, photos, positions, tags, verdicts
from tagger.errors import PathNotFound
from tagger.photos.paths import folded_name, may_exist, path_spellings, path_text
from tagger.query.option_values import year_limits
from tagger.query.options import PositionOption, VerdictOption
from tagger.roots.roots import Root, RootPaths, list_roots
from tagger.tags.contents import is_dismissed, is_only_predicted

Condition = ColumnElement[bool]

# A number that copies share; a photo that was not read yet has one of its own.
IMAGE = func.coalesce(photos.c.content_id, -photos.c.id)


def taken_in(taken_at: ColumnElement[datetime], year: int) -> Condition:
    first, end = year_limits(year)
    return taken_at >= first if end is None else and_(taken_at >= first, taken_at < end)


def is_in_months(taken_at: ColumnElement[datetime], months: Iterable[int]) -> Condition:
    return func.substr(month_of(taken_at), 6, 2).in_([f"{month:02}" for month in months])


def is_on_days(taken_at: ColumnElement[datetime], days: Iterable[str]) -> Condition:
    return calendar_day_of(taken_at).in_(list(days))


def is_classified_by(job: int) -> Condition:
    of_job = job_items.c.job_id == job, job_items.c.outcome.in_(CLASSIFIED_OUTCOMES)
    return photos.c.id.in_(select(job_items.c.photo_id).where(*of_job))


def has_position_of(option: PositionOption) -> Condition:
    stored = positions.alias()  # photos are selected with their positions
    of_photo = exists().where(stored.c.photo_id == photos.c.id)
    match option:
        case "none":
            return ~of_photo
        case "any":
            return of_photo
        case "no-gps":
            return ~of_photo.where(stored.c.source == PositionSource.CAMERA)
        case source:
            return of_photo.where(stored.c.source == source)


def has_verdict_of(option: VerdictOption) -> Condition:
    given = exists().where(verdicts.c.content_id == photos.c.content_id)
    match option:
        case "none":
            return ~given & ~is_dismissed(photos.c.content_id)
        case "any":
            return given
        case "corrected":
            other = verdicts.alias()
            rejected = exists().where(
                other.c.content_id == photos.c.content_id,
                other.c.verdict == "rejected",
            )
            return given.where(verdicts.c.verdict == "confirmed") & rejected
        case verdict:
            return given.where(verdicts.c.verdict == verdict)


def has_tag(
    landmark_ids: Collection[int] | None = None,
    *,
    min_score: float | None = None,
    any_rank: bool = False,
) -> Condition:
    """Whether it has a tag of the landmarks and score, or confirmed; with `any_rank`, not rejected."""

    def of_photo(table: Table) -> Iterator[Condition]:
        yield table.c.content_id == photos.c.content_id
        if landmark_ids is not None:
            yield is_of_landmarks(table, landmark_ids)

    matching = (
        exists().where(*of_photo(each), *conditions)
        for each, conditions in _tables(min_score, any_rank=any_rank)
    )
    return or_(*matching)


def _tables(
    min_score: float | None, *, any_rank: bool
) -> Iterator[tuple[Table, tuple[Condition, ...]]]:
    # The tables of tags that can match, with the conditions for their rows.
    states = effective_tags.c.state
    counts = states != TagState.REJECTED if any_rank else effective_tags.c.accepted == true()
    if min_score is None:
        yield effective_tags, (counts,)
    else:
        is_enough = or_(
            effective_tags.c.score >= min_score,
            states == TagState.CONFIRMED,
        )
        yield effective_tags, (counts, is_enough)
    if any_rank:
        yield (
            tags,
            (
                is_only_predicted(),
                *([] if min_score is None else [tags.c.score >= min_score]),
            ),
        )


def is_of_landmarks(table: FromClause, landmark_ids: Collection[int]) -> Condition:
    """Whether the landmark of a tag is one of these: as many as a query names, or thousands in an area."""
    if len(landmark_ids) == 1:
        return table.c.landmark_id.in_(landmark_ids)
    # With the sum, no index serves: a photo has few tags, so these are read, not those of each landmark.
    return among(table.c.landmark_id + 0, landmark_ids)


def shown_landmarks(
    content_ids: Collection[int], *, min_score: float | None, any_rank: bool
) -> CompoundSelect[Any]:
    """Each of these images with the landmarks that `has_tag` finds."""
    return union(
        *(
            select(table.c.content_id, table.c.landmark_id).where(
                among(table.c.content_id, content_ids), *conditions
            )
            for table, conditions in _tables(min_score, any_rank=any_rank)
        )
    )


# Rows of the index to read. If the files of all of them are gone, none is found.
_ROWS = 100
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True)
class NamedFile:
    """A file: its name, its folder within its root, and its whole path."""

    name: str
    folder: str
    path: str


def files_by_name(
    database: Database, root_paths: RootPaths, start: str, limit: int
) -> Sequence[NamedFile]:
    """Photos whose file's name starts with a text, whatever its case, in order of the names."""
    with database.read() as connection:
        folders = {root.id: root.folder for root in list_roots(connection, root_paths)}
        rows = [
            row
            for spelling in _spellings_of_name(connection, start)
            for row in connection.execute(_files_from(spelling).limit(_ROWS))
        ]
    present = sorted(
        (row for row in rows if row.gone_since is None),
        key=lambda row: row.name,
    )
    return [
        NamedFile(
            path.name,
            str(path.parent),
            str(folders[row.root_id] / row.path),
        )
        for row, path in ((row, PurePosixPath(row.path)) for row in present[:limit])
    ]


def searched_name(name: str) -> str:
    """The form in which a search compares names: as `folded_name`, in NFD, with one `i` also for Turkish."""
    folded = unicodedata.normalize("NFD", folded_name(name))
    # The capital of the dotless i is `I`. That of `i` may be `İ`, which is folded to `i` with a dot above.
    return folded.replace(_DOTTED_I, "i").replace(_DOTLESS_I, "i")


def _spellings_of_name(connection: Connection, start: str) -> set[str]:
    # How names that start with a text are spelt in the index of `name_of`, which folds only ASCII letters.
    #
    # Other letters may have any case, and accents of their own (NFD). Each of them is looked up, so that only
    # spellings that there are remain.
    letters = searched_name(start)
    # At each place, the spellings of the letters before it.
    spellings: list[set[str]] = [{""}, *(set[str]() for _ in letters)]
    for place, letter in enumerate(letters):
        forms = [(place + 1, letter)]
        for end in range(place + 1, min(place + _MOST_LETTERS, len(letters)) + 1):
            forms += [(end, form) for form in _other_forms().get(letters[place:end], ())]
        for end, form in forms:
            longer = {spelling + form for spelling in spellings[place]}
            if len(forms) > 1:
                longer = {each for each in longer if _has_files(connection, each)}
            spellings[end] |= longer
    return spellings[-1]


def _has_files(connection: Connection, low: str) -> bool:
    return connection.execute(_files_from(low).limit(1)).first() is not None


# From U+80 on, letters up to here have another case or accents. Above are rare Chinese characters.
_END_OF_LETTERS = 0x1E944
_MOST_LETTERS = 4  # of which a single letter consists: `ᾂ` is an alpha, two accents and an iota
_DOTLESS_I = "\N{LATIN SMALL LETTER DOTLESS I}"
_DOTTED_I = "i\N{COMBINING DOT ABOVE}"


@cache
def _other_forms() -> Mapping[str, Sequence[str]]:
    # The other forms of letters of a `searched_name`: `ß` and `ẞ` of `ss`.
    forms: dict[str, list[str]] = {"i": [_DOTTED_I]}
    for letter in map(chr, range(0x80, _END_OF_LETTERS)):
        is_other = letter.casefold() != letter or letter == _DOTLESS_I
        if is_other or not unicodedata.is_normalized("NFD", letter):
            forms.setdefault(searched_name(letter), []).append(letter)
    return forms


def _files_from(low: str) -> Select[Any]:
    name = name_of(photos.c.path)
    return (
        select(
            photos.c.root_id,
            photos.c.path,
            photos.c.gone_since,
            name.label("name"),
        )
        .where(name >= low, name < low + _LAST_CHARACTER, photos.c.path_bytes == b"")
        .order_by(name)
    )


_FIRST_CHARACTER = "\x01"  # names have no \x00, so only the name itself sorts before name + this
_AFTER_SLASH = chr(ord("/") + 1)


@dataclass(frozen=True, order=True)
class PathRange:
    """Paths of a root from `low` to before `high`, compared by bytes; if both are empty, the whole root."""

    root_id: int
    low: str = ""
    high: str = ""

    @property
    def condition(self) -> Condition:
        """The condition for the scan along paths, which uses the index."""
        return self._inside(photos.c.root_id)

    @property
    def filter(self) -> Condition:
        """The condition for other scans."""
        return self._inside(unindexed(photos.c.root_id))

    def contains(self, other: "PathRange") -> bool:
        return self.root_id == other.root_id and (
            not self.high or (other.low != "" and other.low < self.high)
        )

    def _inside(self, root_id: ColumnElement[int]) -> Condition:
        inside = root_id == self.root_id
        return (
            and_(
                inside,
                photos.c.path >= self.low,
                photos.c.path < self.high,
            )
            if self.high
            else inside
        )


def path_ranges(
    connection: Connection, folders: Iterable[Path], root_paths: RootPaths
) -> list[PathRange]:
    """The ranges of paths below `folders`; the ranges do not overlap."""
    roots = list_roots(connection, root_paths)
    named = {range_ for folder in folders for root in roots for range_ in _ranges_in(root, folder)}
    candidates = sorted(named.union(_primary_ranges(connection, named)) if named else ())
    ranges: list[PathRange] = []
    for (
        candidate
    ) in candidates:  # sorted by low end, so a range comes before those that it contains
        if not (ranges and ranges[-1].contains(candidate)):
            ranges.append(candidate)
    return ranges


def require_folders(database: Database, folders: Iterable[Path], root_paths: RootPaths) -> None:
    """Check that each folder exists, or has photos in the database.

    Raises:
        PathNotFound: neither.
    """
    for folder in folders:
        if may_exist(folder):
            continue
        with database.read() as connection:
            conditions = [
                range_.condition for range_ in path_ranges(connection, [folder], root_paths)
            ]
            if not any(connection.scalar(select(exists().where(each))) for each in conditions):
                raise PathNotFound(path=folder)


def _primary_ranges(connection: Connection, ranges: Iterable[PathRange]) -> Iterator[PathRange]:
    # The ranges of the photos of RAW files that are named.
    from tagger.photos.names import is_raw_name  # only here: most queries name no file

    primary = photos.alias("primary")
    query = select(primary.c.path).join(photos, photos.c.primary_id == primary.c.id)
    for range_ in ranges:
        if is_raw_name(range_.low):
            path = connection.scalar(query.where(range_.condition))
            if path is not None:
                yield PathRange(range_.root_id, path, path + _FIRST_CHARACTER)


def _ranges_in(root: Root, folder: Path) -> Iterator[PathRange]:
    # The folder may be named through a link. Roots are stored resolved, but settings may map them to a link.
    for path in path_spellings(folder):
        if root.folder.is_relative_to(path):
            yield PathRange(root.id)
        elif path.is_relative_to(root.folder):
            # Also of a name that is not UTF-8, the text is a prefix of those of its photos.
            text, _ = path_text(path.relative_to(root.folder))
            yield PathRange(root.id, text, text + _FIRST_CHARACTER)
            yield PathRange(root.id, text + "/", text + _AFTER_SLASH)
