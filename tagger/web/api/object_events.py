"""What buckets report: events of objects become jobs over those that are new or changed.

An event is believed in nothing: only objects in allowed buckets are checked, and what is there decides.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request

from tagger.photos.folder_walk import PathFilter
from tagger.photos.object_events import parse_object_events
from tagger.photos.paths import ObjectPath
from tagger.web.api.events import EventBatches
from tagger.web.api.folders import allowed_prefixes
from tagger.web.api.routes import api_router
from tagger.web.state import AppState, State

log = logging.getLogger(__name__)

router = api_router("jobs")

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "description": "S3's notification (`Records`), or its envelope of SNS or EventBridge.",
                }
            }
        },
    }
}
_ADVICE = (
    "This server confirms no subscription by itself. If you made it, confirm it with the SubscribeURL or the Token of the "
    "message, which `aws sns confirm-subscription` takes."
)


async def _read_body(request: Request) -> bytes:
    return await request.body()


def event_batches(request: Request) -> EventBatches:
    """Return the application's batches of events."""
    batches: EventBatches = request.app.state.event_batches
    return batches


@dataclass(frozen=True)
class AcceptedEvents:
    """How many events of a bucket will be checked, and how many not: they tell of no photo, or of no allowed bucket.

    `advice`: what to do if the message asks to confirm a subscription.
    """

    accepted: int
    ignored: int
    refused: int
    advice: str | None


@router.post(
    "/events/objects",
    status_code=HTTPStatus.ACCEPTED,
    openapi_extra=_BODY,
)
def report_objects(
    request: Request,
    state: State,
    batches: Annotated[EventBatches, Depends(event_batches)],
    data: Annotated[bytes, Depends(_read_body)],
) -> AcceptedEvents:
    """Take events of a bucket: photos that are new, changed or gone. They are checked within seconds, many in one job."""
    events = parse_object_events(data)
    if events.subscription is not None:
        log.warning("a subscription to %r waits. %s", events.subscription[:200], _ADVICE)
    prefixes = _prefixes_by_bucket(state)
    placed = [(_prefix_of(prefixes.get(path.bucket, ()), path), path) for path in events.objects]
    inside = [(prefix, path) for prefix, path in placed if prefix is not None]
    photos = [(prefix, path) for prefix, path in inside if _is_photo(prefix, path)]
    batches.add(photos, request.state.actor)
    return AcceptedEvents(
        accepted=len(photos),
        ignored=events.ignored + len(inside) - len(photos),
        refused=len(placed) - len(inside),
        advice=None if events.subscription is None else _ADVICE,
    )


def _prefixes_by_bucket(state: AppState) -> dict[str, list[ObjectPath]]:
    prefixes: dict[str, list[ObjectPath]] = defaultdict(list)
    for prefix in allowed_prefixes(state.settings, state.database):
        prefixes[prefix.bucket].append(prefix)
    return prefixes


def _prefix_of(prefixes: Sequence[ObjectPath], path: ObjectPath) -> ObjectPath | None:
    return next((prefix for prefix in prefixes if path != prefix and path.is_relative_to(prefix)), None)


def _is_photo(prefix: ObjectPath, path: ObjectPath) -> bool:
    """Whether a scan of the prefix would find the object."""
    relative = str(path.relative_to(prefix))
    folders = relative.split("/")[:-1]
    entered = ("/".join(folders[: end + 1]) for end in range(len(folders)))
    path_filter = PathFilter()
    return path_filter.is_listed(relative) and all(map(path_filter.is_entered, entered))
