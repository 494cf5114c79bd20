"""Links of shares: adding, listing, opening and revoking them; their queries.

The database has only the SHA-256 of a link's token, which protects 256 bits that cannot be guessed well
enough. A token follows from its share and from a key in the data folder, by which the page shows the link
again.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from tagger.database.actors import actor_of
from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.database.statements import among
from tagger.database.tables import access_tokens, photos, share_photos, shares
from tagger.errors import PhotoIdNotFound, ShareInvalid, ShareNotFound
from tagger.landmarks.landmarks import display_names, find_landmark, landmarks_in_country
from tagger.people.tokens import require_access, token_digest
from tagger.processes.permissions import create_private_file
from tagger.query.filter_words import description
from tagger.query.filters import ResolvedQuery
from tagger.query.options import Alternatives, PhotoQuery
from tagger.query.trip_summaries import (
    TripSummary,
    summaries_of_trips,
    summarize_trips,
    trip_summary,
)
from tagger.roots.roots import RootPaths
from tagger.texts.documents import document_of
from tagger.things import all_things, find_thing
from tagger.trips import TripReference
from tagger.trips.stored import find_trip, trip_at

TRIP_MOMENT = "trip_moment"


def query_document(connection: Connection, query: PhotoQuery) -> dict[str, Any]:
    """The document of the query, with landmarks and trip by their ids.

    A moment of the trip is stored too: another trip may have its id later.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, TripNotFound: a name is not in the database.
    """
    document: dict[str, Any] = _with_slugs(connection, query).document
    if query.trip is not None:
        trip = find_trip(connection, query.trip)
        document["trip"] = trip.id
        document[TRIP_MOMENT] = [trip.moment.camera_id, trip.moment.taken_at.isoformat()]
    return document


def _with_slugs(connection: Connection, query: PhotoQuery) -> PhotoQuery:
    def alternatives(each: Alternatives) -> Alternatives:
        return Alternatives(tuple(_with_slugs(connection, query) for query in each.queries))

    return replace(
        query,
        landmark=tuple(find_landmark(connection, name).slug for name in query.landmark),
        any_of=tuple(map(alternatives, query.any_of)),
        without=tuple(map(alternatives, query.without)),
    )


def is_kept(query: PhotoQuery) -> bool:
    """Whether the query is for the same photos for long. Items of old jobs go, and one trip has a moment."""
    _, *others = query.parts
    return query.job is None and all(each.job is None and each.trip is None for each in others)


def query_of_document(document: Mapping[str, Any]) -> PhotoQuery:
    """The query of which `query_document` made the document. Its landmarks are found by their slugs alone.

    Raises:
        QueryOptionInvalid: this version makes no such documents.
    """
    query = PhotoQuery.of_document(query_options(document))
    moment = document.get(TRIP_MOMENT)
    trip_moment = moment and TripReference(moment[0], datetime.fromisoformat(moment[1]))
    return replace(query, by_slug=any(each.landmark for each in query.parts), trip_moment=trip_moment)


def query_options(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a person chose of the document."""
    return {name: value for name, value in document.items() if name != TRIP_MOMENT}


PHOTOS = "Photos"
MOST_VALUES = 3
"""Names of an option that a title has. Of more, none would say what there is to see."""


def share_name(database: Database, photos: PhotoQuery | Sequence[int], *, with_positions: bool) -> str:
    """The landmarks, things, trip, countries and years of the query: visitors read it, so it has no folder.

    Without positions it has no country, and a trip without its place.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, TripNotFound: a name is not in the database.
    """
    if not isinstance(photos, PhotoQuery):
        return PHOTOS
    names = []
    if photos.trip is not None:
        trip = trip_summary(database, photos.trip)
        names.append(trip.title if with_positions else trip.title_without_place)
    shown = photos if with_positions else replace(photos, country=())
    with database.read() as connection:
        names += [name for part in _parts(connection, shown) if len(part) <= MOST_VALUES for name in part]
    return ", ".join(names) or PHOTOS


