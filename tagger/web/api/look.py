"""Looking at an uploaded photo at once: the same top-k as `tagger look`, nothing stored."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from tagger.documents import failed_look_document, look_document
from tagger.errors import PhotoFailed
from tagger.web.api.routing import Problem, api_router
from tagger.web.api.shapes import FailedLook, Look
from tagger.web.document import Document
from tagger.web.looking import look_at
from tagger.web.place import Place, place_of
from tagger.web.uploads import uploaded_photo

router = api_router("looking")

TopK = Annotated[int | None, Query(ge=1, le=100, description="Best landmarks. Default: TAGGER_TOP_K.")]
Threshold = Annotated[
    float | None,
    Query(
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Least score at which a landmark is accepted. Default: TAGGER_THRESHOLD, or the model's own.",
    ),
]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    413: {"model": Problem, "description": "The photo is larger than TAGGER_WEB_UPLOAD_BYTES."},
    422: {
        "model": FailedLook | Problem,
        "description": "Nothing can be seen in the photo: kind and text say why.",
    },
    507: {"model": Problem, "description": "The disk of the server's temporary folder is full."},
    503: {"model": Problem, "description": "No model can be run; the text says what to do."},
}


@router.post("/look", response_model=Look, openapi_extra=_BODY, responses=_ANSWERS)
async def look(
    request: Request,
    place: Annotated[Place, Depends(place_of)],
    top_k: TopK = None,
    threshold: Threshold = None,
) -> Response:
    """Look at a photo, given as the file of a form or as the body. Nothing is stored; photos sent at the same time share forward passes."""
    async with uploaded_photo(request, place.upload_room, place.settings.web_upload_bytes) as photo:
        try:
            seen = await look_at(place, photo.data, top_k, threshold)
        except PhotoFailed as failed:
            document = failed_look_document(photo.name, failed.failure) | {"error": failed.failure.text}
            return Document(document, HTTPStatus.UNPROCESSABLE_ENTITY)
    document = look_document(photo.name, seen.predictions, seen.model)
    return Document(document | {"milliseconds": seen.milliseconds})
