"""Teaching landmarks, their suggestions, and look-alikes, as `tagger teach`, `review` and `similar`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Path, Query
from pydantic import Field

from tagger.errors import ExamplesMissing
from tagger.landmarks.edits import NewLandmark
from tagger.landmarks.landmarks import find_landmark
from tagger.query.tagged_photos import (
    TaggedPhoto,
    photo_document,
    stored_photo,
)
from tagger.teaching.examples import examples_by_id, load_embeddings
from tagger.teaching.learning import embedding_of
from tagger.teaching.lessons import TaughtDocument, lesson_of
from tagger.teaching.lessons import teach as teach_landmark
from tagger.teaching.similarity import find_similar
from tagger.teaching.suggestions import ReviewPosition, suggestion_page
from tagger.web.api.photos import PhotoPage
from tagger.web.api.routes import api_router
from tagger.web.api.verdicts import By, PhotoIds, person_of
from tagger.web.http.query_params import ONE_LINE, RequestModel
from tagger.web.state import AppState, State

router = api_router("teaching")

Landmark = Annotated[
    str, Path(min_length=1, max_length=1000, description="A landmark, by slug or name."), ONE_LINE
]


class TeachRequest(RequestModel):
    """Photos by id that show the landmark, and photos that do not."""

    confirmed: PhotoIds = Field(default=[])
    rejected: PhotoIds = Field(default=[])
    by: By = None


@dataclass(frozen=True)
class TaughtLandmark(TaughtDocument):
    """A landmark after it was taught. `left_out`: photos that have no embedding."""

    left_out: Sequence[int]


@router.post("/landmarks/{landmark}/teach")
def teach(state: State, landmark: Landmark, body: TeachRequest) -> TaughtLandmark:
    """Confirm and reject photos, learn the landmark from all its verdicts, and tag every photo that shows it.

    Without photos, it is learned from the verdicts that it has.
    """
    database, model, roots = state.database, state.embedding_model(), state.settings.roots
    embedding_of(model)
    groups = body.confirmed, body.rejected
    lesson = lesson_of(
        *(examples_by_id(database, model, photo_ids, roots) for photo_ids in groups),
        may_be_empty=not any(groups),
    )
    by = person_of(state, body.by)
    with state.taught_updates.learning:
        taught = teach_landmark(database, model, NewLandmark(landmark), lesson, by, may_add=False)
    if not (any(groups) or taught.state.examples):
        raise ExamplesMissing
    used = (each.photo_id for each in (*lesson.confirmed, *lesson.rejected))
    left_out = {*body.confirmed, *body.rejected}.difference(used)
    return TaughtLandmark(**vars(taught.document), left_out=sorted(left_out))


@router.get("/suggestions")
def suggestions(
    state: State,
    landmark: Annotated[
        str | None, Query(min_length=1, max_length=1000, description="A landmark. Default: all.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="The page size.")] = 100,
    after: Annotated[str | None, Query(max_length=100, description="`next` of the previous page.")] = None,
) -> PhotoPage:
    """List photos that probably show a landmark, the most probable first. Pass `next` as `after` for more."""
    start = None if after is None else ReviewPosition.of_cursor(after)
    landmark_id = None
    if landmark is not None:
        with state.database.read() as connection:
            landmark_id = find_landmark(connection, landmark).id
    photos, end = suggestion_page(state.database, landmark_id, state.settings.roots, start, limit)
    cursor = None if end is None else end.cursor
    return PhotoPage([photo_document(photo) for photo in photos], cursor)


def similar_photos(state: AppState, photo_id: int, limit: int) -> list[TaggedPhoto]:
    """Return the photos that resemble a photo most, best first.

    Raises:
        PhotoIdNotFound: no photo has that number.
        EmbeddingsMissing, ExamplesMissing: the photo cannot be compared.
    """
    database, model, roots = state.database, state.embedding_model(), state.settings.roots
    dimension = embedding_of(model).dimension
    stored_photo(database, photo_id, roots)
    ids = [each.content_id for each in examples_by_id(database, model, [photo_id], roots)]
    content_ids = [content_id for content_id in ids if content_id is not None]
    if not content_ids:
        raise ExamplesMissing
    with database.read() as connection:
        given = load_embeddings(connection, model.id, content_ids, dimension)
    return find_similar(database, model, given, roots, limit=limit, without=content_ids)
