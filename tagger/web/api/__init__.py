"""The JSON API below /api. Its documents are those of the command line."""

from fastapi import APIRouter

from tagger.web.api import (
    audit,
    cities,
    dismissals,
    events,
    facets,
    jobs,
    landmarks,
    models,
    object_events,
    photo_images,
    photos,
    positions,
    predict,
    schedules,
    search,
    shares,
    teaching,
    timeline,
    trips,
    verdicts,
)


def routers() -> tuple[APIRouter, ...]:
    """Return the routers of the API."""
    return (
        teaching.router,
        predict.router,
        timeline.router,
        facets.router,
        photos.router,
        positions.router,
        photo_images.router,
        verdicts.router,
        dismissals.router,
        landmarks.router,
        cities.router,
        search.router,
        shares.router,
        trips.router,
        models.router,
        jobs.router,
        schedules.router,
        events.router,
        object_events.router,
        audit.router,
    )
