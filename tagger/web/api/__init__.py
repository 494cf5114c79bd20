"""The JSON API below /api. Its documents are those of the command line."""

from fastapi import APIRouter

from tagger.web.api import (
    audit,
    events,
    jobs,
    landmarks,
    packs,
    photo_images,
    photos,
    predict,
    schedules,
    search,
    shares,
    teaching,
    timeline,
    verdicts,
)


def routers() -> tuple[APIRouter, ...]:
    """Return the routers of the API."""
    return (
        teaching.router,
        predict.router,
        timeline.router,
        photos.router,
        photo_images.router,
        verdicts.router,
        landmarks.router,
        packs.router,
        search.router,
        shares.router,
        photos.trips_router,
        predict.models_router,
        jobs.router,
        schedules.router,
        events.router,
        audit.router,
    )
