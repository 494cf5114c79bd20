"""HTML pages, rendered on the server. They can be read without JavaScript."""

from fastapi import APIRouter

from tagger.web.http import templates
from tagger.web.pages import (
    filter_panel,
    job_forms,
    jobs,
    library,
    map_clusters,
    photo,
    photos,
    review,
)


def routers() -> tuple[APIRouter, ...]:
    """Return the routers of the pages; the order decides between `/jobs/new` and `/jobs/{job}`."""
    of_photos = library, filter_panel, photos, map_clusters, review, photo
    others = job_forms, jobs, templates
    return tuple(module.router for module in (*of_photos, *others))
