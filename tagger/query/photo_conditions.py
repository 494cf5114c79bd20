"""Conditions in SQL on a photo: its path, tags, position and verdicts, and what it belongs to.

Paths are selected below folders, by name, or by how the file's name begins. A photo's position decides
whether it is in an area: a circle on the ground, a box, or a country. Landmarks count too, where that is not
known.
"""

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import product
from math import asin, cos, degrees, pi, radians, sin
from pathlib import Path, PurePosixPath
from typing import Any, Self

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Float,
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

from tagger.database import CLASSIFIED_OUTCOMES, PositionSource, TagState
from tagger.database.connection import Database
from tagger.database.statements import (
    among,
    distinct_values,
    name_of,
    unindexed,
)
from tagger.database.tables import (
    effective_tags,
    job_items,
    landmarks,
    photos,
    positions,
    tags,
    verdicts,
)
from tagger.errors import PathNotFound
from tagger.geo import EARTH_RADIUS_KM
from tagger.landmarks import (
    Landmark,
    all_landmarks,
    country_spellings,
    landmark_countries,
    landmarks_within,
)
from tagger.photos.paths import folded_name, may_exist, path_spellings, path_text
from tagger.query import BoundingBox, Near, year_limits
from tagger.query.options import PhotoQuery, PositionOption, VerdictOption
from tagger.roots import Root, RootPaths, list_roots
from tagger.tags import is_dismissed, is_only_predicted
from tagger.texts.text_format import distance_text, gettext

Condition = ColumnElement[bool]

# A number that copies share; a photo that was not read yet has one of its own.
IMAGE = func.coalesce(photos.c.content_id, -photos.c.id)


def taken_in(taken_at: ColumnElement[datetime], year: int) -> Condition:
    first, end = year_limits(year)
    return taken_at >= first if end is None else and_(taken_at >= first, taken_at < end)


def is_classified_by(job: int) -> Condition:
    return photos.c.id.in_(
        select(job_items.c.photo_id).where(
            job_items.c.job_id == job, job_items.c.outcome.in_(CLASSIFIED_OUTCOMES)
        )
    )


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
    of_image = exists().where(verdicts.c.content_id == photos.c.content_id)
    match option:
        case "none":
            return ~of_image & ~is_dismissed(photos.c.content_id)
        case "any":
            return of_image
        case "corrected":
            other = verdicts.alias()
            rejected = exists().where(
                other.c.content_id == photos.c.content_id,
                other.c.verdict == "rejected",
            )
            return of_image.where(verdicts.c.verdict == "confirmed") & rejected
        case verdict:
            return of_image.where(verdicts.c.verdict == verdict)


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
    counts = (
        states != TagState.REJECTED if any_rank else effective_tags.c.accepted == true()
    )
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
    content_ids: Collection[int],
    *,
    min_score: float | None,
    any_rank: bool,
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
    name: str
    folder: str
    path: str


def files_by_name(
    database: Database,
    root_paths: RootPaths,
    start: str,
    limit: int,
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
        (row for row in rows if row.gone_since is None), key=lambda row: row.name
    )
    return [
        NamedFile(
            PurePosixPath(row.path).name,
            str(PurePosixPath(row.path).parent),
            str(folders[row.root_id] / row.path),
        )
        for row in present[:limit]
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
        for end in range(
            place + 1,
            min(place + _MOST_LETTERS, len(letters)) + 1,
        ):
            forms += [
                (end, form) for form in _other_forms().get(letters[place:end], ())
            ]
        for end, form in forms:
            longer = {spelling + form for spelling in spellings[place]}
            if len(forms) > 1:
                longer = {
                    spelling
                    for spelling in longer
                    if connection.execute(_files_from(spelling).limit(1)).first()
                    is not None
                }
            spellings[end] |= longer
    return spellings[-1]


# From U+80 on, letters up to here have another case or accents. Above are rare Chinese characters.
_END_OF_LETTERS = 0x1E944
_MOST_LETTERS = (
    4  # of which a single letter consists: `ᾂ` is an alpha, two accents and an iota
)
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
        .where(
            name >= low,
            name < low + _LAST_CHARACTER,
            photos.c.path_bytes == b"",
        )
        .order_by(name)
    )


_FIRST_CHARACTER = (
    "\x01"  # names have no \x00, so only the name itself sorts before name + this
)


