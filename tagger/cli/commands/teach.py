"""`tagger teach`: teach a landmark from photos. They are found in the database, or tagged first, and get verdicts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli.derived_facts import (
    examples_text,
    found_text,
    model_in_use,
    update_positions,
    update_with_progress,
    warn_of_other_models,
)
from tagger.cli.help import Command, argument, option
from tagger.cli.job_submission import run_local_job, submit_tagging
from tagger.cli.options import Author, DryRun, Json, parse_at
from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_session
from tagger.database.connection import login_name
from tagger.database.enums import Priority, Runner
from tagger.errors import ExamplesMissing
from tagger.jobs.enqueue.scan import select_paths
from tagger.landmarks.landmarks import landmarks_spelled_like
from tagger.verdicts.service import give_examples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tagger.cli.session import Session
    from tagger.database.connection import Database
    from tagger.landmarks.edits import NewLandmark
    from tagger.landmarks.landmarks import Landmark
    from tagger.registry.registered_models import RegisteredModel
    from tagger.teaching.examples import Example, NamedOtherwise
    from tagger.teaching.learning import TaughtState


class ExamplePhotos:
    """The photos that are confirmed and rejected, after `find`. `left_out` are those that cannot be examples."""

    def __init__(
        self, session: Session, model: RegisteredModel, confirmed: Sequence[Path], rejected: Sequence[Path]
    ) -> None:
        self._session = session
        self._model = model
        self._paths = (confirmed, rejected)
        self.confirmed: list[Example] = []
        self.rejected: list[Example] = []
        self.left_out: list[Example] = []

    def find(self) -> None:
        """Find the photos. Those that the database does not have with an embedding are tagged first.

        Raises:
            PathNotFound: there is no such file.
            ExamplesMissing: none of the photos can be an example.
        """
        from tagger.jobs.enqueue.submission import Tagging

        session = self._session
        if untagged := self._paths_to_tag():
            request = Tagging(select_paths(untagged))
            job = submit_tagging(session, request, Runner.LOCAL, Priority.INTERACTIVE)
            run_local_job(session.database, session.settings, job, lines=False)
        found = [self._examples(paths) for paths in self._paths]
        self.left_out = [each for examples in found for each in examples if each.content_id is None]
        for example in self.left_out:
            why = example.failure or "its image has no embedding; run `tagger tag --again` on it"
            console.warning(f"{printable(example.path)} is left out: {why}")
        self.confirmed, self.rejected = (
            [each for each in examples if each.content_id is not None] for examples in found
        )
        self._check_contradictions()
        if not self.confirmed and not self.rejected:
            raise ExamplesMissing

    def find_stored(self) -> list[Path]:
        """Find the photos that are stored already. Returns the paths that `find` would tag first.

        Raises:
            PathNotFound: there is no such file.
        """
        untagged = self._paths_to_tag()
        select_paths(untagged)
        self.confirmed, self.rejected = (self._examples(paths, only_stored=True) for paths in self._paths)
        self._check_contradictions()
        return untagged

    def teach(
        self, database: Database, new: NewLandmark, by: str | None, *, may_add: bool
    ) -> tuple[Landmark, TaughtState, int]:
        """Give the verdicts, and find the landmark's photos. Returns it, what is known of it, and how many images were compared."""
        from tagger.landmarks.edits import find_or_add_landmark
        from tagger.teaching.learning import taught_state

        session = self._session._replace(database=database)
        landmark, _ = find_or_add_landmark(database, new, may_add=may_add)
        confirmed, rejected = (
            [photo.photo_id for photo in group if photo.content_id is not None]
            for group in (self.confirmed, self.rejected)
        )
        give_examples(database, landmark.slug, confirmed, rejected, by or login_name())
        compared = update_with_progress(session, self._model, [landmark.id])
        update_positions(session)
        return landmark, taught_state(database, self._model, landmark), compared

    def named_otherwise(self, landmark: Landmark) -> Sequence[NamedOtherwise]:
        """Return the other landmarks that the model names for the confirmed photos."""
        from tagger.teaching.examples import named_otherwise

        return named_otherwise(self._session.database, landmark.id, self.confirmed)

    def _paths_to_tag(self) -> list[Path]:
        from tagger.teaching.examples import paths_to_tag

        settings, database = self._session
        named = [path for paths in self._paths for path in paths]
        return paths_to_tag(database, self._model, named, settings.roots)

    def _examples(self, paths: Iterable[Path], *, only_stored: bool = False) -> list[Example]:
        from tagger.teaching.examples import find_examples

        database, roots = self._session.database, self._session.settings.roots
        return find_examples(database, self._model, paths, roots, only_stored=only_stored)

    def _check_contradictions(self) -> None:
        rejected = {example.content_id for example in self.rejected} - {None}
        for example in self.confirmed:
            if example.content_id in rejected:
                text = f"{printable(example.path)} cannot both show the landmark and not show it"
                raise typer.BadParameter(text, param_hint="--not")


