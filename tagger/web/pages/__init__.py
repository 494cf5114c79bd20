"""HTML pages, rendered on the server. They can be read without JavaScript."""

from fastapi import APIRouter

from tagger.web import templating
from tagger.web.pages import (
    filter_panel,
    jobs,
    library,
    map_clusters,
    photo,
    photos,
    review,
)


def routers() -> tuple[APIRouter, ...]:
    of_photos = library, filter_panel, photos, map_clusters, review, photo
    others = jobs, templating
    return tuple(module.router for module in (*of_photos, *others))
