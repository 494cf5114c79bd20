"""What a library looks like as a whole: photos per landmark, and a cover photo for each.

Both take the longer the more photos there are. So nobody waits long for them: what was found lately is shown, and
found anew beside.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection, exists, select, true
from sqlalchemy.exc import SQLAlchemyError

from tagger.database import Database
from tagger.query import LandmarkCount, landmark_counts
from tagger.tables import contents, landmarks, photos, tags, verdicts

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S = 0.4
"""How long a page waits for what is being found out."""
FIRST_PATIENCE_S = 1.2
"""How long for the first covers of all; a library without any looks broken."""
COUNTS_FRESH_S = 2.0
COVERS_FRESH_S = 60.0
COST_TIMES = 20.0
"""What takes long is found anew more seldom: a twentieth of the time at most goes there."""
COVER_CANDIDATES = 200
"""A cover is the best of so many photos, not of a million."""
_TRIED = 8
"""So many of them, best first: some may be gone, or a person may have rejected them."""


@dataclass(frozen=True)
class Cover:
    """The photo that stands for a landmark."""

    photo_id: int
    digest: str


class Overview:
    """One server's, over one database."""

    def __init__(self, database: Database) -> None:
        self._counts = Lately(lambda: landmark_counts(database, all_known=True), COUNTS_FRESH_S)
        self._covers = Lately(lambda: find_covers(database), COVERS_FRESH_S)

    def counts(self) -> list[LandmarkCount] | None:
        """Every landmark with its photos, most first; None: not known yet."""
        return self._counts.get(PATIENCE_S)

    def covers(self) -> Mapping[str, Cover] | None:
        """A cover for each landmark that has photos, by slug; None: not known yet."""
        return self._covers.get(PATIENCE_S if self._covers.is_there else FIRST_PATIENCE_S)

    def close(self) -> None:
        """Wait for what is being found out."""
        self._counts.close()
        self._covers.close()


class Lately(Generic[T]):
    """What `find` gave lately. A thread asks again once it is old; if that takes longer than one is willing to wait, the old one does."""

    def __init__(self, find: Callable[[], T], fresh_s: float) -> None:
        self._find = find
        self._fresh_s = fresh_s
        self._lock = threading.Lock()
        self._finder: threading.Thread | None = None
        self._found: T | None = None
        self._stale_at_s = 0.0

    @property
    def is_there(self) -> bool:
        """Whether anything was found yet."""
        return self._found is not None

    def get(self, patience_s: float) -> T | None:
        """The newest that can be had within `patience_s`; None: there is none yet."""
        with self._lock:
            if time.monotonic() < self._stale_at_s:
                return self._found
            if self._finder is None or not self._finder.is_alive():
                self._finder = threading.Thread(target=self._find_anew, name="overview", daemon=True)
                self._finder.start()
            finder = self._finder
        finder.join(patience_s)
        return self._found

    def close(self) -> None:
        """Wait for the thread, if there is one."""
        with self._lock:
            finder = self._finder
        if finder is not None:
            finder.join()

    def _find_anew(self) -> None:
        began_s = time.monotonic()
        try:
            self._found = self._find()
        except SQLAlchemyError:
            log.exception("the library could not be looked through; it is tried again")
        now_s = time.monotonic()
        self._stale_at_s = now_s + max(self._fresh_s, COST_TIMES * (now_s - began_s))


def find_covers(database: Database) -> dict[str, Cover]:
    """For each landmark with photos, one of the photos with the best scores."""
    with database.read() as connection:
        known = connection.execute(select(landmarks.c.id, landmarks.c.slug)).all()
        found = {row.slug: _cover(connection, row.id) for row in known}
    return {slug: cover for slug, cover in found.items() if cover is not None}


def _cover(connection: Connection, landmark_id: int) -> Cover | None:
    first = (
        select(tags.c.content_id, tags.c.score)
        .where(tags.c.landmark_id == landmark_id, tags.c.accepted == true())
        .order_by(tags.c.content_id)
        .limit(COVER_CANDIDATES)
        .subquery()
    )
    best = select(first.c.content_id).order_by(first.c.score.desc()).limit(_TRIED)
    said = connection.scalars(best).all()
    confirmed = select(verdicts.c.content_id).where(
        verdicts.c.landmark_id == landmark_id, verdicts.c.verdict == "confirmed"
    )
    tried = [*said, *connection.scalars(confirmed.order_by(verdicts.c.content_id).limit(_TRIED))]
    shown = _shown(connection, tried, landmark_id)
    return next((shown[content_id] for content_id in tried if content_id in shown), None)


def _shown(connection: Connection, content_ids: list[int], landmark_id: int) -> dict[int, Cover]:
    """Of these contents, those with a photo that is there, and on which nobody rejected the landmark."""
    rejected = exists().where(
        verdicts.c.content_id == photos.c.content_id,
        verdicts.c.landmark_id == landmark_id,
        verdicts.c.verdict == "rejected",
    )
    rows = connection.execute(
        select(photos.c.id, photos.c.content_id, contents.c.digest)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(photos.c.content_id.in_(content_ids), photos.c.gone_since.is_(None), ~rejected)
        .order_by(photos.c.id.desc())
    )
    return {row.content_id: Cover(row.id, row.digest) for row in rows}
