"""`tagger landmark …`: landmarks of one's own beside the model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from tagger.cli.derived_facts import update_derived_facts, update_positions
from tagger.cli.options import Country, DryRun, FormatName, Json, parse_format, query_usage
from tagger.cli.output import console
from tagger.cli.output.formats import Format, printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_for_reading, open_session

if TYPE_CHECKING:
    from tagger.library.catalog.landmark_edits import EditedLandmark, LandmarkChanges
    from tagger.library.catalog.landmark_removal import MergedLandmark

landmark_app = typer.Typer(
    help="Add landmarks of your own, and change, name, merge and remove landmarks.",
    no_args_is_help=True,
)

Place = Annotated[str | None, typer.Option("--country", metavar="NAME", help="Country of the landmark.")]
Region = Annotated[
    str | None, typer.Option("--region", metavar="NAME", help="Region or state of the landmark.")
]
City = Annotated[str | None, typer.Option("--city", metavar="NAME", help="City of the landmark.")]
At = Annotated[
    str | None, typer.Option("--at", metavar="LAT,LON", help="Position of the landmark, in degrees.")
]
ExtentName = Annotated[
    str | None,
    typer.Option(
        "--extent", metavar="KM", help="Shape on the map: point, line, area, or multi (several points)."
    ),
]
Aliases = Annotated[
    list[str] | None,
    typer.Option("--alias", metavar="NAME", help="Another name that finds the landmark. Repeatable."),
]
Existing = Annotated[
    str, typer.Argument(metavar="LANDMARK", help="A landmark, by slug or name. Case does not matter.")
]


@landmark_app.command("list")
def list_(
    country: Country = None,
    include_empty: Annotated[
        bool,
        typer.Option("--all", help="Include landmarks that no photo has: your own, and those of the models."),
    ] = False,
    format_: FormatName = None,
    json: Json = False,
) -> None:
    """List the landmarks in your photos with the number of photos of each, most photos first.

    For example:

    tagger landmark list

    tagger landmark list --country france --json
    """
    from tagger.cli.output.photos import write_landmarks
    from tagger.library.query.counts import landmark_counts

    output_format = parse_format(format_, json=json)
    if output_format is Format.PATHS:
        raise typer.BadParameter("landmarks have no paths; use another format", param_hint="--format")
    database = open_for_reading().database
    if not write_landmarks(landmark_counts(database, country, include_empty=include_empty), output_format):
        console.info("no photo has a tag yet; to tag photos, run: tagger tag FOLDER")
        if include_empty:
            console.info("to see which landmarks the model knows, run: tagger model show")


@landmark_app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the landmark, in any script.")],
    slug: Annotated[
        str | None,
        typer.Option(
            "--slug",
            metavar="SLUG",
            help="Identifier that never changes, like old-town-hall.",
            show_default="from the name",
        ),
    ] = None,
    country: Place = None,
    region: Region = None,
    city: City = None,
    at: At = None,
    extent: ExtentName = None,
    alias: Aliases = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Add a landmark that the model does not know. You can then confirm it on photos, and search for it.

    For example:

    tagger landmark add "Frauenkirche" --city Dresden --country Germany --at 51.0519,13.7416

    tagger confirm frauenkirche holiday/IMG_0042.jpg
    """
    from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark
    from tagger.library.query.documents import landmark_document

    new = NewLandmark(
        name,
        slug,
        country,
        region,
        city,
        None if at is None else _position(at),
        extent,
        tuple(alias or ()),
    )
    with open_session().database.write(dry_run=dry_run) as connection:
        landmark = add_landmark(connection, new)
    if json:
        write_json(landmark_document(landmark, dry_run=dry_run))
    else:
        typer.echo(f"{printable(landmark.name)} {_would('added', dry_run=dry_run)} as {landmark.slug}")


