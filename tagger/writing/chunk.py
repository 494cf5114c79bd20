"""A claimed chunk of a job that writes metadata or takes it back: its photos' files changed, and what came of it stored.

Batch by batch: prepare the files beside the old ones, record what is about to be written, put them in place, store the
outcomes. Whatever is interrupted where, the files themselves tell what was done, and doing the chunk again ends it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from tagger.errors import FailureKind, LeaseLost
from tagger.holding import ChunkEnd, Holding, StoredPhoto
from tagger.ledger.chunks import ItemOutcome, store_outcomes
from tagger.library import OpenItem, open_items
from tagger.metadata.planning import FindKept, Kept, digest_file
from tagger.metadata.refusals import RefusalKind, WriteRefused
from tagger.metadata.replacing import WriteFailed, clear_leftovers
from tagger.photos import path_text
from tagger.results import Dealt
from tagger.roots import Root
from tagger.tables import Outcome, Target
from tagger.writing.asked import OF_JOB, WriteAsked
from tagger.writing.kept import (
    FileAfter,
    NewWrite,
    confirm,
    find_kept,
    hand_to_copies,
    note_files,
    record_intents,
    was_begun,
)
from tagger.writing.photo import (
    Planned,
    ReadyPhoto,
    described,
    ready_photo,
)
from tagger.writing.wanted import WantedTags, wanted_tags

log = logging.getLogger(__name__)

BATCH = 32
"""Photos whose new files wait at once: two transactions for all of them, and as many locks."""
THREADS = 4
"""Preparing is mostly waiting for the disk."""
BUSY_PAUSE_S = 0.5
BUSY_TRIES = 20
"""How often a photo that another process is writing is come back to."""


_UNFORESEEN = "Something in its metadata was not foreseen; the file is as it was. Please report it, with the worker's log."


@dataclass(frozen=True)
class _Ended:
    """A photo of a batch that was dealt with. `ready` is None where nothing was to be put in place."""

    item: OpenItem
    outcome: Outcome
    text: str
    reason: str | None = None
    ready: ReadyPhoto | None = None
    settled: frozenset[str] = frozenset()
    """Digests of which nothing is left to be noted (see wanted)."""


@dataclass(frozen=True)
class _FileState:
    """A file of a photo: the digest it had before, and the write that is true of it now.

    `was_written`: something is kept of its picture from earlier.
    """

    photo_id: int
    file: str
    before: str | None
    write: NewWrite | None
    was_written: bool
    base_bytes: int | None
    """The file's size where nothing of ours is in it any more."""

    @property
    def written(self) -> str | None:
        return self.write.kept.written if self.write else None


