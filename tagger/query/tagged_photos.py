"""Photos as query results: path, outcome, and effective tags with names; and their files as scanned.

Reads rows and names; which photos to read is decided in find and details. A tag whose score does not explain
its acceptance has the reason in words. An unknown photo has a guess, if a landmark is suggested for it.
"""

import os
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    exists,
    false,
    func,
    literal,
    null,
    select,
)

from tagger.database import (
    OddsReason,
    Outcome,
    PositionSource,
    TagReason,
    TagState,
)
from tagger.database.connection import Database, display_language
from tagger.database.statements import among, pages
from tagger.database.tables import (
    contents,
    effective_tags,
    metadata_writes,
    model_labels,
    models,
    photos,
    positions,
    tags,
)
from tagger.errors import PhotoIdNotFound
from tagger.landmarks import Landmark, landmarks_by_id
from tagger.photos import RESULT_FACTS, ResultFacts
from tagger.photos.paths import printable_path
from tagger.roots import RootPaths, list_roots
from tagger.tags import is_dismissed, is_favourite, is_only_predicted
from tagger.texts import document_of
from tagger.texts.names import place_text
from tagger.texts.text_format import (
    N_,
    distance_text,
    gettext,
    list_text,
)
from tagger.things import ShownThing, things_of_images

if TYPE_CHECKING:
    from tagger.sights import Sights


# Why another landmark of the image, or several others, make a tag doubtful.
_OTHERS = {
    TagReason.CONFIRMED_OTHER: (
        N_("%(names)s is confirmed"),
        N_("%(names)s are confirmed"),
    ),
    TagReason.TAUGHT_OTHER: (N_("%(names)s is taught"), N_("%(names)s are taught")),
    TagReason.SCORED_OTHER: (
        N_("%(names)s has a higher score"),
        N_("%(names)s have a higher score"),
    ),
}
DAMAGED = N_("a part of the image is missing")
_FROM_POSITION: Mapping[str | None, str] = {
    PositionSource.CAMERA: N_("%(distance)s from the photo's position (GPS)"),
    PositionSource.SIDECAR: N_("%(distance)s from the photo's position (sidecar)"),
    PositionSource.TAKEOUT: N_(
        "%(distance)s from the photo's position (Google Takeout)"
    ),
    PositionSource.TRACK: N_("%(distance)s from the photo's position (track)"),
}


_STATES = {
    TagState.ACCEPTED: N_("accepted: %(reason)s"),
    TagState.SUGGESTED: N_("suggested: %(reason)s"),
    TagState.DOUBTFUL: N_("doubtful: %(reason)s"),
}


def tag_reason(
    tag: Row[Any],
    source: str | None,
    accepted: Iterable[str],
) -> str | None:
    """The reason of a tag in words, with the source of the position; None: its score, or a verdict."""
    if tag.state is None:
        is_refused = (
            tag.odds_reason not in (None, OddsReason.LIBRARY)
            and tag.position_odds < 1.0
        )
        return (
            gettext("not suggested: %(reason)s", reason=_of_odds(tag, source))
            if is_refused
            else None
        )
    if tag.reason is None:
        return None
    if tag.state == TagState.ACCEPTED and tag.distance_m is not None:
        return gettext(
            "accepted since it was taken %(distance)s away",
            distance=distance_text(tag.distance_m),
        )
    names = sorted(accepted)
    if tag.reason == TagReason.CERTAIN_OTHER:
        text = gettext(
            "suggested: the model is nearly certain of %(names)s",
            names=list_text(names),
        )
        return text if names else None
    if tag.reason in _OTHERS:
        one, several = _OTHERS[tag.reason]
        reason = gettext(
            one if len(names) == 1 else several,
            names=list_text(names),
        )
    else:
        reason = (
            gettext(DAMAGED)
            if tag.reason == TagReason.DAMAGED
            else _of_odds(tag, source)
        )
    return gettext(_STATES[TagState(tag.state)], reason=reason)


