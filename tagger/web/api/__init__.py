"""The JSON API below /api. Its documents are those of the command line."""

from tagger.web import routes
from tagger.web.api import jobs, landmarks, photos, uploads

ROUTERS = (
    landmarks.teaching_router,
    uploads.predict_router,
    photos.router,
    photos.verdicts_router,
    landmarks.router,
    landmarks.search_router,
    uploads.router,
    jobs.router,
    routes.router,
    photos.trips_router,
)
