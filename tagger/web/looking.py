"""A photo in memory, looked at through the same pipeline as jobs: those that come at the same time share forward passes.

Nothing is stored, and a picture that is known is looked at all the same.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException

from tagger.chunk_work import RunningModel
from tagger.errors import FailureKind, ModelFailed, ModelNotFound, PhotoFailed
from tagger.photos import PhotoBytes
from tagger.reading import Answer, OpenPhoto, Request, open_bytes
from tagger.registry import RegisteredModel
from tagger.results import Failed, Looked, Prediction
from tagger.web.place import Place

_NOWHERE = Path("-")
_submitters = CapacityLimiter(2)
"""Threads that wait for the model to be loaded, or for the pipeline to take more: few, so that pages have the others."""


@dataclass(frozen=True)
class Seen:
    """What the model sees in a photo. `milliseconds` are the photo's own: loading the model is not in them."""

    predictions: tuple[Prediction, ...]
    threshold: float
    model: RegisteredModel
    milliseconds: float


class _Awaited:
    """One photo's place in the pipeline."""

    def __init__(self, top_k: int, threshold: float) -> None:
        self.top_k = top_k
        self.threshold = threshold
        self.result: Future[Looked | Failed] = Future()
        self.result.set_running_or_notify_cancel()  # the pipeline answers even if nobody waits any more

    def is_known(self, digest: str) -> bool:  # noqa: ARG002 - whatever it is, it was not looked at for this
        return False

    def deliver(self, answers: Sequence[Answer]) -> None:
        for _request, result in answers:
            if isinstance(result, Looked | Failed):
                self.result.set_result(result)

    def broken(self, error: Exception) -> None:
        self.result.set_exception(error)


async def look_at(
    place: Place, data: bytes, top_k: int | None = None, threshold: float | None = None
) -> Seen:
    """The best landmarks in a photo; how many, and from which score, is the settings' choice where it is not given.

    Raises:
        PhotoFailed: nothing can be seen in it.
        ModelFailed, ModelGone, ModelChanged, ModelRefused, NoModel, ReadsHang: it is not the photo.
    """
    model, running = await to_thread.run_sync(_model, place, limiter=_submitters)
    began = time.perf_counter()
    awaited = _Awaited(top_k or place.settings.top_k, _threshold(place, model, threshold))
    request = Request(_NOWHERE, awaited, reader=lambda _path: _opened(data, running))
    if not await to_thread.run_sync(
        running.pipeline.submit, request, place.stopping.is_set, limiter=_submitters
    ):
        raise HTTPException(
            HTTPStatus.SERVICE_UNAVAILABLE, "The page is being stopped. Try again when it is back."
        )
    try:
        result = await asyncio.wrap_future(awaited.result)
    except Exception as error:
        raise ModelFailed(name=model.name, reason=_last_line(error)) from error
    if isinstance(result, Failed):
        raise PhotoFailed(result.failure.kind, result.failure.text)
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    return Seen(result.predictions, awaited.threshold, model, milliseconds)


def _model(place: Place) -> tuple[RegisteredModel, RunningModel]:
    try:
        model = place.model()
    except ModelNotFound as error:  # it is this server's settings that name it, not the request
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
    return model, place.tagger.running_model(model.id)


def _threshold(place: Place, model: RegisteredModel, asked: float | None) -> float:
    given = asked if asked is not None else place.settings.threshold
    return given if given is not None else model.manifest.threshold


def _opened(data: bytes, running: RunningModel) -> OpenPhoto:
    if not data:
        raise PhotoFailed(
            FailureKind.EMPTY, "The file has no content (0 bytes). Copy it again from where it came from."
        )
    return open_bytes(PhotoBytes(data, len(data), 0), running.model.manifest.input.resize, running.limits)


def _last_line(error: Exception) -> str:
    """The lines before it show TorchScript's own stack."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
