"""The photos of `tagger teach`: found in the database, tagged first where they are not, and given verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tagger.cli.job_submission import create_tag_job, run_local_job
from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.errors import ExamplesMissing

if TYPE_CHECKING:
    from tagger.cli.session import Session
    from tagger.database.connection import Database
    from tagger.jobs.enqueue.scan import Selection
    from tagger.library.catalog.landmarks import Landmark
    from tagger.library.catalog.registered_models import RegisteredModel
    from tagger.library.teaching.examples import Example, NamedOtherwise


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
        if untagged := self._paths_to_tag():
            self._tag(untagged)
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

    def print_plan(self, landmark: Landmark, *, is_new: bool, json: bool) -> None:
        """Print what `find` and the verdicts would do, without changing anything.

        Raises:
            PathNotFound: there is no such file.
        """
        if untagged := self._paths_to_tag():
            self._select(untagged)
        self.confirmed, self.rejected = (self._examples(paths, only_stored=True) for paths in self._paths)
        self._check_contradictions()
        counts = len(self.confirmed), len(self.rejected)
        otherwise = self.named_otherwise(landmark)
        if json:
            write_json(
                {
                    "landmark": landmark.slug,
                    "new": is_new,
                    "examples": counts[0],
                    "rejected": counts[1],
                    "named_otherwise": otherwise,
                    "untagged": [str(path) for path in untagged],
                    "dry_run": True,
                }
            )
            return
        first = f"; {count_of(len(untagged), 'path')} would be tagged first" if untagged else ""
        name = f"{landmark.display_name} ({'new, ' if is_new else ''}{landmark.slug})"
        typer.echo(
            f"{count_of(counts[0], 'photo')} would be confirmed as {name}, {counts[1]} rejected{first}; "
            "nothing was changed"
        )
        if otherwise:
            console.info(named_otherwise_text(otherwise, "would be doubtful"))
        if is_new:
            warn_of_similar_names(self._session.database, landmark)

    def named_otherwise(self, landmark: Landmark) -> Sequence[NamedOtherwise]:
        """What the model gives the photos that are confirmed, beside the landmark."""
        from tagger.library.teaching.examples import named_otherwise

        return named_otherwise(self._session.database, landmark.id, self.confirmed)

    def _paths_to_tag(self) -> list[Path]:
        from tagger.library.teaching.examples import paths_to_tag

        settings, database = self._session
        named = [path for paths in self._paths for path in paths]
        return paths_to_tag(database, self._model, named, settings.roots)

    def _tag(self, paths: Sequence[Path]) -> None:
        from tagger.database.enums import Priority, Runner

        session = self._session
        job = create_tag_job(session, self._select(paths), Runner.LOCAL, Priority.INTERACTIVE)
        run_local_job(session.database, session.settings, job, lines=False)

    def _select(self, paths: Sequence[Path]) -> Selection:
        from tagger.jobs.enqueue.scan import select_paths

        return select_paths(paths)

    def _examples(self, paths: Iterable[Path], *, only_stored: bool = False) -> list[Example]:
        from tagger.library.teaching.examples import find_examples

        database, roots = self._session.database, self._session.settings.roots
        return find_examples(database, self._model, paths, roots, only_stored=only_stored)

    def _check_contradictions(self) -> None:
        rejected = {example.content_id for example in self.rejected} - {None}
        for example in self.confirmed:
            if example.content_id in rejected:
                text = f"{printable(example.path)} cannot both show the landmark and not show it"
                raise typer.BadParameter(text, param_hint="--not")


def named_otherwise_text(named: Sequence[NamedOtherwise], state: str) -> str:
    """`the model had named 3 of them Taj Mahal; these tags are doubtful now`."""
    parts = " and ".join(f"{each.photos} of them {each.name}" for each in named)
    return f"the model had named {parts}; these tags {state}"


def warn_of_similar_names(database: Database, added: Landmark) -> None:
    """Name the landmarks that a person may have meant who mistyped the name of a new one."""
    from tagger.library.catalog.landmarks import landmarks_spelled_like

    with database.read() as connection:
        similar = landmarks_spelled_like(connection, added)
    for landmark in similar:
        console.warning(
            f"there is also {landmark.display_name} ({landmark.slug}); if you meant that one, name it, or run: "
            f"tagger landmark merge {added.slug} --into {landmark.slug}"
        )


def confirm_examples(database: Database, landmark: Landmark, examples: ExamplePhotos, by: str | None) -> None:
    """Give the verdicts on the examples."""
    from tagger.library.verdicts import VerdictKind, give_verdict_to_photos

    for kind, photos in (
        (VerdictKind.CONFIRMED, examples.confirmed),
        (VerdictKind.REJECTED, examples.rejected),
    ):
        give_verdict_to_photos(database, [photo.photo_id for photo in photos], landmark.slug, kind, by)
