"""`tagger review …`: photos that probably show a taught landmark, and the verdicts on photos."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli.derived_facts import update_derived_facts
from tagger.cli.help import DEFAULT, DefaultCommandGroup
from tagger.cli.option_groups import VerdictOptions, with_option_groups
from tagger.cli.options import DryRun, FormatName, Json, Limit, parse_format
from tagger.cli.output import console
from tagger.cli.output.files import STREAM, Force, display_name, open_output, open_seekable
from tagger.cli.output.formats import Format, printable, write_documents, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_for_reading, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.library.verdicts.importing import ImportedVerdicts
    from tagger.library.verdicts.listing import ListedVerdict
    from tagger.library.verdicts.store import VerdictKind

review_app = typer.Typer(cls=DefaultCommandGroup)

EXPORT_COLUMNS = ("digest", "landmark", "verdict", "by", "at", "path")

VerdictKindName = Annotated[
    str | None,
    typer.Option(
        "--verdict", help="Only confirmed, only rejected, or only not-a-landmark.", metavar="VERDICT"
    ),
]
VerdictsFile = Annotated[Path, typer.Argument(help="A file, or - for a pipe.", metavar="FILE|-")]


@review_app.command(DEFAULT)
def review(
    landmark: Annotated[
        str | None, typer.Argument(metavar="LANDMARK", help="A taught landmark. (default: all of them)")
    ] = None,
    limit: Limit = None,
    format_: FormatName = None,
    json: Json = False,
) -> None:
    """List photos that probably show a taught landmark, and have no verdict: the most probable ones first.

    Answer them with `tagger confirm` and `tagger reject`, or many at once with `tagger teach`. Each answer improves what
    was learned.

    For example:

    tagger review our-church --limit 10

    tagger teach our-church right-1.jpg right-2.jpg --not wrong-1.jpg wrong-2.jpg
    """
    from tagger.cli.output.photos import write_photos
    from tagger.library.catalog.landmarks import find_landmark
    from tagger.library.teaching.suggestions import find_suggestions

    output_format = parse_format(format_, json=json)
    settings, database = open_for_reading()
    landmark_id = None
    if landmark is not None:
        with database.read() as connection:
            landmark_id = find_landmark(connection, landmark).id
    if not write_photos(find_suggestions(database, landmark_id, settings.roots, limit), output_format):
        console.info("no suggestion waits; to teach a landmark, run: tagger teach LANDMARK PHOTO…")
    elif output_format is Format.TABLE:
        console.info("to answer one, run: tagger confirm LANDMARK PHOTO, or: tagger reject LANDMARK PHOTO")
        console.info("to answer many, run: tagger teach LANDMARK RIGHT-PHOTO… --not WRONG-PHOTO…")


@review_app.command("list")
@with_option_groups
def list_(
    verdict_options: VerdictOptions,
    verdict: VerdictKindName = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Verdicts of this author.")] = None,
    format_: FormatName = None,
    json: Json = False,
) -> None:
    """List verdicts, the newest first. Copies of a photo share a verdict, which is listed once, with the path of one copy.

    Example: tagger review list --verdict rejected --under ~/Pictures/Berlin
    """
    from tagger.library.verdicts.listing import VerdictFilter, list_dismissals, list_verdicts
    from tagger.library.verdicts.service import VERDICT_COLUMNS
    from tagger.library.verdicts.store import NOT_A_LANDMARK

    output_format = parse_format(format_, json=json)
    if output_format in {Format.PATHS, Format.GEOJSON}:
        raise typer.BadParameter("use table, json, ndjson or csv", param_hint="--format")
    photos = verdict_options.parse()
    only_dismissals = verdict == NOT_A_LANDMARK
    filters = VerdictFilter(None if only_dismissals else _parse_kind(verdict), by, photos)
    settings, database = open_for_reading()
    verdicts: Iterator[ListedVerdict] = iter(())
    if not only_dismissals:
        verdicts = list_verdicts(database, filters, settings.roots)
    if filters.kind is None:
        verdicts = chain(verdicts, list_dismissals(database, filters, settings.roots))
    by_photo = sorted(verdicts, key=lambda each: each.path or "")
    newest_first = sorted(by_photo, key=lambda each: each.at, reverse=True)
    if not write_documents(VERDICT_COLUMNS, newest_first, output_format):
        console.info("no verdict matches; to give one, run: tagger confirm LANDMARK PHOTO")


@review_app.command("export")
def export(file: VerdictsFile = STREAM, force: Force = False) -> None:
    """Export all verdicts as JSON, with the digests of images and the slugs of landmarks.

    Any other database can import the file.

    Example: tagger review export verdicts.json
    """
    from tagger.library.query.documents import json_list_parts
    from tagger.library.verdicts.listing import VerdictFilter, list_dismissals, list_verdicts

    settings, database = open_for_reading()
    count = 0

    def documents() -> Iterator[dict[str, Any]]:
        nonlocal count
        away = list_dismissals(database, VerdictFilter(), settings.roots)
        for verdict in chain(list_verdicts(database, VerdictFilter(), settings.roots), away):
            count += 1
            yield {column: getattr(verdict, column) for column in EXPORT_COLUMNS}

    with open_output(file, force=force) as out:
        out.writelines(json_list_parts(documents()))
    console.info(f"{count_of(count, 'verdict')} exported")


@review_app.command("import")
def import_(file: VerdictsFile = STREAM, dry_run: DryRun = False, json: Json = False) -> None:
    """Import verdicts from another database. Photos are matched by digest; the newer of two verdicts applies.

    Verdicts on unknown photos are kept and apply once such a photo is added.

    Example: tagger review import verdicts.json --dry-run
    """
    from tagger.library.verdicts.importing import import_verdicts, read_entries

    session = open_session()
    database = session.database
    name = display_name(file)
    with open_seekable(file) as source:
        for _ in read_entries(source, name):
            pass  # check the whole file before the first verdict is imported
        source.seek(0)
        report = import_verdicts(database, read_entries(source, name), dry_run=dry_run)
    if json:
        write_json({**vars(report), "dry_run": dry_run})
    else:
        _print_report(report, dry_run=dry_run)
    if not dry_run:
        update_derived_facts(session)


def _print_report(report: ImportedVerdicts, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    typer.echo(
        f"{report.added} {would}added, {report.replaced} {would}replaced by a newer verdict, "
        f"{report.older} older than the verdict here, {report.unchanged} unchanged"
    )
    if report.unknown_images:
        paths = ", ".join(printable(path) for path in report.unknown_paths)
        more = (
            f" and {report.unknown_images - len(report.unknown_paths)} more"
            if report.unknown_images > len(report.unknown_paths)
            else ""
        )
        console.info(
            f"{count_of(report.unknown_images, 'verdict')} on unknown photos {would}kept until such a photo is added; "
            f"paths in the other database: {paths}{more}"
        )
    if report.unknown_landmarks:
        names = ", ".join(
            f"{printable(slug)} ({count})" for slug, count in report.unknown_landmarks.most_common()
        )
        console.warning(
            f"{count_of(report.unknown_landmarks.total(), 'verdict')} skipped, because no registered model has the landmark: "
            f"{names}. Register such a model with `tagger model add FILE`, then import again"
        )


def _parse_kind(name: str | None) -> VerdictKind | None:
    from tagger.library.verdicts.store import VerdictKind

    if name is not None and name not in set(VerdictKind):
        raise typer.BadParameter("use confirmed, rejected or not-a-landmark", param_hint="--verdict")
    return None if name is None else VerdictKind(name)