@dataclass(frozen=True, order=True)
class PathRange:
    """Paths of a root from `low` to before `high`, compared by bytes; if both are empty, the whole root."""

    root_id: int
    low: str = ""
    high: str = ""

    def condition(self, root_id: ColumnElement[int] = photos.c.root_id) -> Condition:
        """With the column itself, the scan along paths uses the index."""
        is_inside = root_id == self.root_id
        if self.high:
            is_inside &= (photos.c.path >= self.low) & (photos.c.path < self.high)
        return is_inside

    def contains(self, other: "PathRange") -> bool:
        return self.root_id == other.root_id and (
            not self.high or (other.low != "" and other.low < self.high)
        )


def path_ranges(
    connection: Connection,
    folders: Iterable[Path],
    root_paths: RootPaths,
) -> list[PathRange]:
    """The ranges of paths below `folders`; the ranges do not overlap."""
    roots = list_roots(connection, root_paths)
    pairs = product(roots, folders)
    folder_ranges = {
        range_ for root, folder in pairs for range_ in _ranges_in(root, folder)
    }
    candidates = sorted(
        folder_ranges.union(_primary_ranges(connection, folder_ranges))
        if folder_ranges
        else ()
    )
    ranges: list[PathRange] = []
    # Sorted by low end, so a range comes before those that it contains.
    for candidate in candidates:
        if not (ranges and ranges[-1].contains(candidate)):
            ranges.append(candidate)
    return ranges


def require_folders(
    database: Database, folders: Iterable[Path], root_paths: RootPaths
) -> None:
    """Check that each folder exists, or has photos in the database.

    Raises:
        PathNotFound: neither.
    """
    for folder in folders:
        if may_exist(folder):
            continue
        with database.read() as connection:
            conditions = [
                range_.condition()
                for range_ in path_ranges(connection, [folder], root_paths)
            ]
            if not any(
                connection.scalar(select(exists().where(each))) for each in conditions
            ):
                raise PathNotFound(path=folder)


def _primary_ranges(
    connection: Connection, ranges: Iterable[PathRange]
) -> Iterator[PathRange]:
    # The ranges of the photos of RAW files that are named.
    from tagger.photos.names import is_raw_name  # only here: most queries name no file

    primary = photos.alias("primary")
    query = select(primary.c.path).join(photos, photos.c.primary_id == primary.c.id)
    for range_ in ranges:
        if is_raw_name(range_.low):
            path = connection.scalar(query.where(range_.condition()))
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
            # "0" is the character after "/".
            yield PathRange(root.id, text + "/", text + "0")


# ----- areas: circles, boxes and countries -----

# Degrees that a box is larger than its circle, against rounding.
_MARGIN = 1e-6
# How much larger a circle's condition is, against rounding: 0.4 m at most, and less for a larger
# circle.
_SLACK = 2e-15


@dataclass(frozen=True)
class Box:
    """Two parallels, and ranges of longitudes between them: two across 180°, none for all; degrees.

    `circle`: only positions in this circle, which the box surrounds.
    """

    south: float
    north: float
    ranges: tuple[tuple[float, float], ...]
    circle: Near | None = None

    @classmethod
    def around(cls, circle: Near) -> Self:
        latitude, longitude = circle.latitude, circle.longitude
        angle = min(circle.radius_km / EARTH_RADIUS_KM, pi)
        height = degrees(angle) + _MARGIN
        south, north = latitude - height, latitude + height
        if south <= -90 or north >= 90:  # a pole is inside
            return cls(south, north, (), circle)
        width = degrees(asin(min(1.0, sin(angle) / cos(radians(latitude))))) + _MARGIN
        return cls(
            south,
            north,
            tuple(_ranges(longitude - width, longitude + width)),
            circle,
        )

    @classmethod
    def of(cls, bounds: BoundingBox) -> Self:
        east = bounds.east if bounds.east >= bounds.west else bounds.east + 360
        return cls(
            bounds.south,
            bounds.north,
            tuple(_ranges(bounds.west, east)),
        )

    @property
    def condition(self) -> Condition:
        return (
            unindexed(positions.c.latitude).between(self.south, self.north)
            & self.has_longitude
        )

    @property
    def photo_ids(self) -> Select[Any]:
        inside = (
            positions.c.latitude.between(self.south, self.north),
            self.has_longitude,
        )
        return select(positions.c.photo_id).where(*inside)

    @property
    def has_longitude(self) -> Condition:
        column = unindexed(positions.c.longitude)
        in_ranges = (
            or_(*(column.between(west, east) for west, east in self.ranges))
            if self.ranges
            else true()
        )
        return (
            in_ranges
            if self.circle is None
            else and_(in_ranges, _is_within(self.circle))
        )


