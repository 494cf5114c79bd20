"""Jobs in this process from folder to tags, with a real model, real files and both databases."""

import os
import shutil
import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from sqlalchemy import select, update
from support.artifacts import tiny_manifest
from support.colour_folders import EIFFEL, GATE, TaggedFolder
from support.databases import execute, read_rows, read_scalars
from support.ledgers import claim_one
from support.threads import in_threads

from tagger.database import JobState, Runner
from tagger.database.tables import chunks, contents, photos, tags
from tagger.errors import FailureKind, ModelFailed
from tagger.jobs.processing import classification
from tagger.jobs.processing.chunk_runner import ChunkEnd, StoredBatch
from tagger.jobs.processing.executor import ChunkExecutor
from tagger.ledger import job_control
from tagger.ledger.chunks import Claim, claim_next_chunk
from tagger.ledger.items import failing_photos
from tagger.ledger.workers import release_expired
from tagger.model.artifact import save_artifact
from tagger.pipeline import Request
from tagger.pipeline.pipeline import Pipeline
from tagger.registry import add_model

GONE = select(photos.c.id).where(photos.c.gone_since.is_not(None))


@pytest.fixture
def folder(database, tmp_path, monkeypatch) -> TaggedFolder:
    # Several transactions even for few photos.
    monkeypatch.setattr(classification, "STORE_PHOTOS", 8)
    return TaggedFolder(database, tmp_path)


def test_photos_end_as_tagged_unknown_or_failed_and_the_top_k_is_stored(folder):
    folder.draw("eiffel.jpg", 0)
    folder.draw("sub/gate.png", 1)
    folder.draw("grey.jpg", None)
    (folder.folder / "broken.jpg").write_bytes(b"not a picture")
    (folder.folder / "empty.jpg").write_bytes(b"")
    job = folder.record()
    progress = folder.run(job)
    assert folder.outcomes(job) == {
        "eiffel.jpg": "tagged",
        "sub/gate.png": "tagged",
        "grey.jpg": "unknown",
        "broken.jpg": "failed",
        "empty.jpg": "failed",
    }
    assert (progress.state, progress.total, progress.done) == (JobState.FINISHED, 5, 5)
    assert folder.tags_of("eiffel.jpg")[0] == (EIFFEL, 1, True)
    assert [rank for _, rank, _ in folder.tags_of("eiffel.jpg")] == [1, 2, 3]
    assert not any(accepted for _, _, accepted in folder.tags_of("grey.jpg"))
    assert (folder.content("sub/gate.png").width, folder.content("sub/gate.png").height) == (80, 60)
    assert {photo.path: photo.kind for photo in folder.failing()} == {
        "broken.jpg": FailureKind.NOT_AN_IMAGE,
        "empty.jpg": FailureKind.EMPTY,
    }


def test_copies_share_a_content_and_are_classified_once(folder):
    first = folder.draw("a.jpg")
    for number in range(20):
        shutil.copy(first, folder.folder / f"copy-{number:02}.jpg")
    assert set(folder.tag().values()) == {"tagged"}
    assert folder.count(contents) == 1
    shutil.copy(first, folder.folder / "later.jpg")
    assert folder.tag()["later.jpg"] == "tagged"
    assert folder.results == ["AlreadyClassified"]
    assert folder.tags_of("later.jpg") == folder.tags_of("a.jpg")


def test_a_moved_file_keeps_its_tags(folder):
    path = folder.draw("old.jpg", 1)
    folder.tag()
    (folder.folder / "new").mkdir()
    path.rename(folder.folder / "new" / "name.jpg")
    assert folder.tag() == {"new/name.jpg": "tagged"}
    assert folder.results == ["AlreadyClassified"]
    assert folder.tags_of("new/name.jpg")[0] == (GATE, 1, True)
    assert folder.photo("old.jpg").gone_since is not None
    assert folder.photo("new/name.jpg").gone_since is None


def test_a_photo_tagged_by_another_job_since_the_scan_is_not_read_again(folder):
    folder.draw("a.jpg")
    late = folder.record()
    folder.tag(reprocess=True)  # otherwise, it would leave the photo to the other job
    folder.run(late)
    assert folder.results == ["Unchanged"]
    assert folder.outcomes(late) == {"a.jpg": "skipped"}


