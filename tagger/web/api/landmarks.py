"""Landmarks with photo counts, changes of them, as `tagger landmark`, and the cities where they may be.

Search: what the start of a typed text may mean, best first, as links to the photos. Teaching landmarks, and
look-alikes, as `tagger teach` and `similar`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Self

import numpy as np
from fastapi import Path, Query
from pydantic import Field, model_validator

from tagger.database.connection import Database
from tagger.errors import ExamplesMissing, QueryInvalid
from tagger.landmarks import display_names
from tagger.landmarks.edits import (
    NewLandmark,
    RemovedLandmarkDocument,
    add_landmark,
    remove_landmark,
)
from tagger.model.artifact import Extent
from tagger.positions.cities import City, find_cities, nearest_cities
from tagger.query import parse_position
from tagger.query.counts import (
    LandmarkCount,
    landmark_counts,
    summaries_of_trips,
)
from tagger.query.filter_words import Options
from tagger.query.photo_json import LandmarkDocument, landmark_document
from tagger.query.tagged_photos import TaggedPhoto, stored_photo
from tagger.search import MAX_LETTERS, Match
from tagger.search.names import Kind, Meaning
from tagger.teaching.learning import embedding_of, load_embeddings
from tagger.teaching.lessons import Lesson, TaughtDocument, teach as teach_landmark
from tagger.teaching.questions import (
    AnswerDocument,
    QuestionDocument,
    answer_question,
    open_questions,
    withdraw_answer,
)
from tagger.teaching.similarity import content_with_embedding, find_similar
from tagger.texts import document_of
from tagger.texts.names import city_name
from tagger.texts.text_format import country_name, gettext, reader_language
from tagger.web.access import Role, requires
from tagger.web.api.photos import MAX_PHOTOS, person_of
from tagger.web.routes import (
    COUNTING,
    ONE_LINE,
    PhotoId,
    RequestModel,
    address_of,
    api_router,
)
from tagger.web.state import AppState, State

router = api_router("landmarks")

# What a text may hold is checked where it is stored.
Text = Annotated[str, Field(max_length=1000)]
Landmark = Annotated[
    str, Path(max_length=500, description="A landmark by slug or name, in any case.")
]


class NewLandmarkRequest(RequestModel):
    """A landmark that no model has to know."""

    country: Text | None = None
    region: Text | None = None
    city: Text | None = None
    latitude: Annotated[float | None, Field(ge=-90, le=90, allow_inf_nan=False)] = None
    longitude: Annotated[float | None, Field(ge=-180, le=180, allow_inf_nan=False)] = (
        None
    )
    extent: Extent | None = None
    name: Text
    slug: Annotated[
        Text | None, Field(description="Default: derived from the name.")
    ] = None
    aliases: list[Text] = Field(
        default=[], max_length=100, description="Other names that find it."
    )

    @model_validator(mode="after")
    def check_position(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude go together")
        return self

    def landmark(self) -> NewLandmark:
        position = None
        if self.latitude is not None and self.longitude is not None:
            position = self.latitude, self.longitude
        return NewLandmark(
            self.name,
            self.slug,
            self.country,
            self.region,
            self.city,
            position,
            self.extent,
            tuple(self.aliases),
        )


@router.get("/landmarks")
@requires(Role.VIEWER)
def landmarks(
    state: State,
    country: Annotated[
        str | None,
        Query(max_length=1000, description="Landmarks of this country, in any case."),
    ] = None,
    include_all: Annotated[
        bool,
        Query(
            alias="all",
            description="Also landmarks that no photo shows: people's own, and those of the models.",
        ),
    ] = False,
) -> Sequence[LandmarkCount]:
    """List landmarks, most photos first."""
    counts = landmark_counts(
        state.database, (country or "").strip() or None, include_empty=include_all
    )
    if reader_language() is None:
        return counts
    return [
        replace(
            each,
            city=each.city and city_name(each.city, each.country),
            country=each.country and country_name(each.country),
        )
        for each in counts
    ]


@router.post("/landmarks", status_code=HTTPStatus.CREATED)
@requires(Role.EDITOR)
def add(state: State, body: NewLandmarkRequest) -> LandmarkDocument:
    """Add a landmark that the model does not know. It is confirmed and searched for as any other."""
    return landmark_document(
        add_landmark(state.database, body.landmark()), dry_run=False
    )


@router.delete("/landmarks/{landmark}")
@requires(Role.EDITOR)
def remove(state: State, landmark: Landmark) -> RemovedLandmarkDocument:
    """Remove a landmark that no registered model knows, and that has no verdicts."""
    return remove_landmark(state.database, landmark)


@dataclass(frozen=True)
class Place:
    """Where a landmark is. The coordinates are null if only the city is known, the city far from all."""

    city: str | None
    region: str | None
    country: str | None
    latitude: float | None
    longitude: float | None


@router.get("/cities")
@requires(Role.VIEWER)
def cities(
    q: Annotated[
        str,
        Query(
            min_length=1,
            max_length=200,
            description="The start of a city's name, its region or country after a comma; or LAT,LON.",
        ),
    ],
    limit: Annotated[int, Query(ge=1, le=100, description="Most cities.")] = 10,
) -> list[Place]:
    """List the cities with a name, the largest first, or the city of coordinates."""
    if not q.strip(" ,"):
        return []
    try:
        latitude, longitude = parse_position(q, "q")
    except QueryInvalid:
        return [_place(city, None, None) for city in find_cities(q, limit)]
    (city,) = nearest_cities(np.array([latitude]), np.array([longitude]))
    return [_place(city, latitude, longitude)]


def _place(city: City | None, latitude: float | None, longitude: float | None) -> Place:
    if city is None:
        return Place(None, None, None, latitude, longitude)
    return Place(city.name, city.region, city.country, latitude, longitude)


search_router = api_router("search")


SearchText = Annotated[str, Query(max_length=MAX_LETTERS)]


@dataclass(frozen=True)
class SearchResult:
    """Something that the text may mean. `options` are those of a query for its photos, `address` is its page.

    `photos` is null if they are not counted. `similar`: its name only resembles the text.
    """

    kind: Kind
    label: str
    detail: str
    photos: int | None
    similar: bool
    options: Options
    address: str


@search_router.get("/search", dependencies=[COUNTING])
@requires(Role.VIEWER)
def search(
    state: State,
    q: Annotated[
        str,
        Query(
            max_length=MAX_LETTERS,
            description="Parts of names of landmarks, countries, cities, regions, trips, cameras, folders and"
            " files, dates such as May 2019, 2019-05-03 or last summer, and words like unknown or confirmed.",
        ),
    ],
) -> list[SearchResult]:
    """List what the start of a text may mean, at most 12: its parts together, then single meanings by kind.

    Case and accents do not matter, nor do typing errors in a name if no name starts with the text.
    """
    return [suggestion_document(state, each) for each in state.overview.suggest(q)]


def suggestion_document(state: AppState, meaning: Meaning) -> SearchResult:
    meaning = (
        meaning if reader_language() is None else _for_reader(state.database, meaning)
    )
    address = (
        f"/trips/{meaning.trip}"
        if meaning.trip
        else address_of("/photos", meaning.options)
    )
    return document_of(
        SearchResult, meaning, similar=meaning.match is Match.SIMILAR, address=address
    )


def _for_reader(database: Database, meaning: Meaning) -> Meaning:
    # A meaning with its names in the reader's language, if they are known.
    label, detail = meaning.label, meaning.detail
    if meaning.kind is Kind.CITY:
        label = city_name(label, detail.partition(", ")[0])
    if meaning.kind in (Kind.LANDMARK, Kind.CITY, Kind.REGION):
        detail = ", ".join(map(country_name, detail.split(", ")))
    if meaning.kind is Kind.LANDMARK:
        slug = str(meaning.options["landmark"])
        with database.read() as connection:
            label = display_names(connection, {slug}).get(slug, label)
    elif meaning.kind is Kind.COUNTRY:
        label = country_name(label)
    elif meaning.kind is Kind.OUTCOME:
        label = gettext(label)
    if meaning.trip:
        for summary in summaries_of_trips(database, {meaning.trip}).values():
            label, detail = summary.name, summary.trip.dates
    return replace(meaning, label=label, detail=detail)


teaching_router = api_router("teaching")

TaughtLandmark = Annotated[
    str,
    Path(min_length=1, max_length=1000, description="A landmark, by slug or name."),
    ONE_LINE,
]


@teaching_router.post("/landmarks/{landmark}/teach")
@requires(Role.EDITOR)
def teach(state: State, landmark: TaughtLandmark) -> TaughtDocument:
    """Learn the landmark from its verdicts, and tag every photo that shows it.

    `examples` is 0 if there is nothing to learn: no confirmed photo can be compared, or the model itself
    finds the landmark on nearly all of them.
    """
    database, model = state.database, state.embedding_model()
    embedding_of(model)
    with state.taught_updates.learning:
        taught = teach_landmark(
            database,
            model,
            NewLandmark(landmark),
            Lesson((), (), ()),
            person_of(state),
            may_add=False,
        )
    return taught.document


class AnswerRequest(RequestModel):
    """What the photos of a question show. Without a place, they show none.

    `without`: photos of the question that do not show the place.
    """

    place: Annotated[
        Text | None, Field(description="A place of the question, or any other name.")
    ]
    without: list[PhotoId] = Field(default=[], max_length=MAX_PHOTOS)


QuestionNumber = Annotated[
    int, Path(ge=1, lt=2**63, description="The number of a question.")
]


@teaching_router.get("/questions")
@requires(Role.EDITOR)
def questions(state: State) -> list[QuestionDocument]:
    """List the places whose photos look alike, and photos without a position that look like these.

    The surest are first. More follow once these have answers.
    """
    return [
        each.document for each in open_questions(state.database, state.settings.roots)
    ]


@teaching_router.post("/questions/{number}/answer")
@requires(Role.EDITOR)
def answer(state: State, number: QuestionNumber, body: AnswerRequest) -> AnswerDocument:
    """Confirm a place on the photos that were taken there, and tag every photo that shows it."""
    with state.taught_updates.learning:
        return answer_question(
            state.database,
            state.embedding_model(),
            number,
            body.place,
            body.without,
            person_of(state),
            state.settings.roots,
        )


@teaching_router.delete("/questions/{number}/answer")
@requires(Role.EDITOR)
def take_back(state: State, number: QuestionNumber) -> AnswerDocument:
    """Take an answer back, with its verdicts and the landmark that it added."""
    return withdraw_answer(state.database, number, state.settings.roots)


def similar_photos(state: AppState, photo_id: int, limit: int) -> list[TaggedPhoto]:
    """Return the photos that resemble a photo most, best first.

    Raises:
        PhotoIdNotFound: no photo has that number.
        EmbeddingsMissing, ExamplesMissing: the photo cannot be compared.
    """
    database, model, roots = (
        state.database,
        state.embedding_model(),
        state.settings.roots,
    )
    dimension = embedding_of(model).dimension
    photo = stored_photo(database, photo_id, roots)
    with database.read() as connection:
        content_id = photo.digest and content_with_embedding(
            connection, model.id, photo.digest
        )
        if not content_id:
            raise ExamplesMissing
        given = load_embeddings(connection, model.id, [content_id], dimension)
    return find_similar(
        database, model, given, roots, limit=limit, without=[content_id]
    )
