"""The predictions of `tagger predict`: computed for each file and printed, not stored."""

import json as json_module
from collections.abc import Sequence
from pathlib import Path

import typer

from tagger.cli.output import console
from tagger.cli.output.formats import printable
from tagger.cli.session import open_session
from tagger.database.connection import Database
from tagger.errors import PhotoFailed
from tagger.jobs.processing.local_model import open_local_model
from tagger.library.catalog.landmarks import Landmark
from tagger.library.catalog.registered_models import RegisteredModel, resolve_model, unregistered_model
from tagger.library.catalog.registration import landmarks_of_labels
from tagger.library.query.documents import failed_prediction_document, prediction_document
from tagger.model.predictions import Prediction
from tagger.photos.paths import absolute_path
from tagger.settings import Settings
from tagger.system.documents import json_default


def print_predictions(files: Sequence[str], settings: Settings, *, json: bool) -> int:
    """Print the predictions for each file; returns the number of files that failed."""
    database = open_session(settings).database
    registered = _select_model(database, settings)
    with database.read() as connection:
        landmarks = landmarks_of_labels(connection, registered.manifest.labels)
    threshold = registered.manifest.threshold if settings.threshold is None else settings.threshold
    documents: list[object] = []
    failed = 0
    with open_local_model(registered, settings) as model:
        for file in files:
            try:
                output = model.output(model.open(file))
            except PhotoFailed as error:
                failed += 1
                failure = error.failure
                documents.append(failed_prediction_document(_absolute(file), failure))
                typer.echo(f"{printable(file)}: failed ({failure.kind}): {failure.text}", err=True)
                continue
            predictions = output.top_k(settings.top_k, threshold)
            document = prediction_document(
                _absolute(file), predictions, registered, landmarks, is_damaged=output.is_damaged
            )
            documents.append(document)
            if not json:
                _print(file, predictions, landmarks, threshold, with_heading=len(files) > 1)
                if output.is_damaged:
                    console.warning(f"{printable(file)}: a part of the image is missing")
    if json:
        typer.echo(json_module.dumps(documents, default=json_default))
    return failed


def _select_model(database: Database, settings: Settings) -> RegisteredModel:
    """The model of the settings; a model file need not be registered."""
    if settings.model is not None and Path(settings.model).is_file():
        return unregistered_model(Path(settings.model))
    return resolve_model(database, settings.model)


def _absolute(file: str) -> str:
    return file if file == "-" else str(absolute_path(Path(file)))


def _print(
    file: str,
    predictions: Sequence[Prediction],
    landmarks: Sequence[Landmark],
    threshold: float,
    *,
    with_heading: bool,
) -> None:
    if with_heading:
        typer.echo(f"{printable(file)}:")
    for prediction in predictions:
        landmark = landmarks[prediction.position]
        mark = "*" if prediction.accepted else " "
        location = ", ".join(part for part in (landmark.city, landmark.country) if part)
        name = printable(landmark.display_name + (f" ({location})" if location else ""))
        typer.echo(f"{mark} {prediction.score:6.1%}  {name}")
    if not any(prediction.accepted for prediction in predictions):
        typer.echo(
            f"  no prediction reaches {threshold:.0%}: the photo probably shows no landmark of this model"
        )
