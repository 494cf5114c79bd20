"""HTML pages, rendered on the server. They can be read without JavaScript."""

from fastapi import APIRouter

from tagger.web.pages import (
    filter_panel,
    job_forms,
    jobs,
    language,
    library,
    map_clusters,
    metadata,
    packs,
    photo,
    photo_export,
    photos,
    review,
    search,
    shared,
    teaching,
    trips,
    try_photo,
)


def routers() -> tuple[APIRouter, ...]:
    """Return the routers of the pages; the order decides between `/jobs/new` and `/jobs/{job}`."""
    return (
        try_photo.router,
        library.router,
        search.router,
        filter_panel.router,
        photos.router,
        map_clusters.router,
        trips.router,
        review.router,
        teaching.router,
        metadata.router,
        packs.router,
        photo_export.router,
        photo.router,
        job_forms.router,
        jobs.router,
        language.router,
        shared.router,
        shared.data_router,
    )
