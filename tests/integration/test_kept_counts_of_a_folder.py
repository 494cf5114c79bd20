"""The kept numbers of photos of each landmark after an import, and while and after a local job, on both databases."""

import io
import os
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.colour_folders import EIFFEL, GATE, TaggedFolder
from support.counted_rows import marked_blocks
from support.empty_databases import create_sqlite_database
from support.teaching import draw_place, teachable_artifact

from tagger.database.connection import Database, open_database
from tagger.jobs.processing.claimed_chunk import StoredBatch
from tagger.library.catalog.kept_counts import count_changed_blocks
from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark
from tagger.library.query.counts import landmark_counts
from tagger.library.teaching.learning import update_taught
from tagger.library.verdicts.service import give_verdict
from tagger.library.verdicts.store import VerdictKind
from tagger.transfer.exporter import export_database
from tagger.transfer.importer import import_database
from tagger.transfer.integrity import count_problems

CONFIRMED = VerdictKind.CONFIRMED


class Library(TaggedFolder):
    """Photos in the colours of two landmarks, and of a church that is taught with three of four photos."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database, folder, teachable_artifact)
        for number in range(2):
            self.draw(f"{number}.jpg", number, shade=number)
        self.church = [draw_place(self.folder / f"church-{seed}.jpg", 0, seed=seed) for seed in range(4)]
        self.tag()
        with database.write() as connection:
            add_landmark(connection, NewLandmark("Church"))

    def teach(self) -> None:
        for photo in self.church[:3]:
            give_verdict(self.database, photo, "church", CONFIRMED, None, {})
        update_taught(self.database, self.model)


def test_imported_rows_are_counted(database: Database, tmp_path: Path) -> None:
    library = Library(database, tmp_path)
    library.teach()
    out = io.BytesIO()
    export_database(database, out, "1.2.3")
    before = counts_of(database)
    assert before == {"church": 4, EIFFEL: 1, GATE: 1}
    with closing(open_database(create_sqlite_database(tmp_path / "new.sqlite"))) as imported:
        import_database(imported, io.BytesIO(out.getvalue()), "the file")
        assert counts_of(imported) == before
        count_changed_blocks(imported, 60)
        assert counts_of(imported) == before
        assert list(count_problems(imported)) == []


def test_photos_are_counted_while_a_local_job_runs(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagger.jobs.processing.executor.COUNT_EVERY_S", 0.05)
    monkeypatch.setattr("tagger.library.catalog.kept_counts.BLOCKS_OF_JOBS", 0)
    folder = TaggedFolder(database, tmp_path)
    folder.draw("a.jpg")
    marked: list[list[int]] = []

    def wait_for_count(_stored: StoredBatch) -> None:
        until_s = time.monotonic() + 30
        marked.append(marked_blocks(database))
        while marked[-1] and time.monotonic() < until_s:
            time.sleep(0.05)
            marked.append(marked_blocks(database))

    folder.run(folder.record(), wait_for_count)
    assert marked[-1] == []
    assert counts_of(database) == {EIFFEL: 1}


def test_photos_are_counted_after_an_interrupted_local_job(database: Database, tmp_path: Path) -> None:
    folder = TaggedFolder(database, tmp_path)
    folder.draw("a.jpg")

    def interrupt(_stored: StoredBatch) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)  # the job must not end first

    with pytest.raises(KeyboardInterrupt):
        folder.run(folder.record(), interrupt)
    assert marked_blocks(database) == []
    assert counts_of(database) == {EIFFEL: 1}


def counts_of(database: Database) -> dict[str, Any]:
    return {count.landmark: count.photos for count in landmark_counts(database)}
