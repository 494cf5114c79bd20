"""`tagger model …`: the registered models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.derived_facts import texts_of_other_models, update_derived_facts
from tagger.cli.help import argument, option
from tagger.cli.options import DryRun, Json
from tagger.cli.output import console
from tagger.cli.output.console import ProgressLine
from tagger.cli.output.formats import printable, write_json, write_table
from tagger.cli.session import open_for_reading, open_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.library.catalog.landmarks import Landmark
    from tagger.library.catalog.registered_models import RegisteredModel
    from tagger.model.artifact import Manifest

model_app = typer.Typer(help="Register models, and select those in use.", no_args_is_help=True)

ModelFile = Annotated[
    Path,
    argument("FILE", "A model file of `trainer export`. It is a program: name only files that you trust."),
]


@model_app.command("list")
def list_models(json: Json = False) -> None:
    """List the registered models. Models in use have a *; if there are several, their number in the order of use.

    Example: tagger model list
    """
    from tagger.library.catalog import registered_models
    from tagger.library.query.photo_json import model_document

    models = registered_models.list_models(open_for_reading().database)
    several = sum(model.in_use for model in models) > 1
    rows = (
        [
            f"*{model.use_order if several else ''}" if model.in_use else "",
            model.name,
            len(model.manifest.labels),
            model.digest[:12],
            model.file_text,
        ]
        for model in models
    )
    console.write_list(
        [model_document(model) for model in models],
        ("", "Name", "Landmarks", "Digest", "File"),
        rows,
        "no model is registered; register one with: tagger model add FILE",
        json=json,
    )


@model_app.command("add")
def add(
    file: ModelFile,
    name: Annotated[
        str | None, option("--name", "NAME", "Name of the model. (default: the name in its manifest)")
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Register a model file by its digest. It is not put in use, and none of its code runs.

    A file with code that exported classifiers never have, such as access to files, is refused. The file stays where it is. Registering the same file again changes nothing.

    Example: tagger model add runs/mine/model.pt --name mine
    """
    from tagger.library.catalog import registered_models

    checked = registered_models.check_model_file(file)
    database = open_session().database
    if dry_run:
        existing = registered_models.model_by_digest(database, checked.digest)
        planned = existing.name if existing else name or checked.manifest.name
        document = {"name": planned, "digest": checked.digest, "registered": existing is not None}
        verb = "is registered already as" if existing else "would be registered as"
        console.write_result(
            document | {"dry_run": True}, f"{printable(str(file))} {verb} {planned}", json=json
        )
        return
    model = registered_models.add_model(database, file, name)
    _print_result(model, f"registered as {model.name}", json=json)
    if not model.in_use:
        console.info(f"to use it, run: tagger model use {model.name}")


@model_app.command("use")
def use(
    name: Annotated[list[str], argument("NAME", "Registered names, see `tagger model list`.")],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Select the models for all commands and jobs that name none: one, or several that classify each photo together.

    Of several, each adds its tags; if they disagree, the highest score wins. Tags of other models no longer count on photos that one
    of these has classified. They are kept, and count again if their model is put in use again.

    Example: tagger model use landmarks mine
    """
    from tagger.library.catalog import registered_models
    from tagger.library.query.photo_json import model_document

    session = open_session()
    if dry_run:
        models = registered_models.models_by_name(session.database, name)
    else:
        with ProgressLine("updating tags") as line:
            models = registered_models.use_models(session.database, name, line.show)
        update_derived_facts(session)
    used = ", ".join(model.name for model in models)
    verb = "is" if len(models) == 1 else "are"
    document = vars(model_document(models[0])) | {"models": [model.name for model in models]}
    text = f"{used} would be put in use" if dry_run else f"{used} {verb} in use"
    console.write_result(document, printable(text), json=json)
    if not dry_run:
        console.info(
            "photos keep the tags of other models until one of these classifies them. To classify them, run: tagger backfill outdated"
        )
        for found, remedy in texts_of_other_models(session.database, models):
            console.warning(f"{found}. Run: {remedy}")


@model_app.command("show")
def show(
    name: Annotated[
        str | None,
        typer.Argument(help="A registered model, or a model file. (default: the first one in use)"),
    ] = None,
    json: Json = False,
) -> None:
    """Print the manifest of a model: landmarks, metrics, threshold and training.

    Example: tagger model show
    """
    from tagger.library.catalog import registered_models
    from tagger.library.catalog.registration import landmarks_of_labels
    from tagger.library.query.photo_json import model_document

    settings, database = open_for_reading()
    model = registered_models.preview_models(database, name or settings.model)[0]
    if json:
        write_json(vars(model_document(model)) | {"manifest": model.manifest.model_dump(mode="json")})
        return
    typer.echo(f"{model.name}{' (in use)' if model.in_use else ''}")
    typer.echo(
        f"file:       {printable(model.file_text or 'not named on this machine')}\ndigest:     {model.digest}"
    )
    with database.read() as connection:
        landmarks = landmarks_of_labels(connection, model.manifest.labels)
    _print_manifest(model.manifest, landmarks)


@model_app.command("verify")
def verify(file: ModelFile, json: Json = False) -> None:
    """Check that a model file is complete, has a valid manifest and only code that classifiers need, and has not changed since its registration.

    None of its code runs.

    Example: tagger model verify model.pt
    """
    from tagger.library.catalog import registered_models

    checked = registered_models.check_model_file(file)
    models = registered_models.list_models(open_for_reading().database)
    names = [model.name for model in models if model.digest == checked.digest]
    if not names:
        for model in models:
            if model.file.resolve() == file.resolve():
                registered_models.verify_model(model)
    label_count = len(checked.manifest.labels)
    document = {"file": str(file.absolute()), "digest": checked.digest, "labels": label_count}
    registered = f"registered as {names[0]}" if names else "not registered"
    console.write_result(
        document | {"registered_as": names[0] if names else None},
        f"{printable(str(file))}: valid, {label_count} landmarks, digest {checked.digest}, {registered}",
        json=json,
    )


def _print_result(model: RegisteredModel, text: str, *, json: bool) -> None:
    from tagger.library.query.photo_json import model_document

    console.write_result(model_document(model), printable(text), json=json)


def _print_manifest(manifest: Manifest, landmarks: Sequence[Landmark]) -> None:
    size, rule = manifest.input.size, manifest.input
    typer.echo(f"created:    {manifest.created_at:%Y-%m-%d %H:%M}")
    crop = "the whole photo, stretched"
    if rule.fit != "stretch":
        crop = f"the centre, after scaling the short side to {rule.short_side}"
    typer.echo(f"input:      {size} x {size} pixels, {crop}")
    typer.echo(f"threshold:  {manifest.threshold} ({printable(manifest.threshold_reason)})")
    suggested_from = manifest.suggestion_threshold
    typer.echo(f"suggested:  {'nothing' if suggested_from is None else f'from {suggested_from} on'}")
    for title, facts in (
        ("metrics", manifest.metrics),
        ("calibration", manifest.calibration),
        ("training", manifest.training),
        ("versions", manifest.versions),
    ):
        typer.echo(f"{title}:")
        for name, value in facts.items():
            typer.echo(f"  {printable(name)}: {printable(str(value))}")
    rows = (
        [label.label, landmark.display_name, landmark.country, landmark.slug]
        for label, landmark in zip(manifest.labels, landmarks, strict=True)
    )
    write_table(("Label", "Landmark", "Country", "Slug"), rows)