def _of_odds(tag: Row[Any], source: str | None) -> str:
    # What the odds of a tag follow from, with the source of its photo's position.
    if tag.distance_m is not None:
        if tag.odds_reason == OddsReason.TRIP:
            text = N_("%(distance)s from where other photos of that time were taken")
        elif tag.odds_reason == OddsReason.SPEED:
            text = N_(
                "%(distance)s from where the camera's GPS was before or after; nobody travels that fast"
            )
        else:
            text = _FROM_POSITION.get(
                source, N_("%(distance)s from the position of a copy")
            )
        return gettext(text, distance=distance_text(tag.distance_m))
    if tag.position_odds is not None and tag.position_odds > 1.0:
        return gettext("other photos of that day show it")
    return gettext("on that day, another landmark was photographed, too far away")


@dataclass(frozen=True)
class Tag:
    """A landmark of a photo, after verdicts. One from a verdict alone has no score, label or model."""

    landmark: str
    name: str
    label: str | None
    score: float | None
    # None: it is not among the model's best.
    rank: int | None
    accepted: bool
    verdict: str | None
    country: str | None
    latitude: float | None
    longitude: float | None
    model: str | None
    # `model`, `taught` (a landmark that people taught) or `verdict`.
    source: str
    # Why it is not accepted although its score is enough, in one word.
    doubtful: TagReason | None
    # By how much the photo's position made the landmark likelier, if that turned what the score
    # says.
    position_odds: float | None
    # How far the photo was taken from the landmark then.
    distance_m: float | None
    # All that in words.
    reason: str | None
    # None: it is only predicted.
    state: TagState | None


@dataclass(frozen=True)
class PositionSight:
    name: str
    kind: str
    distance_m: int


@dataclass(frozen=True)
class Position:
    """Where a photo was taken, in degrees; in 90 % of cases, the true position is within `error_m` metres.

    `source` is that in SQL. Country, region and city are those of the nearest city. The photo need
    not show the sight at which it was taken.
    """

    latitude: float
    longitude: float
    error_m: float
    source: str
    country: str | None
    region: str | None
    city: str | None
    sight: PositionSight | None

    @property
    def sight_name(self) -> str | None:
        return None if self.sight is None else self.sight.name

    @property
    def text(self) -> str:
        return (
            f"{self.latitude:.5f}, {self.longitude:.5f} ± {distance_text(self.error_m)}"
        )

    @property
    def place(self) -> str:
        return place_text(self.city, self.country)

    @property
    def whole_place(self) -> str:
        return ", ".join(filter(None, (self.sight_name, self.place)))


@dataclass(frozen=True, kw_only=True)
class _PhotoFile:
    id: int
    # Absolute; bytes that are not UTF-8 are surrogate escapes, as in `os.fsdecode`.
    path: str
    outcome: str | None
    digest: str | None
    width: int | None
    height: int | None


@dataclass(frozen=True, kw_only=True)
class TaggedPhoto(ResultFacts, _PhotoFile):
    # After verdicts: tagged means that a tag is accepted now. None: no model has classified the
    # photo.
    outcome: Outcome | None
    tags: tuple[Tag, ...]
    position: Position | None
    # Two for a JPEG with its RAW file.
    files: int = 1
    # To the photos that others were compared with, -1 to 1; None: none were.
    similarity: float | None = None
    # The likeliest landmark that is suggested for an unknown photo.
    guess: Tag | None = None
    # A person put it away as not a landmark.
    is_dismissed: bool = False
    # A person marked it with a star.
    is_favourite: bool = False
    # A part of its image is missing, so that no tag is accepted without a verdict.
    damaged: bool = False
    # Those of nine parts of the image.
    colours: bytes | None = None
    # Who says `taken_at`, as in SQL.
    taken_source: str | None = None
    # What else it shows.
    things: tuple[ShownThing, ...] = ()

    def __repr__(self) -> str:
        accepted = ", ".join(tag.name for tag in self.tags if tag.accepted)
        name = self.path.rpartition("/")[2]
        state = accepted or self.outcome or "not classified"
        return f"<Photo {printable_path(name[-40:])}: {state[:40]}>"

    @property
    def place(self) -> str | None:
        return (self.position and self.position.place) or None

    @property
    def refusal(self) -> None:
        """None since 3.0: a landmark that something speaks against is no `guess`."""


