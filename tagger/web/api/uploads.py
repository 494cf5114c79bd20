"""Photos that people send: one is classified and not stored, as by `tagger predict`, or all are tagged.

The server has one pipeline for all that are classified so: photos that arrive together share forward passes.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import Query, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from tagger import pipeline as pipeline_requests
from tagger.database import Priority
from tagger.errors import FailureKind, ModelFailed, ModelNotFound, PhotoFailed
from tagger.jobs.enqueue.selection import select_paths
from tagger.jobs.enqueue.submission import Tagging
from tagger.jobs.processing.model_cache import LoadedModels
from tagger.photos.files import PhotoBytes
from tagger.photos.source import open_source
from tagger.pipeline import Classified, Failed, OpenPhoto, RequestResult
from tagger.query.photo_json import (
    FailedPredictionDocument,
    ModelPredictions,
    PredictionDocument,
    named_predictions,
    prediction_document,
)
from tagger.registry import RegisteredModel, models_of_landmarks
from tagger.texts.text_format import gettext
from tagger.web.access import Role, may_send_photos, requires
from tagger.web.api.job_starter import start_job
from tagger.web.routes import (
    BINARY,
    DocumentResponse,
    Problem,
    api_router,
    upload_body,
)
from tagger.web.state import AppState, State
from tagger.web.uploads import ReceivedPhoto, UploadFolder

predict_router = api_router("prediction")

TopK = Annotated[
    int | None,
    Query(ge=1, le=100, description="Best landmarks. Default: TAGGER_TOP_K."),
]
Threshold = Annotated[
    float | None,
    Query(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The least score of an accepted landmark. Default: TAGGER_THRESHOLD, or the model's own.",
    ),
]


@dataclass(frozen=True)
class UploadPrediction(PredictionDocument):
    """The top-k of an uploaded photo."""

    milliseconds: float


@dataclass(frozen=True)
class FailedUpload(FailedPredictionDocument):
    """Why an uploaded photo was not classified."""

    error: str


_RESPONSES: dict[int | str, dict[str, Any]] = {
    413: {
        "model": Problem,
        "description": "The photo is larger than TAGGER_WEB_UPLOAD_BYTES.",
    },
    422: {
        "model": FailedUpload | Problem,
        "description": "The photo cannot be decoded; kind and text say why.",
    },
    507: {
        "model": Problem,
        "description": "The disk of the server's temporary folder is full.",
    },
    503: {
        "model": Problem,
        "description": "No model is available, or too many photos are uploaded; the text says what to do.",
    },
}
_UPLOAD_SOURCE, _UPLOAD_PATH = open_source("-"), "-"
# Threads that wait for the model or the pipeline: few, so that pages have the others.
_submit_limiter = CapacityLimiter(2)


@predict_router.post(
    "/predict",
    response_model=UploadPrediction,
    openapi_extra=upload_body("image/*", "application/octet-stream"),
    responses=_RESPONSES,
)
@requires(Role.VIEWER)
async def predict(
    request: Request, state: State, top_k: TopK = None, threshold: Threshold = None
) -> Response:
    """Classify a photo, the file of a form or the body, without storing it, together with others sent now."""
    async with state.uploads.read(request, state.settings.web_upload_bytes) as photo:
        try:
            classification = await classify(state, photo.data, top_k, threshold)
        except PhotoFailed as error:
            failure = error.failure
            failed = FailedUpload(
                photo.name, "failed", failure.kind, failure.text, error=failure.text
            )
            return DocumentResponse(failed, HTTPStatus.UNPROCESSABLE_ENTITY)
    document = prediction_document(
        photo.name,
        named_predictions(
            state.database, classification.found, top_k or state.settings.top_k
        ),
        is_damaged=classification.is_damaged,
    )
    return DocumentResponse(
        UploadPrediction(**vars(document), milliseconds=classification.duration_ms)
    )


@dataclass(frozen=True)
class Classification:
    """What models say of a photo. `duration_ms` does not include loading them."""

    found: Sequence[ModelPredictions]
    duration_ms: float
    is_damaged: bool


async def classify(
    state: AppState,
    data: bytes,
    top_k: int | None = None,
    threshold: float | None = None,
) -> Classification:
    """Classify a photo in memory, by default with the top-k and threshold of the settings.

    Raises:
        PhotoFailed: the photo cannot be decoded.
        ModelFailed, ModelFileNotFound, ModelChanged, ModelRefused, ModelNotSelected, ReadsTimedOut: the
        failure is not the photo's.
    """
    models, loaded = await to_thread.run_sync(
        _load_models, state, limiter=_submit_limiter
    )
    start_s = time.perf_counter()
    if threshold is None:
        threshold = state.settings.threshold
    thresholds = {
        each.id: each.manifest.threshold if threshold is None else threshold
        for each in models
    }
    sink = _UploadSink(top_k or state.settings.top_k, thresholds)
    ends_at = time.monotonic() + state.settings.read_timeout_s

    def open_photo(_source: object, _path: object) -> OpenPhoto:
        if not data:
            text = "The file is empty (0 bytes). Copy it again from its source."
            raise PhotoFailed(FailureKind.EMPTY, text)
        # In a confined process. The time limit includes the wait for other uploads.
        return state.upload_sandbox.open(
            PhotoBytes(data, len(data), 0), ends_at=ends_at
        )

    request = pipeline_requests.Request(
        _UPLOAD_SOURCE, _UPLOAD_PATH, sink, reader=open_photo
    )

    def must_give_up() -> bool:
        return state.stopping.is_set() or time.monotonic() > ends_at

    if not await to_thread.run_sync(
        loaded.pipeline.submit, request, must_give_up, limiter=_submit_limiter
    ):
        if not state.stopping.is_set():
            raise ModelFailed(name=loaded.name, reason="it did not answer in time")
        text = gettext("The server is stopping. Try again when it is back.")
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text)
    try:
        # Reading has the limit `ends_at`; the model gets as long again.
        async with asyncio.timeout(2 * state.settings.read_timeout_s):
            result = await asyncio.wrap_future(sink.result)
    except TimeoutError as error:
        raise ModelFailed(
            name=loaded.name, reason="it did not answer in time"
        ) from error
    except Exception as error:
        raise ModelFailed(
            name=loaded.name, reason=pipeline_requests.last_line(error)
        ) from error
    if isinstance(result, Failed):
        raise PhotoFailed(result.failure.kind, result.failure.text)
    duration_ms = round((time.perf_counter() - start_s) * 1000, 1)
    found = [
        ModelPredictions(each, thresholds[each.id], result.results[each.id].predictions)
        for each in models
    ]
    return Classification(found, duration_ms, result.is_damaged)


def _load_models(state: AppState) -> tuple[Sequence[RegisteredModel], LoadedModels]:
    try:
        models = models_of_landmarks(state.models_in_use())
    except (
        ModelNotFound
    ) as error:  # the server's settings name the model, not the request
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
    loaded = state.models.get(model.id for model in models)
    return [model for model in models if model.id in loaded.models], loaded


class _UploadSink:
    def __init__(self, top_k: int, thresholds: Mapping[int, float]) -> None:
        self.top_k = top_k
        self.thresholds = thresholds
        self.result: Future[Classified | Failed] = Future()
        self.result.set_running_or_notify_cancel()  # delivered even if the client left

    def lacking_models(self, digest: str) -> Sequence[int]:  # noqa: ARG002 - uploads are always classified
        return tuple(self.thresholds)

    def deliver(self, results: Sequence[RequestResult]) -> None:
        for _request, result in results:
            if isinstance(result, Classified | Failed):
                self.result.set_result(result)

    def fail(self, error: Exception) -> None:
        self.result.set_exception(error)


router = api_router("uploads")

PhotoPath = Annotated[
    str,
    Query(
        min_length=1,
        max_length=1000,
        description="The name of the photo, after folders if it has any.",
    ),
]


@router.post(
    "/uploads",
    openapi_extra={
        "requestBody": {"required": True, "content": {"image/*": {"schema": BINARY}}}
    },
)
@requires(Role.EDITOR)
async def send_photo(request: Request, state: State, path: PhotoPath) -> ReceivedPhoto:
    """Store a photo, the body of the request. Another photo of the same name gets a number.

    Side files (`.xmp`, `.json`) follow their photos, and are named as these were stored.
    """
    return await _folder(request, state).receive(path, request.stream())


@dataclass(frozen=True)
class UploadJob:
    job: int


@router.post("/uploads/tag", status_code=HTTPStatus.CREATED)
@requires(Role.EDITOR)
def tag_uploads(request: Request, state: State) -> UploadJob:
    """Start the job that tags the photos that were sent, before all others."""
    selection = select_paths([_folder(request, state).folder])
    return UploadJob(start_job(state, Tagging(selection), Priority.INTERACTIVE))


def _folder(request: Request, state: AppState) -> UploadFolder:
    if not may_send_photos(request):
        text = gettext(
            "Nobody sends photos to this page. Its owner can name a folder with TAGGER_WEB_UPLOAD_FOLDER."
        )
        raise HTTPException(HTTPStatus.NOT_FOUND, text)
    if (
        state.settings.web_upload_folder is None
    ):  # one that is named may be on a disk that is away
        state.upload_folder.folder.mkdir(exist_ok=True)
    return state.upload_folder
