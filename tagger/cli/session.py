"""The settings and the database of one command, and what follows from the verdicts that it has changed.

That is brought up to date when the command ends: tags of taught landmarks, then positions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from tagger.cli import console
from tagger.cli.console import ProgressLine
from tagger.cli.job_text import count_of, first_names
from tagger.errors import DiskFull, TaggerError
from tagger.texts.text_format import percent

if TYPE_CHECKING:
    from pathlib import Path

    from tagger.database.connection import Database
    from tagger.registry import RegisteredModel
    from tagger.settings import Settings
    from tagger.teaching.learning import Lessons, TaughtState

# Open databases of this command.
_databases: list[Database] = []
# Sessions in which people's verdicts or dismissals have changed, and nobody has learned from them
# yet.
_decided: list[Session] = []


class Session(NamedTuple):
    """The settings and the open database of a command; unpacks to `settings, database`."""

    settings: Settings
    database: Database


def load_settings(**options: object) -> Settings:
    """Load the settings; command-line options take precedence. Imports pydantic only when a command runs."""
    from tagger import settings

    return settings.load_settings(**options)


def open_session(
    settings: Settings | None = None, *, settle_jobs: bool = False, waits: bool = False
) -> Session:
    """Open the database of `settings`, or of the environment's, until the command ends, and watch for stalls.

    An SQLite file of an earlier version is upgraded, which `open_for_reading` refuses.
    `settle_jobs` ends jobs whose process died; commands that create or control jobs set it. `waits`: see
    `open_database`.
    """
    from tagger.database.engine import sqlite_file
    from tagger.errors import SchemaOutdated
    from tagger.processes.stall import watch

    settings = settings or load_settings()
    watch(console.command, settings.data_folder, settings.stall_timeout_s)
    try:
        return _open(settings, settle_jobs=settle_jobs, waits=waits)
    except SchemaOutdated:
        url = settings.effective_database_url
        if sqlite_file(url) is None:
            raise  # others use a server too
        from tagger.transfer import upgrade_database

        console.info("upgrading the database to this version of tagger")
        with console.ProgressLine("upgrading") as line:
            upgrade_database(url, line.show)
    return _open(settings, settle_jobs=settle_jobs)


def _open(
    settings: Settings, *, settle_jobs: bool = False, waits: bool = False
) -> Session:
    from tagger.database.connection import open_configured
    from tagger.photos.object_store import note_endpoints_on_demand

    database = open_configured(settings, waits=waits)
    _databases.append(database)
    session = Session(settings, database)
    database.after_decisions = lambda: _decided.append(session)
    note_endpoints_on_demand(_note_endpoints)
    if settle_jobs:
        from tagger.ledger.job_control import recover_stale_jobs

        recover_stale_jobs(database)
    return session


def open_for_reading(
    settings: Settings | None = None, *, is_needed: bool = True
) -> Session:
    """As `open_session`, for a command that creates nothing: without an SQLite file, all is empty.

    `is_needed`: say then how to create a database.
    """
    from tagger.database.engine import EXCLUSIVE, address_for_reading, sqlite_file

    settings = settings or load_settings()
    address = settings.effective_database_url
    file = sqlite_file(address)
    readable = settings.model_copy(
        update={"database_url": address_for_reading(address)}
    )
    if is_needed and readable.database_url != address:
        console.warning(
            f"there is no database at {file}; to create it, run: tagger tag FOLDER"
        )
    try:
        return _open(readable)
    except DiskFull:
        if file is None:
            raise
        console.warning(f"the disk of {file} is full: free some space")
        exclusive = settings.model_copy(
            update={"database_url": f"sqlite:///{quote(str(file))}?{EXCLUSIVE}=1"}
        )
        return _open(exclusive)


def _note_endpoints() -> None:
    from tagger.roots import note_endpoints

    for database in _databases:
        with database.read() as connection:
            note_endpoints(connection)


def prepare_paths(
    paths: Iterable[str | Path], settings: Settings | None = None
) -> None:
    """Call this before looking for paths without a session.

    If one is an address in a bucket, the database is opened, which knows its server.
    """
    from tagger.photos.paths import is_object_address

    if any(map(is_object_address, paths)):
        open_session(settings)


def learn_from_decisions() -> None:
    """Bring up to date what follows from people's verdicts, if the command has changed any."""
    if _decided:
        update_derived_facts(_decided[0])


