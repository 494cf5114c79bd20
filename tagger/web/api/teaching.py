"""Teaching landmarks, and look-alikes, as `tagger teach` and `similar`."""

from typing import Annotated

from fastapi import Path

from tagger.errors import ExamplesMissing
from tagger.landmarks.edits import NewLandmark
from tagger.query.tagged_photos import TaggedPhoto, stored_photo
from tagger.teaching.examples import load_embeddings
from tagger.teaching.learning import embedding_of
from tagger.teaching.lessons import Lesson, TaughtDocument
from tagger.teaching.lessons import teach as teach_landmark
from tagger.teaching.similarity import content_with_embedding, find_similar
from tagger.web.api.routes import api_router
from tagger.web.api.verdicts import person_of
from tagger.web.http.access import Role, requires
from tagger.web.http.query_params import ONE_LINE
from tagger.web.state import AppState, State

router = api_router("teaching")

Landmark = Annotated[
    str, Path(min_length=1, max_length=1000, description="A landmark, by slug or name."), ONE_LINE
]


@router.post("/landmarks/{landmark}/teach")
@requires(Role.EDITOR)
def teach(state: State, landmark: Landmark) -> TaughtDocument:
    """Learn the landmark from its verdicts, and tag every photo that shows it.

    `examples` is 0 if there is nothing to learn: no confirmed photo can be compared, or the model itself
    finds the landmark on nearly all of them.
    """
    database, model = state.database, state.embedding_model()
    embedding_of(model)
    with state.taught_updates.learning:
        taught = teach_landmark(
            database, model, NewLandmark(landmark), Lesson((), (), ()), person_of(state), may_add=False
        )
    return taught.document


def similar_photos(state: AppState, photo_id: int, limit: int) -> list[TaggedPhoto]:
    """Return the photos that resemble a photo most, best first.

    Raises:
        PhotoIdNotFound: no photo has that number.
        EmbeddingsMissing, ExamplesMissing: the photo cannot be compared.
    """
    database, model, roots = state.database, state.embedding_model(), state.settings.roots
    dimension = embedding_of(model).dimension
    photo = stored_photo(database, photo_id, roots)
    with database.read() as connection:
        content_id = photo.digest and content_with_embedding(connection, model.id, photo.digest)
        if not content_id:
            raise ExamplesMissing
        given = load_embeddings(connection, model.id, [content_id], dimension)
    return find_similar(database, model, given, roots, limit=limit, without=[content_id])
