"""`tagger model …` and `tagger db …`: the registry of models, and the state of the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.output import printable, write_json, write_json_list, write_table
from tagger.documents import model_document

if TYPE_CHECKING:
    from tagger.artifact import Manifest
    from tagger.database import Database
    from tagger.registry import RegisteredModel
    from tagger.settings import Settings

model_app = typer.Typer(help="The models that are registered, and which is in use.", no_args_is_help=True)
db_app = typer.Typer(help="The database: set up, check, count.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
ModelFile = Annotated[Path, typer.Argument(help="A model that `trainer export` made.", metavar="FILE")]


@model_app.command("list")
def list_models(json: Json = False) -> None:
    """List the registered models; * marks the one in use.

    Example: tagger model list
    """
    from tagger import registry

    _, database = _open()
    known = registry.list_models(database)
    if json:
        write_json_list(model_document(model) for model in known)
        return
    rows = (
        ["*" if model.in_use else "", model.name, len(model.manifest.labels), model.digest[:12], model.file]
        for model in known
    )
    write_table(("", "Name", "Landmarks", "Digest", "File"), rows, flexible=4)
    if not known:
        console.say("no model is registered; start with: tagger model add FILE")


@model_app.command("add")
def add(
    file: ModelFile,
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it. [default: as its manifest says]")
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Register a model file by its digest. It is not put in use, and nothing is run from it.

    The file stays where it is. Adding the same file again changes nothing.

    Example: tagger model add runs/mine/model.pt --name mine
    """
    from tagger import registry

    checked = registry.check_file(file)
    _, database = _open()
    if dry_run:
        known = registry.model_by_digest(database, checked.digest)
        planned = known.name if known else name or checked.manifest.name
        document = {
            "name": planned,
            "digest": checked.digest,
            "registered": known is not None,
            "dry_run": True,
        }
        if json:
            write_json(document)
        else:
            verb = "is registered already as" if known else "would be registered as"
            typer.echo(f"{printable(str(file))} {verb} {planned}")
        return
    model = registry.add_model(database, file, name)
    _tell(model, f"registered as {model.name}", json=json)
    if not model.in_use:
        console.say(f"put it in use with: tagger model use {model.name}")


