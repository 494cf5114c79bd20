"""Bring what follows from verdicts and photos up to date: tags of taught landmarks, then positions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from tagger.cli.output import console
from tagger.cli.output.console import ProgressLine
from tagger.cli.output.job_text import count_of, first_names
from tagger.errors import TaggerError
from tagger.texts.text_format import percent

if TYPE_CHECKING:
    from tagger.cli.session import Session
    from tagger.database.connection import Database
    from tagger.registry.registered_models import RegisteredModel
    from tagger.teaching.learning import Lessons, TaughtState

# Landmarks that a message lists.
NAMED = 5


def model_in_use(session: Session) -> RegisteredModel:
    """The model whose embeddings are used to teach.

    Raises:
        EmbeddingsMissing: it gives none.
        ModelNotFound, ModelNotSelected, ModelFileNotFound, ModelChanged: there is no model.
    """
    from tagger.registry.registered_models import embedding_model
    from tagger.teaching.learning import embedding_of

    model = embedding_model(session.database, session.settings.model)
    embedding_of(model)
    return model


def warn_of_other_models(session: Session, model: RegisteredModel) -> None:
    """Name the backfill for photos that only other models have classified, which cannot be compared."""
    from tagger.teaching.learning import images_without_embedding

    if count := images_without_embedding(session.database, model):
        console.warning(
            f"{count_of(count, 'photo')} of another model {'was' if count == 1 else 'were'} not compared. "
            "To compare them too, run: tagger backfill outdated, then: tagger backfill taught"
        )


def _update_text(session: Session, model: RegisteredModel, learned: Collection[int], compared: int) -> str:
    from tagger.landmarks.landmarks import landmarks_by_id
    from tagger.teaching.learning import taught_state

    with session.database.read() as connection:
        landmarks = list(landmarks_by_id(connection, learned).values())
    if len(landmarks) == 1:
        (landmark,) = landmarks
        state = taught_state(session.database, model, landmark)
        if state.examples:
            found = found_text(state, "tagged by it in all", "photo")
            return f"{landmark.display_name} is now learned from {examples_text(state)}: {found}"
    return f"the taught landmarks are up to date: {count_of(compared, 'photo')} compared"


def examples_text(state: TaughtState) -> str:
    """`5 photos and 2 rejected ones`: what a landmark was learned from."""
    rejected = f" and {count_of(state.rejected, 'rejected one')}" if state.rejected else ""
    return f"{count_of(state.examples, 'photo')}{rejected}"


def found_text(state: TaughtState, tagged: str = "tagged", noun: str = "more photo") -> str:
    """The numbers of photos that were found, and how many of the tags are probably right."""
    right = ""
    if state.precision is not None:  # never 100 %: nobody can be that sure
        right = f", of which about {percent(min(state.precision, 0.99))} should be right"
    return f"{count_of(state.tagged, noun)} {tagged}{right}; {count_of(state.suggested, 'suggestion')}"


def texts_of_other_models(database: Database, in_use: Sequence[RegisteredModel]) -> Iterator[tuple[str, str]]:
    """Which taught landmarks only models know that are not in use, and what to do."""
    from tagger.tags.models_in_use import use_command
    from tagger.teaching.learning import landmarks_of_other_models

    names = [model.name for model in in_use]
    for other, slugs in landmarks_of_other_models(database, [model.id for model in in_use]).items():
        remedy = use_command([*names, other])
        if any(model.manifest.embedding for model in in_use):
            remedy = "tagger backfill outdated, and when it has finished: tagger backfill taught"
        verb = "does" if len(names) == 1 else "do"
        taught = first_names(slugs, NAMED)
        yield f"{', '.join(names)} {verb} not know what {other} was taught: {taught}", remedy


def update_derived_facts(session: Session) -> None:
    """Learn from new verdicts or photos, and locate the affected ones. What prevents it is a warning."""
    from tagger.teaching.lessons import update_consequences

    lessons: Sequence[Lessons] = ()
    try:
        with ProgressLine("") as line:
            lessons = update_consequences(session.database, session.settings.model, line.show_step)
    except TaggerError as error:
        console.warning(f"the taught landmarks were not updated: {error} Then run: tagger backfill taught")
    for each in lessons:
        if each.compared:
            console.info(_update_text(session, each.model, each.learned, each.compared))


def print_due(database: Database) -> None:
    """Say what does not follow all photos yet, unless an open job sees to it."""
    from tagger.database.changed_days import are_left_due

    with database.read() as connection:
        if are_left_due(connection):
            text = "positions and trips of the latest photos are due; to update them, run: tagger locate"
            console.info(text)


def update_positions(session: Session) -> None:
    """Bring the positions up to date, and show the progress."""
    from tagger.kept.update import update_kept

    with ProgressLine("locating photos") as line:
        update_kept(session.database, line.show_step)
