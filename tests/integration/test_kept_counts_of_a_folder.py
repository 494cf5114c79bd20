"""The kept numbers of photos of each landmark and month after whatever a person does with a folder of photos, on both databases."""

import io
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import piexif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from support.colour_folders import EIFFEL, GATE, TaggedFolder
from support.counted_rows import assert_exact, marked_blocks
from support.empty_databases import create_sqlite_database
from support.examples import examples
from support.teaching import draw_place, teachable_artifact

from tagger.database.connection import Database, open_database
from tagger.database.tables import contents, photos
from tagger.errors import TaggerError
from tagger.jobs.processing.claimed_chunk import StoredBatch
from tagger.library.catalog.kept_counts import count_changed_blocks
from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark
from tagger.library.catalog.landmark_removal import merge_landmark, remove_landmark
from tagger.library.catalog.landmarks import all_landmarks
from tagger.library.catalog.removal import forget_path
from tagger.library.positions.update import update_positions
from tagger.library.query.counts import landmark_counts
from tagger.library.query.options import PhotoQuery
from tagger.library.query.timeline import count_months, timeline_sections
from tagger.library.teaching.teaching import update_taught
from tagger.library.verdicts import (
    VerdictKind,
    dismiss_photos,
    give_verdict,
    import_verdicts,
    read_entries,
    restore_photos,
    withdraw_verdict,
)
from tagger.transfer.exporter import export_database
from tagger.transfer.importer import import_database
from tagger.transfer.integrity.database_check import count_problems

ALL_PHOTOS = PhotoQuery(sort="newest", distinct=True, any_rank=True)


