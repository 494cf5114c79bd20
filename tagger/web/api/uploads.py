"""Photos that people send, one a request, and the job that tags them."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Query, Request
from starlette.exceptions import HTTPException

from tagger.database.enums import Priority
from tagger.jobs.enqueue.scan import select_paths
from tagger.jobs.enqueue.submission import Tagging
from tagger.texts.text_format import gettext
from tagger.web.api.job_starter import Starter
from tagger.web.api.routes import api_router
from tagger.web.http.access import Role, requires
from tagger.web.http.auth import may_send_photos
from tagger.web.state import AppState, State
from tagger.web.upload_folder import ReceivedPhoto, UploadFolder

router = api_router("uploads")

PhotoPath = Annotated[
    str,
    Query(min_length=1, max_length=1000, description="The name of the photo, after folders if it has any."),
]


@router.post(
    "/uploads",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
@requires(Role.EDITOR)
async def send_photo(request: Request, state: State, path: PhotoPath) -> ReceivedPhoto:
    """Store a photo, the body of the request. Another photo of the same name gets a number."""
    return await _folder(request, state).receive(path, request.stream())


@dataclass(frozen=True)
class UploadJob:
    """The job that tags what was sent."""

    job: int


@router.post("/uploads/tag", status_code=HTTPStatus.CREATED)
@requires(Role.EDITOR)
def tag_uploads(request: Request, state: State, starter: Starter) -> UploadJob:
    """Start the job that tags the photos that were sent, before all others."""
    selection = select_paths([_folder(request, state).folder])
    return UploadJob(starter.start(Tagging(selection), Priority.INTERACTIVE))


def _folder(request: Request, state: AppState) -> UploadFolder:
    if not may_send_photos(request):
        text = gettext(
            "Nobody sends photos to this page. Its owner can name a folder with TAGGER_WEB_UPLOAD_FOLDER."
        )
        raise HTTPException(HTTPStatus.NOT_FOUND, text)
    if state.settings.web_upload_folder is None:  # one that is named may be on a disk that is away
        state.upload_folder.folder.mkdir(exist_ok=True)
    return state.upload_folder
