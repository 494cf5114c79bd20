"""A database looked at from outside, for whoever asks what is wrong: nothing is made, upgraded or changed by it.

What a server or a disk may delay is bounded where it can be; who asks still bounds the whole.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from tagger.database import SCHEMA_REVISION, Database, known_revisions, revision_of
from tagger.errors import DatabaseUnavailable, SettingsInvalid

CONNECT_S = 3
QUICK_CHECK_S = 1.5
LOCK_S = 2.0
NETWORK_FILE_SYSTEMS = frozenset(
    [
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
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.davfs",
        "fuse.cephfs",
    ]
)
"""SQLite's locks and its shared memory do not hold on these."""
_WRITER_BYTE = 120
"""The byte of the -shm file that SQLite's writer in WAL mode holds locked."""


class Schema(StrEnum):
    """How a database's schema stands to this version of the program."""

    MISSING = "missing"
    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for a server's address, or what is no address."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(parsed.database)


def bounded_url(url: str) -> str:
    """The same address, but connecting to a server ends within a bound."""
    if sqlite_file(url) is not None:
        return url
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsInvalid(
            reason="database_url: it is not a database address like sqlite:///FILE"
        ) from error
    # No statement_timeout: poolers between here and the server refuse options they do not know.
    bound = {"connect_timeout": str(CONNECT_S)}
    return parsed.update_query_dict(bound).render_as_string(hide_password=False)


def schema_of(url: str) -> tuple[Schema, str]:
    """How the schema at `url` stands to this program's, and its revision.

    Raises:
        DatabaseUnavailable: the database does not answer, or is none.
        SettingsInvalid: the address is none.
    """
    file = sqlite_file(url)
    revision = revision_of(bounded_url(url)) if file is None else _sqlite_revision(file)
    if not revision:
        return Schema.MISSING, ""
    if revision == SCHEMA_REVISION:
        return Schema.CURRENT, revision
    return (Schema.OLDER if revision in known_revisions() else Schema.NEWER), revision


def _sqlite_revision(file: Path) -> str:
    if not file.exists():
        return ""
    try:
        with _connected(file, "ro") as connection:
            named = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
            if connection.execute(named).fetchone() is None:
                return ""
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise DatabaseUnavailable(url=f"sqlite:///{file}", reason=str(error)) from error
    return str(row[0]) if row else ""


def quick_check(file: Path) -> str | None:
    """What SQLite's quick check says first ("ok" for a sound file); None where it takes longer than its bound."""
    with _connected(file, "ro") as connection:
        bound = threading.Timer(QUICK_CHECK_S, connection.interrupt)
        bound.start()
        try:
            return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.DatabaseError as error:
            if "interrupt" in str(error):
                return None
            return str(error)
        finally:
            bound.cancel()


def refuses_writes(database: Database) -> bool:
    """Whether a server's database is one for reading only, as a standby is."""
    with database.read() as connection:
        return str(connection.scalar(text("SHOW transaction_read_only"))) == "on"


def is_locked(file: Path) -> bool:
    """Whether somebody has held the writer's lock for longer than LOCK_S."""
    with _connected(file, "rw", timeout_s=LOCK_S) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                return True
            raise
        connection.execute("ROLLBACK")
        return False


@dataclass(frozen=True)
class Holder:
    """A process that holds the writer's lock."""

    pid: int
    command: str


def lock_holder(file: Path) -> Holder | None:
    """Which process of this machine holds the writer's lock, where the system tells (Linux)."""
    try:
        inode = file.with_name(file.name + "-shm").stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for fields in (line.split() for line in locks):
        # Number, kind, mandatory or not, what for, process, device and inode, first and last byte.
        if len(fields) == 8 and fields[3] == "WRITE" and fields[5].endswith(f":{inode}"):
            first, last = int(fields[6]), int(fields[7]) if fields[7].isdigit() else 2**63
            if first <= _WRITER_BYTE <= last and int(fields[4]) > 0:
                return Holder(int(fields[4]), _command_of(int(fields[4])))
    return None


def _command_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    # Its arguments may hold an address with a password.
    return " ".join(Path(word.decode(errors="replace")).name for word in words[:2] if word)


def file_system_of(path: Path, mounts: str) -> str | None:
    """The type of the file system that holds `path` (absolute, resolved), by the text of /proc/mounts."""
    found: tuple[int, str] | None = None
    for fields in (line.split() for line in mounts.splitlines()):
        if len(fields) < 3:
            continue
        place = Path(fields[1].encode().decode("unicode_escape"))  # a space is written \040
        if path.is_relative_to(place) and (found is None or len(place.parts) >= found[0]):
            found = len(place.parts), fields[2]
    return found[1] if found else None


@contextmanager
def _connected(file: Path, mode: str, timeout_s: float = 1.0) -> Iterator[sqlite3.Connection]:
    address = f"file:{quote(str(file.absolute()))}?mode={mode}"
    connection = sqlite3.connect(
        address, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )
    with closing(connection):
        yield connection
