"""Writes metadata to the photos of a chunk, or undoes writes: prepare, record, replace, store.

After an interruption, the files themselves show which writes were done. Temporary files of processes that
died are removed; those of running ones are locked.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from tagger.database import Outcome
from tagger.database.statements import current_time
from tagger.errors import FailureKind, LeaseLost, PhotoFailure
from tagger.jobs.enqueue.submission import UNDO_JOB, MetadataOptions
from tagger.jobs.processing.chunk_runner import ChunkRunner, PhotoProcessor
from tagger.jobs.processing.metadata_preview import PhotoTags, load_photo_tags
from tagger.jobs.processing.storage import Item
from tagger.jobs.processing.undo_log import (
    PhotoResult,
    find_undo_record,
    record_intents,
    record_results,
)
from tagger.ledger.chunks import store_outcomes
from tagger.ledger.items import EDITED
from tagger.metadata import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.photo_files import remove_leftovers
from tagger.metadata.photo_writer import (
    PhotoWriteRequest,
    PreparedPhoto,
    describe_result,
    plan_and_prepare,
)
from tagger.metadata.plans import UndoRecord
from tagger.roots import Root

log = logging.getLogger(__name__)

# Preparing a file is mostly waiting for the disk or the network.
THREADS = 4
# How long a photo is tried that another process is writing: one that hangs ends earlier, unless
# settings say otherwise.
BUSY_S = 360.0
# The pauses between tries; they double.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0

_INTERNAL_ERROR = (
    "An unexpected error occurred in its metadata; the file is unchanged. Please report it, "
    "with the worker's log."
)


@dataclass(frozen=True)
class _BusyPhoto:
    # A photo that another process writes: since when, when it is tried next, and the pause after that.
    since: float
    next_try: float
    pause_s: float


def _refusal_text(refused: WriteRefused) -> str:
    if refused.kind is not RefusalKind.BUSY:
        return refused.text
    return (
        f"{refused.text} It was tried for {BUSY_S / 60:.0f} minutes. If `tagger status` shows a worker that "
        "does not answer, end its process, and run the command of this job again."
    )


class MetadataWriter(PhotoProcessor):
    # Photos whose new files are ready at the same time: two transactions for all of them.
    batch_size = 32

    def __init__(self, chunk: ChunkRunner) -> None:
        super().__init__(chunk)
        self._claim = chunk.claim
        # None in a job that undoes writes.
        self._options = MetadataOptions.from_job_options(chunk.claim.options)
        self._undo_job: int | None = chunk.claim.options.get(UNDO_JOB)
        # Photos that another process is writing, by the positions of their items.
        self._busy: dict[int, _BusyPhoto] = {}
        # Folders without temporary files of processes that died.
        self._cleaned: set[Path] = set()
        # Photos whose temporary files may exist; threads append to it.
        self._prepared: list[PreparedPhoto] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="writer")

    def process(self, items: Sequence[Item], roots: Mapping[int, Root]) -> None:
        """Prepare the new files, record the intended writes, replace the files, and store the outcomes."""
        now = time.monotonic()
        next_tries = {position: busy.next_try for position, busy in self._busy.items()}
        items = [item for item in items if next_tries.get(item.position, now) <= now]
        if not items:
            return
        self._remove_leftovers(items, roots)
        photo_ids = [item.photo_id for item in items]
        tags = self.chunk.with_retry(
            lambda: load_photo_tags(self.chunk.database, photo_ids)
        )
        futures = [
            self._pool.submit(
                self._prepare, item, roots[item.root_id], tags.get(item.photo_id)
            )
            for item in items
        ]
        prepared = [
            result for future in futures if (result := future.result()) is not None
        ]
        self.chunk.check_lease()
        # Drop files that are lost only because their disk is away: their items stay open.
        suspects = [
            result.item
            for result in prepared
            if result.outcome is Outcome.FAILED
            or (result.photo is not None and result.photo.plan.lost)
        ]
        available = self.chunk.keep_available(suspects, roots)
        prepared = [
            result
            for result in prepared
            if result.item not in suspects or result.item in available
        ]
        # Record the intended writes: if this process dies, the files show which of them were done.
        if any(result.photo and result.photo.prepared for result in prepared):
            self.chunk.with_retry(
                lambda: record_intents(self.chunk.database, self._claim, prepared)
            )
        results = [
            result
            for result in map(self._replace_files, prepared)
            if result is not None
        ]
        self._discard_prepared()
        self._store(results)

    def fail_alone(self, item: Item, failure: PhotoFailure) -> None:
        self._store([PhotoResult(item, Outcome.FAILED, failure.text, failure.kind)])

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._discard_prepared()

    def _remove_leftovers(
        self, items: Sequence[Item], roots: Mapping[int, Root]
    ) -> None:
        for item in items:
            root = roots[item.root_id]
            folder = root.path_of(item.path, item.path_bytes).parent
            if root.source.is_writable and folder not in self._cleaned:
                self._cleaned.add(folder)
                # The folder's photos report the same error.
                with suppress(WriteRefused, WriteFailed):
                    remove_leftovers(folder, root.folder)

    def _discard_prepared(self) -> None:
        while self._prepared:
            self._prepared.pop().discard()

    def _prepare(
        self, item: Item, root: Root, tags: PhotoTags | None
    ) -> PhotoResult | None:
        # Prepare a photo's files; None if the process has to stop, or the photo is busy.
        if self.chunk.stop.is_set():
            return None
        if tags is None or (self._options is not None and tags.image_digest is None):
            text = "no model has classified it yet"
            return PhotoResult(item, Outcome.SKIPPED, text, text)
        request = tags.write_request(
            root.path_of(item.path, item.path_bytes),
            root.folder,
            self._options,
            max_bytes=self.chunk.settings.max_bytes,
            undo_job=self._undo_job,
            raw_files=(root.path_of(*file) for file in item.raw_files),
        )
        return self._prepare_files(item, request, tags.writes)

    def _prepare_files(
        self, item: Item, request: PhotoWriteRequest, writes: Sequence[Row[Any]]
    ) -> PhotoResult | None:
        chunk = self.chunk

        def find_record(written_digest: str) -> UndoRecord | None:
            find = partial(
                find_undo_record, chunk.database, item.photo_id, written_digest
            )
            return chunk.with_retry(find)

        def database_time() -> datetime:
            with chunk.database.read() as connection:
                return current_time(connection)

        planned_at = chunk.with_retry(database_time)
        try:
            photo = plan_and_prepare(request, find_record)
            self._prepared.append(photo)
        except WriteRefused as refused:
            if refused.kind is RefusalKind.BUSY and self._may_retry(item):
                return None
            return PhotoResult(
                item, Outcome.REFUSED, _refusal_text(refused), refused.kind
            )
        except WriteFailed as failed:
            return PhotoResult(item, Outcome.FAILED, failed.text, failed.kind)
        except (SQLAlchemyError, LeaseLost):
            raise
        except Exception:
            # An unexpected error fails this photo alone.
            log.exception(
                "writing a photo's metadata failed", extra={"photo": item.photo_id}
            )
            return PhotoResult(
                item, Outcome.FAILED, _INTERNAL_ERROR, FailureKind.INTERNAL
            )
        finally:
            self.chunk.on_progress()
        reason = photo.plan.refusal_kind
        return PhotoResult(item, photo.outcome, "", reason, photo, writes, planned_at)

    def _may_retry(self, item: Item) -> bool:
        # Let a photo that another process writes be tried again after a pause, unless it took too long.
        now = time.monotonic()
        busy = self._busy.setdefault(item.position, _BusyPhoto(now, now, FIRST_PAUSE_S))
        if now - busy.since >= BUSY_S:
            return False
        pause = min(2 * busy.pause_s, LONGEST_PAUSE_S)
        self._busy[item.position] = replace(
            busy, next_try=now + busy.pause_s, pause_s=pause
        )
        return True

    def _replace_files(self, result: PhotoResult) -> PhotoResult | None:
        # Replace a photo's files. None: its item stays open, as the process stops, or the photo is busy.
        photo = result.photo
        if self.chunk.stop.is_set():
            return None
        if photo is None:
            return result
        try:
            photo.replace_files()
        except WriteRefused as refused:
            if refused.kind is RefusalKind.BUSY and self._may_retry(result.item):
                return None
            text = _refusal_text(refused)
            return replace(
                result, outcome=Outcome.REFUSED, text=text, reason=refused.kind
            )
        except WriteFailed as failed:
            return replace(
                result, outcome=Outcome.FAILED, text=failed.text, reason=failed.kind
            )
        finally:
            self.chunk.on_progress()
        outcome, text = result.outcome, describe_result(photo)
        if self._was_written_before(result, photo):
            outcome = Outcome.WRITTEN
            text = (
                text
                if self._options is not None
                else "by an earlier attempt of this job"
            )
        reason = EDITED if photo.edited else result.reason
        return replace(result, outcome=outcome, text=text, reason=reason)

    def _was_written_before(self, result: PhotoResult, photo: PreparedPhoto) -> bool:
        # Whether this job changed the file in an earlier try, or a claim that died before its outcome.
        is_first = self._claim.attempts < 2 and result.item.position not in self._busy
        if result.outcome is not Outcome.UNCHANGED or is_first:
            return False
        if self._options is None:
            return bool(photo.plan.request.written_targets)
        intended = (self._claim.name.job_id, result.item.photo_id, False)
        digests = {
            write.written_digest
            for write in result.writes
            if (write.job_id, write.photo_id, write.complete) == intended
        }
        records = (file.undo_record for file in photo.plan.files)
        return any(
            record is not None and record.written_digest in digests
            for record in records
        )

    def _store(self, results: Sequence[PhotoResult]) -> None:
        # Store the outcomes and update the undo log, in one transaction under the claim's token.
        for result in results:
            result.item.outcome = result.item_outcome()
        items = [result.item for result in results]

        def store() -> None:
            with self.chunk.database.write() as connection:
                store_outcomes(
                    connection, self._claim, [item.outcome for item in items]
                )
                record_results(connection, self._claim.name.job_id, results)

        self.chunk.with_retry(store)
        self.chunk.report(items)
