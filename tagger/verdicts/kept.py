"""Verdicts as rows: writing them page by page. Knows nothing of who gives them or why (see given and carried)."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tagger.tables import contents, photos, verdicts

PAGE = 500
"""Verdicts written in one transaction: it holds the writer's lock only briefly."""


T = TypeVar("T")


def pages(many: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """Many things in pages, each to be written in one transaction."""
    rest = iter(many)
    return iter(lambda: tuple(islice(rest, PAGE)), ())


class Word(StrEnum):
    """What a person says of a landmark on a picture."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"


@dataclass(frozen=True)
class NewVerdict:
    """A verdict to be written, on a picture and a landmark that have rows."""

    content_id: int
    landmark_id: int
    word: Word
    by: str | None
    at: datetime

    @property
    def key(self) -> tuple[int, int]:
        return self.content_id, self.landmark_id


def hold_contents(connection: Connection, digests: Collection[str]) -> dict[str, int]:
    """Ids of the pictures that are known, by digest; nobody forgets them until the transaction ends."""
    held = select(contents.c.digest, contents.c.id).where(contents.c.digest.in_(digests))
    # In the order in which those lock who store what they found.
    held = held.order_by(contents.c.id).with_for_update(read=True, key_share=True)
    return {row.digest: row.id for row in connection.execute(held)}


def verdicts_before(
    connection: Connection, keys: Collection[tuple[int, int]]
) -> dict[tuple[int, int], tuple[Word, datetime]]:
    """The verdicts that are there, by picture and landmark."""
    if not keys:
        return {}
    key = tuple_(verdicts.c.content_id, verdicts.c.landmark_id)
    rows = connection.execute(select(verdicts).where(key.in_(keys)))
    return {(row.content_id, row.landmark_id): (Word(row.verdict), row.given_at) for row in rows}


def write_verdicts(connection: Connection, new: Iterable[NewVerdict], *, newer_only: bool = False) -> None:
    """Write verdicts in the place of those there; `newer_only` leaves alone what was given at the same time or later."""
    latest = {each.key: each for each in sorted(new, key=lambda each: each.at)}
    rows = [
        {
            "content_id": each.content_id,
            "landmark_id": each.landmark_id,
            "verdict": each.word,
            "given_by": each.by,
            "given_at": each.at,
        }
        for _, each in sorted(
            latest.items()
        )  # in one order, so that two who write at once do not block each other
    ]
    if not rows:
        return
    dialect = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    statement = dialect(verdicts)
    changed = {name: statement.excluded[name] for name in ("verdict", "given_by", "given_at")}
    older = verdicts.c.given_at < statement.excluded.given_at if newer_only else None
    key = [verdicts.c.content_id, verdicts.c.landmark_id]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed, where=older), rows)


def drop_verdicts(connection: Connection, keys: Sequence[tuple[int, int]], word: Word) -> int:
    """Take back these verdicts where they say `word`; a picture that only its verdict kept goes with it."""
    if not keys:
        return 0
    content_ids = sorted({content_id for content_id, _ in keys})
    if connection.dialect.name == "postgresql":
        held = select(contents.c.id).where(contents.c.id.in_(content_ids)).order_by(contents.c.id)
        connection.execute(held.with_for_update())
    key = tuple_(verdicts.c.content_id, verdicts.c.landmark_id)
    dropped = connection.execute(delete(verdicts).where(key.in_(keys), verdicts.c.verdict == word)).rowcount
    shown = select(photos.c.id).where(photos.c.content_id == contents.c.id).exists()
    judged = select(verdicts.c.content_id).where(verdicts.c.content_id == contents.c.id).exists()
    connection.execute(delete(contents).where(contents.c.id.in_(content_ids), ~shown, ~judged))
    return dropped
