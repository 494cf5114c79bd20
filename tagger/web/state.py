"""The state that all requests of one server share: settings, database, thumbnails and the loaded model.

Learning from verdicts that were given through the server, and updating positions, go on in the background: no
request waits.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from functools import cache, partial
from math import inf
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Request

from tagger.database.connection import Actor, Database
from tagger.database.engine import DAMAGED_ROWS, DatabaseError
from tagger.errors import TaggerError
from tagger.jobs.processing.model_cache import ModelCache, photo_limits
from tagger.kept.update import update_kept
from tagger.pipeline.sandbox import Sandbox
from tagger.query.counts import familiar_landmark_counts, find_covers
from tagger.query.facets import FACETS, Facet, FacetName, count_facets
from tagger.query.options import PhotoQuery
from tagger.query.position_clusters import position_cells
from tagger.query.timeline import count_photos, timeline_sections
from tagger.registry import (
    RegisteredModel,
    models_to_teach,
    resolve_models,
    with_embeddings,
)
from tagger.roots import RootPaths
from tagger.search.names import Meaning, Names, countries_of, with_surroundings
from tagger.search.text_query import (
    KINDS_OF_NAMES,
    UnderstoodText,
    list_queries,
    lists_of_names,
    named_files,
    names_of_kind,
    suggest,
    this_day,
    understand,
    unshown_things,
)
from tagger.settings import Settings
from tagger.teaching.learning import update_taught
from tagger.teaching.lessons import COUNT_LIMIT
from tagger.teaching.similarity import LookAlikes, find_look_alikes
from tagger.texts.names import city_name
from tagger.texts.text_format import in_language
from tagger.web.photo_files import Thumbnails
from tagger.web.uploads import UploadFolder, UploadReader

T = TypeVar("T")

log = logging.getLogger(__name__)

# Changes by jobs and other programs make a result stale only after so many times its query's duration: while
# a job stores photos, counting takes at most 5 % of the time.
COST_FACTOR = 20.0
# How long a query that failed waits at least: each attempt is logged.
QUERY_RETRY_S = 2.0
# Queries that take longer are refreshed one at a time: together, they would delay requests.
QUICK_S = 0.5
# How long a server that stops waits for queries: those of a large library take minutes.
CLOSE_S = 5.0
MOST_QUERIES = 100


class Changes:
    """What tells that results of one database may be outdated, shared by all its results.

    `database_mark`: as `Database.change_mark`.
    """

    def __init__(self, database_mark: Callable[[], int | None] = lambda: None) -> None:
        self.database_mark = database_mark
        # Requests to this server that may have changed something: the next one sees what they did.
        self.requests = 0
        self.slow_queries = threading.Lock()


class _Result(Future[T]):
    def __init__(self, changes: Changes, before: "_Result[T] | None") -> None:
        super().__init__()
        self._changes = changes
        # Read before the query, which may not see what changes while it runs.
        self.requests = changes.requests
        self._database_mark = changes.database_mark()
        self.began_s = time.monotonic()
        self._fresh_until_s = inf
        # What the last query without an error returned, and how long the last one took.
        self.last_value: T | None = None if before is None else before.last_value
        self.query_s: float = inf if before is None else before.query_s

    def is_fresh(self) -> bool:
        if (
            self.requests == self._changes.requests
            and time.monotonic() < self._fresh_until_s
        ):
            return True
        mark = self._database_mark
        return mark is not None and mark == self._changes.database_mark()

    def run(self, query: Callable[[], T]) -> None:
        start_s, least_s = time.monotonic(), 0.0
        try:
            self.last_value = value = query()
            finish = partial(self.set_result, value)
        except BaseException as error:  # noqa: BLE001 - who asks for the result raises it
            self._database_mark, least_s = None, QUERY_RETRY_S
            finish = partial(self.set_exception, error)
        end_s = time.monotonic()
        self.query_s = end_s - start_s
        self._fresh_until_s = end_s + max(COST_FACTOR * self.query_s, least_s)
        finish()


class CachedQuery(Generic[T]):
    """The newest results of a query by its arguments. Whoever asks meanwhile waits for the one that runs.

    `wait_s` and `first_wait_s`: as `get_soon`.
    """

    def __init__(
        self,
        query: Callable[..., T],
        changes: Changes | None = None,
        wait_s: float = 0.0,
        first_wait_s: float | None = None,
    ) -> None:
        self._query = query
        self._changes = changes or Changes()
        self._waits_s = wait_s, wait_s if first_wait_s is None else first_wait_s
        self._lock = threading.Lock()
        self._results: OrderedDict[Hashable, _Result[T]] = OrderedDict()
        self._is_closed = False

    def get(self, *arguments: Hashable) -> T:
        """Return a result that is not older than the last change of a request; raises as the query."""
        with self._lock:
            result = self._results.get(arguments)
            has_failed = (
                result is not None and result.done() and result.exception() is not None
            )
            is_first = result is None or has_failed or not result.is_fresh()
            if result is None or is_first:
                result = self._add(_Result(self._changes, result), arguments)
        if is_first:
            result.run(partial(self._query, *arguments))
        return result.result()

    def get_soon(
        self, wait_s: float | None = None, first_wait_s: float | None = None
    ) -> T | None:
        """Return the newest result, possibly a stale one; None if there is none yet. A thread refreshes it.

        Waits until its query has run for `wait_s`, but not if the last one took longer; `first_wait_s`
        replaces it as long as there is no result.
        """
        if wait_s is None:
            wait_s, first_wait_s = self._waits_s
        requests = self._changes.requests
        for _ in range(2):
            with self._lock:
                newest = self._results.get(())
                if newest is None or (newest.done() and not newest.is_fresh()):
                    newest = _Result(self._changes, newest)
                    # First, as nobody would finish the result of a thread that cannot start.
                    threading.Thread(
                        target=self._refresh,
                        args=[newest],
                        name="overview",
                        daemon=True,
                    ).start()
                    self._add(newest, ())
            result = newest
            if result.last_value is None:
                limit_s = wait_s if first_wait_s is None else first_wait_s
            else:
                limit_s = wait_s if result.query_s <= wait_s else 0.0
            # The time that other requests have waited for it counts, so that not every page waits.
            wait([result], max(result.began_s + limit_s - time.monotonic(), 0.0))
            if result.requests >= requests:
                break
            # Its query began before the last change.
        return result.last_value

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Wait for queries that run. The end of the process ends those that take longer."""
        self._is_closed = True
        with self._lock:
            results = list(self._results.values())
        wait(results, wait_s)

    def _add(self, result: _Result[T], arguments: Hashable) -> _Result[T]:
        self._results[arguments] = result
        self._results.move_to_end(arguments)
        while len(self._results) > MOST_QUERIES:
            self._results.popitem(last=False)
        return result

    def _refresh(self, result: _Result[T]) -> None:
        is_quick = result.query_s < QUICK_S
        with nullcontext() if is_quick else self._changes.slow_queries:
            result.run(self._run_query)

    def _run_query(self) -> T:
        if self._is_closed:
            raise CancelledError
        try:
            return self._query()
        except Exception:
            # Also for values that this program never stores: the thread would try again at once.
            log.exception(
                "cannot refresh the library overview; trying again later; %s",
                DAMAGED_ROWS,
            )
            raise