@landmark_app.command("edit")
def edit(
    landmark: Existing,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="New name. For a name in another language, use `tagger landmark name`.",
        ),
    ] = None,
    country: Place = None,
    region: Region = None,
    city: City = None,
    at: At = None,
    extent: ExtentName = None,
    alias: Aliases = None,
    remove_alias: Annotated[
        list[str] | None,
        typer.Option("--remove-alias", metavar="NAME", help="An alias to remove. Repeatable."),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Change what is known of a landmark, your own or the model's. An empty value removes it: --city "".

    Models do not change what you set. The slug never changes.

    For example:

    tagger landmark edit frauenkirche --city Dresden --alias "Church of Our Lady"
    """
    changes: dict[str, Any] = {
        "name": name,
        "country": country,
        "region": region,
        "city": city,
        "extent": extent,
        "add_aliases": alias or None,
        "remove_aliases": remove_alias or None,
    }
    changes = {column: value for column, value in changes.items() if value is not None}
    if at is not None:
        changes["position"] = _position(at) if at.strip() else None
    if not changes:
        raise typer.BadParameter("name what to change, like --city Dresden", param_hint="LANDMARK")
    _edit(landmark, cast("LandmarkChanges", changes), dry_run=dry_run, json=json)


@landmark_app.command("name")
def name_(
    landmark: Existing,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the landmark in the language.")
    ] = None,
    *,
    lang: Annotated[
        str, typer.Option("--lang", metavar="LANGUAGE", help="Language of the name, like de or zh-Hant.")
    ],
    remove: Annotated[bool, typer.Option("--remove", help="Remove the name in this language.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Name a landmark in another language. TAGGER_LANGUAGE chooses the language that is shown.

    For example:

    tagger landmark name cologne-cathedral --lang de "Kölner Dom"

    tagger landmark name cologne-cathedral --lang de --remove
    """
    if (name is None) != remove:
        raise typer.BadParameter("give a name, or --remove", param_hint="NAME")
    _edit(landmark, {"names": {lang: name}}, dry_run=dry_run, json=json)


@landmark_app.command("merge")
def merge(
    landmark: Existing,
    into: Annotated[
        str, typer.Option("--into", metavar="LANDMARK", help="The landmark that remains, by slug or name.")
    ],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Merge a landmark into another one, which gets its verdicts, tags and names.

    The old slug and names find the other landmark from now on. Of opposite verdicts on the same photo, the newer one stays.

    Example: tagger landmark merge koelner-dom --into cologne-cathedral
    """
    from tagger.library.catalog.landmark_removal import merge_landmark
    from tagger.library.query.documents import merged_landmark_document

    session = open_session()
    with session.database.write(dry_run=dry_run) as connection:
        result = merge_landmark(connection, landmark, into)
    if json:
        write_json(merged_landmark_document(result, dry_run=dry_run))
    else:
        typer.echo(_merge_text(result, dry_run=dry_run))
    if not dry_run:
        update_derived_facts(session, result.landmark)


def _merge_text(result: MergedLandmark, *, dry_run: bool) -> str:
    moved = f"{count_of(result.verdicts, 'verdict')} and {count_of(result.tags, 'tag')}"
    text = (
        f"{result.merged.slug} {_would('merged', dry_run=dry_run)} into {result.landmark.slug}, with {moved}"
    )
    if result.replaced:
        text += f"; of {count_of(result.replaced, 'image')} with opposite verdicts, the newer one stays"
    return text


@landmark_app.command("remove")
def remove(
    landmark: Existing,
    with_verdicts: Annotated[
        bool, typer.Option("--with-verdicts", help="Delete the verdicts on it too, if it has any.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove a landmark of your own. A landmark of a registered model stays, since the model would find it again.

    Example: tagger landmark remove frauenkirche --dry-run
    """
    from tagger.library.catalog.landmark_removal import remove_landmark
    from tagger.library.query.documents import removed_landmark_document

    session = open_session()
    with session.database.write(dry_run=dry_run) as connection:
        # A dry run shows the number of verdicts, and need not be told to delete them.
        result = remove_landmark(connection, landmark, with_verdicts=with_verdicts or dry_run)
    if not dry_run:
        update_positions(session)
    if json:
        write_json(removed_landmark_document(result, dry_run=dry_run))
        return
    verdicts = count_of(result.confirmed + result.rejected, "verdict")
    typer.echo(f"{result.landmark.slug} {_would('removed', dry_run=dry_run)}, with {verdicts}")
    for schedule in result.schedules:
        console.warning(f"the schedule {schedule} selects photos by this landmark, so its runs will fail")


def _edit(landmark: str, changes: LandmarkChanges, *, dry_run: bool, json: bool) -> None:
    from tagger.library.catalog.landmark_edits import edit_landmark
    from tagger.library.query.documents import edited_landmark_document

    session = open_session()
    with session.database.write(dry_run=dry_run) as connection:
        result = edit_landmark(connection, landmark, changes)
    if not dry_run:
        update_positions(session)
    if json:
        write_json(edited_landmark_document(result, dry_run=dry_run))
    else:
        typer.echo(_edit_text(result, dry_run=dry_run))


def _edit_text(result: EditedLandmark, *, dry_run: bool) -> str:
    slug = result.landmark.slug
    if not result.changes:
        return f"{slug} is unchanged"
    lines = (
        f"{slug}: {column} {_change_text(_text(before), _text(after), dry_run=dry_run)}"
        for column, (before, after) in result.changes.items()
    )
    return "\n".join(map(printable, lines))


def _change_text(before: str, after: str, *, dry_run: bool) -> str:
    if not before:
        return f"{_would('set', dry_run=dry_run)} to {after}"
    if not after:
        return f"{_would('removed', dry_run=dry_run)} (was {before})"
    return f"{_would('changed', dry_run=dry_run)} from {before} to {after}"


def _text(value: object) -> str:
    """A fact of a landmark; empty if it is not known."""
    match value:
        case None:
            return ""
        case dict():
            return ", ".join(f"{key}: {text}" for key, text in value.items())
        case list():
            return ", ".join(value)
    return str(value)


def _would(participle: str, *, dry_run: bool) -> str:
    return f"would be {participle}" if dry_run else participle


def _position(text: str) -> tuple[float, float]:
    from tagger.library.query.option_values import parse_position

    with query_usage():
        return parse_position(text, "at")