def effect_lines(landmark: Landmark, state: TaughtState, then: str) -> Iterator[str]:
    """What a taught landmark does to tags of others: `doubtful now: Taj Mahal on 3 photos`, and which ones stay."""
    if state.doubtful:
        yield f"doubtful {then}: {_names_text(state.doubtful)}"
    if state.kept:
        yield (
            f"kept, because the model is nearly certain: {_names_text(state.kept)}; "
            f"{landmark.display_name} is only suggested there"
        )


def _names_text(named: Sequence[NamedOtherwise]) -> str:
    return ", ".join(f"{each.name} on {count_of(each.photos, 'photo')}" for each in named)


def warn_of_similar_names(database: Database, added: Landmark) -> None:
    """Warn of landmarks with names like that of a new one, which may be mistyped."""
    with database.read() as connection:
        similar = landmarks_spelled_like(connection, added)
    for landmark in similar:
        console.warning(
            f"there is also {landmark.display_name} ({landmark.slug}); if you meant that one, name it, or run: "
            f"tagger landmark merge {added.slug} --into {landmark.slug}"
        )


FOUND = ("tagged", "suggested", "precision", "doubtful", "kept")
"""What a dry run tells of the state that teaching would lead to."""
GOOD_START = 5
"""As many examples as the help recommends. Fewer find less, at the same precision."""

LandmarkArgument = Annotated[str, argument("LANDMARK", "A landmark, by slug or name. A new name adds it.")]
Examples = Annotated[list[Path] | None, argument("PHOTO", "Photos of it, or folders of such photos.")]
CounterExamples = Annotated[
    list[Path] | None, option("--not", "PHOTO...", "All photos after it do not show the landmark.")
]
NewPosition = Annotated[str | None, option("--at", "LAT,LON", "Position of a new landmark, in degrees.")]
NewCountry = Annotated[str | None, option("--country", "NAME", "Country of a new landmark.")]


class TeachCommand(Command):
    """Parses all photos after `--not` as photos that do not show the landmark."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._with_repeated_not(args))

    def _with_repeated_not(self, args: Sequence[str]) -> list[str]:
        """`--not A B` as `--not A --not B`."""
        options = (param for param in self.params if param.param_type_name == "option")
        with_value = {
            name for option in options if not getattr(option, "is_flag", False) for name in option.opts
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
        return parsed


def teach(
    landmark: LandmarkArgument,
    photos: Examples = None,
    not_: CounterExamples = None,
    at: NewPosition = None,
    country: NewCountry = None,
    by: Author = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Teach a landmark from a few photos, and tag every photo that shows it.

    Five photos from different sides are a good start. The command confirms them, and compares them with all tagged photos, without opening those again. What is sure becomes a tag, what is probable a suggestion. Each verdict on a suggestion improves what was learned.

    For example:

    tagger teach "Our church" church/*.jpg

    tagger teach our-church more/*.jpg --not town-hall.jpg school.jpg
    """
    from tagger.landmarks.edits import NewLandmark, find_or_add_landmark
    from tagger.teaching.learning import taught_document

    started_at = time.monotonic()
    if not photos and not not_:
        raise typer.BadParameter("name at least one photo", param_hint="PHOTO")
    position = parse_at(at)
    session = open_session(settle_jobs=True)
    model = model_in_use(session)
    new = NewLandmark(landmark, country=country, position=position)
    examples = ExamplePhotos(session, model, photos or [], not_ or [])
    # Checked before photos are tagged for it, which may take a while.
    planned, is_new = find_or_add_landmark(session.database, new, may_add=bool(photos), dry_run=True)
    if dry_run:
        _rehearse(session, examples, new, planned, is_new=is_new, json=json)
        return
    examples.find()
    taught, state, compared = examples.teach(session.database, new, by, may_add=bool(examples.confirmed))
    if json:
        otherwise = examples.named_otherwise(taught)
        write_json(taught_document(taught, state, otherwise, compared, time.monotonic() - started_at))
    else:
        _print_state(taught, state, compared, is_new=is_new)
    if is_new:
        warn_of_similar_names(session.database, taught)
    warn_of_other_models(session, model)
    raise typer.Exit(console.SOME_PHOTOS_FAILED if examples.left_out else console.DONE)