def _parts(connection: Connection, query: PhotoQuery) -> Iterator[list[str]]:
    yield [find_landmark(connection, name).display_name for name in query.landmark[: MOST_VALUES + 1]]
    yield [find_thing(connection, name).display_name for name in query.thing[: MOST_VALUES + 1]]
    yield [_country_name(connection, name) for name in query.country[: MOST_VALUES + 1]]
    yield list(map(str, sorted(query.year)))


def _country_name(connection: Connection, country: str) -> str:
    """As landmarks have it; as typed if none is there."""
    found = landmarks_in_country(connection, country, (country,))
    return (found and found[0].country) or country


MOST_PHOTOS = 20_000
"""Photos of one selection. A query has no such limit."""
LONGEST_NAME = 200
KEPT_DAYS = 90
"""How long a share that has ended is listed, and its link says that it has ended."""
TOKEN_LENGTH = 43
_KEY_BYTES = 32


class ShareState(StrEnum):
    """Whether a link works."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True)
class NewShare:
    """A share to add: of the photos that a query finds, now and later, or of the photos with these numbers.

    `name` None: that of `share_name`. `expires_at` None: it never expires. `with_positions`: visitors see
    where photos were taken.
    """

    photos: PhotoQuery | Sequence[int]
    name: str | None
    expires_at: datetime | None
    with_positions: bool = False


@dataclass(frozen=True)
class Share:
    """A share without its link. `document` is its stored query; None for a selection of `photos` photos.

    `author`: who made it, as in the audit log; None: it is not known.
    """

    id: int
    name: str
    document: Mapping[str, Any] | None
    photos: int | None
    with_positions: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    author: str | None

    @property
    def state(self) -> ShareState:
        if self.revoked_at is not None:
            return ShareState.REVOKED
        has_expired = self.expires_at is not None and self.expires_at <= datetime.now(UTC)
        return ShareState.EXPIRED if has_expired else ShareState.ACTIVE

    @property
    def options(self) -> Mapping[str, Any] | None:
        """Those of its query; None for a fixed selection."""
        return None if self.document is None else query_options(self.document)

    @property
    def query(self) -> PhotoQuery:
        """Its photos, in the order in which visitors see them; exact copies are one photo."""
        query = PhotoQuery(share=self.id) if self.document is None else query_of_document(self.document)
        # By date alone: the cursors of other orders have paths in them.
        return replace(query, sort="oldest" if query.trip else "newest", distinct=True)

    @property
    def photos_text(self) -> str:
        """What it shares, in the words of the page's filters, with the ids of landmarks and trips."""
        return _description(self, {}, None)


def link_key(data_folder: Path) -> bytes | None:
    """The key of this data folder, from which tokens of links follow. None: it cannot be read or written."""
    file = data_folder / "links.key"
    try:
        create_private_file(file)
        if not file.stat().st_size:
            file.write_bytes(secrets.token_bytes(_KEY_BYTES))
        key = file.read_bytes()
    except OSError:
        return None
    return key if len(key) == _KEY_BYTES else None


def known_tokens(database: Database, found: Sequence[Share], key: bytes | None) -> dict[int, str]:
    """The tokens of links, by the ids of their shares, without those that do not follow from this key."""
    tokens = {} if key is None else {share.id: _token(share, key) for share in found}
    query = select(shares.c.id, shares.c.digest).where(among(shares.c.id, list(tokens)))
    with database.read() as connection:
        return {
            row.id: tokens[row.id]
            for row in connection.execute(query)
            if row.digest == token_digest(tokens[row.id])
        }


def _token(share: Share, key: bytes) -> str:
    text = f"share {share.id} {share.created_at.isoformat()}"
    return urlsafe_b64encode(hmac.digest(key, text.encode(), "sha256")).rstrip(b"=").decode()