@dataclass(frozen=True, kw_only=True)
class PhotoDocument(ResultFacts, _PhotoFile):
    """A photo and its tags. `outcome` respects verdicts, and is null before classification.

    `dismissed`: a person put it away as not a landmark; `favourite`: a person marked it with a star.
    `damaged`: a part of the image is missing. `taken_source`: who says `taken_at`: `camera`, `sidecar`,
    `takeout`, or `name`, which gives the day alone.
    """

    # The keys of a document are always there, also of facts that no file states.
    __pydantic_config__ = {"json_schema_serialization_defaults_required": True}  # noqa: RUF012

    taken_source: str | None
    dismissed: bool
    favourite: bool
    damaged: bool
    files: int
    position: Position | None
    tags: tuple[Tag, ...]
    things: tuple[ShownThing, ...]


@dataclass(frozen=True)
class SimilarPhotoDocument(PhotoDocument):
    """`similarity`: -1 to 1."""

    similarity: float


def photo_document(photo: TaggedPhoto) -> PhotoDocument:
    signs = {"dismissed": photo.is_dismissed, "favourite": photo.is_favourite}
    if photo.similarity is None:
        return document_of(PhotoDocument, photo, **signs)
    return document_of(
        SimilarPhotoDocument,
        photo,
        **signs,
        similarity=round(photo.similarity, 4),
    )


_raw_files = photos.alias("raw_files")
_RAW_FILES = (
    select(func.count())
    .where(
        _raw_files.c.primary_id == photos.c.id,
        _raw_files.c.gone_since.is_(None),
    )
    .correlate(photos)
    .scalar_subquery()
    .label("raw_file_count")
)
_POSITION_COLUMNS = tuple(positions.c[field.name] for field in fields(Position))


def select_photos() -> Select[Any]:
    """Also of photos whose file is gone."""
    return select(
        photos.c.id,
        photos.c.root_id,
        photos.c.path,
        photos.c.path_bytes,
        *(photos.c[name] for name in RESULT_FACTS),
        photos.c.taken_source,
        photos.c.failure_kind,
        photos.c.origin,
        photos.c.content_id,
        contents.c.digest,
        contents.c.width,
        contents.c.height,
        contents.c.outcome,
        contents.c.damaged,
        contents.c.colours,
        _RAW_FILES,
        is_dismissed(photos.c.content_id).label("is_dismissed"),
        is_favourite(photos.c.content_id).label("is_favourite"),
        positions.c.photo_id,
        *_POSITION_COLUMNS,
    ).select_from(
        photos.outerjoin(contents, contents.c.id == photos.c.content_id).outerjoin(
            positions, positions.c.photo_id == photos.c.id
        )
    )


_PREDICTED = (
    "content_id",
    "landmark_id",
    "rank",
    "score",
    "model_id",
    "position_odds",
    "distance_m",
)
_TAG_COLUMNS = ("state", "reason", "source", "accepted", "verdict", "doubtful")


def tag_rows(
    connection: Connection,
    content_ids: Collection[int],
    *,
    accepted_suffice: bool = False,
) -> Mapping[int, Sequence[Row[Any]]]:
    """The effective tags and all other predictions by content id, best first.

    `accepted_suffice`: images with an accepted tag have their effective ones alone.
    """
    effective: Select[Any] = select(
        *(effective_tags.c[name] for name in (*_PREDICTED, *_TAG_COLUMNS)),
        effective_tags.c.reason.label("odds_reason"),
    ).where(among(effective_tags.c.content_id, content_ids))
    grouped: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(effective):
        grouped.setdefault(row.content_id, []).append(row)
    others = set(content_ids)
    if accepted_suffice:
        others -= {key for key, rows in grouped.items() if accepted_tags(rows)}
    # The predictions that have no state, with the same columns.
    without = null(), null(), literal("model"), false(), null(), null()
    predicted: Select[Any] = select(
        *(tags.c[name] for name in _PREDICTED),
        *(each.label(name) for each, name in zip(without, _TAG_COLUMNS, strict=True)),
        tags.c.odds_reason,
    ).where(is_only_predicted(), among(tags.c.content_id, others))
    for row in connection.execute(predicted) if others else ():
        grouped.setdefault(row.content_id, []).append(row)
    for rows in grouped.values():
        rows.sort(key=best_first)
    return grouped


