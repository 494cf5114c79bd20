"""Questions: a person says once which place the photos of a look show, and so teaches its landmark.

A yes is nothing but verdicts on the photos that were taken there: everything after it is teaching.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from sqlalchemy import Connection, Row, select, update

from tagger.database import LookAnswer, VerdictKind
from tagger.database.connection import (
    AuditAction,
    Database,
    display_language,
    record_action,
)
from tagger.database.tables import landmarks, look_photos, looks, photos, verdicts
from tagger.errors import (
    Conflict,
    ExamplesMissing,
    LandmarkExists,
    LandmarkNotFound,
    QuestionNotFound,
)
from tagger.geo import distance_km
from tagger.landmarks import all_landmarks, find_landmark, normalize_name
from tagger.landmarks.edits import (
    NewLandmark,
    add_landmark,
    derive_slug,
    remove_landmark,
)
from tagger.model import TAUGHT_THRESHOLD
from tagger.photos.paths import parse_path
from tagger.positions.cities import places_of
from tagger.query.tagged_photos import (
    NameCache,
    PhotoDocument,
    TaggedPhoto,
    first_photos,
    photo_document,
)
from tagger.registry import RegisteredModel
from tagger.roots import RootPaths
from tagger.sights import world_sights
from tagger.teaching.learning import find_examples
from tagger.teaching.lessons import TaughtDocument, lesson_of, teach
from tagger.teaching.looks import (
    LEAST_LIKELY,
    LEAST_SCENES,
    SILENT_KINDS,
    is_measured,
    is_unnamed,
)
from tagger.texts import document_of
from tagger.texts.text_format import reader_language
from tagger.verdicts import withdraw_verdicts

# More questions follow once these have answers.
MOST_OPEN = 10
# Places that a question names: of two neighbours, the group is nearer to the other one in a fifth of cases.
MOST_CHOICES, CHOICE_KM = 3, 0.5


@dataclass(frozen=True)
class PlaceChoice:
    """A place that photos may show. `landmark`: its slug, if there is one. `distance_m`: from the photos.

    `display_name`: its name in the language of the reader, or of the settings.
    """

    name: str
    display_name: str
    landmark: str | None
    country: str | None
    region: str | None
    city: str | None
    latitude: float
    longitude: float
    distance_m: int
    names: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Question:
    """Which of the places photos show: `taken_here`, and `similar` ones without a position, best first.

    `place`: the first of the choices, the likeliest. `scores`: of similar photos, by their ids.
    """

    number: int
    place: str
    days: int
    choices: Sequence[PlaceChoice]
    taken_here: Sequence[TaggedPhoto]
    similar: Sequence[TaggedPhoto]
    scores: Mapping[int, float]

    @property
    def document(self) -> QuestionDocument:
        return document_of(
            QuestionDocument,
            self,
            taken_here=list(map(photo_document, self.taken_here)),
            similar=list(map(photo_document, self.similar)),
            scores=[round(self.scores[photo.id], 3) for photo in self.similar],
        )


@dataclass(frozen=True)
class QuestionDocument:
    """Photos that show the same place, probably one of `choices`, and were taken on so many days.

    `taken_here` have a measured position there, `similar` have none, the likeliest first: `scores` are the
    chances that these show the same, 0 to 1.
    """

    number: int
    place: str
    days: int
    choices: Sequence[PlaceChoice]
    taken_here: Sequence[PhotoDocument]
    similar: Sequence[PhotoDocument]
    scores: Sequence[float]


@dataclass(frozen=True)
class AnswerDocument:
    """An answer: `landmark` and what it found, or null if the photos show no place.

    `answer` is null after the answer was withdrawn.
    """

    number: int
    answer: LookAnswer | None
    landmark: str | None
    taught: TaughtDocument | None


def open_questions(
    database: Database,
    root_paths: RootPaths,
    number: int | None = None,
) -> list[Question]:
    """The questions that wait for an answer, the surest first; or the one with this number."""
    query = select(
        looks.c.id,
        looks.c.latitude,
        looks.c.longitude,
        looks.c.landmark_id,
        looks.c.days,
    ).where(looks.c.answer.is_(None), looks.c.likely >= LEAST_LIKELY)
    if number is not None:
        query = query.where(looks.c.id == number)
    surest_first = (looks.c.photos + looks.c.likely).desc(), looks.c.id
    questions: list[Question] = []
    with database.read() as connection:
        names = NameCache(connection, root_paths)
        for row in connection.execute(query.order_by(*surest_first)):
            question = _question(connection, names, row)
            if question is not None:
                questions.append(question)
            if len(questions) == MOST_OPEN:
                break
    return questions


def _question(
    connection: Connection,
    names: NameCache,
    row: Any,
) -> Question | None:
    # The question about a look; None: too many of its photos have been named since it was learned.
    rows = connection.execute(
        select(
            look_photos.c.content_id,
            look_photos.c.score,
        ).where(look_photos.c.look_id == row.id)
    ).all()
    there_ids = [each.content_id for each in rows if each.score is None]
    scores = {each.content_id: each.score for each in rows if each.score is not None}
    taken_here = sorted(
        _photos(connection, names, there_ids).values(),
        key=lambda photo: (str(photo.taken_at), photo.id),
    )
    similar = _photos(
        connection,
        names,
        scores,
        ~is_measured(photos.c.content_id),
    )
    best_first = sorted(similar, key=lambda key: (-scores[key], key))
    likely = [key for key in best_first if scores[key] >= TAUGHT_THRESHOLD]
    if len(taken_here) < LEAST_SCENES or len(likely) < LEAST_LIKELY:
        return None
    choices = _choices(connection, row, taken_here)
    return Question(
        number=row.id,
        place=choices[0].display_name,
        days=row.days,
        choices=choices,
        taken_here=taken_here,
        similar=[similar[key] for key in best_first],
        scores={similar[key].id: scores[key] for key in best_first},
    )


def _photos(
    connection: Connection,
    names: NameCache,
    content_ids: Collection[int],
    *conditions: Any,
) -> dict[int, TaggedPhoto]:
    # The first photos of images of which nothing is known yet.
    rows = first_photos(
        connection,
        content_ids,
        is_unnamed(photos.c.content_id),
        *conditions,
    )
    tagged = names.photos(connection, list(rows.values()), list)
    return dict(zip(rows, tagged, strict=True))


def _choices(
    connection: Connection,
    row: Row[Any],
    taken_here: Sequence[TaggedPhoto],
) -> list[PlaceChoice]:
    # The place of a look, then other sights and places of people near the photos, the nearest first.
    at = _middle(taken_here)
    language = reader_language() or display_language(connection)
    choices: list[
        tuple[str, str, str | None, tuple[float, float], Mapping[str, str]]
    ] = []
    for sight in world_sights().nearest(*at, CHOICE_KM):
        if sight.kind not in SILENT_KINDS:
            names = {code: name for code, name in sight.names if code}
            place = sight.latitude, sight.longitude
            choices.append((sight.name, sight.name_in(language), None, place, names))
    for landmark in all_landmarks(connection, landmarks.c.latitude.is_not(None)):
        place = landmark.latitude or 0.0, landmark.longitude or 0.0
        if distance_km(*at, *place) <= CHOICE_KM or landmark.id == row.landmark_id:
            choices = [each for each in choices if each[0] not in landmark.all_names]
            choices.append(
                (landmark.name, landmark.display_name, landmark.slug, place, {})
            )

    nearest = sorted(
        choices,
        key=lambda each: (
            each[3] != (row.latitude, row.longitude),
            distance_km(*at, *each[3]),
        ),
    )[:MOST_CHOICES]
    cities = places_of([place for *_, place, _ in nearest])
    return [
        PlaceChoice(
            name,
            display_name,
            slug,
            *city,
            *place,
            round(1000 * distance_km(*at, *place)),
            names,
        )
        for (name, display_name, slug, place, names), city in zip(
            nearest, cities, strict=True
        )
    ]


def _middle(taken_here: Sequence[TaggedPhoto]) -> tuple[float, float]:
    positions = [photo.position for photo in taken_here if photo.position]
    return (
        fmean(position.latitude for position in positions),
        fmean(position.longitude for position in positions),
    )


def answer_question(
    database: Database,
    model: RegisteredModel,
    number: int,
    place: str | None,
    without: Collection[int],
    by: str | None,
    root_paths: RootPaths,
) -> AnswerDocument:
    """Say what the photos of a question show, and teach it.

    `place`: one of the choices, another landmark, or a new name, whose landmark is added. None: the photos
    show no place; they are asked about again only once there are twice as many scenes. `without`: ids of
    photos that do not show it.

    Raises:
        QuestionNotFound: no question with this number waits for an answer.
        ExamplesMissing: none of the photos that were taken there is left.
        LandmarkAmbiguous, LandmarkInvalid: several landmarks have the name, or it cannot be one.
        EmbeddingsMissing, ModelFileNotFound, ModelRefused: the model cannot be taught.
    """
    questions = open_questions(database, root_paths, number)
    if not questions:
        raise QuestionNotFound(number=number)
    (question,) = questions
    answer = AnswerDocument(number, LookAnswer.NONE, None, None)
    values: dict[str, Any] = {}
    if place is not None:
        every = (*question.taken_here, *question.similar)
        confirmed = [
            photo.path for photo in question.taken_here if photo.id not in without
        ]
        rejected = [photo.path for photo in every if photo.id in without]
        if not confirmed:
            raise ExamplesMissing
        examples, counter_examples = (
            find_examples(database, model, map(parse_path, paths), root_paths)
            for paths in (confirmed, rejected)
        )
        lesson = lesson_of(examples, counter_examples)
        slug, is_new = _find_or_add(database, question, place)
        taught = teach(database, model, NewLandmark(slug), lesson, by)
        values = {"landmark_id": taught.landmark.id, "added_landmark": is_new}
        answer = AnswerDocument(number, LookAnswer.YES, slug, taught.document)
    values |= {
        "answer": answer.answer,
        "answered_scenes": looks.c.scenes,
        "answered_by": by,
        "answered_at": datetime.now(UTC),
    }
    with database.write() as connection:
        connection.execute(update(looks).where(looks.c.id == number).values(values))
        record_action(
            connection,
            AuditAction.QUESTION_ANSWER,
            question.place,
            landmark=answer.landmark,
        )
    return answer


def withdraw_answer(
    database: Database,
    number: int,
    root_paths: RootPaths,
) -> AnswerDocument:
    """Take an answer back, with its verdicts and the landmark that it added. The question waits again.

    Raises:
        QuestionNotFound: no question with this number has an answer.
    """
    with database.read() as connection:
        row = connection.execute(
            select(looks, landmarks.c.slug)
            .outerjoin(landmarks)
            .where(looks.c.id == number, looks.c.answer.is_not(None))
        ).first()
        if row is None:
            raise QuestionNotFound(number=number)
        query = (
            select(photos.c.id)
            .join(verdicts, verdicts.c.content_id == photos.c.content_id)
            .join(look_photos, look_photos.c.content_id == verdicts.c.content_id)
            .where(
                look_photos.c.look_id == row.id,
                verdicts.c.landmark_id == row.landmark_id,
                verdicts.c.given_at <= row.answered_at,  # later ones stay
            )
        )
        photo_ids = connection.scalars(query).all()
    if photo_ids:
        for kind in VerdictKind:
            withdraw_verdicts(database, photo_ids, row.slug, kind, root_paths)
    values = {
        "answer": None,
        "answered_by": None,
        "answered_at": None,
        "added_landmark": False,
    }
    if row.sight is not None:
        values["landmark_id"] = None
    with database.write() as connection:
        connection.execute(update(looks).where(looks.c.id == number).values(values))
        record_action(
            connection,
            AuditAction.QUESTION_WITHDRAW,
            row.sight or row.slug,
        )
    if row.slug and row.added_landmark:
        with suppress(Conflict):  # somebody has confirmed it on other photos
            remove_landmark(database, row.slug)
    return AnswerDocument(number, None, None, None)


def _find_or_add(
    database: Database,
    question: Question,
    place: str,
) -> tuple[str, bool]:
    # The slug of the landmark that an answer names, and whether it was added now.
    first = question.choices[0]
    new = NewLandmark(
        place,
        None,
        first.country,
        first.region,
        first.city,
        _middle(question.taken_here),
    )
    name = normalize_name(place)
    for choice in question.choices:
        if name in map(
            normalize_name, (choice.name, choice.landmark or "", *choice.names.values())
        ):
            if choice.landmark:
                return choice.landmark, False
            new = NewLandmark(
                choice.name,
                None,
                choice.country,
                choice.region,
                choice.city,
                (choice.latitude, choice.longitude),
                names=choice.names,
            )
            break
    else:
        with database.read() as connection, suppress(LandmarkNotFound):
            return find_landmark(connection, place).slug, False
    try:
        return add_landmark(database, new).slug, True
    except LandmarkExists:  # elsewhere: many churches have one name
        slug = derive_slug(f"{new.name} {new.city or new.country}")
        return add_landmark(database, replace(new, slug=slug)).slug, True
