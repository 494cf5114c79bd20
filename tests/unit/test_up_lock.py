"""The lock of a running `tagger up`, by which commands see that a worker is starting."""

import fcntl
from contextlib import closing
from pathlib import Path

from tagger.cli.supervisor import UpLock, keeps_worker
from tagger.database.connection import open_database


def test_a_worker_is_starting_for_the_database_of_the_running_up_alone(tmp_path: Path) -> None:
    with (
        closing(open_database(f"sqlite:///{tmp_path / 'one.sqlite'}")) as one,
        closing(open_database(f"sqlite:///{tmp_path / 'other.sqlite'}")) as other,
    ):
        assert not keeps_worker(tmp_path, one)
        lock = UpLock(tmp_path, one.ledger_id)
        assert not keeps_worker(tmp_path, one)
        lock.hold()
        lock.hold()
        assert keeps_worker(tmp_path, one)
        assert not keeps_worker(tmp_path, other)
        lock.release()
        assert not keeps_worker(tmp_path, one)
        next_lock = UpLock(tmp_path, other.ledger_id)
        next_lock.hold()
        assert keeps_worker(tmp_path, other)
        next_lock.release()


def test_a_lock_that_another_process_has_is_taken_later(tmp_path: Path) -> None:
    with closing(open_database(f"sqlite:///{tmp_path / 'tagger.sqlite'}")) as database:
        lock = UpLock(tmp_path, database.ledger_id)
        with (tmp_path / "up.lock").open("rb") as of_a_command:
            fcntl.flock(of_a_command, fcntl.LOCK_SH)
            lock.hold()
        assert not keeps_worker(tmp_path, database)
        lock.hold()
        assert keeps_worker(tmp_path, database)
        lock.release()


def test_a_lock_that_cannot_be_opened_keeps_nobody_from_working(tmp_path: Path) -> None:
    with closing(open_database(f"sqlite:///{tmp_path / 'tagger.sqlite'}")) as database:
        lock = UpLock(tmp_path, database.ledger_id)
        (tmp_path / "up.lock").unlink()
        lock.hold()
        assert not (tmp_path / "up.lock").exists(), "for its owner alone"
        (tmp_path / "up.lock").mkdir()
        lock.hold()
        assert not keeps_worker(tmp_path, database)
        lock.release()
