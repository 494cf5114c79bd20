"""Jobs that write metadata: chained to other jobs, adopted by workers, and interrupted at any point."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select, update
from support.artifacts import LABELS, tiny_artifact
from support.databases import execute, read_scalars
from support.ledgers import claim_one
from support.threads import in_threads
from support.written_folder import EMBED, SIDECAR, SIDECAR_OF_USER, WrittenFolder

from tagger.database import JobKind, JobState, Runner
from tagger.database.connection import Database
from tagger.database.tables import chunks, job_items, jobs, photos
from tagger.jobs.enqueue.metadata_jobs import Undo, fill_chained_jobs
from tagger.jobs.enqueue.submission import Retry
from tagger.jobs.processing import chunk_runner, metadata_writing
from tagger.jobs.processing.chunk_runner import ChunkEnd
from tagger.jobs.processing.executor import ChunkExecutor
from tagger.jobs.processing.metadata_preview import PhotoTags
from tagger.jobs.processing.metadata_writing import PhotoResult
from tagger.ledger import items
from tagger.ledger.items import FailureFilter
from tagger.ledger.job_control import cancel, recover_stale_jobs
from tagger.ledger.workers import resume_suspended_jobs
from tagger.metadata import RefusalKind, WriteRefused, photo_writer
from tagger.metadata.photo_writer import PreparedPhoto
from tagger.metadata.replacement import PreparedFile, prepare, read_for_writing
from tagger.registry import add_model
from tagger.tags import record_photos


@pytest.fixture
def folder(database, tmp_path, monkeypatch) -> WrittenFolder:
    monkeypatch.setattr(
        metadata_writing.MetadataWriter, "batch_size", 4
    )  # several transactions even for few photos
    return WrittenFolder(database, tmp_path)


def draw_photos(folder: WrittenFolder, count: int) -> dict[str, bytes]:
    folder.draw_many(count, labels=2)
    return folder.files()


def jobs_of(folder: WrittenFolder, kind: JobKind) -> list[int]:
    return read_scalars(folder.database, select(jobs.c.id).where(jobs.c.kind == kind).order_by(jobs.c.id))


def items_of(folder: WrittenFolder, job: int) -> list[int]:
    return read_scalars(folder.database, select(job_items.c.photo_id).where(job_items.c.job_id == job))


def test_only_jobs_with_metadata_options_get_a_write_job(folder):
    draw_photos(folder, 2)
    plain = folder.tag_and_write(None)
    assert folder.progress(plain).write_job is None
    job = folder.tag_and_write(EMBED, reprocess=True)
    chained = folder.progress(job).write_job
    assert jobs_of(folder, JobKind.WRITE) == [chained]
    assert (folder.progress(chained).parent, folder.progress(chained).total) == (job, 0)
    folder.chained(job)
    folder.run(chained)
    progress = folder.progress(chained)
    assert (progress.state, progress.written, progress.write_job) == (JobState.FINISHED, 2, None)
    assert jobs_of(folder, JobKind.WRITE) == [chained]


def test_cancelled_job_gets_no_write_job(folder):
    draw_photos(folder, 2)
    job = folder.record_to_write(EMBED)
    cancel(folder.database, job)
    assert jobs_of(folder, JobKind.WRITE) == []


def test_retry_keeps_the_metadata_options(folder):
    path = folder.draw("a.jpg", 0)
    original = path.read_bytes()
    path.write_bytes(b"no picture yet")
    job = folder.tag_and_write(SIDECAR, runner=Runner.WORKERS)
    path.write_bytes(original)
    retry = folder.submit(Retry(FailureFilter(job)), local=False)
    folder.work(retry)
    assert folder.outcomes(retry) == {"a.jpg": "tagged"}
    chained = folder.progress(retry).write_job
    assert chained in fill_chained_jobs(folder.database)
    assert chained is not None
    folder.work(chained)
    assert folder.outcomes(chained) == {"a.jpg": "written"}
    assert (folder.folder / "a.jpg.xmp").exists()


def test_write_job_selects_photos_with_values_to_write_or_remove(folder, tmp_path):
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


def test_photo_without_tags_loses_our_values(folder, tmp_path):
    original = folder.draw("a.jpg", 0).read_bytes()
    folder.tag()
    folder.write()
    tiny_artifact(tmp_path / "strict.pt", name="strict", seed=1)
    job = folder.tag_and_write(EMBED, model=add_model(folder.database, tmp_path / "strict.pt"))
    assert folder.outcomes(job) == {"a.jpg": "unknown"}
    folder.run(chained := folder.chained(job))
    assert folder.outcomes(chained) == {"a.jpg": "written"}
    assert folder.files() == {"a.jpg": original}


def test_a_tag_that_the_position_of_its_photo_refuses_is_not_written(folder):
    folder.draw("paris.jpg", 0)
    folder.draw("tokyo.jpg", 0, shade=1)
    job = folder.tag_and_write(EMBED)
    with folder.database.write() as connection:
        in_tokyo = photos.c.path == "tokyo.jpg"
        record_photos(connection, connection.scalars(select(photos.c.id).where(in_tokyo)).all())
        connection.execute(update(photos).where(in_tokyo).values(latitude=35.68, longitude=139.77))
    folder.run(chosen := folder.chained(job))
    assert folder.outcomes(chosen) == {"paris.jpg": "written"}


@pytest.mark.postgresql
def test_chained_jobs_are_adopted_once(folder):
    draw_photos(folder, 6)
    folder.tag()
    for _ in range(4):
        folder.record_to_write(EMBED, runner=Runner.WORKERS)
    waiting = jobs_of(folder, JobKind.WRITE)
    assert len(waiting) == 4
    chosen: list[int] = []
    in_threads([lambda: chosen.extend(fill_chained_jobs(folder.database)) for _ in range(6)])
    assert sorted(chosen) == waiting
    for job in waiting:
        assert len(items_of(folder, job)) == len(set(items_of(folder, job))) == 6
        assert folder.progress(job).state is JobState.QUEUED


def test_selection_continues_after_a_crash(folder, monkeypatch):
    monkeypatch.setattr(items, "PAGE", 2)
    draw_photos(folder, 7)
    folder.tag()
    folder.record_to_write(EMBED, runner=Runner.WORKERS)
    (job,) = jobs_of(folder, JobKind.WRITE)
    original, pages = items._add_page, []

    def interrupt_third_page(*args: object) -> object:
        pages.append(args)
        if len(pages) == 3:
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(items, "_add_page", interrupt_third_page)
        with pytest.raises(KeyboardInterrupt):
            fill_chained_jobs(folder.database)
    assert len(items_of(folder, job)) == 4
    assert fill_chained_jobs(folder.database) == []  # another process may still be selecting its photos
    lost = {"owner": "elsewhere/1", "owner_lease_until": 0.0}
    execute(folder.database, update(jobs).where(jobs.c.id == job).values(lost))
    recover_stale_jobs(folder.database)
    assert fill_chained_jobs(folder.database) == [job]
    assert len(items_of(folder, job)) == len(set(items_of(folder, job))) == 7
    assert folder.work(job) == [ChunkEnd.DONE] * 4
    assert (folder.progress(job).written, folder.progress(job).state) == (7, JobState.FINISHED)


def call_around_replacement(
    monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None], *, before: bool
) -> None:
    original = PreparedPhoto.replace_files
    count = iter(range(10**6))
    lock = threading.Lock()

    def replace_files(ready: PreparedPhoto) -> None:
        with lock:
            is_selected = next(count) == number
        if is_selected and before:
            act()
        original(ready)
        if is_selected and not before:
            act()

    monkeypatch.setattr(PreparedPhoto, "replace_files", replace_files)


@pytest.mark.parametrize("options", [EMBED, SIDECAR], ids=["embed", "sidecar"])
def test_lost_lease_after_replacement_is_recovered_by_the_next_claim(folder, monkeypatch, options):
    before = draw_photos(folder, 10)
    folder.tag()
    job = folder.create_write_job_for_workers(options)
    with monkeypatch.context() as patch:
        call_around_replacement(patch, 6, lambda: folder.lose_leases(job), before=False)
        assert folder.work(job) == [ChunkEnd.LOST]
    assert folder.progress(job).written == 4
    after = folder.files()
    assert sum(after[name] != before.get(name) for name in after) == 8
    assert folder.work(job) == [ChunkEnd.DONE]
    assert set(folder.outcomes(job).values()) == {"written"}
    assert folder.progress(job).written == 10
    assert len(folder.undo_rows) == 10
    assert all(row.complete for row in folder.undo_rows)
    final = folder.files()
    assert all(final[name] == data for name, data in after.items() if data != before.get(name))
    folder.undo()
    assert (folder.files(), folder.undo_rows) == (before, [])


def test_an_undo_that_was_done_before_it_failed_says_so(folder, monkeypatch):
    folder.draw("a.jpg", 0)
    folder.tag()
    folder.write(SIDECAR)

    def fail() -> None:
        raise WriteRefused(RefusalKind.BUSY, "another program reads the folder")

    call_around_replacement(monkeypatch, 0, fail, before=False)
    assert folder.undo() == {"a.jpg": "written"}
    texts = read_scalars(folder.database, select(job_items.c.error_text).order_by(job_items.c.job_id))
    assert texts[-1] == "by an earlier attempt of this job"


def test_a_file_that_a_frozen_worker_holds_is_written_when_that_ends(folder, monkeypatch):
    monkeypatch.setattr(chunk_runner, "PAUSE_S", 0.05)
    draw_photos(folder, 3)
    folder.tag()
    held = frozen_write(folder.folder / "00.jpg")
    ended = threading.Timer(3, held.discard)
    ended.start()
    assert set(folder.write(EMBED).values()) == {"written"}
    ended.join()


def test_a_file_that_stays_in_use_is_refused_with_what_to_do(folder, monkeypatch):
    monkeypatch.setattr(metadata_writing, "BUSY_S", 1.0)
    draw_photos(folder, 3)
    folder.tag()
    held = frozen_write(folder.folder / "00.jpg")
    outcomes = folder.write(EMBED)
    held.discard()
    assert (outcomes.pop("00.jpg"), set(outcomes.values())) == ("refused", {"written"})
    ((reason, text),) = [(reason, text) for _, reason, text in folder.reasons(2).values() if reason]
    assert reason == "busy"
    assert "end its process, and run the command of this job again" in text
    assert folder.write(EMBED)["00.jpg"] == "written"


def frozen_write(photo: Path) -> PreparedFile:
    """What a worker holds that stands still between writing the new file and renaming it."""
    original = read_for_writing(photo, max_bytes=2**20)
    return prepare(original, b"new")


def test_lost_lease_before_intents_replaces_nothing(folder, monkeypatch):
    before = draw_photos(folder, 6)
    folder.tag()
    job = folder.create_write_job_for_workers()
    original = photo_writer.prepare_photo
    once = threading.Lock()

    def prepare_photo(plan: object) -> object:
        if once.acquire(blocking=False):
            folder.lose_leases(job)
        return original(plan)

    with monkeypatch.context() as slow:
        slow.setattr(photo_writer, "prepare_photo", prepare_photo)
        assert folder.work(job) == [ChunkEnd.LOST]
    assert folder.files() == before
    assert folder.undo_rows == []
    folder.work(job)
    assert folder.progress(job).written == 6


def test_stop_releases_the_remaining_photos(folder, monkeypatch):
    before = draw_photos(folder, 12)
    folder.tag()
    job = folder.create_write_job_for_workers()
    claimed = claim_one(folder.database, job)
    executor = folder.executor()
    with monkeypatch.context() as patch:
        call_around_replacement(patch, 5, executor.stop.set, before=True)
        assert executor.execute(claimed) is ChunkEnd.RELEASED
    executor.close()
    progress = folder.progress(job)
    assert (progress.written, progress.queued, progress.running) == (6, 6, 0)
    assert folder.files().keys() == before.keys()
    assert sum(data != before[name] for name, data in folder.files().items()) == 6
    folder.work(job)
    assert set(folder.outcomes(job).values()) == {"written"}
    folder.undo()
    assert (folder.files(), folder.undo_rows) == (before, [])


def test_a_chunk_is_released_after_a_batch_when_its_time_slice_is_over(folder):
    draw_photos(folder, 12)
    folder.tag()
    job = folder.create_write_job_for_workers()
    executor = ChunkExecutor(folder.database, folder.settings, slice_s=0.0)
    ends, written = [], []
    for _ in range(3):
        claimed = claim_one(folder.database, job)
        ends.append(executor.execute(claimed))
        written.append(folder.progress(job).written)
    executor.close()
    assert ends == [ChunkEnd.SLICE_OVER, ChunkEnd.SLICE_OVER, ChunkEnd.DONE]
    assert written == [4, 8, 12]


@pytest.mark.parametrize("name", ["photos", "photos/nas"], ids=["root", "disk in it"])
def test_a_disk_that_goes_away_while_an_undo_reads_loses_no_sidecar(folder, disk, name, monkeypatch):
    mounted = disk.mount(folder.folder.parent / name)
    for number in range(4):
        folder.draw(f"nas/{number}.jpg", shade=number)
    folder.tag()
    folder.write(SIDECAR)
    load = metadata_writing.load_photo_tags

    def load_and_unmount(database: Database, photo_ids: Collection[int]) -> Mapping[int, PhotoTags]:
        disk.unmount()
        return load(database, photo_ids)

    with monkeypatch.context() as patch:
        patch.setattr(metadata_writing, "load_photo_tags", load_and_unmount)
        job = folder.submit(Undo(), local=False)
        assert folder.work(job) == [ChunkEnd.WAITING]
    assert folder.progress(job).queued == 4
    disk.mount(mounted)
    resume_suspended_jobs(folder.database, [job])
    assert folder.work(job) == [ChunkEnd.DONE]
    assert folder.progress(job).written == 4
    assert not list(mounted.rglob("*.xmp"))


@pytest.mark.postgresql
def test_concurrent_jobs_leave_complete_files(folder):
    before = draw_photos(folder, 6)
    folder.tag()
    job_ids = [folder.create_write_job_for_workers(options) for options in (EMBED, SIDECAR, EMBED, SIDECAR)]
    in_threads([partial(folder.work, job) for job in job_ids])
    for job in job_ids:
        progress = folder.progress(job)
        assert (progress.state, progress.total) == (JobState.FINISHED, 6)
        assert set(folder.outcomes(job).values()) <= {"written", "unchanged", "refused"}
        assert {reason for _, reason, _ in folder.reasons(job).values()} <= {None, "busy"}
    outcomes = folder.write(SIDECAR), folder.write()
    assert [set(each.values()) <= {"unchanged", "written"} for each in outcomes] == [True, True]
    assert not [name for name in folder.files() if name.startswith(".")]
    assert all(read_scalars(folder.database, select(chunks.c.done)))
    folder.undo()
    assert (folder.files(), folder.undo_rows) == (before, [])


@pytest.mark.parametrize("first", ["write", "undo"])
def test_the_undo_record_of_a_job_that_wrote_meanwhile_stays(folder, monkeypatch, first):
    folder.draw("a.jpg", 0)
    sidecar = folder.folder / "a.xmp"
    sidecar.write_text(SIDECAR_OF_USER)
    before = folder.files()
    folder.tag()
    if first == "undo":
        folder.write(SIDECAR)
        sidecar.write_text(SIDECAR_OF_USER)  # from a backup
    store = metadata_writing.MetadataWriter._store

    def store_later(writer: metadata_writing.MetadataWriter, results: Sequence[PhotoResult]) -> None:
        monkeypatch.setattr(metadata_writing.MetadataWriter, "_store", store)
        assert folder.write(replace(SIDECAR, description=True)) == {"a.jpg": "written"}
        store(writer, results)

    monkeypatch.setattr(metadata_writing.MetadataWriter, "_store", store_later)
    if first == "write":
        assert folder.write(SIDECAR) == {"a.jpg": "written"}
    else:
        assert folder.undo() == {"a.jpg": "unchanged"}
    folder.undo()
    assert (folder.files(), folder.undo_rows) == (before, [])
