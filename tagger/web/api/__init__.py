"""The API, for programs: the same JSON as the command line's, under /api."""

from fastapi import APIRouter

from tagger.web.api import events, jobs, landmarks, look, models, photos, schedules, verdicts


def routers() -> tuple[APIRouter, ...]:
    """Every part of the API."""
    return (
        look.router,
        photos.router,
        verdicts.router,
        landmarks.router,
        models.router,
        jobs.router,
        schedules.router,
        events.router,
    )
