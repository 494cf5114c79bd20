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


class Ordeal:
    """Jobs over one folder of photos that are all different, typed in one terminal."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.folder = terminal.folder / "photos"
        draw_many(self.folder, PHOTOS)

    def enqueue(self, *words: str) -> int:
        return int(self.terminal.run("enqueue", *words, self.folder).stdout)

    def stored(self, job: int) -> int:
        """How many photos of the job have an outcome."""
        return self.terminal.progress(job).done

    def wait_for_some(self, job: int, more_than: int = 0) -> None:
        """Until some photos are stored; it is wrong if all are, for then nothing is left to be broken."""
        self.terminal.wait_until(lambda: self.stored(job) > more_than)
        assert self.stored(job) < PHOTOS, "the job was done before anything could be broken"

    def ends_well(self, *jobs: int, within_s: float = END_S) -> None:
        """Every photo of each job ends once, as it would have if nothing had been broken."""
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