def test_a_photo_is_read_again_if_it_was_touched_and_classified_again_if_its_image_changed(folder):
    path = folder.draw("a.jpg", 0)
    folder.tag()
    path.chmod(0)
    assert folder.tag() == {"a.jpg": "skipped"}
    assert folder.results == []
    path.chmod(0o644)
    os.utime(path, ns=(1, 1))
    assert folder.tag() == {"a.jpg": "skipped"}
    assert folder.results == ["AlreadyClassified"]
    assert folder.tag() == {"a.jpg": "skipped"}
    assert folder.results == []
    folder.draw("a.jpg", 1, shade=3)
    assert folder.tag() == {"a.jpg": "tagged"}
    assert folder.tags_of("a.jpg")[0] == (GATE, 1, True)


def test_a_corrupt_photo_loses_its_tags_and_a_copy_does_not_clear_a_gone_one(folder):
    path = folder.draw("a.jpg", 0)
    original = path.read_bytes()
    folder.tag()
    path.write_bytes(b"\xff\xd8garbage")
    assert folder.tag() == {"a.jpg": "failed"}
    assert folder.tags_of("a.jpg") == []
    assert [photo.path for photo in folder.failing()] == ["a.jpg"]
    assert folder.tag() == {"a.jpg": "failed"}
    path.write_bytes(original)
    assert folder.tag() == {"a.jpg": "tagged"}
    assert folder.tags_of("a.jpg")[0] == (EIFFEL, 1, True)
    assert folder.failing() == []
    folder.tag()
    job = folder.record(reprocess=True)
    shutil.copy(path, folder.folder / "z.jpg")
    path.unlink()
    folder.run(job)
    later = folder.record(folder.folder / "z.jpg")
    folder.run(later)
    assert [(photo.path, photo.kind) for photo in folder.failing()] == [("a.jpg", FailureKind.GONE)]


def test_photos_are_classified_again_by_request_and_with_another_top_k_or_threshold(folder):
    folder.draw("a.jpg")
    first = folder.record()
    folder.run(first)
    assert folder.tag(reprocess=True) == {"a.jpg": "tagged"}
    assert folder.results == ["Classified"]
    assert folder.count(tags) == 3
    assert folder.tag(top_k=2) == {"a.jpg": "tagged"}
    assert folder.results == ["Classified"]
    assert folder.count(tags) == 2
    options = {"top_k": 2, "threshold": 0.1 + 0.2}
    assert folder.tag(**options) == {"a.jpg": "tagged"}
    assert folder.results == ["Classified"]
    shutil.copy(folder.folder / "a.jpg", folder.folder / "b.jpg")
    assert folder.tag(**options) == {"a.jpg": "skipped", "b.jpg": "tagged"}
    assert folder.results == ["AlreadyClassified"]
    assert folder.tag(threshold=1.0) == {"a.jpg": "unknown", "b.jpg": "unknown"}
    assert folder.outcomes(first) == {"a.jpg": "unknown"}


def test_a_file_that_vanished_since_the_scan_is_gone_alone(folder):
    folder.draw("a.jpg")
    folder.draw("b.jpg", shade=1).unlink()
    folder.draw("b.jpg", shade=1)
    job = folder.record()
    (folder.folder / "b.jpg").unlink()
    progress = folder.run(job)
    counts = progress.tagged, progress.gone, progress.failed
    assert (*counts, progress.state) == (1, 1, 0, JobState.FINISHED)
    assert folder.photo("b.jpg").gone_since is not None
    assert list(failing_photos(folder.database)) == [], "a deleted photo has not failed"
    assert [photo.kind for photo in folder.failing()] == [FailureKind.GONE]
    folder.tag()
    assert folder.failing() == [], "a scan has seen that it was deleted"
    folder.draw("b.jpg", shade=1)
    folder.tag()
    assert folder.photo("b.jpg").gone_since is None
    assert folder.failing() == []


def test_a_root_that_goes_away_in_mid_job_marks_nothing_gone_and_the_job_waits(folder):
    count = 240  # more than are read before the first batch is stored
    folder.draw_many(count)
    job = folder.record()
    elsewhere = folder.folder.with_name("unmounted")
    once = threading.Lock()

    def unmount(_stored: StoredBatch) -> None:
        if once.acquire(blocking=False):
            folder.folder.rename(elsewhere)

    progress = folder.run(job, unmount)
    assert progress.state is JobState.WAITING
    assert "photos" in (progress.note or "")
    assert progress.failed == 0
    assert 0 < progress.tagged < count
    assert progress.queued == count - progress.tagged
    assert read_scalars(folder.database, GONE) == []
    assert folder.failing() == []


