"""The commands of `tagger`: settings and database of the one that runs, what follows from it, how it ends.

A command is imported and built when it is used: importing all takes longer than `tagger query`. When it has
changed people's verdicts, tags of taught landmarks and then positions are brought up to date at its end.
"""

from __future__ import annotations

import sys
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast
from urllib.parse import quote

import typer
from typer.core import TyperCommand

from tagger.cli import console
from tagger.cli.console import ProgressLine, count_of, first_names
from tagger.cli.help import (
    HELP_ALL,
    OTHER_WORDS,
    Command,
    CommandGroup,
    flag,
    prepare_arguments,
    refuse_former_command,
    use_help_classes,
    write_commands,
    write_head,
    write_panels,
)
from tagger.errors import (
    DISK_FULL_ERRNOS,
    UNREACHABLE_ERRNOS,
    ArgumentInvalid,
    DiskFull,
    PathNotFound,
    PathUnreachable,
    SchemaOutdated,
    SystemRefused,
    TaggerError,
)
from tagger.extensions import COMMANDS as EXTENSION_COMMANDS, extensions, load
from tagger.processes import drop_unwritable_results
from tagger.texts.text_format import percent

if TYPE_CHECKING:
    from pathlib import Path

    from tagger.database.connection import Database
    from tagger.registry import RegisteredModel
    from tagger.settings import Settings
    from tagger.teaching.learning import Lessons, TaughtState

COMMANDS_PACKAGE = "tagger.cli.commands"
# The panel of commands that the help only names.
MORE = "More"


# The panels of the help: their commands in order, each with its place, a function or the Typer of a group,
# and its summary.
COMMANDS = {
    "Start": {
        "tag": ("tag:tag", "Tag photos, without a server."),
        "watch": ("tag:watch", "Tag new and changed photos in folders as they come."),
        "up": ("services:up", "Run Redis, a worker, schedules and the web page."),
        "predict": (
            "tag:predict",
            "Predict the landmarks in photos, and store nothing.",
        ),
    },
    "Find": {
        "query": ("query:query", "Search photos by landmark, place, folder and date."),
        "show": ("query:show", "Show everything about one photo."),
        "trips": ("query:trips", "List trips, grouped by time and place."),
        "similar": ("query:similar", "List the photos that resemble these most."),
    },
    "Correct": {
        "confirm": ("review:confirm", "Confirm that photos show a landmark."),
        "reject": ("review:reject", "Reject a landmark for photos."),
        "teach": ("teach:teach", "Teach a landmark from a few photos of it."),
        "review": ("review:review_app", "List photos that probably show a landmark."),
        "metadata": (
            "metadata:metadata_app",
            "Write tags to the metadata of photos, and undo it.",
        ),
    },
    "Operate": {
        "enqueue": ("tag:enqueue", "Record photos as a job for workers."),
        "backfill": ("backfill:backfill", "Classify photos in the database again."),
        "job": ("jobs:job_app", "List, retry, pause and cancel jobs."),
        "status": ("jobs:status", "Show jobs, workers and queues."),
        "doctor": ("doctor:doctor", "Check the installation, and suggest remedies."),
    },
    MORE: {
        "worker": ("services:worker", "Run a Celery worker that processes jobs."),
        "beat": ("services:beat", "Run Celery beat, which starts schedules."),
        "schedule": ("backfill:schedule_app", "Run backfills at set times."),
        "serve": ("services:serve", "Serve the web page and the JSON API."),
        "locate": (
            "locate:locate_app",
            "Estimate where photos without GPS were taken.",
        ),
        "landmark": ("landmark:landmark_app", "List and change landmarks."),
        "model": ("model:model_app", "Register models, and select the one in use."),
        "forget": ("tag:forget", "Remove photos from the database. The files stay."),
        "db": ("database:db_app", "Upgrade, check and copy the database."),
    },
}
LISTED = {
    name: entry for commands in COMMANDS.values() for name, entry in commands.items()
}
# Commands that parse their arguments themselves, with the place of their class.
CLASSES = {"teach": "teach:TeachCommand"}


class LazyCommands(Mapping[str, Any]):
    """The commands and groups by name. Those of installed packages are found, and not listed."""

    def __getitem__(self, name: str) -> Any:
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(LISTED)

    def __len__(self) -> int:
        return len(LISTED)


@cache
def _command(name: str) -> Any:
    if name in LISTED:
        found = load(f"{COMMANDS_PACKAGE}.{LISTED[name][0]}")
    else:
        found = extensions(EXTENSION_COMMANDS)[name]
    program = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        use_help_classes(found)
        program.add_typer(found, name=name)
    else:
        place = CLASSES.get(name)
        command_class = load(f"{COMMANDS_PACKAGE}.{place}") if place else Command
        program.command(name, cls=command_class)(found)
    return typer.main.get_group(program).commands[name]


