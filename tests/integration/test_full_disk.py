"""SQLite's disk is full for a moment, at any write of a worker: the job goes on, and no photo is classified twice."""

import time
from pathlib import Path

import pytest
from rig.ledger_invariants import job_violations, library_violations
from support.colour_folders import TaggedFolder
from support.empty_databases import create_sqlite_database
from support.full_disk import FullDisk
from support.in_process_worker import in_process_worker
from support.inferences import record_inferences

from tagger.database.connection import open_database
from tagger.database.enums import Runner
from tagger.jobs.processing import classification_chunk

PHOTOS = 6
END_S = 60.0
"""A step that waits for a lease, a lost message or the watchdog takes longer with the intervals of production."""


@pytest.mark.slow
@pytest.mark.parametrize("refusals", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_a_job_goes_on_after_any_write_of_a_worker_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    monkeypatch.setattr(classification_chunk, "STORE_PHOTOS", 4)
    monkeypatch.setattr("worker.sweeper.SWEEP_S", 0.3)
    monkeypatch.setattr("tagger.ledger.dispatch.RETRY_S", 0.3)
    monkeypatch.setattr("tagger.database.retry.PAUSE_S", 0.01)
    disk = FullDisk(monkeypatch)
    classified = record_inferences(monkeypatch)
    url = create_sqlite_database(tmp_path / "database" / "tagger.sqlite")
    folder = TaggedFolder(open_database(url), tmp_path)
    for number in range(PHOTOS):
        folder.draw(f"{number:02}.jpg", shade=number)
    first_refused = 1
    with in_process_worker(
        folder.settings.model_copy(update={"database_url": url, "backend": "torchscript"})
    ):
        while True:
            classified.clear()
            job = folder.record(runner=Runner.WORKERS, reprocess=True)
            disk.start_count(range(first_refused, first_refused + refusals))
            began = time.monotonic()
            while not folder.progress(job).is_over:
                assert time.monotonic() - began < END_S, (first_refused, folder.progress(job))
                time.sleep(0.02)
            if disk.writes < first_refused:
                break
            assert (folder.progress(job).tagged, sum(classified)) == (PHOTOS, PHOTOS), first_refused
            assert job_violations(folder.database, job) == []
            first_refused += 1
    assert first_refused > 8, "the job made fewer writes than expected; does the test still see them?"
    assert library_violations(folder.database) == []
    folder.database.close()