def test_a_disk_in_a_root_that_goes_away_in_mid_job_marks_nothing_gone_and_the_job_waits(folder, disk):
    nas = disk.mount(folder.folder / "nas")
    count = 240
    for number in range(count):
        folder.draw(f"nas/{number:03}.jpg", shade=number)
    folder.draw("local.jpg")
    job = folder.record()
    progress = folder.run(job, lambda _stored: disk.unmount())
    assert progress.state is JobState.WAITING
    assert "“photos/nas”" in (progress.note or "")
    assert progress.failed == 0
    assert folder.failing() == []
    assert read_scalars(folder.database, GONE) == []
    disk.mount(nas)
    assert set(folder.tag().values()) == {"tagged", "skipped"}


def test_two_roots_that_go_away_at_once_mark_nothing_gone(folder, tmp_path):
    places = [tmp_path / "one", tmp_path / "two"]
    for number, place in enumerate(places):
        shutil.copytree(folder.draw(f"{number}/a.jpg", shade=number).parent, place)
        shutil.copy(place / "a.jpg", place / "b.jpg")
    job = folder.record(*places)
    claimed = claim_one(folder.database, job)
    executor = folder.executor()
    pipeline = executor.models.get(claimed.thresholds).pipeline
    submit = pipeline.submit

    def submit_after_unmount(request: object, give_up: object) -> bool:
        for place in places:
            if place.exists():
                shutil.rmtree(place)
        return submit(request, give_up)

    pipeline.submit = submit_after_unmount
    assert executor.execute(claimed) is ChunkEnd.WAITING
    executor.close()
    assert folder.progress(job).queued == 4
    assert folder.failing() == []


def test_stopping_stores_available_results_and_releases_the_rest(folder):
    folder.draw_many(128)
    job = folder.record(runner=Runner.WORKERS)
    executor = folder.executor()
    numbers = read_scalars(folder.database, select(chunks.c.chunk).where(chunks.c.job_id == job))
    ends = []

    def work() -> None:
        claimed = claim_one(folder.database, job)
        ends.append(executor.execute(claimed, lambda _stored: executor.stop.set()))

    in_threads([work for _ in numbers])
    executor.close()
    assert ChunkEnd.RELEASED in ends
    progress = folder.progress(job)
    assert progress.running == 0
    assert 0 < progress.tagged < 128
    open_chunks = read_rows(folder.database, select(chunks).where(chunks.c.done.is_(False)))
    assert {(row.token, row.attempts) for row in open_chunks} == {(None, 0)}
    executor = folder.executor()
    while claimed := claim_next_chunk(folder.database, job, "w"):
        assert executor.execute(claimed) is ChunkEnd.DONE
    executor.close()
    assert folder.progress(job).tagged == 128


def test_a_chunk_is_released_when_its_time_slice_is_over_and_each_claim_makes_progress(folder, monkeypatch):
    submit, turns = Pipeline.submit, 0

    def submit_ten(pipeline: Pipeline, request: Request, give_up: Callable[[], bool]) -> bool:
        nonlocal turns
        turns -= 1
        return turns >= 0 and submit(pipeline, request, give_up)

    monkeypatch.setattr(Pipeline, "submit", submit_ten)
    folder.draw_many(32)
    job = folder.record(runner=Runner.WORKERS)
    executor = ChunkExecutor(folder.database, folder.settings, slice_s=0.0)
    ends, stored = [], [0]
    while not folder.progress(job).settling and len(ends) < 32:
        turns = 10
        claimed = claim_one(folder.database, job)
        assert claimed.attempts == 1
        ends.append(executor.execute(claimed))
        stored.append(folder.progress(job).tagged)
    executor.close()
    assert ends == [*[ChunkEnd.SLICE_OVER] * (len(ends) - 1), ChunkEnd.DONE]
    assert len(ends) >= 4
    assert all(0 < after - before <= 10 for before, after in pairwise(stored))
    assert stored[-1] == 32


@pytest.mark.postgresql
def test_a_chunk_that_was_taken_over_ends_as_lost_and_its_new_holder_finishes_it(folder):
    folder.draw_many(40)
    job = folder.record(runner=Runner.WORKERS)
    claimed = claim_one(folder.database, job)
    executor = folder.executor()

    def take_over(_stored: StoredBatch) -> None:
        execute(folder.database, update(chunks).where(chunks.c.chunk == 0).values(lease_until=0.0))
        release_expired(folder.database)
        again.append(claim_next_chunk(folder.database, job, "w"))

    again: list[Claim | None] = []
    assert executor.execute(claimed, take_over) is ChunkEnd.LOST
    again.append(claim_next_chunk(folder.database, job, "w"))
    for each in again:
        assert each is not None
        assert executor.execute(each) is ChunkEnd.DONE
    last_step = claim_one(folder.database, job)
    assert executor.execute(last_step) is ChunkEnd.DONE
    executor.close()
    assert (folder.progress(job).tagged, folder.progress(job).state) == (40, JobState.FINISHED)


