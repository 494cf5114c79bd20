"""`tagger teach`: teach a landmark from photos, which are found in the database, or tagged first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from tagger.cli import console
from tagger.cli.console import ProgressLine, count_of, printable, write_json
from tagger.cli.help import Command, argument, option
from tagger.cli.job_submission import run_local_job, submit_tagging
from tagger.cli.options import Author, DryRun, Json, parse_at
from tagger.cli.program import (
    Session,
    examples_text,
    found_text,
    model_in_use,
    open_session,
    warn_of_other_models,
)
from tagger.database import Priority
from tagger.database.connection import login_name
from tagger.errors import ArgumentInvalid
from tagger.jobs.enqueue.selection import select_paths
from tagger.landmarks import Landmark, landmarks_spelled_like
from tagger.landmarks.edits import NewLandmark, find_or_add_landmark
from tagger.registry import RegisteredModel
from tagger.teaching.learning import (
    LEAST_MISSED,
    Example,
    NamedOtherwise,
    TaughtState,
    find_examples,
    paths_to_tag,
    undo_command,
)
from tagger.teaching.lessons import Lesson, Taught, lesson_of, teach as teach_landmark


def find_lesson(
    session: Session,
    model: RegisteredModel,
    confirmed: Sequence[Path],
    rejected: Sequence[Path],
) -> Lesson:
    """Find the photos. Those that the database does not have with an embedding are tagged first.

    Raises:
        PathNotFound: there is no such file.
        ExamplesMissing: none of the photos can be an example.
    """
    from tagger.jobs.enqueue.submission import Tagging

    settings, database = session
    if untagged := paths_to_tag(
        database, model, (*confirmed, *rejected), settings.roots
    ):
        # Again: this job needs the photos now, also those that another one has.
        request = Tagging(select_paths(untagged), reprocess=True)
        job, _ = submit_tagging(session, request, Priority.INTERACTIVE, local=True)
        run_local_job(database, settings, job, lines=False)
    groups = [
        find_examples(database, model, paths, settings.roots)
        for paths in (confirmed, rejected)
    ]
    for example in chain.from_iterable(groups):
        if example.content_id is None:
            why = (
                example.failure
                or "its image has no embedding; run `tagger tag --again` on it"
            )
            console.warning(f"{printable(example.path)} is left out: {why}")
    return _lesson(*groups)


def _lesson(
    confirmed: Sequence[Example],
    rejected: Sequence[Example],
    *,
    may_be_empty: bool = False,
) -> Lesson:
    try:
        return lesson_of(confirmed, rejected, may_be_empty=may_be_empty)
    except ArgumentInvalid as error:
        raise typer.BadParameter(str(error), param_hint="--not") from error


def effect_lines(landmark: Landmark, state: TaughtState, then: str) -> Iterator[str]:
    """What a taught landmark does to tags of others: `doubtful now: Taj Mahal on 3 photos`."""
    if state.doubtful:
        yield f"doubtful {then}: {_names_text(state.doubtful)}"
    if state.kept:
        yield (
            f"kept, because the model is nearly certain: {_names_text(state.kept)}; "
            f"{landmark.display_name} is only suggested there"
        )


def _names_text(named: Sequence[NamedOtherwise]) -> str:
    return ", ".join(
        f"{each.name} on {count_of(each.photos, 'photo')}" for each in named
    )


# What a dry run tells of the state that teaching would lead to.
FOUND = ("tagged", "suggested", "precision", "doubtful", "kept")
# As many examples as the help recommends. Fewer find less, at the same precision.
GOOD_START = 5


class TeachCommand(Command):
    """Parses all photos after `--not` as photos that do not show the landmark."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse `--not A B` as `--not A --not B`."""
        options = (param for param in self.params if param.param_type_name == "option")
        with_value = {
            name
            for option in options
            if not getattr(option, "is_flag", False)
            for name in option.opts
        }
        words, parsed, is_after = iter(args), list[str](), False
        for word in words:
            if word == "--not":
                is_after = True
            elif word.startswith("-"):
                parsed.append(word)
                parsed += [next(words, "")] if word in with_value else []
            else:
                parsed += ["--not", word] if is_after else [word]
        return super().parse_args(ctx, parsed)


