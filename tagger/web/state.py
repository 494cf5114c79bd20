"""The state that all requests of one server share: settings, database, thumbnails and the loaded model."""

import threading
import time
from copy import copy
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from tagger.database.actor import Actor
from tagger.database.connection import Database
from tagger.jobs.processing.model_cache import ModelCache, photo_limits
from tagger.library.catalog.registered_models import RegisteredModel, resolve_model
from tagger.library.query.facets import count_facets
from tagger.library.query.timeline import is_of_whole_library, timeline_sections
from tagger.pipeline.sandbox import Sandbox
from tagger.settings import Settings
from tagger.web.cached_value import QueryCounts
from tagger.web.http.uploads import ClientLimits, UploadMemory, UploadSpace
from tagger.web.media.thumbnails import Thumbnails
from tagger.web.taught_updates import TaughtUpdates

LARGEST_UPLOADS = 4
"""Uploads of the largest size that fit into memory at once; of smaller ones more."""
UPLOAD_DECODERS = 4
"""Most processes that decode uploads. Each takes about 45 MB, and the memory of its photo."""
MODEL_TTL_S = 5.0
"""How long the page keeps using a model after another one was put in use."""


class AppState:
    """Created once per server. The model is loaded with the first uploaded photo."""

    def __init__(
        self, settings: Settings, database: Database, limits: ClientLimits, *, has_own_worker: bool = False
    ) -> None:
        self.settings = settings
        self.database = database
        self.has_own_worker = has_own_worker
        """Whether `tagger up` runs this server and keeps a worker running beside it."""
        self.stopping = threading.Event()
        """Set when the server stops: event streams and scans end."""
        self.upload_memory = UploadMemory(LARGEST_UPLOADS * settings.web_upload_bytes)
        self.upload_space = UploadSpace(limits.spooled_uploads * settings.web_upload_bytes)
        self.thumbnails = Thumbnails(self.cache_folder / "thumbnails", settings)
        self.models = ModelCache(database, settings)
        reading = photo_limits(settings)
        self.upload_sandbox = Sandbox(reading, count=min(reading.readers, UPLOAD_DECODERS))
        self.section_counts = QueryCounts(
            lambda query: timeline_sections(database, query, settings.roots), is_of_whole_library
        )
        self.facet_counts = QueryCounts(lambda query: count_facets(database, query, settings.roots))
        self.accepted_counts = QueryCounts(
            lambda query: count_facets(database, query, settings.roots, names=("landmark", "country"))
        )
        self._model_in_use = _ModelInUse(settings, database)
        self.taught_updates = TaughtUpdates(database, self.model, self.stopping)

    def acting_as(self, actor: Actor) -> "AppState":
        """The same state for another actor, whose changes are recorded as theirs."""
        view = copy(self)
        view.database = self.database.acting_as(actor)
        return view

    @property
    def cache_folder(self) -> Path:
        """The folder for files that can be made again, such as thumbnails."""
        return self.settings.data_folder / "web-cache"

    def model(self) -> RegisteredModel:
        """Return the model in use; cached for `MODEL_TTL_S`, since resolving it reads the whole file."""
        return self._model_in_use.get()

    def close(self) -> None:
        """Stop the model's threads, the updates and the processes that decode."""
        self.taught_updates.close()
        self.thumbnails.close()
        self.models.close()
        self.upload_sandbox.close()


class _ModelInUse:
    """The model in use, resolved anew after `MODEL_TTL_S`."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._resolved: tuple[float, RegisteredModel] | None = None

    def get(self) -> RegisteredModel:
        resolved = self._resolved
        if resolved is None or time.monotonic() - resolved[0] > MODEL_TTL_S:
            resolved = time.monotonic(), resolve_model(self._database, self._settings.model)
            self._resolved = resolved
        return resolved[1]


def app_state(request: Request) -> AppState:
    """Return the state of the application that serves the request, for the actor of the request."""
    state: AppState = request.app.state.app_state
    return state.acting_as(request.state.actor)


State = Annotated[AppState, Depends(app_state)]
"""A parameter of a route that receives the application's state."""
