"""`tagger similar`: photos ranked by likeness to given ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.derived_facts import model_in_use, warn_of_other_models
from tagger.cli.help import OUTPUT
from tagger.cli.options import FormatName, Json, parse_format
from tagger.cli.output import console
from tagger.cli.output.formats import printable
from tagger.cli.session import open_session
from tagger.errors import ExamplesMissing, PhotoFailed, PhotoNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tagger.cli.session import Session
    from tagger.jobs.processing.local_model import LocalModel
    from tagger.library.catalog.registered_models import RegisteredModel
    from tagger.library.teaching.embeddings import Embeddings

DEFAULT_LIMIT = 20


def similar(
    photos: Annotated[list[Path], typer.Argument(help="Photos, stored or not.", metavar="PHOTO")],
    under: Annotated[
        list[Path] | None, typer.Option("--under", metavar="FOLDER", help="Only photos below these folders.")
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", metavar="N", min=1, help="Maximum number of photos.", rich_help_panel=OUTPUT),
    ] = DEFAULT_LIMIT,
    format_: FormatName = None,
    json: Json = False,
) -> None:
    """List the stored photos that resemble one of these most. Copies of these are left out.

    Only photos without a stored embedding are opened, and nothing is stored.

    For example:

    tagger similar holiday/IMG_0042.jpg

    tagger similar church/1.jpg church/2.jpg --under ~/Pictures/2019 --format paths
    """
    from tagger.cli.output.photos import write_similar_photos
    from tagger.library.teaching.similarity import find_similar
    from tagger.photos.paths import parse_path

    output_format = parse_format(format_, json=json)
    session = open_session()
    model = model_in_use(session)
    given = _GivenPhotos(session, model)
    embeddings = given.embeddings(map(parse_path, photos))
    found = find_similar(
        session.database,
        model,
        embeddings,
        session.settings.roots,
        under=under or (),
        limit=limit,
        without=given.content_ids,
    )
    if not write_similar_photos(found, output_format):
        console.info("no other photo has an embedding; to tag photos, run: tagger tag FOLDER")
    warn_of_other_models(session, model)
    raise typer.Exit(console.SOME_PHOTOS_FAILED if given.has_failed else console.DONE)


class _GivenPhotos:
    """`content_ids` are those of the images that are stored; `has_failed` says whether a photo could not be used."""

    def __init__(self, session: Session, model: RegisteredModel) -> None:
        self._session = session
        self._model = model
        self.content_ids: list[int] = []
        self.has_failed = False

    def embeddings(self, photos: Iterable[Path]) -> Embeddings:
        """The embeddings (N, D) of the photos, from the database or from the model.

        Raises:
            ExamplesMissing: none of the photos can be used.
        """
        import numpy as np

        from tagger.library.teaching.examples import load_embeddings
        from tagger.library.teaching.learning import embedding_of

        computed = self._computed(self._not_stored(photos))
        if not computed and not self.content_ids:
            raise ExamplesMissing
        dimension = embedding_of(self._model).dimension
        with self._session.database.read() as connection:
            stored = load_embeddings(connection, self.content_ids, dimension)
        return np.concatenate([stored, *computed])

    def _not_stored(self, photos: Iterable[Path]) -> list[Path]:
        """Note the content ids of stored images; returns the photos without an embedding."""
        from tagger.library.teaching.examples import find_examples
        from tagger.photos.paths import parse_path

        others = []
        for photo in photos:
            try:
                found = find_examples(
                    self._session.database, self._model, [photo], self._session.settings.roots
                )
            except PhotoNotFound:
                others.append(photo)
                continue
            self.content_ids += [each.content_id for each in found if each.content_id is not None]
            others += [parse_path(each.path) for each in found if each.content_id is None]
        return others

    def _computed(self, photos: Sequence[Path]) -> list[Embeddings]:
        if not photos:
            return []
        from tagger.model.devices import quiet_threads

        quiet_threads()
        from tagger.jobs.processing.local_model import open_local_model

        computed = []
        with open_local_model(self._model, self._session.settings) as model:
            for photo in photos:
                try:
                    embedding = self._computed_embedding(model, photo)
                except PhotoFailed as error:
                    self.has_failed = True
                    console.warning(f"{printable(str(photo))} is left out: {error.failure.text}")
                    continue
                computed += [] if embedding is None else [embedding]
        return computed

    def _computed_embedding(self, model: LocalModel, photo: Path) -> Embeddings | None:
        """The embedding (1, D) of a photo; None if the image is stored, at another path: its content id is noted."""
        from tagger.library.teaching.similarity import content_with_embedding

        opened = model.open(str(photo))
        with self._session.database.read() as connection:
            content_id = content_with_embedding(connection, self._model.id, opened.digest)
        if content_id is not None:
            self.content_ids.append(content_id)
            return None
        embedding = model.output(opened).embedding
        return None if embedding is None else embedding[None]
