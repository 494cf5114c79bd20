"""What `tagger look` shows: the top-k of single photos, nothing stored."""

import json as json_module
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from tagger.cli.output import printable
from tagger.database import open_database
from tagger.devices import choose_device
from tagger.documents import failed_look_document, look_document
from tagger.errors import PhotoFailed
from tagger.images import decode_photo
from tagger.model import Model, load_model, top_k
from tagger.photos import read_photo
from tagger.registry import RegisteredModel, resolve_model, unregistered
from tagger.results import Prediction
from tagger.settings import Settings


def look_at(files: Sequence[str], settings: Settings, *, json: bool) -> int:
    """Print what the model sees in each file; returns how many failed."""
    registered = _model(settings)
    device = choose_device(settings.device, settings.batch_size)
    model = load_model(
        registered.file, registered.digest, registered.manifest, device, threads=settings.threads
    )
    threshold = registered.manifest.threshold if settings.threshold is None else settings.threshold
    documents: list[dict[str, object]] = []
    failed = 0
    for file in files:
        try:
            predictions = _look(file, settings, model, threshold)
        except PhotoFailed as problem:
            failed += 1
            failure = problem.failure
            documents.append(failed_look_document(_path(file), failure))
            typer.echo(f"{printable(file)}: failed ({failure.kind}): {failure.text}", err=True)
            continue
        documents.append(look_document(_path(file), predictions, registered))
        if not json:
            _print(file, predictions, registered, threshold, heading=len(files) > 1)
    if json:
        typer.echo(json_module.dumps(documents))
    return failed


def _model(settings: Settings) -> RegisteredModel:
    """The model that is asked for; a file that is not registered is run without being so."""
    database = open_database(settings.effective_database_url)
    if settings.model is not None and Path(settings.model).is_file():
        return unregistered(Path(settings.model))
    return resolve_model(database, settings.model)


def _look(file: str, settings: Settings, model: Model, threshold: float) -> tuple[Prediction, ...]:
    if file == "-":
        data = sys.stdin.buffer.read(settings.max_bytes + 1)[: settings.max_bytes]
    else:
        data = read_photo(Path(file), max_bytes=settings.max_bytes).data
    image = decode_photo(data, model.manifest.input.resize, max_pixels=settings.max_pixels)
    return top_k(model.scores([image.pixels])[0], settings.top_k, threshold)


def _path(file: str) -> str:
    return file if file == "-" else str(Path(file).absolute())


def _print(
    file: str,
    predictions: Sequence[Prediction],
    registered: RegisteredModel,
    threshold: float,
    *,
    heading: bool,
) -> None:
    if heading:
        typer.echo(f"{printable(file)}:")
    for prediction in predictions:
        label = registered.manifest.labels[prediction.position]
        mark = "*" if prediction.accepted else " "
        place = ", ".join(part for part in (label.city, label.country) if part)
        typer.echo(f"{mark} {prediction.score:6.1%}  {label.name}" + (f" ({place})" if place else ""))
    if not any(prediction.accepted for prediction in predictions):
        typer.echo(f"  none of them reaches {threshold:.0%}: probably no landmark this model knows")