def test_tag_goes_on_with_a_chunk_whose_claim_was_lost(folder, monkeypatch):
    """The connection broke before the answer came: the chunk has a lease that nobody renews."""
    monkeypatch.setattr("tagger.ledger.items.LEASE_S", 1.0)
    for module in ("tagger.ledger", "tagger.ledger.workers"):
        monkeypatch.setattr(f"{module}.RENEW_S", 0.2)
    folder.draw_many(40)
    job = folder.record()
    assert claim_next_chunk(folder.database, job, "lost")
    assert (folder.run(job).tagged, folder.progress(job).state) == (40, JobState.FINISHED)


def test_a_job_cancelled_in_mid_run_ends_quietly(folder):
    folder.draw_many(32)
    job = folder.record()

    def cancel(_stored: StoredBatch) -> None:
        job_control.cancel(folder.database, job)

    progress = folder.run(job, cancel)
    assert (progress.state, progress.queued, progress.running) == (JobState.CANCELLED, 0, 0)
    assert progress.tagged + progress.cancelled == 32


class _Raises(torch.nn.Module):
    """Fails on bright images; those of the warm-up are black."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if bool((images.float().max() > 200.0).item()):
            raise RuntimeError("out of memory, says the test")
        return torch.zeros((images.shape[0], 4))


def test_a_failing_model_stores_nothing_and_raises(folder, tmp_path):
    folder.draw_many(20)
    file = tmp_path / "raising.pt"
    save_artifact(torch.jit.script(_Raises().eval()), tiny_manifest(name="raising"), file)
    raising = add_model(folder.database, file)
    job = folder.record(model=raising)
    with pytest.raises(ModelFailed, match=r"photos: .*out of memory, says the test\. Nothing"):
        folder.run(job)
    progress = folder.progress(job)
    assert (progress.state, progress.cancelled) == (JobState.CANCELLED, 20)
    assert (folder.count(tags), folder.count(contents)) == (0, 0)
    workers_job = folder.record(model=raising, runner=Runner.WORKERS)
    claimed = claim_one(folder.database, workers_job)
    executor = folder.executor()
    with pytest.raises(ModelFailed):
        executor.execute(claimed)
    executor.close()
    assert folder.progress(workers_job).queued == 20


@pytest.mark.postgresql
def test_two_taggers_over_the_same_copies_end_without_a_deadlock(folder):
    sources = [folder.draw(f"{number:02}.jpg", number % 4, shade=number) for number in range(12)]
    for number, source in enumerate(sources * 4):
        shutil.copy(source, folder.folder / f"copy-{number:02}.jpg")
    backwards = folder.folder.with_name("backwards")
    backwards.mkdir()
    for number, source in enumerate(reversed(sources * 5)):
        shutil.copy(source, backwards / f"{number:02}.jpg")
    jobs = [
        folder.record(where, runner=Runner.WORKERS) for where in (folder.folder, backwards, folder.folder)
    ]
    executors = [folder.executor() for _ in range(2)]

    def work(number: int) -> None:
        for job in jobs[number:] + jobs[:number]:
            while claimed := claim_next_chunk(folder.database, job, "w"):
                assert executors[number % 2].execute(claimed) is ChunkEnd.DONE

    in_threads([lambda number=number: work(number) for number in range(3)])
    for executor in executors:
        executor.close()
    assert [folder.progress(job).state for job in jobs] == [JobState.FINISHED] * 3
    assert [folder.progress(job).failed for job in jobs] == [0, 0, 0]
    assert folder.count(contents) == 12


def test_a_printer_that_breaks_ends_the_job_and_loses_nothing(folder):
    folder.draw_many(32)
    job = folder.record()

    def broken_pipe(_stored: StoredBatch) -> None:
        raise BrokenPipeError("nobody reads")

    with pytest.raises(BrokenPipeError):
        folder.run(job, broken_pipe)
    progress = folder.progress(job)
    assert progress.state is JobState.CANCELLED
    assert progress.tagged + progress.cancelled == 32
    again = folder.run(folder.record())
    assert again.tagged + again.skipped == 32
    assert again.skipped >= progress.tagged
