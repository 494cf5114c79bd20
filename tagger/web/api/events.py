"""How jobs go, told as it happens."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from tagger.web.api.routing import api_router
from tagger.web.events import Hub
from tagger.web.place import Place, place_of

LISTENERS = 64

router = api_router("jobs")


async def listened_to(request: Request, place: Annotated[Place, Depends(place_of)]) -> AsyncIterator[Hub]:
    """The hub, with one listener more until the answer has ended.

    Raises:
        HTTPException: there are too many already.
    """
    hub = hub_of(request, place)
    if hub.listeners >= LISTENERS:
        text = f"{LISTENERS} pages follow the jobs already. Close some, or ask /api/status now and then."
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "10"})
    with hub.counted():
        yield hub


@router.get("/events", response_class=StreamingResponse)
async def events(hub: Annotated[Hub, Depends(listened_to)]) -> StreamingResponse:
    """Open jobs, the newest ones, workers and queues, as server-sent events: all of it at once, and again when it has changed."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(hub.listen(), media_type="text/event-stream", headers=headers)


def hub_of(request: Request, place: Place) -> Hub:
    """The server's only one."""
    state = request.app.state
    if not hasattr(state, "hub"):
        state.hub = Hub(place.settings, place.database, place.stopping)
    hub: Hub = state.hub
    return hub
