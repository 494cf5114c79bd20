"""Unloads the models of a worker that has had no work for as long as its settings say: a thread, if they say so."""

import logging
import threading

from tagger.jobs.processing.model_cache import ModelCache

log = logging.getLogger(__name__)

CHECK_S = 5.0


class ModelUnloader:
    """Checks every CHECK_S until closed. Without a limit, it does not start."""

    def __init__(self, models: ModelCache, idle_minutes: float | None) -> None:
        self._models = models
        self._idle_s = None if idle_minutes is None else 60 * idle_minutes
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="unloader", daemon=True)

    def start(self) -> None:
        if self._idle_s is not None:
            self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._idle_s is not None and not self._closed.wait(CHECK_S):
            try:
                self._models.unload_idle(self._idle_s)
            except Exception:
                log.exception("Unloading failed unexpectedly")
