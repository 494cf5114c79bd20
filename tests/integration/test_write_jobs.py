"""Jobs that write metadata: chained to others, chosen for once, and true to the files whatever dies in between."""

import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from artifacts import LABELS, tiny_artifact
from sqlalchemy import func, select, update
from threads import in_threads
from written import EMBED, SIDECAR, WrittenFolder

from tagger.database import Database
from tagger.errors import LeaseLost
from tagger.holding import ChunkEnd
from tagger.ledger import filling
from tagger.ledger.abandoned import settle_abandoned
from tagger.ledger.chunks import ChunkName, claim
from tagger.ledger.dispatch import return_expired, wake
from tagger.ledger.jobs import NOBODY, adopt_job, cancel_job
from tagger.ledger.progress import Failing
from tagger.ledger.retrying import like_job, record_retry
from tagger.ledger.steering import pause, resume
from tagger.metadata.temporaries import temporary_of
from tagger.registry import add_model
from tagger.tables import JobKind, JobState, Priority, Runner, chunks, job_items, jobs
from tagger.writing import chunk as writing_chunk
from tagger.writing import photo as writing_photo
from tagger.writing.asked import WriteAsked
from tagger.writing.chosen import choose_adopted
from tagger.writing.photo import ReadyPhoto


@pytest.fixture
def folder(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WrittenFolder:
    monkeypatch.setattr(writing_chunk, "BATCH", 4)  # several transactions for the few photos of a test
    return WrittenFolder(database, tmp_path)


def state(folder: WrittenFolder) -> dict[str, bytes]:
    """Every file below the folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.folder.rglob("*") if path.is_file()}


def drawn(folder: WrittenFolder, count: int) -> dict[str, bytes]:
    for number in range(count):
        folder.draw(f"{number:02}.jpg", number % 2, shade=number)
    return state(folder)


def jobs_of(folder: WrittenFolder, kind: JobKind) -> list[int]:
    with folder.database.read() as connection:
        return list(connection.scalars(select(jobs.c.id).where(jobs.c.kind == kind).order_by(jobs.c.id)))


def items_of(folder: WrittenFolder, job: int) -> list[int]:
    with folder.database.read() as connection:
        return list(connection.scalars(select(job_items.c.photo_id).where(job_items.c.job_id == job)))


def take_over(folder: WrittenFolder, job: int) -> None:
    """The leases of the job's chunks end, and the sweeper takes them back."""
    with folder.database.write() as connection:
        held = (chunks.c.job_id == job, chunks.c.lease_until.is_not(None))
        connection.execute(update(chunks).where(*held).values(lease_until=0.0))
    return_expired(folder.database)


# --- Chained to the job whose tags they write.


def test_a_job_that_is_to_write_is_followed_by_one_that_does_and_no_other_is(folder: WrittenFolder) -> None:
    drawn(folder, 2)
    plain = folder.tag_and_write(None)
    assert folder.progress(plain).write_job is None
    job = folder.tag_and_write(EMBED, again=True)
    chained = folder.progress(job).write_job
    assert jobs_of(folder, JobKind.WRITE) == [chained]
    assert (folder.progress(chained).parent, folder.progress(chained).total) == (job, 0)
    folder.chained(job)
    folder.run(chained)
    ended = folder.progress(chained)
    assert (ended.state, ended.written, ended.write_job) == (JobState.FINISHED, 2, None)
    assert jobs_of(folder, JobKind.WRITE) == [chained]


def test_photos_that_were_looked_at_before_are_written_though_nothing_is_looked_at(
    folder: WrittenFolder,
) -> None:
    drawn(folder, 3)
    folder.tag()
    job = folder.record_to_write(SIDECAR)
    assert folder.progress(job).state is JobState.FINISHED
    folder.run(chained := folder.chained(job))
    assert folder.progress(chained).written == 3


def test_a_job_that_was_cancelled_is_followed_by_none(folder: WrittenFolder) -> None:
    drawn(folder, 2)
    job = folder.record_to_write(EMBED)
    with folder.database.write() as connection:
        cancel_job(connection, job, "by request")
    assert jobs_of(folder, JobKind.WRITE) == []


def test_a_retry_writes_what_the_job_was_to_write(folder: WrittenFolder) -> None:
    path = folder.draw("a.jpg", 0)
    good = path.read_bytes()
    path.write_bytes(b"no picture yet")
    job = folder.tag_and_write(SIDECAR, runner=Runner.WORKERS)
    path.write_bytes(good)
    retry = record_retry(folder.database, like_job(folder.database, job, Priority.BULK), Failing(job))
    folder.work(retry)
    assert folder.outcomes(retry) == {"a.jpg": "tagged"}
    chained = folder.progress(retry).write_job
    assert chained in choose_adopted(folder.database)
    assert chained is not None
    folder.work(chained)
    assert folder.outcomes(chained) == {"a.jpg": "written"}
    assert (folder.folder / "a.jpg.xmp").exists()


def test_of_a_jobs_photos_those_are_chosen_that_have_something_to_write_or_to_lose(
    folder: WrittenFolder, tmp_path: Path
) -> None:
    folder.draw("tagged.jpg", 0)
    folder.draw("before.jpg", 1)
    folder.draw("once.jpg", 2)
    folder.draw("unknown.jpg", None)
    folder.draw("gone.jpg", 0, shade=1)
    (folder.folder / "broken.jpg").write_bytes(b"no picture")
    folder.tag(folder.folder / "before.jpg")
    folder.tag(folder.folder / "once.jpg")
    folder.write()
    two_labels = tmp_path / "two.pt"
    tiny_artifact(two_labels, LABELS[:2], name="two")
    job = folder.tag_and_write(EMBED, model=add_model(folder.database, two_labels))
    (folder.folder / "gone.jpg").unlink()
    folder.tag(folder.folder, model=folder.model)
    chosen = folder.chained(job)
    folder.run(chosen)
    assert set(folder.outcomes(chosen)) >= {"tagged.jpg", "before.jpg", "once.jpg"}
    assert not {"unknown.jpg", "gone.jpg", "broken.jpg"} & set(folder.outcomes(chosen))


def test_a_photo_that_lost_its_tag_loses_our_words(folder: WrittenFolder, tmp_path: Path) -> None:
    original = folder.draw("a.jpg", 0).read_bytes()
    folder.tag()
    folder.write()
    tiny_artifact(tmp_path / "strict.pt", name="strict", seed=1)
    job = folder.tag_and_write(EMBED, model=add_model(folder.database, tmp_path / "strict.pt"))
    assert folder.outcomes(job) == {"a.jpg": "unknown"}
    folder.run(chained := folder.chained(job))
    assert folder.outcomes(chained) == {"a.jpg": "written"}
    assert state(folder) == {"a.jpg": original}


# --- Adopted by workers.


def test_chained_jobs_are_adopted_once_however_many_look_for_them(folder: WrittenFolder) -> None:
    drawn(folder, 6)
    folder.tag()
    for _ in range(4):
        folder.record_to_write(EMBED, runner=Runner.WORKERS)
    waiting = jobs_of(folder, JobKind.WRITE)
    assert len(waiting) == 4
    chosen: list[int] = []
    in_threads([lambda: chosen.extend(choose_adopted(folder.database)) for _ in range(6)])
    assert sorted(chosen) == waiting
    for job in waiting:
        assert len(items_of(folder, job)) == len(set(items_of(folder, job))) == 6
        assert folder.progress(job).state is JobState.QUEUED


def test_choosing_goes_on_where_a_chooser_died(
    folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "PAGE", 2)
    drawn(folder, 7)
    folder.tag()
    folder.record_to_write(EMBED, runner=Runner.WORKERS)
    (job,) = jobs_of(folder, JobKind.WRITE)
    real, pages = filling._add_page, []

    def die_at_the_third(*given: object) -> object:
        pages.append(given)
        if len(pages) == 3:
            raise KeyboardInterrupt
        return real(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as dying:
        dying.setattr(filling, "_add_page", die_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            choose_adopted(folder.database)
    assert len(items_of(folder, job)) == 4
    assert choose_adopted(folder.database) == []  # as far as anybody knows, it is being chosen
    with folder.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(owner="elsewhere/1", owner_until=0.0))
    settle_abandoned(folder.database)
    assert choose_adopted(folder.database) == [job]
    assert len(items_of(folder, job)) == len(set(items_of(folder, job))) == 7
    assert folder.work(job) == [ChunkEnd.DONE] * 4
    assert (folder.progress(job).written, folder.progress(job).state) == (7, JobState.FINISHED)


def test_a_job_that_is_cancelled_while_it_is_chosen_keeps_nobody_from_the_others(
    folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn(folder, 3)
    folder.tag()
    for _ in range(2):
        folder.record_to_write(EMBED, runner=Runner.WORKERS)
    first, second = jobs_of(folder, JobKind.WRITE)
    real = filling._add_page

    def cancel_first(connection: object, job_id: int, *given: object) -> object:
        if job_id == first:
            cancel_job(connection, job_id, "by request")  # type: ignore[arg-type]
        return real(connection, job_id, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(filling, "_add_page", cancel_first)
    assert choose_adopted(folder.database) == [second]
    assert len(items_of(folder, second)) == 3


def test_a_job_is_adopted_by_nobody_while_it_has_an_owner(folder: WrittenFolder) -> None:
    drawn(folder, 1)
    folder.tag()
    folder.record_to_write(EMBED, runner=Runner.WORKERS)
    (job,) = jobs_of(folder, JobKind.WRITE)
    with folder.database.read() as connection:
        assert connection.scalar(select(jobs.c.owner).where(jobs.c.id == job)) == NOBODY
    assert adopt_job(folder.database) == job
    assert adopt_job(folder.database) is None


# --- Interrupted.


def interrupted(
    monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None], *, before: bool
) -> None:
    """Act when the photo `number` is put in place, before that or after."""
    real = ReadyPhoto.put_in_place
    count = iter(range(10**6))
    lock = threading.Lock()

    def put_in_place(ready: ReadyPhoto) -> None:
        with lock:
            is_it = next(count) == number
        if is_it and before:
            act()
        real(ready)
        if is_it and not before:
            act()

    monkeypatch.setattr(ReadyPhoto, "put_in_place", put_in_place)


@pytest.mark.parametrize("asked", [EMBED, SIDECAR], ids=["embed", "sidecar"])
def test_a_lease_that_is_lost_after_files_were_replaced_stores_nothing_twice_and_the_next_says_what_is_true(
    folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch, asked: WriteAsked
) -> None:
    before = drawn(folder, 10)
    folder.tag()
    job = folder.recorded(asked)
    with monkeypatch.context() as once:
        interrupted(once, 6, lambda: take_over(folder, job), before=False)
        assert folder.work(job) == [ChunkEnd.LOST]
    assert folder.progress(job).written == 4
    after = state(folder)
    assert sum(after[name] != before.get(name) for name in after) == 8
    assert folder.work(job) == [ChunkEnd.DONE]
    assert set(folder.outcomes(job).values()) == {"written"}
    assert folder.progress(job).written == 10
    assert len(folder.kept) == 10
    assert all(row.confirmed for row in folder.kept)
    ended = state(folder)
    assert all(ended[name] == data for name, data in after.items() if data != before.get(name))
    folder.undo()
    assert (state(folder), folder.kept) == (before, [])


@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_process_that_dies_before_files_are_replaced_leaves_nothing_and_the_next_writes_them(
    folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = drawn(folder, 10)
    folder.tag()
    job = folder.recorded()

    def die() -> None:
        raise LeaseLost(job=job, chunk=0)

    with monkeypatch.context() as once:
        interrupted(once, number, die, before=True)
        assert folder.work(job) == [ChunkEnd.LOST]
    assert state(folder).keys() == before.keys()
    assert any(not row.confirmed for row in folder.kept)
    take_over(folder, job)
    assert folder.work(job) == [ChunkEnd.DONE]
    assert set(folder.outcomes(job).values()) == {"written"}
    assert len(folder.kept) == 10
    folder.undo()
    assert (state(folder), folder.kept) == (before, [])


def test_taking_back_that_is_interrupted_is_ended_by_the_next(
    folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = drawn(folder, 10)
    folder.tag()
    folder.write(SIDECAR)
    folder.write()
    job = folder.recorded_undo()
    with monkeypatch.context() as once:
        interrupted(once, 6, lambda: take_over(folder, job), before=False)
        assert folder.work(job) == [ChunkEnd.LOST]
    assert folder.work(job) == [ChunkEnd.DONE]
    assert set(folder.outcomes(job).values()) == {"written"}
    assert (state(folder), folder.kept) == (before, [])


def test_who_lost_the_lease_before_saying_so_replaces_nothing(
    folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = drawn(folder, 6)
    folder.tag()
    job = folder.recorded()
    real = writing_photo.make_ready
    once = threading.Lock()

    def make_ready(planned: object) -> object:
        if once.acquire(blocking=False):
            take_over(folder, job)
        return real(planned)  # type: ignore[arg-type]

    with monkeypatch.context() as slow:
        slow.setattr(writing_photo, "make_ready", make_ready)
        assert folder.work(job) == [ChunkEnd.LOST]
    assert state(folder) == before
    assert folder.kept == []
    folder.work(job)
    assert folder.progress(job).written == 6


def test_a_job_that_was_paused_goes_on_and_says_of_each_photo_that_it_was_written(
    folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = drawn(folder, 12)
    folder.tag()
    job = folder.recorded()
    with monkeypatch.context() as once:
        interrupted(once, 5, lambda: pause(folder.database, job), before=True)
        assert folder.work(job) == [ChunkEnd.LOST]
    assert folder.progress(job).written == 8
    assert sum(data != before[name] for name, data in state(folder).items()) == 8
    resume(folder.database, job)
    assert folder.work(job) == [ChunkEnd.DONE]
    assert set(folder.outcomes(job).values()) == {"written"}
    folder.undo()
    assert state(folder) == before


def test_stopping_in_the_middle_gives_the_rest_back(
    folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = drawn(folder, 12)
    folder.tag()
    job = folder.recorded()
    claimed = claim(folder.database, ChunkName(job, 0), Runner.WORKERS, "w")
    assert claimed is not None
    tagger = folder.tagger()
    with monkeypatch.context() as once:
        interrupted(once, 5, tagger.stop.set, before=True)
        assert tagger.tag_chunk(claimed) is ChunkEnd.RELEASED
    tagger.close()
    progress = folder.progress(job)
    assert (progress.written, progress.queued, progress.running) == (8, 4, 0)
    assert state(folder).keys() == before.keys()
    folder.work(job)
    assert set(folder.outcomes(job).values()) == {"written"}


def test_a_root_that_goes_away_is_waited_for(folder: WrittenFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = drawn(folder, 6)
    folder.tag()
    job = folder.recorded()
    elsewhere = folder.folder.rename(folder.folder.with_name("unmounted"))
    assert folder.work(job) == [ChunkEnd.WAITING]
    waiting = folder.progress(job)
    assert (waiting.state, waiting.queued, waiting.failed) == (JobState.WAITING, 6, 0)
    elsewhere.rename(folder.folder)
    wake(folder.database, [job])
    assert folder.work(job) == [ChunkEnd.DONE]
    assert folder.progress(job).written == 6
    folder.undo()
    assert state(folder) == before


def test_a_folder_that_vanished_keeps_no_chunk_from_its_end_that_died_before(folder: WrittenFolder) -> None:
    drawn(folder, 2)
    folder.draw("deep/down/a.jpg", 0, shade=9)
    folder.tag()
    job = folder.recorded()
    assert claim(folder.database, ChunkName(job, 0), Runner.WORKERS, "dies") is not None
    take_over(folder, job)
    shutil.rmtree(folder.folder / "deep")
    assert folder.work(job) == [ChunkEnd.DONE]
    assert {name: (outcome, reason) for name, (outcome, reason, _) in folder.reasons(job).items()} == {
        "00.jpg": ("written", None),
        "01.jpg": ("written", None),
        "deep/down/a.jpg": ("failed", "gone"),
    }


@pytest.mark.parametrize("asked", [EMBED, SIDECAR], ids=["embed", "sidecar"])
def test_what_a_writer_that_died_left_is_cleared_though_it_is_not_wanted_any_more(
    folder: WrittenFolder, asked: WriteAsked
) -> None:
    before = drawn(folder, 3)
    folder.tag()
    folder.write(asked)
    for name in before:
        temporary_of(folder.folder / (name if asked is EMBED else f"{name}.xmp")).write_bytes(b"half of it")
    (folder.folder / ".tagger-of-somebody-else.part").write_bytes(b"not ours")
    assert set(folder.write(asked).values()) == {"unchanged"}
    assert [name for name in state(folder) if name.startswith(".")] == [".tagger-of-somebody-else.part"]


def test_jobs_over_the_same_photos_at_once_leave_each_file_whole(folder: WrittenFolder) -> None:
    before = drawn(folder, 24)
    folder.tag()
    working = [folder.recorded(asked) for asked in (EMBED, SIDECAR, EMBED, SIDECAR)]
    in_threads([partial(folder.work, job) for job in working])
    for job in working:
        ended = folder.progress(job)
        assert (ended.state, ended.total) == (JobState.FINISHED, 24)
        assert set(folder.outcomes(job).values()) <= {"written", "unchanged", "refused"}
        assert {reason for _, reason, _ in folder.reasons(job).values()} <= {None, "busy", "changed"}
    settled = folder.write(SIDECAR), folder.write()
    assert [set(each.values()) <= {"unchanged", "written"} for each in settled] == [True, True]
    assert not [name for name in state(folder) if name.startswith(".")]
    with folder.database.read() as connection:
        assert (
            connection.scalar(select(func.count()).select_from(chunks).where(chunks.c.done.is_(False))) == 0
        )
    folder.undo()
    assert (state(folder), folder.kept) == (before, [])
