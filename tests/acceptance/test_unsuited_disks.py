"""A data folder on a disk without file locks or shared memory: commands and doctor say so alike."""

import errno
from pathlib import Path

import pytest
from rig.servers import RedisServer
from support.commands import Terminal, draw
from support.unsuited_disk import unsuited_disk


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(tmp_path / "terminal")
    terminal.data.mkdir(mode=0o700)
    return terminal


@pytest.mark.parametrize(
    ("lacking", "number", "said"),
    [
        (
            "locks",
            errno.ENOTSUP,
            "is on a disk without file locks (Operation not supported), which SQLite needs",
        ),
        ("memory", errno.ENODEV, "is on a disk without shared memory (No such device), which SQLite needs"),
        pytest.param(
            *(
                "locks",
                errno.ENOLCK,
                "is on a disk without file locks (No locks available), which SQLite needs",
            ),
            marks=pytest.mark.slow,  # SQLite takes it for a lock of another process, and waits
        ),
    ],
)
def test_a_database_on_an_unsuited_disk_says_what_to_do(
    terminal: Terminal, lacking: str, number: int, said: str
) -> None:
    draw(terminal.folder / "photos" / "a.jpg")
    terminal.environment |= unsuited_disk(terminal.data, lacking, number)
    tagged = terminal.run_process("tag", "photos", code=1).stderr
    assert f"The folder {terminal.data} {said}. Put TAGGER_DATA_FOLDER on a local disk" in tagged
    after = terminal.run_process("doctor", code=1).stdout
    assert f"The folder {terminal.data} {said}" in after
    assert "damaged" not in after
    assert "server is running" not in tagged + after


def test_a_database_that_came_to_an_unsuited_disk_says_what_to_do(terminal: Terminal) -> None:
    terminal.run("landmark", "add", "Old Tower")
    terminal.environment |= unsuited_disk(terminal.data, "memory")
    said = f"The folder {terminal.data} is on a disk without shared memory"
    assert said in terminal.run_process("query", code=1).stderr
    assert said in terminal.run_process("doctor", "--quick", code=1).stdout


@pytest.mark.postgresql
def test_a_server_needs_no_locks_of_the_disk(
    terminal: Terminal, postgres_url: str, redis_server: RedisServer
) -> None:
    terminal.environment |= unsuited_disk(terminal.data, "locks")
    terminal.environment |= {"TAGGER_DATABASE_URL": postgres_url, "TAGGER_REDIS_URL": redis_server.url}
    assert "healthy" in terminal.run_process("doctor", "--quick").stdout
    del terminal.environment["TAGGER_REDIS_URL"]
    said = "is on a disk without file locks (Operation not supported)"
    assert said in terminal.run_process("worker", code=1).stderr