commands = LazyCommands()


class RootGroup(CommandGroup):
    """Lists commands by their summaries in the panels of COMMANDS, and imports only the one that runs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast("MutableMapping[str, Any]", commands)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's would build them all
        return list(LISTED)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Typer's signature
        """A command without options that has the name and summary of the real one, which is not imported."""
        if cmd_name in LISTED:
            return TyperCommand(cmd_name, help=LISTED[cmd_name][1])
        # Only now: looking for installed packages takes longer than the help.
        is_extension = cmd_name in extensions(EXTENSION_COMMANDS)
        return TyperCommand(cmd_name) if is_extension else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in OTHER_WORDS and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"There is no command '{args[0]}': {OTHER_WORDS[args[0]]}")
        name, _, arguments = super().resolve_command(ctx, args)
        return name, name and self.commands[name], arguments

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the commands of all panels; of the last, only the names are written without --help-all."""
        shows_all = ctx.find_root().obj == HELP_ALL
        write_head(self, ctx, formatter)
        for panel, names in COMMANDS.items():
            if shows_all or panel != MORE:
                listed = ((name, self.get_command(ctx, name)) for name in names)
                write_commands(panel, listed, formatter)
        write_panels(self, ctx, formatter)
        if not shows_all:
            formatter.write_paragraph()
            formatter.write_text(f"More: {', '.join(sorted(COMMANDS[MORE]))}")
            formatter.write_text(
                "`tagger help all` describes them, `tagger help COMMAND` one command."
            )


app = typer.Typer(
    name="tagger",
    cls=RootGroup,
    help=(
        "Recognise landmarks in photos, and store them as tags in a SQL database. "
        "Photos are never changed, unless you write tags to their metadata."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if not requested:
        return
    from importlib.metadata import version

    from tagger.model.devices import engine_versions

    # Of the installed packages: importing torch takes seconds. `tagger doctor` names the device.
    typer.echo(", ".join([f"tagger {version('landmark-tagger')}", *engine_versions()]))
    raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", help="Print only results, warnings and errors."),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "-v", "--verbose", count=True, help="Print more. -vv prints tracebacks."
        ),
    ] = 0,
    _version: Annotated[
        bool,
        flag(
            "--version",
            "Print the versions of tagger, torch and OpenVINO, and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    context.call_on_close(learn_from_decisions)
    console.command = context.invoked_subcommand or ""
    console.verbosity = -1 if quiet else verbose


def run() -> None:
    """Run the command of the command line, and turn errors into messages and exit codes."""
    try:
        arguments, shows_all = prepare_arguments(sys.argv[1:])
        refuse_former_command("tagger", arguments)
        app(args=arguments, obj=HELP_ALL if shows_all else None)
    except TaggerError as error:
        console.fail(error)
    except OSError as error:
        drop_unwritable_results()
        console.fail(stated_os_error(error))
    except Exception as error:
        _fail_of_database(error)
        raise
    finally:
        close_sessions()


def stated_os_error(error: OSError) -> TaggerError:
    """The text about an error of the system, for a command that ends because of it."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return PathNotFound(path=error.filename)
    what = error.filename or "a file or standard output"
    if error.errno in UNREACHABLE_ERRNOS and error.filename:
        return PathUnreachable(path=error.filename, reason=error.strerror)
    if error.errno in DISK_FULL_ERRNOS:
        return DiskFull(what=what, reason=error.strerror)
    return SystemRefused(what=what, reason=error.strerror or str(error))


def _fail_of_database(error: Exception) -> None:
    # End the command if the database has raised the error; say it if a row may be the cause.
    from tagger.database.engine import (
        DAMAGED_ROWS,
        DatabaseError,
        reason_of,
        stated_error,
    )

    if (
        isinstance(error, UnicodeEncodeError)
        and error.reason == "surrogates not allowed"
    ):
        console.fail(
            ArgumentInvalid(
                argument=ascii(error.object),
                reason="it is not UTF-8; only paths may have other bytes",
            )
        )
    if isinstance(error, DatabaseError):
        stated = stated_error(error, reason_of(error))
        stated.__cause__ = error  # for the traceback of -vv
        console.fail(stated)
    if _databases:
        console.warning(DAMAGED_ROWS)


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
        with ProgressLine("upgrading") as line:
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
        taught = first_names(slugs)
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