def add_share(
    database: Database, new: NewShare, root_paths: RootPaths, key: bytes | None = None
) -> tuple[Share, str]:
    """Add a share; returns it with the token of its link, which only the key shows again.

    Raises:
        ShareInvalid: the name or the end is invalid, or it has no photos, too many, or those of a job.
        AccessEnded: its author may not share any more.
        PhotoIdNotFound: there is no photo with one of the numbers.
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
        ModelNotFound, TripNotFound: so is a model or trip.
    """
    if (name := new.name) is None:
        name = share_name(database, new.photos, with_positions=new.with_positions)
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise ShareInvalid(reason=f"name: it needs 1 to {LONGEST_NAME} characters in one line")
    if new.expires_at is not None and new.expires_at <= datetime.now(UTC):
        raise ShareInvalid(reason="expires: this time is in the past")
    token = secrets.token_urlsafe(32)
    with database.write() as connection:
        require_access(connection, Role.EDITOR, Role.ADMIN)
        share = _insert_share(connection, replace(new, name=name), token_digest(token), root_paths)
        if key is not None:
            token = _token(share, key)
            connection.execute(
                update(shares).where(shares.c.id == share.id).values(digest=token_digest(token))
            )
        ended_at = func.coalesce(shares.c.revoked_at, _expires_at())
        connection.execute(delete(shares).where(ended_at < datetime.now(UTC) - timedelta(days=KEPT_DAYS)))
        record_action(
            connection,
            AuditAction.SHARE_ADD,
            name,
            share=share.id,
            photos=share.photos_text,
            expires_at=new.expires_at and new.expires_at.isoformat(),
        )
    return share, token


def _insert_share(connection: Connection, new: NewShare, digest: str, root_paths: RootPaths) -> Share:
    options = None
    if isinstance(new.photos, PhotoQuery):
        if not is_kept(new.photos):
            reason = (
                "the photos of a job, and a trip among other options, are not kept for ever. "
                "Share a selection of photos instead, with --selection"
            )
            raise ShareInvalid(reason=reason)
        ResolvedQuery.resolve(connection, new.photos, root_paths)
        options = query_document(connection, new.photos)
    values = {
        "digest": digest,
        "name": new.name,
        "options": options,
        "with_positions": new.with_positions,
        "created_at": datetime.now(UTC),
        "expires_at": new.expires_at,
        "author": actor_of(connection).name,
    }
    share_id = connection.execute(insert(shares).values(values).returning(shares.c.id)).scalar_one()
    if not isinstance(new.photos, PhotoQuery):
        _add_photos(connection, share_id, new.photos)
    return _share(connection, share_id)


def list_shares(database: Database) -> Sequence[Share]:
    """All shares, the newest first; those that ended within 90 days too."""
    with database.read() as connection:
        rows = connection.execute(_select().order_by(shares.c.id.desc()))
        return [Share(**row._asdict()) for row in rows]


def revoke_share(database: Database, share_id: int) -> Share:
    """End a share at once, for everybody who has its link; one that has ended stays as it is.

    Raises:
        ShareNotFound: there is no such share.
    """
    is_active = shares.c.revoked_at.is_(None)
    with database.write() as connection:
        query = update(shares).where(shares.c.id == share_id, is_active).values(revoked_at=datetime.now(UTC))
        has_changed = connection.execute(query).rowcount
        share = _share(connection, share_id)
        if has_changed:
            record_action(connection, AuditAction.SHARE_REVOKE, share.name, share=share_id)
    return share


def find_share(database: Database, token: str) -> Share | None:
    """The share of a link, also one that has ended; None: there is none."""
    if len(token) != TOKEN_LENGTH:
        return None
    query = _select().where(shares.c.digest == token_digest(token))
    with database.read() as connection:
        row = connection.execute(query).one_or_none()  # looking up the hash reveals nothing about a token
    return None if row is None else Share(**row._asdict())