def _rehearse(
    session: Session,
    examples: ExamplePhotos,
    new: NewLandmark,
    planned: Landmark,
    *,
    is_new: bool,
    json: bool,
) -> None:
    """Print what teaching would do, without changing anything. Photos that are not tagged yet are not compared."""
    untagged = examples.find_stored()
    with session.database.rehearsal() as database:
        landmark, state, compared = examples.teach(database, new, None, may_add=True)
    counts = len(examples.confirmed), len(examples.rejected)
    if json:
        plan = {"landmark": landmark.slug, "new": is_new, "examples": counts[0], "rejected": counts[1]}
        paths = {"untagged": [str(path) for path in untagged], "compared": compared}
        found = {name: getattr(state, name) for name in FOUND}
        otherwise = {"named_otherwise": examples.named_otherwise(planned)}
        write_json(plan | otherwise | paths | found | {"dry_run": True})
        return
    first = f"; {count_of(len(untagged), 'path')} would be tagged first" if untagged else ""
    typer.echo(
        f"{count_of(counts[0], 'photo')} would be confirmed as {_name(landmark, is_new=is_new)}, "
        f"{counts[1]} rejected{first}; nothing was changed"
    )
    if state.examples:
        typer.echo(found_text(state, "would be tagged"))
        for line in effect_lines(landmark, state, "then"):
            typer.echo(line)
        console.info("photos that are not tagged yet are not counted")
    if is_new:
        warn_of_similar_names(session.database, planned)


def _name(landmark: Landmark, *, is_new: bool) -> str:
    return f"{landmark.display_name} ({'new, ' if is_new else ''}{landmark.slug})"


def _print_state(landmark: Landmark, state: TaughtState, compared: int, *, is_new: bool) -> None:
    from tagger.teaching.learning import undo_command

    if not state.examples:
        _print_unlearned(landmark, state)
        return
    name = _name(landmark, is_new=is_new)
    typer.echo(f"{name}: learned from {examples_text(state)}; {count_of(compared, 'photo')} compared")
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
        console.info(f"more photos of it from other sides find more: tagger teach {landmark.slug} PHOTO…")
    if not state.tagged and not state.suggested:
        console.info(
            "no other photo shows it yet; photos that are tagged from now on are compared with it, too"
        )
    console.info(f"to undo this, run: {undo_command(landmark, state)}")


def _print_unlearned(landmark: Landmark, state: TaughtState) -> None:
    from tagger.teaching.examples import LEAST_MISSED

    if state.is_label:
        typer.echo(
            f"{landmark.display_name} ({landmark.slug}): the verdicts are stored; the model knows it itself"
        )
        console.info(
            f"it is learned from photos too once you have confirmed {LEAST_MISSED} that the model missed"
        )
    else:
        typer.echo(
            f"{landmark.display_name} ({landmark.slug}): the verdicts are stored; no photo of it is confirmed"
        )
        console.info(f"to teach it, name photos that show it: tagger teach {landmark.slug} PHOTO…")