def first_photos(
    connection: Connection,
    content_ids: Collection[int],
    *conditions: ColumnElement[bool],
) -> dict[int, Row[Any]]:
    rows: dict[int, Row[Any]] = {}
    for page in pages(content_ids):
        query = select_photos().where(
            photos.c.content_id.in_(page),
            photos.c.gone_since.is_(None),
            *conditions,
        )
        rows |= {
            row.content_id: row
            for row in connection.execute(query.order_by(photos.c.id.desc()))
        }
    return rows


def best_first(tag: Row[Any]) -> tuple[bool, int, float, int]:
    """The order of an image's tags: by the model's rank, then taught ones by score, then confirmed ones."""
    return tag.rank is None, tag.rank or 0, -(tag.score or 0.0), tag.landmark_id


def accepted_tags(photo_tags: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    return [tag for tag in photo_tags if tag.accepted]


class NameCache:
    """Roots, landmarks, models and labels by id. Reads each once, roots and models again for a new id."""

    def __init__(self, connection: Connection, root_paths: RootPaths) -> None:
        self._root_paths = root_paths
        self._landmarks: dict[int, Landmark] = {}
        self._labels: dict[tuple[int, int], str] = {}
        self._sights: Sights | None = None
        self._read(connection)

    def photos(
        self,
        connection: Connection,
        rows: Sequence[Row[Any]],
        select_tags: Callable[[Sequence[Row[Any]]], Sequence[Row[Any]]],
        *,
        accepted_suffice: bool = False,
    ) -> list[TaggedPhoto]:
        """The photos of rows, each with the selected ones of its tags, or of those that `tag_rows` reads."""
        content_ids = {row.content_id for row in rows} - {None}
        tags_of = tag_rows(connection, content_ids, accepted_suffice=accepted_suffice)
        landmark_ids = {tag.landmark_id for tags in tags_of.values() for tag in tags}
        self._read_landmarks(connection, landmark_ids)
        things_of = things_of_images(connection, content_ids)
        tagged = []
        for row in rows:
            tags = tags_of.get(row.content_id, ())
            things = things_of.get(row.content_id, ())
            tagged.append(
                self.photo(
                    connection,
                    row,
                    tags,
                    select_tags(tags),
                    things,
                )
            )
        return tagged

    def photo(
        self,
        connection: Connection,
        row: Row[Any],
        photo_tags: Sequence[Row[Any]],
        selected: Sequence[Row[Any]],
        things: Sequence[ShownThing] = (),
    ) -> TaggedPhoto:
        """All tags decide its outcome; the selected ones are returned with it."""
        accepted = [
            self.landmark(connection, tag.landmark_id).display_name
            for tag in accepted_tags(photo_tags)
        ]
        outcome = None
        if accepted:
            outcome = Outcome.TAGGED
        elif row.outcome is not None:
            outcome = Outcome.UNKNOWN
        elif row.failure_kind is not None:
            outcome = Outcome.FAILED
        suggested = [tag for tag in photo_tags if tag.state == TagState.SUGGESTED]
        guess = None
        if suggested and not accepted:
            guess = self._tag(connection, suggested[0], row.source, accepted)
        return document_of(
            TaggedPhoto,
            row,
            path=self.path(connection, row),
            outcome=outcome,
            similarity=None,
            tags=tuple(
                self._tag(connection, tag, row.source, accepted) for tag in selected
            ),
            position=self._position(connection, row),
            files=1 + row.raw_file_count,
            guess=guess,
            is_dismissed=bool(row.is_dismissed),
            is_favourite=bool(row.is_favourite),
            damaged=bool(row.damaged),
            taken_source=None if row.taken_at is None else row.taken_source,
            things=tuple(things),
        )

    def _position(self, connection: Connection, row: Row[Any]) -> Position | None:
        if row.source is None:
            return None
        sight = None
        if row.sight is not None:
            if self._sights is None:
                from tagger.sights import library_sights  # numpy

                self._sights = library_sights(connection)
            sight = self._sights.named(row.sight, row.latitude, row.longitude)
        if sight is None:
            return document_of(Position, row, sight=None)
        distance_m = round(sight.distance_m(row.latitude, row.longitude))
        name = sight.name_in(display_language(connection))
        return document_of(
            Position, row, sight=PositionSight(name, sight.kind, distance_m)
        )

    def path(self, connection: Connection, row: Row[Any]) -> str:
        if row.root_id not in self._roots:
            self._read(connection)
        if row.path_bytes or os.sep != "/":
            return str(self._roots[row.root_id].path_of(row.path, row.path_bytes))
        return f"{self._starts[row.root_id]}{row.path}"

    def landmark(self, connection: Connection, landmark_id: int) -> Landmark:
        if landmark_id not in self._landmarks:
            self._read_landmarks(connection, {landmark_id})
        return self._landmarks[landmark_id]

    def _tag(
        self,
        connection: Connection,
        row: Row[Any],
        position_source: str | None,
        accepted: Sequence[str],
    ) -> Tag:
        landmark = self.landmark(connection, row.landmark_id)
        if row.model_id is not None and row.model_id not in self._models:
            self._read(connection)
        return Tag(
            landmark=landmark.slug,
            name=landmark.display_name,
            label=self._labels.get((row.model_id, row.landmark_id)),
            score=row.score,
            rank=row.rank,
            accepted=bool(row.accepted),
            verdict=row.verdict,
            country=landmark.country,
            latitude=landmark.latitude,
            longitude=landmark.longitude,
            model=self._models.get(row.model_id),
            source=row.source,
            doubtful=None if row.doubtful is None else TagReason(row.doubtful),
            position_odds=row.position_odds,
            distance_m=row.distance_m,
            reason=tag_reason(row, position_source, accepted),
            state=None if row.state is None else TagState(row.state),
        )

    def _read_landmarks(self, connection: Connection, ids: AbstractSet[int]) -> None:
        # Read those of these landmarks that are not here, with their labels.
        new = ids - self._landmarks.keys()
        if not new:
            return
        self._landmarks |= landmarks_by_id(connection, new)
        # With the model, the index finds the label.
        of_model = model_labels.c.model_id.in_(select(models.c.id))
        query = select(model_labels).where(
            of_model, among(model_labels.c.landmark_id, new)
        )
        for row in connection.execute(query):
            self._labels[row.model_id, row.landmark_id] = row.label

    def _read(self, connection: Connection) -> None:
        self._roots = {
            root.id: root for root in list_roots(connection, self._root_paths)
        }
        self._starts = {
            root.id: str(root.folder / "_")[:-1] for root in self._roots.values()
        }
        self._models = {
            row.id: row.name
            for row in connection.execute(select(models.c.id, models.c.name))
        }


@dataclass(frozen=True)
class StoredPhoto:
    """`digest`: that of the image; None before it is classified."""

    id: int
    root: Path
    path: Path
    size_bytes: int
    mtime_ns: int
    digest: str | None


def stored_photo(
    database: Database, photo_id: int, root_paths: RootPaths
) -> StoredPhoto:
    """Raises:
    PhotoIdNotFound: no photo has that number.
    """
    joined = photos.outerjoin(contents, contents.c.id == photos.c.content_id)
    query = (
        select(photos, contents.c.digest)
        .select_from(joined)
        .where(photos.c.id == photo_id)
    )
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
        if row is None:
            raise PhotoIdNotFound(photo_id=photo_id)
        root = next(
            each
            for each in list_roots(connection, root_paths)
            if each.id == row.root_id
        )
    return document_of(
        StoredPhoto,
        row,
        root=root.folder,
        path=root.path_of(row.path, row.path_bytes),
    )


def has_photos(database: Database) -> bool:
    return bool(database.scalar(select(exists().where(photos.c.id > 0))))


def has_metadata_writes(database: Database) -> bool:
    return bool(database.scalar(select(exists().where(metadata_writes.c.photo_id > 0))))
