"""The pages, for people: made on the server, and usable without script where that is possible."""

from fastapi import APIRouter

from tagger.web.pages import job_forms, jobs, library, photo, trying


def routers() -> tuple[APIRouter, ...]:
    """Every part of the pages."""
    return (trying.router, library.router, photo.router, job_forms.router, jobs.router)
