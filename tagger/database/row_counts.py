"""The number of rows of each kind in the database, and whole tables in pages, in the order of their keys and in constant memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Table,
    distinct,
    exists,
    func,
    literal,
    select,
    text,
    true,
    tuple_,
)

from tagger.database.connection import Database
from tagger.database.schema import SCHEMA_REVISION
from tagger.database.tables import (
    PRESENT,
    classifiers,
    contents,
    dismissals,
    effective_tags,
    embeddings,
    jobs,
    landmarks,
    models,
    photos,
    roots,
    verdicts,
)

PAGE = 2000


def stored_rows(connection: Connection, table: Table, query: Select[Any]) -> Iterator[Row[Any]]:
    """Every row that `query` selects from `table`, with its key."""
    keys = list(table.primary_key.columns)
    page = query.order_by(*keys).limit(PAGE)
    rows = connection.execute(page).all()
    while rows:
        yield from rows
        if len(rows) < PAGE:
            return
        last = [literal(getattr(rows[-1], key.name), key.type) for key in keys]
        rows = connection.execute(page.where(tuple_(*keys) > tuple_(*last))).all()


@dataclass(frozen=True)
class DatabaseStats:
    """Counts of the database's rows. `photos` is without the gone ones; `contents` is the number of different images.

    `tagged`, `unknown` and `tags` are about images and accepted tags, after verdicts, teaching and positions, as in every query.
    """

    url: str
    schema: str
    size_bytes: int
    roots: int
    photos: int
    gone: int
    failing: int
    not_classified: int
    contents: int
    tagged: int
    unknown: int
    tags: int
    embeddings: int
    taught_landmarks: int
    verdicts: int
    dismissals: int
    landmarks: int
    models: int
    jobs: int


def database_stats(database: Database) -> DatabaseStats:
    """Count the rows. On a large database this reads whole indexes and takes seconds."""
    gone = (photos.c.gone_since.is_not(None), photos.c.primary_id.is_(None))
    classified = exists().where(contents.c.id == photos.c.content_id, contents.c.outcome.is_not(None))
    is_tagged = exists().where(
        effective_tags.c.content_id == contents.c.id, effective_tags.c.accepted == true()
    )
    count = select(func.count())
    queries: dict[str, Select[Any]] = {
        "roots": count.select_from(roots),
        "photos": count.select_from(photos).where(PRESENT),
        "gone": count.select_from(photos).where(*gone),
        "failing": count.select_from(photos).where(PRESENT, photos.c.failure_kind.is_not(None)),
        "not_classified": count.select_from(photos).where(
            PRESENT, ~classified, photos.c.failure_kind.is_(None)
        ),
        "contents": count.select_from(contents),
        "classified": count.select_from(contents).where(contents.c.outcome.is_not(None)),
        "tagged": count.select_from(contents).where(contents.c.outcome.is_not(None), is_tagged),
        "tags": count.select_from(effective_tags).where(effective_tags.c.accepted == true()),
        "embeddings": count.select_from(embeddings),
        "taught_landmarks": select(func.count(distinct(classifiers.c.landmark_id))),
        "verdicts": count.select_from(verdicts),
        "dismissals": count.select_from(dismissals),
        "landmarks": count.select_from(landmarks),
        "models": count.select_from(models),
        "jobs": count.select_from(jobs),
    }
    size = (
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        if database.is_sqlite
        else "SELECT pg_database_size(current_database())"
    )
    with database.read() as connection:
        numbers = {name: int(connection.scalar(query) or 0) for name, query in queries.items()}
        size_bytes = int(connection.scalar(text(size)) or 0)
    unknown = numbers.pop("classified") - numbers["tagged"]
    return DatabaseStats(
        url=database.redacted_url, schema=SCHEMA_REVISION, size_bytes=size_bytes, unknown=unknown, **numbers
    )