def _add_photos(connection: Connection, share_id: int, photo_ids: Sequence[int]) -> None:
    unique = sorted(set(photo_ids))
    if not 0 < len(unique) <= MOST_PHOTOS:
        raise ShareInvalid(reason=f"photos: select 1 to {MOST_PHOTOS} photos")
    known = connection.scalars(select(photos.c.id).where(among(photos.c.id, unique)))
    if missing := set(unique).difference(known):
        raise PhotoIdNotFound(photo_id=min(missing))
    rows = [{"share_id": share_id, "photo_id": photo_id} for photo_id in unique]
    connection.execute(insert(share_photos), rows)


def _select() -> Select[Any]:
    of_share = share_photos.c.share_id == shares.c.id
    count = select(func.count()).select_from(share_photos).where(of_share).correlate(shares).scalar_subquery()
    columns = [column for column in shares.c if column.name not in {"digest", "options", "expires_at"}]
    selected = case((shares.c.options.is_(None), count))
    return select(
        *columns,
        shares.c.options.label("document"),
        selected.label("photos"),
        _expires_at().label("expires_at"),
    )


def _expires_at() -> ColumnElement[datetime | None]:
    """When a share ends by itself: at the latest with the named token that made it."""
    of_token = (
        select(access_tokens.c.expires_at)
        .where(
            literal("web ").concat(access_tokens.c.name) == shares.c.author,
            access_tokens.c.created_at <= shares.c.created_at,  # not another token that got the name later
        )
        .correlate(shares)
        .scalar_subquery()
    )
    is_earlier = or_(shares.c.expires_at.is_(None), of_token < shares.c.expires_at)
    return case((and_(of_token.is_not(None), is_earlier), of_token), else_=shares.c.expires_at)


def _share(connection: Connection, share_id: int) -> Share:
    row = connection.execute(_select().where(shares.c.id == share_id)).one_or_none()
    if row is None:
        raise ShareNotFound(share=share_id)
    return Share(**row._asdict())


@dataclass(frozen=True)
class ShareDocument:
    """A share without its link. `options` are those of its query, `description` says them in words.

    `photos`: the number of photos of a fixed selection; of a query, that of now if one share is asked for,
    else null. `author`: who made it, as in the audit log.
    """

    id: int
    name: str
    state: Literal["active", "expired", "revoked"]
    options: dict[str, Any] | None
    description: str
    photos: int | None
    with_positions: bool
    author: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def share_documents(database: Database, shares: Sequence[Share]) -> list[ShareDocument]:
    """The shares. `options` are those of a query, or null for a fixed selection, which has `photos` photos.

    `description` says the photos in the words of the page's filters. Names are read once for all.
    """
    with database.read() as connection:
        slugs = {slug for share in shares for each in share.query.parts for slug in each.landmark}
        names = display_names(connection, slugs)
        names |= {slug: each.display_name for slug, each in all_things(connection).items()}
    trip_ids = {trip_id for share in shares if (trip_id := share.query.trip) is not None}
    trips = summaries_of_trips(database, trip_ids)
    return [
        document_of(
            ShareDocument,
            share,
            description=_description(share, names, _trip_of(database, share.query, trips)),
        )
        for share in shares
    ]


def _trip_of(database: Database, query: PhotoQuery, trips: Mapping[str, TripSummary]) -> TripSummary | None:
    """The trip of the query: that with its moment, which may have another id; None: it has none any more."""
    summary, moment = trips.get(query.trip or ""), query.trip_moment
    if moment is None or (summary is not None and summary.trip.contains(moment)):
        return summary
    with database.read() as connection:
        trip = trip_at(connection, moment)
    return None if trip is None else summarize_trips(database, [trip])[0]


def _description(share: Share, names: Mapping[str, str], trip: TripSummary | None) -> str:
    if share.options is None:
        return f"{share.photos} selected {'photo' if share.photos == 1 else 'photos'}"
    query = share.query
    return description(query.texts, query, names if trip is None else {**names, str(query.trip): trip.title})