class ChunkWriting:
    """One claimed chunk, photo by photo, until none is left."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._claimed = holding.claimed
        self._asked = WriteAsked.of_options(holding.claimed.options)
        """None in a job that takes back what was written."""
        self._of_job: int | None = holding.claimed.options.get(OF_JOB)
        self._tries: dict[int, int] = {}

    def run(self) -> ChunkEnd:
        """Until nothing of the chunk is left, or it has to be given back.

        Raises:
            LeaseLost: somebody else took it over.
        """
        with ThreadPoolExecutor(THREADS, thread_name_prefix="writer") as pool:
            while items := self._open_items():
                roots = self._holding.roots()
                if away := self._holding.away({item.root_id for item in items}, roots):
                    self._holding.wait_for(away[0])
                    return ChunkEnd.WAITING
                self._clear_leftovers(items, roots)
                for start in range(0, len(items), BATCH):
                    if self._holding.stop.is_set():
                        return ChunkEnd.RELEASED
                    self._holding.check_lease()
                    self._deal_with(items[start : start + BATCH], roots, pool)
                if self._tries:
                    self._holding.stop.wait(BUSY_PAUSE_S)
        return ChunkEnd.DONE

    def _clear_leftovers(self, items: Sequence[OpenItem], roots: Mapping[int, Root]) -> None:
        """What a worker that died left beside these photos; of the living, each file is locked.

        Who takes back wants nothing of ours to stay, whoever left it.
        """
        if self._claimed.attempts < 2 and self._asked is not None:
            return
        known = (item for item in items if item.root_id in roots)
        folders = {roots[item.root_id].path_of(item.path, item.path_bytes).parent for item in known}
        for folder in folders:
            with suppress(WriteRefused, WriteFailed):  # its photos say so themselves
                clear_leftovers(folder)

    def _open_items(self) -> list[OpenItem]:
        return self._holding.patiently(lambda: open_items(self._holding.database, self._claimed))

    def _deal_with(
        self, items: Sequence[OpenItem], roots: Mapping[int, Root], pool: ThreadPoolExecutor
    ) -> None:
        wanted = self._holding.patiently(
            lambda: wanted_tags(self._holding.database, [item.photo_id for item in items])
        )
        paths = {
            item.position: roots[item.root_id].path_of(item.path, item.path_bytes)
            for item in items
            if item.root_id in roots
        }
        working = [
            pool.submit(self._make_ready, item, paths[item.position], wanted.get(item.photo_id))
            for item in items
            if item.position in paths
        ]
        wait(working)
        made = [each for future in working if not future.exception() and (each := future.result())]
        try:
            for future in working:
                future.result()  # one that broke breaks the chunk, once nothing of the others is left lying about
            self._holding.check_lease()
            self._record_intents(made)
            ended = [self._put_in_place(each) for each in made]
        finally:
            for each in made:
                if each.ready is not None:
                    each.ready.discard()
        self._store(ended)

    def _make_ready(self, item: OpenItem, path: Path, wanted: WantedTags | None) -> _Ended | None:
        """Prepare a photo's files; None where it is to be come back to."""
        if wanted is None:
            text = "no model has looked at it yet"
            return _Ended(item, Outcome.SKIPPED, text, text)
        photo = wanted.to_write(
            path, self._asked, max_bytes=self._holding.settings.max_bytes, of_job=self._of_job
        )
        try:
            ready = ready_photo(photo, self._find_kept_of(item))
        except WriteRefused as refused:
            if refused.kind is RefusalKind.BUSY and self._try_again(item):
                return None
            return _Ended(item, Outcome.REFUSED, refused.text, refused.kind)
        except WriteFailed as failed:
            return _Ended(item, Outcome.FAILED, failed.text, failed.kind)
        except (SQLAlchemyError, LeaseLost):
            raise
        except Exception:
            # One photo fails alone, whatever nobody foresaw in it.
            log.exception("a photo's metadata failed", extra={"photo": item.photo_id})
            return _Ended(item, Outcome.FAILED, _UNFORESEEN, FailureKind.INTERNAL)
        finally:
            self._holding.on_progress()
        refusal = ready.planned.refusal
        reason = refusal.kind if refusal else None
        return _Ended(item, ready.outcome, "", reason, ready, wanted.settled)

    def _find_kept_of(self, item: OpenItem) -> FindKept:
        def find(written: str) -> Kept | None:
            return self._holding.patiently(lambda: find_kept(self._holding.database, item.photo_id, written))

        return find

    def _try_again(self, item: OpenItem) -> bool:
        tries = self._tries.get(item.position, 0) + 1
        self._tries[item.position] = tries
        return tries < BUSY_TRIES

    def _record_intents(self, made: Sequence[_Ended]) -> None:
        """Say what is about to be written: if this process dies in the middle, the files tell what came of it."""
        writes = [
            self._new_write(each.item, each.ready, planned, planned.plan.kept)
            for each in made
            if each.ready is not None
            for planned, _ in each.ready.prepared
            if planned.plan.kept is not None
        ]
        if any(each.ready and each.ready.prepared for each in made):
            self._holding.patiently(lambda: record_intents(self._holding.database, self._claimed, writes))

    def _new_write(self, item: OpenItem, ready: ReadyPhoto, planned: Planned, kept: Kept) -> NewWrite:
        return NewWrite(
            photo_id=item.photo_id,
            job_id=self._claimed.name.job_id,
            picture=ready.planned.photo.picture or "",
            target=planned.target,
            file=_name(planned),
            kept=kept,
            landmarks=ready.planned.photo.slugs,
        )

    def _put_in_place(self, made: _Ended) -> _Ended:
        ready = made.ready
        if ready is None:
            return made
        try:
            ready.put_in_place()
        except WriteRefused as refused:
            return replace(made, outcome=Outcome.REFUSED, text=refused.text, reason=refused.kind)
        except WriteFailed as failed:
            return replace(made, outcome=Outcome.FAILED, text=failed.text, reason=failed.kind)
        outcome = Outcome.WRITTEN if self._was_written_before(made, ready) else made.outcome
        return replace(made, outcome=outcome, text=described(ready))

    def _was_written_before(self, made: _Ended, ready: ReadyPhoto) -> bool:
        """Whether an earlier claim of this chunk changed the file, and its worker died before it could say so."""
        if made.outcome is not Outcome.UNCHANGED or self._claimed.attempts < 2:
            return False
        job_id = self._claimed.name.job_id
        photo_id = made.item.photo_id
        written = [planned.plan.kept.written for planned in ready.planned.files if planned.plan.kept]
        if self._asked is None:
            return bool(ready.planned.photo.written)
        return self._holding.patiently(
            lambda: any(was_begun(self._holding.database, job_id, photo_id, digest) for digest in written)
        )

    def _store(self, ended: Sequence[_Ended]) -> None:
        """Outcomes, and which rows of what is kept are true now, in one transaction under the claim's token."""
        outcomes = [
            ItemOutcome(each.item.position, each.outcome, each.reason, _stored_text(each)) for each in ended
        ]

        def store() -> None:
            with self._holding.database.write() as connection:
                store_outcomes(connection, self._claimed, outcomes)
                states = [state for each in ended for state in self._states(each)]
                for state in states:
                    if state.was_written:
                        hand_to_copies(
                            connection,
                            state.photo_id,
                            state.before,
                            state.written,
                            base_bytes=state.base_bytes,
                        )
                for state in states:
                    confirm(connection, state.photo_id, state.file, state.before, state.write)
                note_files(connection, [after for each in ended if (after := _file_after(each)) is not None])

        self._holding.patiently(store)
        self._holding.report(
            [
                StoredPhoto(each.item, outcome, Dealt(each.text))
                for each, outcome in zip(ended, outcomes, strict=True)
            ]
        )

    def _states(self, ended: _Ended) -> Iterator[_FileState]:
        """Of every file that was put in place, or that is as it should be: what is true of it now."""
        ready = ended.ready
        replaced = {id(planned) for planned, _ in ready.replaced} if ready else set()
        for planned in ready.planned.files if ready else ():
            kept = planned.plan.kept
            is_now = id(planned) in replaced or not planned.plan.changes
            if ready is None or not is_now or (kept is not None and kept.written in ended.settled):
                continue
            original = planned.plan.original.data
            yield _FileState(
                photo_id=ended.item.photo_id,
                file=_name(planned),
                before=None if original is None else digest_file(original),
                write=None if kept is None else self._new_write(ended.item, ready, planned, kept),
                was_written=bool(ready.planned.photo.written),
                base_bytes=len(planned.plan.data) if kept is None and planned.plan.data else None,
            )


def _name(planned: Planned) -> str:
    return path_text(planned.plan.original.path.name)[0]


def _stored_text(ended: _Ended) -> str | None:
    return ended.text if ended.outcome in {Outcome.REFUSED, Outcome.FAILED} else None


def _file_after(ended: _Ended) -> FileAfter | None:
    """The photo's own file, if it was replaced."""
    for planned, _ in ended.ready.replaced if ended.ready is not None else ():
        before = planned.plan.original.status
        if planned.target is Target.EMBED and before is not None:
            with suppress(OSError):
                now = planned.plan.original.path.stat()
                return FileAfter(
                    ended.item.photo_id, before.st_size, before.st_mtime_ns, now.st_size, now.st_mtime_ns
                )
    return None
