"""Objects that buckets have reported, gathered for some seconds: many events are one job.

What waits is in memory. If the server is killed, a scan finds it: an event saves time, and is never the only way.
"""

import logging
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from itertools import islice

from starlette.exceptions import HTTPException

from tagger.database.actor import Actor, command_line_actor
from tagger.database.connection import Database
from tagger.database.enums import Priority
from tagger.database.errors import DatabaseError
from tagger.errors import TaggerError
from tagger.jobs.enqueue.inference_options import inference_options
from tagger.jobs.enqueue.object_changes import check_object_changes
from tagger.jobs.enqueue.selection import Selection
from tagger.photos.object_paths import ObjectPath
from tagger.settings import Settings
from tagger.web.api.job_starter import JobStarter, TaggingOptions

log = logging.getLogger(__name__)

QUIET_S = 2.0
"""Events are gathered until none has come for so long, but for at most `LONGEST_WAIT_S`."""
LONGEST_WAIT_S = 10.0
RETRY_S = 30.0
"""Objects that could not be checked, or whose job could not be started, wait for so long."""
MAX_WAITING = 100_000
"""About 65 MB."""
MAX_BATCH = 10_000
STOP_TIMEOUT_S = 10.0

Reported = tuple[ObjectPath, ObjectPath]
"""A prefix in which jobs may start, and an object in it."""


class EventBatches:
    """One thread that checks what was reported, and starts jobs."""

    def __init__(self, settings: Settings, database: Database, job_starter: JobStarter) -> None:
        self._settings = settings
        self._database = database
        self._job_starter = job_starter
        self._actor: Actor = command_line_actor()
        self._changed = threading.Condition()
        self._waiting: dict[Reported, None] = {}
        self._first_at = self._last_at = self._retry_at = 0.0
        self._is_closed = False
        self._problem = ""
        self._thread: threading.Thread | None = None

    def add(self, reported: Sequence[Reported], actor: Actor) -> None:
        """Check these objects soon, for this actor. Returns at once.

        Raises:
            HTTPException: too many wait already.
        """
        if not reported:
            return
        with self._changed:
            if len(self._waiting) + len(reported) > MAX_WAITING:
                text = (
                    f"{len(self._waiting)} reported objects wait to be checked. Send the events again later."
                )
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": f"{RETRY_S:.0f}"})
            self._last_at = time.monotonic()
            self._first_at = self._first_at if self._waiting else self._last_at
            self._waiting |= dict.fromkeys(reported)
            self._actor = actor
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="event-batches", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Check at once what waits, for at most `STOP_TIMEOUT_S`, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)
        if self._waiting:
            log.warning("%d reported objects were not checked; a scan finds them", len(self._waiting))

    def _run(self) -> None:
        while batch := self._take():
            for prefix in sorted({prefix for prefix, _ in batch}):
                objects = [path for each, path in batch if each == prefix]
                if not self._process(prefix, objects):
                    self._put_back(prefix, objects)

    def _take(self) -> list[Reported]:
        """Wait until a batch is complete; empty when the server stops and nothing waits, or nothing could be done."""
        with self._changed:
            while not self._is_closed and (delay_s := self._delay_s()) > 0:
                self._changed.wait(delay_s)
            if self._is_closed and self._problem:
                return []
            batch = list(islice(self._waiting, MAX_BATCH))
            for reported in batch:
                del self._waiting[reported]
            return batch

    def _delay_s(self) -> float:
        """How long the batch still waits; 0 if it is complete."""
        if not self._waiting:
            return threading.TIMEOUT_MAX
        due_at = min(self._last_at + QUIET_S, self._first_at + LONGEST_WAIT_S)
        return max(due_at, self._retry_at) - time.monotonic()

    def _put_back(self, prefix: ObjectPath, objects: Sequence[ObjectPath]) -> None:
        with self._changed:
            self._waiting |= dict.fromkeys((prefix, path) for path in objects)
            self._retry_at = time.monotonic() + RETRY_S

    def _process(self, prefix: ObjectPath, objects: Sequence[ObjectPath]) -> bool:
        """Check the objects, and start a job over those that need it; returns whether that was possible."""
        try:
            self._start_job(prefix, objects)
        except TaggerError as error:
            return self._fail(str(error))
        except HTTPException as error:  # too many scans, or open jobs
            return self._fail(error.detail)
        except DatabaseError as error:  # its text may hold values and addresses
            return self._fail(f"the database failed ({type(error).__name__})")
        except Exception:
            log.exception("unexpected error while reported objects were checked")
            return True  # it would come again
        self._problem = ""
        return True

    def _start_job(self, prefix: ObjectPath, objects: Sequence[ObjectPath]) -> None:
        settings, database = self._settings, self._database.acting_as(self._actor)
        inference = inference_options(database, settings, reprocess=False)
        changes = check_object_changes(database, prefix, objects, inference, settings.roots)
        log.info("reported objects: %d to tag, %d gone", len(changes.unseen), changes.gone)
        if changes.unreadable:
            log.warning("%d reported objects cannot be read; a scan may find them", changes.unreadable)
        if changes.unseen:
            starter = self._job_starter.acting_as(self._actor)
            starter.tag(Selection((), tuple(changes.unseen)), TaggingOptions(Priority.BULK))

    def _fail(self, problem: str) -> bool:
        """Log a problem, unless it is that of the attempt before."""
        if problem != self._problem:
            log.warning("reported objects wait, the next attempt is in %.0f s: %s", RETRY_S, problem)
        self._problem = problem
        return False
