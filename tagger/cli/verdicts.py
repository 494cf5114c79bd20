"""`tagger verdicts …`: what people said, listed, and carried from one database to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli import console
from tagger.cli.asking import Country, LandmarkName, NearPlace, RadiusKm, chosen_near
from tagger.cli.files import STREAM, Force, read_twice, shown_name, written_file
from tagger.cli.judging import in_words
from tagger.cli.options import (
    DryRun,
    Formatted,
    Json,
    TakenAfter,
    TakenBefore,
    Under,
    chosen_date,
    chosen_format,
)
from tagger.cli.output import Format, printable, write_documents, write_json
from tagger.documents import json_list_parts
from tagger.verdict_documents import VERDICT_COLUMNS, verdict_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.database import Database
    from tagger.settings import Settings
    from tagger.verdicts import ImportedVerdicts, Word

verdicts_app = typer.Typer(
    help="What people said: list it, and carry it to another database.", no_args_is_help=True
)

CARRIED = ("digest", "landmark", "verdict", "by", "at", "path")

OfVerdict = Annotated[
    str | None, typer.Option("--verdict", help="Only these: confirmed or rejected.", metavar="VERDICT")
]
VerdictsFile = Annotated[Path, typer.Argument(help="A file, or - for a pipe.", metavar="FILE|-")]


@verdicts_app.command("list")
def list_(
    landmark: LandmarkName = None,
    country: Country = None,
    near: NearPlace = None,
    radius_km: RadiusKm = None,
    under: Under = None,
    taken_after: TakenAfter = None,
    taken_before: TakenBefore = None,
    verdict: OfVerdict = None,
    by: Annotated[str | None, typer.Option("--by", help="Words of this person.")] = None,
    written_as: Formatted = None,
    json: Json = False,
) -> None:
    """List what people said, one line for each picture and landmark, with a photo that shows it.

    Example: tagger verdicts list --verdict rejected --under ~/Pictures/Berlin
    """
    from tagger.query import PhotoQuery
    from tagger.verdicts import VerdictFilter, list_verdicts

    wanted_as = chosen_format(written_as, json=json)
    if wanted_as in {Format.PATHS, Format.GEOJSON}:
        raise typer.BadParameter("table, json, ndjson or csv", param_hint="--format")
    photos = PhotoQuery(
        landmark=landmark,
        country=country,
        near=chosen_near(near, radius_km),
        under=tuple(under or ()),
        taken_after=chosen_date(taken_after, "--taken-after"),
        taken_before=chosen_date(taken_before, "--taken-before"),
    )
    wanted = VerdictFilter(_chosen_word(verdict), by, photos)
    settings, database = _open()
    found = list_verdicts(database, wanted, settings.roots)
    if not write_documents(VERDICT_COLUMNS, map(verdict_document, found), wanted_as):
        console.say("nobody has said such a thing; start with: tagger confirm PHOTO LANDMARK")


@verdicts_app.command("export")
def export(file: VerdictsFile = STREAM, force: Force = False) -> None:
    """Write all that people said as JSON: pictures by digest, landmarks by slug, fit for any other database.

    Example: tagger verdicts export verdicts.json
    """
    from tagger.verdicts import VerdictFilter, list_verdicts

    settings, database = _open()
    count = 0

    def documents() -> Iterator[dict[str, Any]]:
        nonlocal count
        for count, each in enumerate(list_verdicts(database, VerdictFilter(), settings.roots), start=1):  # noqa: B007
            yield {column: getattr(each, column) for column in CARRIED}

    with written_file(file, force=force) as out:
        out.writelines(json_list_parts(documents()))
    console.say(f"{in_words(count, 'verdict')} written")


@verdicts_app.command("import")
def import_(file: VerdictsFile = STREAM, dry_run: DryRun = False, json: Json = False) -> None:
    """Take over what people said elsewhere: the same picture is found by its digest, and the newer word holds.

    Words on pictures that are not here yet are kept, and count as soon as a photo with that picture comes.

    Example: tagger verdicts import verdicts.json --dry-run
    """
    from tagger.verdicts import import_verdicts, read_entries

    _, database = _open()
    name = shown_name(file)
    with read_twice(file) as source:
        for _ in read_entries(source, name):
            pass  # all of it is checked before the first is taken over
        source.seek(0)
        done = import_verdicts(database, read_entries(source, name), dry_run=dry_run)
    if json:
        write_json({**vars(done), "dry_run": dry_run})
    else:
        _print_imported(done, dry_run=dry_run)


def _print_imported(done: ImportedVerdicts, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    typer.echo(
        f"{done.given} {would}given, {done.replaced} {would}replaced by a newer word, "
        f"{done.older} older than the word here, {done.unchanged} known already"
    )
    if done.pictures:
        shown = ", ".join(printable(path) for path in done.seen_at)
        more = f" and {done.pictures - len(done.seen_at)} more" if done.pictures > len(done.seen_at) else ""
        console.say(
            f"{in_words(done.pictures, 'verdict')} on pictures that are not here yet {would}kept for when they "
            f"come; elsewhere they were seen at {shown}{more}"
        )
    if done.landmarks:
        names = ", ".join(f"{printable(slug)} ({count})" for slug, count in done.landmarks.most_common())
        console.warn(
            f"{in_words(done.landmarks.total(), 'verdict')} left out, as no registered model knows the landmark: "
            f"{names}. Register a model that does with `tagger model add FILE`, then import again"
        )


def _chosen_word(given: str | None) -> Word | None:
    from tagger.verdicts import Word

    if given is not None and given not in set(Word):
        raise typer.BadParameter("it is confirmed or rejected", param_hint="--verdict")
    return None if given is None else Word(given)


def _open() -> tuple[Settings, Database]:
    from tagger.database import open_database
    from tagger.settings import load_settings

    settings = load_settings()
    return settings, open_database(settings.effective_database_url)
