"""`tagger model …`: the registered models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger import registry
from tagger.cli import console
from tagger.cli.console import (
    ProgressLine,
    count_of,
    printable,
    write_json,
    write_table,
)
from tagger.cli.help import argument, flag, option
from tagger.cli.options import DryRun, Json
from tagger.cli.program import (
    Session,
    open_for_reading,
    open_session,
    texts_of_other_models,
    update_derived_facts,
)
from tagger.errors import Conflict, ExtraMissing, TaggerError
from tagger.model.artifact import TRAINED_PHOTOS, Manifest
from tagger.query.photo_json import model_document
from tagger.registry import RegisteredModel
from tagger.registry.registration import landmarks_of_labels
from tagger.tags import models_in_use
from tagger.texts.text_format import list_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.jobs.processing.model_cache import ModelTrial
    from tagger.landmarks import Landmark

model_app = typer.Typer(
    help="Register models, and select those in use.", no_args_is_help=True
)

NAMED_PHOTOS = 9


@model_app.command("list")
def list_models(json: Json = False) -> None:
    """List the registered models. Models in use have a *; of several, their number in the order of use.

    Example: tagger model list
    """
    models = registry.list_models(open_for_reading().database)
    several = sum(model.in_use for model in models) > 1
    rows = (
        [
            f"*{model.use_order if several else ''}" if model.in_use else "",
            model.name,
            f"{len(model.manifest.labels)} {model.manifest.kind}",
            model.digest[:12],
            model.file_text,
        ]
        for model in models
    )
    console.write_list(
        [model_document(model) for model in models],
        ("Use", "Name", "Knows", "Digest", "File"),
        rows,
        "no model is registered; register one with: tagger model add FILE",
        json=json,
    )


@model_app.command("add")
def add(
    file: Annotated[
        Path,
        argument(
            "FILE",
            "A model file of `trainer export`. It is a program: name only files that you trust.",
        ),
    ],
    name: Annotated[
        str | None,
        option(
            "--name", "NAME", "Name of the model. (default: the name in its manifest)"
        ),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Register a model file by its digest. It is not put in use, and none of its code runs.

    A file with other code than exported classifiers have is refused. The file stays where it is.

    Example: tagger model add runs/mine/model.pt --name mine
    """
    name = None if name is None else registry.clean_model_name(name)
    checked = registry.check_model_file(file)
    database = open_session().database
    if dry_run:
        existing = registry.model_by_digest(database, checked.digest)
        planned = existing.name if existing else name or checked.manifest.name
        document = {
            "name": planned,
            "digest": checked.digest,
            "registered": existing is not None,
        }
        verb = "is registered already as" if existing else "would be registered as"
        console.write_result(
            document | {"dry_run": True},
            f"{printable(str(file))} {verb} {planned}",
            json=json,
        )
        return
    model = registry.add_model(database, file, name)
    text = printable(f"registered as {model.name}")
    console.write_result(model_document(model), text, json=json)
    if not model.in_use:
        in_use = models_in_use.names_in_use(database)
        beside = f" beside {list_text(in_use)}" if in_use else ""
        console.info(
            printable(
                f"to use it{beside}, run: {models_in_use.use_command([*in_use, model.name])}"
            )
        )


