"""The JSON API below /api. Its documents are those of the command line."""

from fastapi import APIRouter

from tagger.web.api import (
    events,
    jobs,
    landmarks,
    photo_images,
    photos,
    predict,
    routes,
    search,
    teaching,
    uploads,
    verdicts,
)


def routers() -> tuple[APIRouter, ...]:
    """Return the routers of the API."""
    of_photos = teaching, predict, photos, photo_images, verdicts, landmarks, search, uploads
    of_jobs = jobs, events
    return *(module.router for module in (*of_photos, *of_jobs, routes)), photos.trips_router