@model_app.command("use")
def use(
    name: Annotated[str, typer.Argument(help="A name that `tagger model list` shows.")],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Put a registered model in use for everything that names none.

    Photos keep their tags until they are looked at again. Using the model that ships with tagger means following it
    through upgrades.

    Example: tagger model use mine
    """
    from tagger import registry

    _, database = _open()
    if dry_run:
        model = registry.model_by_name(database, name)
        registry.verify(model)
        _tell(model, f"{model.name} would be put in use", json=json)
        return
    _tell(registry.use_model(database, name), f"{name} is in use", json=json)
    console.say(
        "photos keep the tags they have until this model looks at them: tagging again replaces another model's tags"
    )


@model_app.command("show")
def show(
    name: Annotated[
        str | None, typer.Argument(help="A registered model. [default: the one that would run]")
    ] = None,
    json: Json = False,
) -> None:
    """Print what a model says of itself: landmarks, metrics, threshold, how it was trained.

    Example: tagger model show
    """
    from tagger import registry

    settings, database = _open()
    if name is None:
        model = registry.resolve_model(database, settings.model)
    else:
        model = registry.model_by_name(database, name)
    if json:
        write_json(model_document(model) | {"manifest": model.manifest.model_dump(mode="json")})
        return
    typer.echo(f"{model.name}{' (in use)' if model.in_use else ''}")
    typer.echo(f"file:       {printable(str(model.file))}\ndigest:     {model.digest}")
    _print_manifest(model.manifest)


@model_app.command("verify")
def verify(file: ModelFile, json: Json = False) -> None:
    """Check that a model file is whole, has a sound manifest, and is what was registered. Nothing is run from it.

    Example: tagger model verify model.pt
    """
    from tagger import registry

    checked = registry.check_file(file)
    _, database = _open()
    known = registry.list_models(database)
    for model in known:
        if model.file.resolve() == file.resolve() and not any(m.digest == checked.digest for m in known):
            registry.verify(model)
    names = [model.name for model in known if model.digest == checked.digest]
    document = {
        "file": str(file.absolute()),
        "digest": checked.digest,
        "labels": len(checked.manifest.labels),
        "registered_as": names[0] if names else None,
    }
    if json:
        write_json(document)
        return
    registered = f"registered as {names[0]}" if names else "not registered"
    typer.echo(
        f"{printable(str(file))}: sound, {document['labels']} landmarks, digest {checked.digest}, {registered}"
    )


@db_app.command("upgrade")
def upgrade(dry_run: DryRun = False, json: Json = False) -> None:
    """Bring the database up to date with this version of tagger, or set up an empty one.

    An SQLite file is brought up to date by every command; a server's database only by this one.
    Make a backup of it first, stop the workers, and start them again after it.

    Example: tagger db upgrade
    """
    from tagger.database import SCHEMA_REVISION, revision_of, upgrade_database
    from tagger.settings import load_settings

    url = load_settings().effective_database_url
    before = revision_of(url) if dry_run else upgrade_database(url)
    document = {"before": before or None, "after": SCHEMA_REVISION, "dry_run": dry_run}
    if json:
        write_json(document)
    elif before == SCHEMA_REVISION:
        typer.echo(f"the database is up to date (schema {before})")
    else:
        verb = "would be" if dry_run else "was"
        typer.echo(f"the schema {verb} brought from {before or 'nothing'} to {SCHEMA_REVISION}")


@db_app.command("check")
def check(json: Json = False) -> None:
    """Check that the database holds together: the file, references, and that every job's numbers add up.

    Exits with 1 if something is wrong. Example: tagger db check
    """
    from tagger.checking import check_database

    _, database = _open()
    problems = list(check_database(database))
    if json:
        write_json({"ok": not problems, "problems": problems})
    else:
        for problem in problems:
            typer.echo(printable(problem))
    if problems:
        console.warn("go back to a backup, or report this with the lines above")
        raise typer.Exit(console.NOT_DONE)
    if not json:
        typer.echo("the database holds together")


@db_app.command("stats")
def stats(json: Json = False) -> None:
    """Count what is in the database.

    Example: tagger db stats
    """
    from tagger.checking import database_stats

    _, database = _open()
    numbers = vars(database_stats(database))
    if json:
        write_json(numbers)
        return
    for name, value in numbers.items():
        typer.echo(f"{name.replace('_', ' ') + ':':<15}{value}")


def _open() -> tuple[Settings, Database]:
    from tagger.database import open_database
    from tagger.settings import load_settings

    settings = load_settings()
    return settings, open_database(settings.effective_database_url)


def _tell(model: RegisteredModel, text: str, *, json: bool) -> None:
    if json:
        write_json(model_document(model))
    else:
        typer.echo(printable(text))


def _print_manifest(manifest: Manifest) -> None:
    size, rule = manifest.input.size, manifest.input
    typer.echo(f"made:       {manifest.created_at:%Y-%m-%d %H:%M}")
    how = (
        "the whole photo"
        if rule.fit == "stretch"
        else f"the middle, out of a short side of {rule.short_side}"
    )
    typer.echo(f"input:      {size} x {size} pixels, {how}")
    typer.echo(f"threshold:  {manifest.threshold} ({printable(manifest.threshold_reason)})")
    for title, facts in (
        ("metrics", manifest.metrics),
        ("calibration", manifest.calibration),
        ("training", manifest.training),
        ("versions", manifest.versions),
    ):
        typer.echo(f"{title}:")
        for name, value in facts.items():
            typer.echo(f"  {printable(name)}: {printable(str(value))}")
    rows = ([label.label, label.name, label.country, label.slug] for label in manifest.labels)
    write_table(("Label", "Landmark", "Country", "Slug"), rows, flexible=1)
