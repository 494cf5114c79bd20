"""Photos on their way through workers while something breaks; at the end, not one of them is lost or counted twice."""

import subprocess
from pathlib import Path
from typing import Any

from commands import Terminal, draw_many
from sqlalchemy import select

from bench.sums import wrong_library, wrong_sums
from tagger.tables import contents, job_items, tags

PHOTOS = 160
"""Four chunks, 40 batches: six seconds for one slow worker."""
END_S = 200.0
PASSES = 12
"""More than there are in a chunk, and far fewer than in the job."""


class Ordeal:
    """Jobs over one folder of photos that are all different, typed in one terminal."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.folder = terminal.folder / "photos"
        self._passes = terminal.folder / "passes"
        terminal.inject(passes=self._passes)
        draw_many(self.folder, PHOTOS)

    def enqueue(self, *words: str) -> int:
        """A job that stands still after some photos until `go_on`, however quick the machine is."""
        self._allow_more()
        return int(self.terminal.run("enqueue", *words, self.folder).stdout)

    def stored(self, job: int) -> int:
        """How many photos of the job have an outcome."""
        return self.terminal.progress(job).done

    def wait_for_some(self, job: int, more_than: int = 0) -> None:
        """Until some photos are stored, and many are not; the workers have others in hand, and `go_on` lets them."""
        self._allow_more()
        self.terminal.wait_until(lambda: self.stored(job) > more_than)
        assert self.stored(job) < PHOTOS, "the job was done before anything could be broken"

    def go_on(self) -> None:
        """From now on nothing holds the workers."""
        self._passes.unlink(missing_ok=True)

    def _allow_more(self) -> None:
        begun = self._passes.with_suffix(".begun")
        most = PASSES + (begun.stat().st_size if begun.exists() else 0)
        new = self._passes.with_suffix(".new")
        new.write_text(str(most))
        new.replace(self._passes)

    def ends_well(self, *jobs: int, within_s: float = END_S) -> None:
        """Every photo of each job ends once, as it would have if nothing had been broken."""
        self.go_on()
        for job in jobs:
            self.terminal.wait_until(
                lambda job=job: self.terminal.progress(job).is_over, within_s, every_s=0.2
            )
            ended = self.terminal.progress(job)
            assert (ended.tagged, ended.unknown) == (PHOTOS * 4 // 5, PHOTOS // 5), ended
        with self.terminal.database() as database:
            assert [wrong for job in jobs for wrong in wrong_sums(database, job)] == []
            assert wrong_library(database) == []
            with database.read() as connection:
                assert len(connection.execute(select(contents.c.id)).all()) == PHOTOS

    def attempts(self, job: int) -> list[int]:
        """How often the chunk of each photo was claimed until the photo was stored."""
        query = select(job_items.c.attempts).where(job_items.c.job_id == job)
        with self.terminal.database() as database, database.read() as connection:
            return list(connection.scalars(query.order_by(job_items.c.position)))

    def rows(self) -> list[Any]:
        """All that was stored, so that a change of any of it is seen."""
        with self.terminal.database() as database, database.read() as connection:
            return [
                row
                for table in (job_items, contents, tags)
                for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]

    @property
    def log(self) -> str:
        """What the workers said."""
        return self.terminal.log.read_text(errors="replace")


def is_alive(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def moved(folder: Path) -> Path:
    """Rename a folder away, as if what it is on had been unmounted."""
    return folder.rename(folder.with_name(f"{folder.name}-elsewhere"))