def close_all(queries: Iterable[CachedQuery[Any]]) -> None:
    until_s = time.monotonic() + CLOSE_S
    for query in queries:
        query.close(max(until_s - time.monotonic(), 0.0))


# How long a page waits for a refresh.
WAIT_S = 0.4
# How long the first page waits for covers or trips, since a library without any looks broken.
FIRST_WAIT_S = 1.2


class LibraryOverview:
    """What no table keeps of one database. Each is None while it is made for the first time."""

    def __init__(
        self,
        database: Database,
        root_paths: RootPaths,
        find_look_alikes: Callable[[], LookAlikes],
        changes: Changes,
    ) -> None:
        self._database = database
        self._files = named_files(database, root_paths)
        self._queries: list[CachedQuery[Any]] = []

        def cached(
            query: Callable[[], T],
            first_wait_s: float = WAIT_S,
            seen: Changes = changes,
        ) -> CachedQuery[T]:
            cached_query = CachedQuery(query, seen, WAIT_S, first_wait_s)
            self._queries.append(cached_query)
            return cached_query

        def count_unclassified() -> Mapping[str, int]:
            # How many photos no model has classified, up to `COUNT_LIMIT`: those that wait, and that failed.
            waiting = PhotoQuery(untagged=True, sort="newest", distinct=True)
            failed = PhotoQuery(failed=True, sort="newest", distinct=True)
            return {
                "wait": count_photos(database, waiting, COUNT_LIMIT),
                "failed": count_photos(database, failed, COUNT_LIMIT),
            }

        # Comparing takes minutes: changes of the database do not start it again.
        self.look_alikes = cached(find_look_alikes, FIRST_WAIT_S, Changes())
        # By the slugs of landmarks.
        self.covers = cached(lambda: find_covers(database), FIRST_WAIT_S)
        self.position_cells = cached(lambda: position_cells(database))
        self.unclassified = cached(count_unclassified)
        queries: Mapping[str, Callable[[], Any]] = {
            **list_queries(database, root_paths),
            "counts": lambda: familiar_landmark_counts(database),
        }
        self.things = cached(queries["things"])

        def make_names(kind: str) -> Any:
            @cache
            def read(name: str) -> Any:
                if name == "countries":
                    return countries_of(
                        self._names["landmarks"].get().countries, read("cities")
                    )
                return queries[name]()

            with in_language(None):
                names = names_of_kind(kind, read)
                # Countries are counted by their cities.
                return (
                    (*names, *names_of_kind("countries", read))
                    if kind == "cities"
                    else names
                )

        # By their kind.
        self._names = {
            kind: cached(partial(make_names, kind)) for kind in KINDS_OF_NAMES
        }

    def understand(self, text: str) -> UnderstoodText:
        names, unshown = (
            self._names_for(text, by_name=True),
            unshown_things(self._database),
        )
        return understand(text, names, self._files, this_day(), unshown)

    def suggest(self, text: str) -> list[Meaning]:
        names = [index for each in self._names_for(text) for index in each]
        return suggest(text, names, self._files, this_day())

    def cities(self) -> Sequence[Meaning]:
        """The cities of photos, most photos first, with names in English."""
        names = self._names["cities"].get_soon(SEARCH_WAIT_S, FIRST_SEARCH_WAIT_S)
        return names[0].things if names else ()

    def area_names(self) -> Mapping[str, str]:
        names = self._names["cities"].get_soon(SEARCH_WAIT_S, FIRST_SEARCH_WAIT_S)
        if not names:
            return {}
        cities, regions, _ = names
        areas = {each.options["box"]: each.label for each in regions.things}
        for each in cities.things:
            city = replace(
                each, label=city_name(each.label, each.detail.partition(", ")[0])
            )
            wide = with_surroundings(city)
            areas[city.options["near"]] = city.label
            areas[f"{wide.options['near']},{wide.options['radius_km']}"] = wide.label
        return {str(value): name for value, name in areas.items()}

    def _names_for(
        self, text: str, *, by_name: bool = False
    ) -> Iterator[Sequence[Names]]:
        until_s = time.monotonic() + FIRST_SEARCH_WAIT_S

        def read(cached: CachedQuery[Any]) -> Any:
            return (
                cached.get_soon(SEARCH_WAIT_S, max(until_s - time.monotonic(), 0.0))
                or ()
            )

        def names(kind: str) -> Any:
            if kind == "landmarks":  # which are counted fast
                return self._names[kind].get()
            if kind in ("cities", "countries"):
                cities = read(self._names["cities"])
                return cities[2:] if kind == "countries" else cities[:2]
            return read(self._names[kind])

        return lists_of_names(
            self._database,
            text,
            names,
            lambda: read(self.things),
            by_name=by_name,
        )

    def close(self) -> None:
        close_all(self._queries)


# How long the first search waits for its names. Without them, a search finds nothing of that kind.
FIRST_SEARCH_WAIT_S = 1.5
# How long others wait for a refresh: a small library's takes less.
SEARCH_WAIT_S = 0.02


# How long an update that failed waits for the next attempt, if no verdict comes.
RETRY_S = 30.0


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