def teach(
    landmark: Annotated[
        str, argument("LANDMARK", "A landmark, by slug or name. A new name adds it.")
    ],
    photos: Annotated[
        list[Path] | None, argument("PHOTO", "Photos of it, or folders of such photos.")
    ] = None,
    not_: Annotated[
        list[Path] | None,
        option("--not", "PHOTO...", "All photos after it do not show the landmark."),
    ] = None,
    at: Annotated[
        str | None, option("--at", "LAT,LON", "Position of a new landmark, in degrees.")
    ] = None,
    country: Annotated[
        str | None, option("--country", "NAME", "Country of a new landmark.")
    ] = None,
    city: Annotated[
        str | None, option("--city", "NAME", "City of a new landmark.")
    ] = None,
    by: Author = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Teach a landmark from a few photos, and tag every photo that shows it.

    Five photos from different sides are a good start. The command confirms them, and compares them with all
    tagged photos, without opening those again. What is sure becomes a tag, what is likely a suggestion.
    Each verdict on a suggestion improves what was learned.

    For example:

    tagger teach "Our church" church/*.jpg

    tagger teach our-church more/*.jpg --not town-hall.jpg school.jpg
    """
    if not photos and not not_:
        raise typer.BadParameter("name at least one photo", param_hint="PHOTO")
    position = parse_at(at)
    session = open_session(settle_jobs=True)
    model = model_in_use(session)
    new = NewLandmark(landmark, country=country, city=city, position=position)
    # Checked before photos are tagged for it, which may take a while.
    planned, is_new = find_or_add_landmark(
        session.database, new, may_add=bool(photos), dry_run=True
    )
    if dry_run:
        _rehearse(
            session, model, new, photos or [], not_ or [], is_new=is_new, json=json
        )
    else:
        lesson = find_lesson(session, model, photos or [], not_ or [])
        with ProgressLine("comparing photos") as line:
            by = by or login_name()
            taught = teach_landmark(
                session.database, model, new, lesson, by, on_progress=line.show
            )
        if json:
            write_json(taught.document)
        else:
            _print_state(taught, is_new=is_new)
        warn_of_other_models(session, model)
    if is_new:
        # The new name may be mistyped.
        with session.database.read() as connection:
            similar = landmarks_spelled_like(connection, planned)
        for each in similar:
            console.warning(
                f"there is also {each.display_name} ({each.slug}); if you meant it, name it, or run: "
                f"tagger landmark merge {planned.slug} --into {each.slug}"
            )
    if not dry_run and lesson.left_out:
        raise typer.Exit(console.SOME_PHOTOS_FAILED)


def _rehearse(
    session: Session,
    model: RegisteredModel,
    new: NewLandmark,
    photos: Sequence[Path],
    not_: Sequence[Path],
    *,
    is_new: bool,
    json: bool,
) -> None:
    # Print what teaching would do, and change nothing. Photos that are not tagged yet are not compared.
    database, roots = session.database, session.settings.roots
    untagged = paths_to_tag(database, model, (*photos, *not_), roots)
    select_paths(untagged)
    groups = (
        find_examples(database, model, paths, roots, only_stored=True)
        for paths in (photos, not_)
    )
    lesson = _lesson(*groups, may_be_empty=True)
    with database.rehearsal() as rehearsed:
        find_or_add_landmark(rehearsed, new)
        taught = teach_landmark(rehearsed, model, new, lesson, login_name())
    counts = len(lesson.confirmed), len(lesson.rejected)
    if json:
        plan = {
            "landmark": taught.landmark.slug,
            "new": is_new,
            "examples": counts[0],
            "rejected": counts[1],
            "named_otherwise": taught.named_otherwise,
            "untagged": [str(path) for path in untagged],
            "compared": taught.compared,
            **{name: getattr(taught.state, name) for name in FOUND},
            "dry_run": True,
        }
        write_json(plan)
        return
    first = (
        f"; {count_of(len(untagged), 'path')} would be tagged first" if untagged else ""
    )
    typer.echo(
        f"{count_of(counts[0], 'photo')} would be confirmed as {_name(taught.landmark, is_new=is_new)}, "
        f"{counts[1]} rejected{first}; nothing was changed"
    )
    if taught.state.examples:
        typer.echo(found_text(taught.state, "would be tagged"))
        for line in effect_lines(taught.landmark, taught.state, "then"):
            typer.echo(line)
        console.info("photos that are not tagged yet are not counted")


def _name(landmark: Landmark, *, is_new: bool) -> str:
    return f"{landmark.display_name} ({'new, ' if is_new else ''}{landmark.slug})"


def _print_state(taught: Taught, *, is_new: bool) -> None:
    landmark, state = taught.landmark, taught.state
    name = _name(landmark, is_new=is_new)
    if not state.examples and state.is_label:
        typer.echo(f"{name}: the verdicts are stored; the model knows it itself")
        console.info(
            f"it is learned too once you have confirmed {LEAST_MISSED} photos that the model missed"
        )
        return
    if not state.examples:
        typer.echo(f"{name}: the verdicts are stored; no photo of it is confirmed")
        console.info(
            f"to teach it, name photos that show it: tagger teach {landmark.slug} PHOTO…"
        )
        return
    typer.echo(
        f"{name}: learned from {examples_text(state)}; {count_of(taught.compared, 'photo')} compared"
    )
    typer.echo(found_text(state))
    for line in effect_lines(landmark, state, "now"):
        typer.echo(line)
    if state.suggested:
        console.info(
            f"confirming a few suggestions finds more; to list them, run: tagger review {landmark.slug}"
        )
    if state.tagged:
        console.info(f"to see the photos, run: tagger query --landmark {landmark.slug}")
    if state.examples < GOOD_START:
        console.info(
            f"more photos of it from other sides find more: tagger teach {landmark.slug} PHOTO…"
        )
    if not state.tagged and not state.suggested:
        console.info(
            "no other photo shows it yet; photos that are tagged from now on are compared with it, too"
        )
    console.info(f"to undo this, run: {undo_command(landmark, state)}")
