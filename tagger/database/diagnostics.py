"""Diagnostics of a database that may be broken, and what it holds. They change nothing.

Most waits on a server or disk have a timeout; the caller still limits the total time.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Table,
    distinct,
    exists,
    func,
    select,
    text,
    true,
)

from tagger.database.connection import Database
from tagger.database.engine import (
    parse_database_url,
    read_only_address,
    sqlite_file,
)
from tagger.database.schema import SCHEMA_REVISION
from tagger.database.statements import row_pages
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

CONNECT_S = 3
QUICK_CHECK_S = 1.5
# SQLite's locks and shared memory do not work reliably on these.
NETWORK_FILE_SYSTEMS = {
    *(
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "lustre",
        "ncpfs",
        "davfs",
    ),
    *(
        f"fuse.{name}"
        for name in ("sshfs", "glusterfs", "s3fs", "rclone", "davfs", "cephfs")
    ),
}


def bounded_url(url: str) -> str:
    if sqlite_file(url) is not None:
        return url
    parsed = parse_database_url(url)
    # No statement_timeout: connection poolers refuse options that they do not know.
    timeout = {"connect_timeout": str(CONNECT_S)}
    return parsed.update_query_dict(timeout).render_as_string(hide_password=False)


def quick_check(file: Path) -> str | None:
    """The first line of SQLite's quick check; None if it takes longer than QUICK_CHECK_S."""
    absolute = file.absolute()
    address = read_only_address(absolute) or f"file:{quote(str(absolute))}?mode=ro"
    with closing(
        sqlite3.connect(
            address,
            uri=True,
            timeout=1.0,
            isolation_level=None,
            check_same_thread=False,
        )
    ) as connection:
        timer = threading.Timer(QUICK_CHECK_S, connection.interrupt)
        timer.start()
        try:
            return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.DatabaseError as error:
            return None if "interrupt" in str(error) else str(error)
        finally:
            timer.cancel()


def file_system_of(path: Path, mounts: str) -> str | None:
    """The type of the file system of `path` (absolute, resolved), from the text of /proc/mounts."""
    deepest: tuple[int, str] | None = None
    for fields in (line.split() for line in mounts.splitlines()):
        if len(fields) < 3:
            continue
        mount = Path(
            fields[1].encode().decode("unicode_escape")
        )  # a space is written \040
        if path.is_relative_to(mount) and (
            deepest is None or len(mount.parts) >= deepest[0]
        ):
            deepest = len(mount.parts), fields[2]
    return deepest[1] if deepest else None


PAGE = 2000


def stored_rows(
    connection: Connection, table: Table, query: Select[Any]
) -> Iterator[Row[Any]]:
    return chain.from_iterable(
        row_pages(
            lambda page: connection.execute(page).all(),
            query,
            list(table.primary_key.columns),
            PAGE,
        )
    )


def database_stats(database: Database) -> dict[str, str | int]:
    """Counts of rows. `photos` is without gone ones; `contents` are images; tags are accepted ones.

    On a large database this reads whole indexes and takes seconds.
    """
    gone = (photos.c.gone_since.is_not(None), photos.c.primary_id.is_(None))
    classified = exists().where(
        contents.c.id == photos.c.content_id, contents.c.outcome.is_not(None)
    )
    is_tagged = exists().where(
        effective_tags.c.content_id == contents.c.id,
        effective_tags.c.accepted == true(),
    )
    count = select(func.count())
    queries: dict[str, Select[Any]] = {
        "roots": count.select_from(roots),
        "photos": count.select_from(photos).where(PRESENT),
        "gone": count.select_from(photos).where(*gone),
        "failing": count.select_from(photos).where(
            PRESENT, photos.c.failure_kind.is_not(None)
        ),
        "not_classified": count.select_from(photos).where(
            PRESENT, ~classified, photos.c.failure_kind.is_(None)
        ),
        "contents": count.select_from(contents),
        "tagged": count.select_from(contents).where(
            contents.c.outcome.is_not(None), is_tagged
        ),
        "unknown": count.select_from(contents).where(
            contents.c.outcome.is_not(None), ~is_tagged
        ),
        "tags": count.select_from(effective_tags).where(
            effective_tags.c.accepted == true()
        ),
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
        numbers = {
            name: int(connection.scalar(query) or 0) for name, query in queries.items()
        }
        size_bytes = int(connection.scalar(text(size)) or 0)
    return {
        "url": database.redacted_url,
        "schema": SCHEMA_REVISION,
        "size_bytes": size_bytes,
        **numbers,
    }
