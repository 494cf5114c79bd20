"""The state that all requests of one server share: settings, database, thumbnails and the loaded model.

Learning from verdicts that were given through the server, and updating positions, go on in the background: no
request waits.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request

from tagger.database.audit_log import Actor
from tagger.database.connection import Database
from tagger.database.engine import DatabaseError
from tagger.errors import TaggerError
from tagger.jobs.processing.model_cache import ModelCache, photo_limits
from tagger.kept.update import update_kept
from tagger.pipeline.sandbox import Sandbox
from tagger.query.facets import FACETS, Facet, FacetName, count_facets
from tagger.query.options import PhotoQuery
from tagger.query.timeline import timeline_sections
from tagger.registry import (
    RegisteredModel,
    models_to_teach,
    resolve_models,
    with_embeddings,
)
from tagger.roots import RootPaths
from tagger.settings import Settings
from tagger.teaching.learning import update_taught
from tagger.teaching.similarity import LookAlikes, find_look_alikes
from tagger.web.overview import CachedQuery, Changes, LibraryOverview
from tagger.web.photo_files import Thumbnails
from tagger.web.uploads import UploadFolder, UploadReader

log = logging.getLogger(__name__)

# How long an update that failed waits for the next attempt, if no verdict comes.
RETRY_S = 30.0

# How long a server that stops waits for a comparison to end its page.
CLOSE_S = 5.0


class ServerStopping(Exception):
    pass


class TaughtUpdates:
    """One thread that updates taught landmarks. Requests that come meanwhile lead to one more update."""

    def __init__(
        self,
        database: Database,
        models: Callable[[], Sequence[RegisteredModel]],
        stopping: threading.Event,
    ) -> None:
        self._database = database
        self._models = models
        self._stopping = stopping
        # Held while landmarks are learned, so that nobody learns the same ones beside.
        self.learning = threading.Lock()
        self._requested = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(
            target=self._run, name="taught-updates", daemon=True
        )
        self._thread.start()

    def request(self) -> None:
        self._requested.set()

    def close(self) -> None:
        """End the thread after the current page of a comparison; `tagger backfill taught` continues it."""
        self._is_closed = True
        self._requested.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        has_failed = False
        while True:
            self._requested.wait(RETRY_S if has_failed else None)
            self._requested.clear()
            try:
                self._update()
                has_failed = False
            except ServerStopping:
                return
            except Exception as error:
                if not has_failed:
                    # The text of a database error may hold values and addresses.
                    reason: object = error
                    if isinstance(error, DatabaseError):
                        reason = f"the database failed ({type(error).__name__})"
                    is_known = isinstance(error, TaggerError | DatabaseError)
                    text = "taught landmarks were not updated; the next attempt is in %.0f s: %s"
                    log.error(text, RETRY_S, reason, exc_info=not is_known)  # noqa: TRY400
                has_failed = True

    def _update(self) -> None:
        self._check_stopping(0)
        for model in models_to_teach(self._models()):
            with self.learning:
                update_taught(self._database, model, on_progress=self._check_stopping)
        update_kept(
            self._database, lambda _step, done, _total: self._check_stopping(done)
        )

    def _check_stopping(self, _count: int) -> None:
        if self._is_closed or self._stopping.is_set():
            raise ServerStopping


# Uploads of the largest size that fit into memory at once; of smaller ones more.
LARGEST_UPLOADS = 4
# Those for which there is space in the temporary folder.
SPOOLED_UPLOADS = 8
# The folder of the data folder for photos that admins send, if no setting names one.
SENT_PHOTOS = "sent"
# Most processes that decode uploads. Each takes about 45 MB, and the memory of its photo.
UPLOAD_DECODERS = 4
# Scans for new jobs at a time.
MAX_SCANS = 4


class AppState:
    """Created once per server. The model is loaded with the first uploaded photo."""

    def __init__(
        self, settings: Settings, database: Database, *, has_own_worker: bool = False
    ) -> None:
        self.settings = settings
        self.database = database
        # Whether a worker runs beside this server when there is a job: that of `tagger up`, or its
        # own.
        self.has_own_worker = has_own_worker
        # Why its own worker cannot run; empty if it can.
        self.worker_problem = ""
        # Set when the server stops: event streams and scans end.
        self.stopping = threading.Event()
        most_bytes = settings.web_upload_bytes
        folder = settings.web_upload_folder or settings.data_folder / SENT_PHOTOS
        self.upload_folder = UploadFolder(folder, settings.web_upload_quota_bytes)
        self.uploads = UploadReader(
            LARGEST_UPLOADS * most_bytes, SPOOLED_UPLOADS * most_bytes
        )
        # Threads that scan folders for new jobs.
        self.scans: set[Future[Any]] = set()
        self.scan_slots = threading.BoundedSemaphore(MAX_SCANS)
        self.thumbnails = Thumbnails(settings)
        self.models = ModelCache(database, settings)
        reading = photo_limits(settings)
        self.upload_sandbox = Sandbox(
            reading, count=min(reading.readers, UPLOAD_DECODERS)
        )
        self.changes = Changes(database.change_mark)
        self.section_counts = CachedQuery(
            partial(timeline_sections, database, root_paths=settings.roots),
            self.changes,
        )
        self.overview = LibraryOverview(
            database, settings.roots, self._find_look_alikes, self.changes
        )
        self.facet_counts = CachedQuery(
            lambda query: _count_choices(database, query, settings.roots), self.changes
        )
        # Resolving them reads their files.
        self.models_in_use = CachedQuery(
            partial(resolve_models, database, settings.model), self.changes
        ).get
        self.taught_updates = TaughtUpdates(database, self.models_in_use, self.stopping)
        database.after_decisions = self.taught_updates.request

    def acting_as(self, actor: Actor) -> "AppState":
        """The same state for another actor, whose changes are recorded as theirs."""
        view = copy(self)
        view.database = self.database.acting_as(actor)
        return view

    def report_worker(self, problem: str) -> None:
        self.worker_problem = problem

    def embedding_model(self) -> RegisteredModel:
        return with_embeddings(self.models_in_use())

    def compares_photos(self) -> bool:
        try:
            return self.embedding_model().manifest.embedding is not None
        except TaggerError:  # a page about photos works without a model
            return False

    def _find_look_alikes(self) -> LookAlikes:
        # The groups of now; none if no model in use gives embeddings, or if the server stops.
        def check_stopping(_count: int) -> None:
            if self.stopping.is_set():
                raise ServerStopping

        try:
            return find_look_alikes(
                self.database, self.embedding_model(), on_progress=check_stopping
            )
        except ServerStopping:
            pass
        except TaggerError as error:  # photos can be looked at without a model
            log.info("unknown photos are not compared: %s", error)
        return LookAlikes((), 0, is_limited=False)

    def close(self) -> None:
        """Stop the scans, the model's threads, the updates and the processes that decode."""
        self.stopping.set()
        wait(tuple(self.scans), CLOSE_S)
        self.overview.close()
        self.taught_updates.close()
        self.thumbnails.close()
        self.models.close()
        self.upload_sandbox.close()


def _count_choices(
    database: Database, query: PhotoQuery, root_paths: RootPaths
) -> list[Facet]:
    # The facets of a query. Landmarks and countries are chosen by accepted tags.
    if not query.any_rank:
        return count_facets(database, query, root_paths)
    accepted = replace(query, any_rank=False)
    others = [name for name in FACETS if name not in _OF_TAGS]
    return [
        *count_facets(database, accepted, root_paths, names=_OF_TAGS),
        *count_facets(database, query, root_paths, names=others),
    ]


_OF_TAGS: Sequence[FacetName] = ("landmark", "country")


def app_state(request: Request) -> AppState:
    state: AppState = request.app.state.app_state
    return state.acting_as(request.state.actor)


# A parameter of a route that receives the application's state.
State = Annotated[AppState, Depends(app_state)]
