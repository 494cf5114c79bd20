"""Photos that are still being copied wait until they are complete, but not for ever."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.colour_folders import TaggedFolder
from support.databases import empty_database

from tagger.database.enums import JobState
from tagger.errors import FailureKind
from tagger.jobs.enqueue.submission import Backfill, BackfillScope, count_photos
from tagger.jobs.processing import classification
from tagger.jobs.processing.chunk_runner import ChunkEnd
from tagger.jobs.processing.executor import ChunkExecutor
from tagger.jobs.processing.storage import Item
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.job_control import JobProgress
from tagger.ledger.jobs import InferenceOptions
from tagger.photos.containers import digest_photo
from tagger.pipeline.requests import Classified

PARTS = 5


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[TaggedFolder]:
    with empty_database(tmp_path / "database") as database:
        yield TaggedFolder(database, tmp_path)


def test_photo_that_is_being_copied_is_tagged_once_it_is_complete(
    folder: TaggedFolder, tmp_path: Path
) -> None:
    photo = _draw_noise(tmp_path / "original.jpg").read_bytes()
    target = folder.folder / "slow.jpg"
    executor = ChunkExecutor(folder.database, folder.settings.model_copy(update={"settle_s": 1.5}))
    executor.models.get([folder.model.id])  # loading would take as long as the copy
    stored: list[Item] = []
    with closing(executor), _slow_copy(photo, target):
        claim = claim_next_chunk(folder.database, folder.record(), "worker")
        assert claim is not None
        assert executor.execute(claim, stored.extend) is ChunkEnd.DONE
    (only,) = stored
    assert isinstance(only.result, Classified)
    assert only.result.digest == digest_photo(photo)
    row = folder.photo("slow.jpg")
    assert (row.classified_size_bytes, row.classified_mtime_ns) == (len(photo), target.stat().st_mtime_ns)
    assert folder.tag() == {"slow.jpg": "skipped"}


def test_photo_that_keeps_changing_fails_and_a_later_run_tags_it(
    folder: TaggedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classification, "SETTLE_PERIODS", 0.0002)
    path = folder.draw("a.jpg")
    os.utime(path, (1, 1))
    progress = _run(folder, folder.record(), settle_s=600)
    assert (progress.state, progress.failed) == (JobState.FINISHED, 1)
    (failing,) = folder.failing()
    assert failing.kind == FailureKind.SETTLING
    assert "tagger job retry --kind settling" in failing.text
    assert folder.tag() == {"a.jpg": "tagged"}
    assert folder.failing() == []


def test_photo_that_did_not_settle_is_untagged_and_no_longer_fails_once_it_has_changed(
    folder: TaggedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classification, "SETTLE_PERIODS", 0.0002)
    path = folder.draw("a.jpg")
    _run(folder, folder.record(), settle_s=600)
    untagged = Backfill(BackfillScope.UNTAGGED)
    assert count_photos(folder.database, untagged, InferenceOptions(folder.model.id, 5, 0.5), {}) == 1
    path.write_bytes(path.read_bytes() + b"more")
    folder.record()
    assert count_photos(folder.database, untagged, InferenceOptions(folder.model.id, 5, 0.5), {}) == 1
    assert folder.failing() == []


def _run(folder: TaggedFolder, job: int, *, settle_s: float) -> JobProgress:
    """Run a job that waits until photos have settled, unlike those of other tests."""
    before = folder.settings
    folder.settings = before.model_copy(update={"settle_s": settle_s})
    try:
        return folder.run(job)
    finally:
        folder.settings = before


def _draw_noise(path: Path) -> Path:
    noise = np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=90)
    return path


@contextmanager
def _slow_copy(data: bytes, target: Path) -> Iterator[None]:
    """Write the first part now, and the others one by one while the context runs."""
    step = len(data) // PARTS + 1
    parts = [data[start : start + step] for start in range(0, len(data), step)]

    def append() -> None:
        for part in parts[1:]:
            time.sleep(0.1)
            with target.open("ab") as file:
                file.write(part)

    target.write_bytes(parts[0])
    copying = threading.Thread(target=append)
    copying.start()
    yield
    copying.join()