@model_app.command("use")
def use(
    name: Annotated[
        list[str], argument("NAME", "Registered names, see `tagger model list`.")
    ],
    force: Annotated[
        bool,
        flag(
            "--force",
            "Use models that cannot run on this machine, for others that can.",
        ),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Select the models for all commands and jobs that name none: one, or several that classify together.

    If several disagree, the highest score wins. Tags of other models no longer count on photos that one of
    these has classified, but are kept. First, new models are tried on photos of the library; --dry-run does
    no more.

    Example: tagger model use landmarks-203-v11 mine
    """
    session = open_session()
    models = registry.models_by_name(session.database, name)
    if not force:
        for model in models:
            _require_engine(model)
    before = models_in_use.names_in_use(session.database)
    would_name = [_try(session, model) for model in models if not model.in_use]
    if not dry_run:
        with ProgressLine("updating tags") as line:
            models = registry.use_models(session.database, name, line.show)
        update_derived_facts(session)
    now = [model.name for model in models]
    used, verb = ", ".join(now), "is" if len(models) == 1 else "are"
    document = model_document(models[0]) | {
        "models": now,
        "would_name": [found for found in would_name if found],
    }
    text = f"{used} would be put in use" if dry_run else f"{used} {verb} in use"
    console.write_result(document, printable(text), json=json)
    if dry_run:
        return
    if now != before:
        effect = (
            "photos keep the tags of other models until one of these classifies them. "
            "To classify them, run: tagger backfill outdated"
        )
        if set(now) < set(before):
            names = ", ".join(sorted(set(before) - set(now)))
            effect = f"tags of {names} no longer count where {used} classified the photo; they are kept"
        console.info(printable(effect))
        if before:
            console.info(
                printable(f"to take it back, run: {models_in_use.use_command(before)}")
            )
    for found, remedy in texts_of_other_models(session.database, models):
        console.warning(f"{found}. Run: {remedy}")


def _require_engine(model: RegisteredModel) -> None:
    from tagger.jobs.processing.model_cache import require_engine

    try:
        require_engine(model)
    except ExtraMissing as error:
        raise Conflict(
            reason=f"{error}. To use the model on other machines alone, add --force"
        ) from error


def _try(session: Session, model: RegisteredModel) -> ModelTrial | None:
    # Say what a model would name in a sample of the photos; None: there are none, or it cannot be loaded.
    from tagger.jobs.processing.model_cache import SAMPLED_PHOTOS, try_model

    try:
        with ProgressLine("trying the model") as line:
            trial = try_model(session.database, session.settings, model, line.show)
    except TaggerError as error:
        console.warning(f"what {model.name} would name is not known: {error}")
        return None
    if trial is not None:
        tried = f" of {trial.tried} tried" if trial.tried == SAMPLED_PHOTOS else ""
        some = (
            ""
            if trial.unknown_so_far <= NAMED_PHOTOS
            else f", such as these {NAMED_PHOTOS}"
        )
        found = (
            f"{model.name} would name {count_of(trial.named, 'photo')}{tried}, "
            f"{trial.unknown_so_far} of them unknown so far, in {trial.ms_per_photo:.0f} ms of a core each"
        )
        examples = [
            f"  {path}: {place}"
            for path, place in [*trial.photos.items()][:NAMED_PHOTOS]
        ]
        console.info("\n".join([f"{found}{some}{':' if examples else ''}", *examples]))
    return trial


@model_app.command("remove")
def remove(
    name: Annotated[str, argument("NAME", "A registered model that is not in use.")],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove a model, its tags, what it was taught, and its jobs. Landmarks, verdicts and its file stay.

    A model in use is refused, and so is one with a job that has not ended.

    Example: tagger model remove places --dry-run
    """
    session = open_session(settle_jobs=True)
    with ProgressLine("removing") as line:
        file = registry.model_by_name(session.database, name).file_text
        counts = registry.remove_model(
            session.database, name, dry_run=dry_run, on_progress=line.show
        )
    if not dry_run:
        update_derived_facts(session)
    text = (
        f"{name} {'would be' if dry_run else 'is'} removed, with all that it predicted of "
        f"{count_of(counts['classified'], 'photo')} ({counts['tagged']} with an accepted tag), "
        f"{count_of(counts['taught'], 'taught place')} and {count_of(counts['jobs'], 'job')}"
    )
    console.write_result(
        {"name": name, **counts, "dry_run": dry_run}, printable(text), json=json
    )
    if counts["unclassified"]:
        console.info(
            f"{count_of(counts['unclassified'], 'photo')} classified by no other model; "
            "to classify them, run: tagger backfill untagged"
        )
    console.info(f"its file stays: {printable(file)}")


@model_app.command("show")
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A registered model, or a model file. (default: the first one in use)"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Print the manifest of a model: landmarks, metrics, threshold and training.

    Example: tagger model show
    """
    settings, database = open_for_reading()
    model = registry.preview_models(database, name or settings.model)[0]
    if json:
        write_json(
            model_document(model) | {"manifest": model.manifest.model_dump(mode="json")}
        )
        return
    typer.echo(f"{model.name}{' (in use)' if model.in_use else ''}")
    typer.echo(
        f"file:       {printable(model.file_text or 'not named on this machine')}\ndigest:     {model.digest}"
    )
    with database.read() as connection:
        landmarks = landmarks_of_labels(connection, model.manifest.labels)
    _print_manifest(model.manifest, landmarks)


@model_app.command("verify")
def verify(
    file: Annotated[
        str, argument("FILE", "A model file, or the name of a registered model.")
    ],
    json: Json = False,
) -> None:
    """Check that a model file is complete, has only code that classifiers need, and is as it was registered.

    None of its code runs.

    Example: tagger model verify model.pt
    """
    models = registry.list_models(open_for_reading().database)
    files = {model.name: model.file for model in models}
    path = files.get(file, Path(file))
    checked = registry.check_model_file(path)
    names = [model.name for model in models if model.digest == checked.digest]
    if not names:
        for model in models:
            if model.file.resolve() == path.resolve():
                registry.verify_model(model)
    label_count, kind = len(checked.manifest.labels), checked.manifest.kind
    document = {
        "file": str(path.absolute()),
        "digest": checked.digest,
        "labels": label_count,
    }
    registered = f"registered as {names[0]}" if names else "not registered"
    console.write_result(
        document | {"registered_as": names[0] if names else None},
        f"{printable(str(path))}: valid, {label_count} {kind}, digest {checked.digest}, {registered}",
        json=json,
    )


def _print_manifest(manifest: Manifest, landmarks: Sequence[Landmark]) -> None:
    rule = manifest.input
    crop = "the whole photo, stretched"
    if rule.fit != "stretch":
        crop = f"the centre, after scaling the short side to {rule.short_side}"
    suggested_from = manifest.suggestion_threshold
    suggested = "nothing" if suggested_from is None else f"from {suggested_from} on"
    typer.echo(f"created:    {manifest.created_at:%Y-%m-%d %H:%M}")
    typer.echo(f"input:      {rule.size} x {rule.size} pixels, {crop}")
    typer.echo(
        f"threshold:  {manifest.threshold} ({printable(manifest.threshold_reason)})"
    )
    typer.echo(f"suggested:  {suggested}")
    for title in ("metrics", "calibration", "training", "versions"):
        typer.echo(f"{title}:")
        for name, value in getattr(manifest, title).items():
            if name != TRAINED_PHOTOS:
                typer.echo(f"  {printable(name)}: {printable(str(value))}")
    rows = (
        [label.label, landmark.display_name, landmark.country, landmark.slug]
        for label, landmark in zip(manifest.labels, landmarks, strict=True)
    )
    write_table(("Label", "Landmark", "Country", "Slug"), rows)