def close_sessions() -> None:
    """Close the databases that the command opened. `main` calls it when the command ends."""
    _decided.clear()
    while _databases:
        _databases.pop().close()


# Landmarks that a message lists.
NAMED = 5


def model_in_use(session: Session) -> RegisteredModel:
    """The model whose embeddings are used to teach.

    Raises:
        EmbeddingsMissing: it gives none.
        ModelNotFound, ModelNotSelected, ModelFileNotFound, ModelChanged: there is no model.
    """
    from tagger.registry import embedding_model
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


def _update_text(
    session: Session, model: RegisteredModel, learned: Collection[int], compared: int
) -> str:
    from tagger.landmarks import landmarks_by_id
    from tagger.teaching.learning import taught_state

    with session.database.read() as connection:
        landmarks = list(landmarks_by_id(connection, learned).values())
    if len(landmarks) == 1:
        (landmark,) = landmarks
        state = taught_state(session.database, model, landmark)
        if state.examples:
            found = found_text(state, "tagged by it in all", "photo")
            return f"{landmark.display_name} is now learned from {examples_text(state)}: {found}"
    return (
        f"the taught landmarks are up to date: {count_of(compared, 'photo')} compared"
    )


def examples_text(state: TaughtState) -> str:
    """`5 photos and 2 rejected ones`: what a landmark was learned from."""
    rejected = (
        f" and {count_of(state.rejected, 'rejected one')}" if state.rejected else ""
    )
    return f"{count_of(state.examples, 'photo')}{rejected}"


def found_text(
    state: TaughtState, tagged: str = "tagged", noun: str = "more photo"
) -> str:
    """The numbers of photos that were found, and how many of the tags are probably right."""
    right = ""
    if state.precision is not None:  # never 100 %: nobody can be that sure
        right = (
            f", of which about {percent(min(state.precision, 0.99))} should be right"
        )
    return f"{count_of(state.tagged, noun)} {tagged}{right}; {count_of(state.suggested, 'suggestion')}"


def texts_of_other_models(
    database: Database, in_use: Sequence[RegisteredModel]
) -> Iterator[tuple[str, str]]:
    """Which taught landmarks only models know that are not in use, and what to do."""
    from tagger.tags.models_in_use import use_command
    from tagger.teaching.learning import landmarks_of_other_models

    names = [model.name for model in in_use]
    for other, slugs in landmarks_of_other_models(
        database, [model.id for model in in_use]
    ).items():
        remedy = use_command([*names, other])
        if any(model.manifest.embedding for model in in_use):
            remedy = "tagger backfill outdated, and when it has finished: tagger backfill taught"
        verb = "does" if len(names) == 1 else "do"
        taught = first_names(slugs, NAMED)
        yield (
            f"{', '.join(names)} {verb} not know what {other} was taught: {taught}",
            remedy,
        )


def update_derived_facts(session: Session) -> None:
    """Learn from new verdicts or photos, and locate the affected ones. What prevents it is a warning."""
    from tagger.teaching.lessons import update_consequences

    lessons: Sequence[Lessons] = ()
    try:
        with ProgressLine("") as line:
            lessons = update_consequences(
                session.database, session.settings.model, line.show_step
            )
    except TaggerError as error:
        console.warning(
            f"the taught landmarks were not updated: {error} Then run: tagger backfill taught"
        )
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
    from tagger.kept.update import update_kept

    with ProgressLine("locating photos") as line:
        update_kept(session.database, line.show_step)
