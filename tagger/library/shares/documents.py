"""Shares as JSON, for the command line and the API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tagger.database.connection import Database
from tagger.library.catalog.landmarks import all_landmarks
from tagger.library.query.filter_words import description
from tagger.library.query.options import PhotoQuery
from tagger.library.query.trip_summaries import TripSummary, summaries_of_trips
from tagger.library.shares.links import Share
from tagger.photos.paths import path_from_json
from tagger.system.documents import document_of


@dataclass(frozen=True)
class ShareDocument:
    """A share without its link. `options` are those of its query, `description` says them in words.

    `photos`: the number of photos of a fixed selection; of a query, that of now if one share is asked for, else null. `author`: who
    made it, as in the audit log.
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

    `description` says the photos in the words of the page's filters. Landmarks and trips are read once for all shares.
    """
    with database.read() as connection:
        names = {each.slug: each.display_name for each in all_landmarks(connection)}
    trip_ids = {trip_id for share in shares if (trip_id := share.query.trip) is not None}
    trips = summaries_of_trips(database, trip_ids)
    return [
        document_of(ShareDocument, share, description=_description(share, names, trips)) for share in shares
    ]


def _description(share: Share, names: Mapping[str, str], trips: Mapping[str, TripSummary]) -> str:
    if share.options is None:
        return share.photos_text
    options = {name: _address_text(name, value) for name, value in share.options.items()}
    query = share.query
    return description(options, query, names, _trip_name(query, trips))


def _trip_name(query: PhotoQuery, trips: Mapping[str, TripSummary]) -> str | None:
    """None where the trip of the query is no more, also if another one has its id."""
    summary = trips.get(query.trip or "")
    if summary is None or (query.trip_moment is not None and not summary.trip.contains(query.trip_moment)):
        return None
    return summary.title


def _address_text(name: str, value: Any) -> str | tuple[str, ...]:
    """The value of an option as addresses have it."""
    if isinstance(value, list):
        return tuple(str(path_from_json(each) if name == "under" else each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
