"""Items of a job from photos already in the database, chosen by SQL: no photo passes through Python.

Retries and backfills are made so. A job is filled in pages, so that others get to write in between.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import ColumnElement, Connection, FromClause, func, insert, literal, select

from tagger.database import Database
from tagger.ledger.jobs import append_chunks, hold_scan
from tagger.tables import job_items, photos

PAGE = 20_000

Condition = ColumnElement[bool]


def fill_job(
    database: Database,
    job_id: int,
    conditions: Sequence[Condition],
    source: FromClause = photos,
    on_found: Callable[[int], None] = lambda _count: None,
    *,
    after: int = 0,
) -> int:
    """Add every photo that fits to a job being scanned; returns how many. `on_found` is told how many so far.

    `source` is what the conditions speak of: photos, joined with whatever else. Those up to the id `after` are in it.

    Raises:
        ScanEnded: the job was cancelled meanwhile.
    """
    found = 0
    while True:
        with database.write() as connection:
            added, after = _add_page(connection, job_id, conditions, source, after)
        found += added
        on_found(found)
        if added < PAGE:
            return found


def _add_page(
    connection: Connection, job_id: int, conditions: Sequence[Condition], source: FromClause, after: int
) -> tuple[int, int]:
    """Add the next photos by id; returns how many, and the last one's id."""
    position = hold_scan(connection, job_id)
    page = (
        select(photos.c.id, photos.c.root_id)
        .select_from(source)
        .where(*conditions, photos.c.id > after)
        .order_by(photos.c.id)
        .limit(PAGE)
        .with_for_update(read=True, key_share=True, of=photos)  # nobody forgets them before they are items
        .subquery()
    )
    # By root, as in a scan: the ends of a chunk tell whether a job that waits for a root can go on.
    place = func.row_number().over(order_by=(page.c.root_id, page.c.id))
    numbered = select(literal(job_id), literal(position - 1) + place, page.c.id)
    columns = ["job_id", "position", "photo_id"]
    connection.execute(insert(job_items).from_select(columns, numbered))
    last = 0
    added = 0
    for count, latest in _added(connection, job_id, position):
        append_chunks(connection, job_id, position + added, [False] * count)
        added += count
        last = max(last, latest)
    return added, last


def _added(connection: Connection, job_id: int, position: int) -> list[tuple[int, int]]:
    """Of each root, how many items there are from a position on, and the last photo's id."""
    query = (
        select(func.count(), func.max(photos.c.id))
        .select_from(job_items.join(photos, photos.c.id == job_items.c.photo_id))
        .where(job_items.c.job_id == job_id, job_items.c.position >= position)
        .group_by(photos.c.root_id)
        .order_by(photos.c.root_id)
    )
    return [(row[0], row[1]) for row in connection.execute(query)]
