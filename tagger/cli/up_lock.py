"""The lock of a running `tagger up` on a file of the data folder: commands see by it that a worker is starting."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from tagger.system.permissions import create_private_file, make_private_folder, require_safe

if TYPE_CHECKING:
    from pathlib import Path

    from tagger.database.connection import Database

_NAME = "up.lock"
_LONGEST_ID = 100


def keeps_worker(data_folder: Path, database: Database) -> bool:
    """Whether a `tagger up` of this data folder keeps a worker of this database running."""
    with (
        suppress(OSError),
        (data_folder / _NAME).open("rb") as file,
    ):  # there is none, or it is another user's
        of_database = file.read(_LONGEST_ID) == database.ledger_id.encode()
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return of_database
    return False


class UpLock:
    """The lock of one process. It excludes nobody: where it cannot be had, or another `tagger up` has it, `up` runs all the same."""

    def __init__(self, data_folder: Path, ledger_id: str) -> None:
        """`ledger_id`: of the database whose worker is started."""
        make_private_folder(data_folder)
        require_safe(data_folder)
        with suppress(OSError):
            create_private_file(data_folder / _NAME)
        self._path = data_folder / _NAME
        self._ledger_id = ledger_id
        self._file: IO[bytes] | None = None

    def hold(self) -> None:
        """Take the lock, if it is not held and can be had now. A command that asks for it has it for a moment, too."""
        if self._file is not None:
            return
        # For writing, as servers of network file systems demand; not created, as it is for its owner alone.
        with suppress(OSError):
            file = self._path.open("r+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.truncate()
                file.write(self._ledger_id.encode())
                file.flush()
            except OSError:
                file.close()
                raise
            self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