class Library(TaggedFolder):
    """Photos in the colours of landmarks and of a church, copies of them, and what a person does with them."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database, folder, teachable_artifact)
        self.aside = folder / "aside"
        self.aside.mkdir()
        self.names = [f"{number}.jpg" for number in range(3)]
        for number, name in enumerate(self.names):
            self.draw(name, number, shade=number)
        for seed in range(4):
            draw_place(self.folder / f"church-{seed}.jpg", 0, seed=seed)
            self.names.append(f"church-{seed}.jpg")
        shutil.copy(self.folder / "0.jpg", self.folder / "copy.jpg")
        self.names.append("copy.jpg")
        self.tag()
        self.number = len(self.names)
        self.church = "no church yet"

    def add(self, choice: int) -> None:
        self.number += 1
        name = f"new-{self.number}.jpg"
        self.names.append(name)
        self.draw(name, choice % 3, shade=self.number)
        self.tag()

    def copy(self, choice: int) -> None:
        copied = self.folder / self.name(choice)
        if copied.exists():
            self.number += 1
            self.names.append(f"copy-{self.number}.jpg")
            shutil.copy(copied, self.folder / self.names[-1])
            self.tag()

    def change(self, choice: int) -> None:
        """The file shows something else."""
        self.number += 1
        self.draw(self.name(choice), choice % 4 if choice % 4 < 3 else None, shade=self.number)
        self.tag()

    def date(self, choice: int) -> None:
        """Another program writes the time into the file, whose image stays."""
        dated = self.folder / self.name(choice)
        if dated.exists():
            time_tag = f"2024:{choice % 12 + 1:02}:03 09:00:00"
            piexif.insert(piexif.dump({"Exif": {piexif.ExifIFD.DateTimeOriginal: time_tag}}), str(dated))
            self.tag()

    def retag(self, choice: int) -> None:
        self.tag(reprocess=True, threshold=(0.5, 0.999)[choice % 2])

    def remove_file(self, choice: int) -> None:
        if (self.folder / self.name(choice)).exists():
            shutil.move(self.folder / self.name(choice), self.aside / self.name(choice))
        (self.folder / "broken.jpg").write_bytes(b"not a picture")
        self.tag()

    def bring_back(self, _choice: int) -> None:
        for file in self.aside.iterdir():
            shutil.move(file, self.folder / file.name)
        self.tag()

    def forget(self, choice: int) -> None:
        forget_path(self.database, self.folder / self.name(choice), {})

    def confirm(self, choice: int) -> None:
        self.decide(choice, VerdictKind.CONFIRMED)

    def reject(self, choice: int) -> None:
        self.decide(choice, VerdictKind.REJECTED)

    def decide(self, choice: int, kind: VerdictKind) -> None:
        give_verdict(self.database, self.folder / self.name(choice), self.slug(choice), kind, None, {})

    def withdraw(self, choice: int) -> None:
        photo, slug = self.folder / self.name(choice), self.slug(choice)
        for kind in VerdictKind:
            withdraw_verdict(self.database, photo, slug, kind, {})

    def dismiss(self, choice: int) -> None:
        dismiss_photos(self.database, self.ids()[choice % 5 :: 5], None)

    def restore(self, choice: int) -> None:
        restore_photos(self.database, self.ids()[choice % 2 :: 2])

    def import_a_verdict(self, choice: int) -> None:
        with self.database.read() as connection:
            digests = list(connection.scalars(select(contents.c.digest).order_by(contents.c.id)))
        entry = {
            "digest": digests[choice % len(digests)],
            "landmark": EIFFEL,
            "verdict": ("confirmed", "rejected")[choice % 2],
            "at": datetime.now(UTC).isoformat(),
        }
        source = io.BytesIO(json.dumps(entry).encode())
        import_verdicts(self.database, read_entries(source, "file"))

    def add_landmark(self, _choice: int) -> None:
        self.number += 1
        self.church = f"church-{self.number}"
        with self.database.write() as connection:
            add_landmark(connection, NewLandmark(self.church))

    def teach(self, _choice: int) -> None:
        for seed in range(3):
            photo = self.folder / f"church-{seed}.jpg"
            give_verdict(self.database, photo, self.church, VerdictKind.CONFIRMED, None, {})
        update_taught(self.database, self.model)

    def merge_landmark(self, choice: int) -> None:
        with self.database.write() as connection:
            merge_landmark(connection, self.church, (EIFFEL, GATE)[choice % 2])

    def remove_landmark(self, _choice: int) -> None:
        with self.database.write() as connection:
            remove_landmark(connection, self.church, with_verdicts=True)

    def locate(self, _choice: int) -> None:
        update_positions(self.database)

    def count(self, _choice: int) -> None:
        count_changed_blocks(self.database, 60)

    def name(self, choice: int) -> str:
        return self.names[choice % len(self.names)]

    def slug(self, choice: int) -> str:
        with self.database.read() as connection:
            slugs = sorted(landmark.slug for landmark in all_landmarks(connection))
        return slugs[choice // 7 % len(slugs)]

    def ids(self) -> list[int]:
        with self.database.read() as connection:
            return list(connection.scalars(select(photos.c.id).order_by(photos.c.id)))


STEPS: tuple[Callable[[Library, int], None], ...] = (
    Library.add,
    Library.copy,
    Library.change,
    Library.date,
    Library.retag,
    Library.remove_file,
    Library.bring_back,
    Library.forget,
    Library.confirm,
    Library.reject,
    Library.withdraw,
    Library.dismiss,
    Library.restore,
    Library.import_a_verdict,
    Library.add_landmark,
    Library.teach,
    Library.merge_landmark,
    Library.remove_landmark,
    Library.locate,
    Library.count,
)


@pytest.fixture
def library(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    # Local jobs count when they end; here only `Library.count` does.
    monkeypatch.setattr("tagger.jobs.processing.executor.COUNT_S", 0.0)
    return Library(database, tmp_path)


@pytest.mark.hypothesis
def test_kept_counts_are_exact_after_each_step(library: Library) -> None:
    """Also where a step is refused, as a photo or a landmark may be gone."""
    applied: set[str] = set()
    choices = st.tuples(st.sampled_from(STEPS), st.integers(0, 60))

    @examples(1)
    @given(st.lists(choices, min_size=5, max_size=8))
    def check(steps: list[tuple[Callable[[Library, int], None], int]]) -> None:
        for step, choice in steps:
            try:
                step(library, choice)
            except TaggerError:
                continue
            finally:
                assert_exact(library.database)
                assert_timeline_is_exact(library.database)
            applied.add(step.__name__)

    for step in STEPS:  # each at least once, in an order in which all of them can be done
        step(library, 3)
        assert_exact(library.database)
        assert_timeline_is_exact(library.database)
        if step is Library.forget:
            library.bring_back(0)
            library.retag(0)
        if step is Library.merge_landmark:
            library.add_landmark(0)
            library.teach(0)
    check()
    assert applied
    assert len(timeline_sections(library.database, ALL_PHOTOS)) > 1
    assert list(count_problems(library.database)) == []


def test_imported_rows_are_counted(library: Library, tmp_path: Path) -> None:
    library.add_landmark(0)
    library.teach(0)
    library.dismiss(0)
    out = io.BytesIO()
    export_database(library.database, out, "1.2.3")
    before = counts_of(library.database)
    assert before == {library.church: 4, GATE: 1, "chateau-de-versailles": 1}
    with closing(open_database(create_sqlite_database(tmp_path / "new.sqlite"))) as imported:
        import_database(imported, io.BytesIO(out.getvalue()), "the file")
        assert counts_of(imported) == before
        count_changed_blocks(imported, 60)
        assert marked_blocks(imported) == []
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


def assert_timeline_is_exact(database: Database) -> None:
    """The timelines of all photos and of those with a landmark have the months of a count of the photos."""
    for query in (ALL_PHOTOS, replace(ALL_PHOTOS, any_rank=False)):
        kept = timeline_sections(database, query)
        with database.snapshot() as connection:
            counted = count_months(connection, query)
        assert {each.month: (each.photos, each.aspect) for each in kept} == {
            each.month: (each.photos, each.aspects / each.photos / 10**6) for each in counted
        }


def counts_of(database: Database) -> dict[str, Any]:
    return {count.landmark: count.photos for count in landmark_counts(database)}
