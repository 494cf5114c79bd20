"""HTML pages, rendered on the server. They can be read without JavaScript."""

from tagger.web import templating
from tagger.web.pages import (
    filter_panel,
    jobs,
    library,
    photo,
    photos,
    review,
)

_OF_PHOTOS = (library, filter_panel, photos, review, photo)
ROUTERS = tuple(module.router for module in (*_OF_PHOTOS, jobs, templating))
