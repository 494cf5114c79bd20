"""What every request works with: the settings, the database, and the model once somebody has asked for it."""

import threading
import time
from pathlib import Path

from fastapi import Request

from tagger.database import Database
from tagger.registry import RegisteredModel, resolve_model
from tagger.settings import Settings
from tagger.tagging import Tagger
from tagger.web.overview import Overview
from tagger.web.starting import Starter
from tagger.web.thumbnails import Thumbnails
from tagger.web.uploads import UploadRoom

UPLOADS_AT_ONCE = 4
"""The largest there may be, in memory; of smaller ones more."""
MODEL_S = 5.0
"""How long a model that is no longer in use may go on answering."""


class Place:
    """One server's. The model is loaded when the first photo is tried, and shared by all who try one at the same time."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.stopping = threading.Event()
        """Set when the server is about to end: whatever streams events ends them."""
        self.upload_room = UploadRoom(UPLOADS_AT_ONCE * settings.web_upload_bytes)
        self.thumbnails = Thumbnails(self.cache_folder / "thumbnails", settings)
        self.overview = Overview(database)
        self.starter = Starter(settings, database, self.stopping)
        self._making = threading.Lock()
        self._tagger: Tagger | None = None
        self._resolved: tuple[float, RegisteredModel] | None = None

    @property
    def cache_folder(self) -> Path:
        """For what can be made again: thumbnails."""
        return self.settings.data_folder / "web-cache"

    @property
    def tagger(self) -> Tagger:
        with self._making:
            if self._tagger is None:
                self._tagger = Tagger(self.database, self.settings)
            return self._tagger

    def model(self) -> RegisteredModel:
        """The model in use now, or a moment ago: which it is takes reading its whole file."""
        resolved = self._resolved
        if resolved is None or time.monotonic() - resolved[0] > MODEL_S:
            resolved = time.monotonic(), resolve_model(self.database, self.settings.model)
            self._resolved = resolved
        return resolved[1]

    def close(self) -> None:
        """Let the model's threads and the processes that decode end."""
        self.starter.close()
        self.overview.close()
        self.thumbnails.close()
        with self._making:
            if self._tagger is not None:
                self._tagger.close()
                self._tagger = None


def place_of(request: Request) -> Place:
    """The place a request is answered in; for `Depends`."""
    place: Place = request.app.state.place
    return place
