"""Processes that write metadata are killed: no file is damaged, and undo restores each original."""

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import select
from support.commands import LABELS, Process, Terminal, draw
from support.databases import read_rows, read_scalars

from tagger.database.tables import metadata_writes
from tagger.metadata.photo_files import photo_fields
from tagger.metadata.plans import digest_file

PHOTOS = 240
PLACES = 4  # Number of folders
JUST_REPLACED = "after a file was replaced"
JUST_UNDONE = {"embed": JUST_REPLACED, "sidecar": "after a file was removed"}


class Library:
    """Tagged photos, their original bytes, and a terminal. Tags are written `to` photos or sidecars."""

    def __init__(self, terminal: Terminal, to: str) -> None:
        self.terminal = terminal
        self.to = to
        self.folder = terminal.folder / "photos"
        for seed in range(PHOTOS):
            draw(
                self.folder / f"place-{seed % PLACES}" / f"photo-{seed:03}.jpg", seed % len(LABELS), seed=seed
            )
        self.originals = self.files()
        terminal.run("tag", self.folder)

    def files(self) -> Mapping[Path, bytes]:
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def written(self) -> int:
        """The number of sidecars, or of photos whose size differs from the original's."""
        if self.to == "sidecar":
            return sum(1 for _ in self.folder.rglob("*.xmp"))
        return sum(path.stat().st_size != len(data) for path, data in self.originals.items())

    def is_killed(self, process: Process, *, written: range | None = None, within_s: float = 60) -> None:
        """Kill the process once `written` photos are written; None: the injected fault kills it."""
        if written is not None:
            self.terminal.wait_until(
                lambda: self.written() in written or process.poll() is not None, within_s, every_s=0.01
            )
            process.kill()
        assert process.wait(timeout=within_s) == -signal.SIGKILL, self.terminal.log.read_text()[-2000:]
        self.assert_no_file_is_damaged()

    def is_killed_once(self, *words: str, at: str) -> None:
        self.terminal.injected.clear()
        self.terminal.inject(kill_at=at, once=self.terminal.folder / f"killed-{'-'.join(words)}")
        self.is_killed(self.terminal.start(*words))
        self.terminal.injected.clear()

    def assert_no_file_is_damaged(self) -> None:
        """Check that each file is the original or a recorded write, and nothing in between."""
        with self.terminal.database() as database:
            digests = set(read_scalars(database, select(metadata_writes.c.written_digest)))
        files = self.files()
        assert files.keys() >= self.originals.keys()
        for path in files.keys() - set(self.leftovers()):
            data = files[path]
            if data != self.originals.get(path):
                assert path.suffix == (".xmp" if self.to == "sidecar" else ".jpg")
                assert "XMP:dc:subject" in photo_fields(data) or path.suffix == ".xmp", path
                assert digest_file(data) in digests, path

    def assert_complete(self) -> None:
        self.terminal.assert_consistent()
        with self.terminal.database() as database:
            rows = read_rows(database, select(metadata_writes))
        assert all(row.complete for row in rows)
        assert len({row.photo_id for row in rows}) == len(rows) == self.written()
        assert self.leftovers() == []

    def leftovers(self) -> list[Path]:
        return list(self.folder.rglob(".tagger-*.part"))

    def is_brought_back(self) -> None:
        assert self.files() == self.originals
        with self.terminal.database() as database:
            assert read_rows(database, select(metadata_writes)) == []


@pytest.fixture
def terminal(tmp_path, redis_server) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


@pytest.fixture
def library(terminal, durations, request) -> Library:
    """On SQLite, with sidecars, unless the test says otherwise."""
    database, to = getattr(request, "param", ("sqlite", "sidecar"))
    if database == "postgresql":
        terminal.environment["TAGGER_DATABASE_URL"] = request.getfixturevalue("postgres_url")
    library = Library(terminal, to)
    if durations.values:
        terminal.inject(values=durations.values)
    return library


@pytest.mark.parametrize(
    "next_command",
    [
        pytest.param(("undo", "--all"), id="undo"),
        pytest.param(("write", "--to", "embed"), id="write", marks=pytest.mark.slow),
    ],
)
def test_the_next_undo_or_write_removes_the_temporary_files_of_a_killed_write(library, next_command):
    library.terminal.inject(kill_on_open="photo-080")
    library.is_killed(library.terminal.start("metadata", "write", "--to", "sidecar"))
    left = library.leftovers()
    assert left
    library.terminal.injected.clear()
    library.terminal.run("metadata", *next_command)
    assert [path for path in left if path.exists()] == []


@pytest.mark.parametrize(
    "library",
    [
        pytest.param(("sqlite", "embed"), id="sqlite, embed"),
        *(
            pytest.param((database, to), id=f"{database}, {to}", marks=pytest.mark.slow)
            for database, to in (("sqlite", "sidecar"), ("postgresql", "sidecar"), ("postgresql", "embed"))
        ),
    ],
    indirect=True,
)
@pytest.mark.parametrize("steps", [(20,), pytest.param((1, 10, 30), marks=pytest.mark.slow)])
def test_a_command_that_is_killed_at_any_moment_loses_nothing_and_undo_brings_all_back(library, steps):
    """Killed again after so many more photos each."""
    terminal = library.terminal
    words = ("metadata", "write", "--to", library.to)
    terminal.inject(kill_on_open="photo-017")  # being read
    library.is_killed(terminal.start(*words))
    library.is_killed_once(*words, at=JUST_REPLACED)
    done = 1
    for more in steps:
        library.is_killed(terminal.start(*words), written=range(done + more, PHOTOS))
        assert done < library.written() < PHOTOS
        done = library.written()
    interrupted = terminal.start(*words)
    terminal.wait_until(lambda: library.written() > done, every_s=0.01)
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(timeout=60) == 130
    # On a slow disk the command ends before its writers: their temporary files stay for the next run to
    # replace.
    library.assert_no_file_is_damaged()
    ended = terminal.run(*words)
    assert f"{PHOTOS} photos: " in ended.stderr
    assert library.written() == PHOTOS
    library.assert_complete()
    library.is_killed_once("metadata", "undo", "--all", at=JUST_UNDONE[library.to])
    library.is_killed(terminal.start("metadata", "undo", "--all"), written=range(1, library.written() - 10))
    terminal.run("metadata", "undo", "--all")
    library.is_brought_back()