def _is_within(circle: Near) -> Condition:
    # Whether the distance is at most the radius: the haversine formula with 1 - cos x for 2 sin² (x / 2).
    def versine(degrees_: ColumnElement[float]) -> ColumnElement[float]:
        return 1 - func.cos(degrees_ * (pi / 180), type_=Float())

    latitude, longitude = positions.c.latitude, positions.c.longitude
    parallel = cos(radians(circle.latitude)) * func.cos(
        latitude * (pi / 180), type_=Float()
    )
    distance = versine(latitude - circle.latitude) + parallel * versine(
        longitude - circle.longitude
    )
    return distance <= 1 - cos(min(circle.radius_km / EARTH_RADIUS_KM, pi)) + _SLACK


def _ranges(west: float, east: float) -> Iterator[tuple[float, float]]:
    # The longitudes from `west` to `east`, of which one may lie beyond 180°.
    for turn in (-360.0, 0.0, 360.0):
        if west + turn <= 180 and east + turn >= -180:
            yield west + turn, east + turn


# A box that is smaller is a spot.
_SPOT_KM = 0.01


def near_text(near: Near) -> str:
    """`within 5 km of 48.86, 2.29`."""
    place = _position_text(near.latitude, near.longitude)
    return gettext(
        "within %(distance)s of %(place)s",
        distance=distance_text(near.radius_km * 1000),
        place=place,
    )


def box_text(box: BoundingBox) -> str:
    """`area of 12 km by 8 km around 48.86, 2.29`: its width, then its height; of a spot, `at 48.86, 2.29`."""
    degrees = box.east - box.west + (360 if box.east < box.west else 0)
    latitude = (box.south + box.north) / 2
    longitude = (box.west + degrees / 2 + 180) % 360 - 180
    km_per_degree = EARTH_RADIUS_KM * radians(1)
    width_km = degrees * km_per_degree * cos(radians(latitude))
    height_km = (box.north - box.south) * km_per_degree
    centre = _position_text(latitude, longitude)
    if max(width_km, height_km) < _SPOT_KM:
        return gettext("at %(place)s", place=centre)
    return gettext(
        "area of %(width)s by %(height)s around %(place)s",
        width=distance_text(width_km * 1000),
        height=distance_text(height_km * 1000),
        place=centre,
    )


def _position_text(latitude: float, longitude: float) -> str:
    return f"{round(latitude, 3):g}, {round(longitude, 3):g}"


@dataclass(frozen=True)
class Area:
    """Photos with a position inside, and those of the landmarks inside, where the position does not count.

    The conditions are for photos that are selected with their positions.
    """

    # The ids of the landmarks inside.
    landmarks: frozenset[int]
    # Whether the photo's position is inside.
    has_position: Condition
    # Whether the photo is inside if it shows a landmark there, although its position is not.
    landmarks_count: Condition
    # Whether that is so for photos with a position elsewhere, too.
    counts_located: bool
    # Queries for the photos with a position inside.
    photo_ids: tuple[Select[Any], ...]


def query_areas(connection: Connection, query: PhotoQuery) -> Iterator[Area]:
    """The areas of `query`; photos must be in all of them.

    Raises:
        CountryNotFound: no landmark and no position is in the country.
    """
    if query.circle is not None:
        yield _area_of_box(
            Box.around(query.circle),
            landmarks_within(connection, query.circle.contains),
        )
    if query.box is not None:
        yield _area_of_box(
            Box.of(query.box),
            landmarks_within(connection, query.box.contains),
        )
    if query.country:
        spellings = {*position_countries(connection), *landmark_countries(connection)}
        names = sorted(
            {
                name
                for each in query.country
                for name in country_spellings(each, spellings)
            }
        )
        country = positions.c.country
        yield Area(
            _ids(all_landmarks(connection, landmarks.c.country.in_(names))),
            has_position=unindexed(country).in_(names),
            landmarks_count=or_(country.is_(None), country.not_in(names)),
            counts_located=True,
            photo_ids=tuple(
                select(positions.c.photo_id).where(country == name) for name in names
            ),
        )


def _area_of_box(box: Box, landmarks: Iterable[Landmark]) -> Area:
    return Area(
        _ids(landmarks),
        has_position=box.condition,
        landmarks_count=positions.c.photo_id.is_(None),
        counts_located=False,
        photo_ids=(box.photo_ids,),
    )


def _ids(landmarks: Iterable[Landmark]) -> frozenset[int]:
    return frozenset(landmark.id for landmark in landmarks)


def position_countries(connection: Connection) -> list[str]:
    """In order. Reads one row of the index for each."""
    return sorted(connection.scalars(distinct_values(positions.c.country)))
