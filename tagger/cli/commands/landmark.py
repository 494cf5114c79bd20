"""`tagger landmark …`: landmarks of one's own beside the model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from tagger.cli import console
from tagger.cli.console import Format, count_of, printable
from tagger.cli.help import argument, flag, option
from tagger.cli.options import DryRun, FormatName, Json, parse_at, parse_format
from tagger.cli.photo_lists import write_landmarks
from tagger.cli.program import (
    open_for_reading,
    open_session,
    update_positions,
)
from tagger.query.counts import landmark_counts
from tagger.query.photo_json import landmark_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.landmarks.edits import LandmarkChanges

landmark_app = typer.Typer(
    help="Add landmarks of your own, and change, name, merge and remove landmarks.",
    no_args_is_help=True,
)

LandmarkCountry = Annotated[
    str | None, option("--country", "NAME", "Country of the landmark.")
]
Region = Annotated[
    str | None, option("--region", "NAME", "Region or state of the landmark.")
]
City = Annotated[str | None, option("--city", "NAME", "City of the landmark.")]
At = Annotated[
    str | None, option("--at", "LAT,LON", "Position of the landmark, in degrees.")
]
ExtentName = Annotated[
    str | None,
    option(
        "--extent",
        "SHAPE",
        "Shape on the map: point, line, area, or multi (several points).",
    ),
]
Aliases = Annotated[
    list[str] | None,
    option("--alias", "NAME", "Another name that finds the landmark. Repeatable."),
]
Existing = Annotated[
    str, argument("LANDMARK", "A landmark, by slug or name in any case.")
]


@landmark_app.command("list")
def list_(
    country: Annotated[
        str | None,
        option("--country", "NAME", "Landmarks in this country, in any case."),
    ] = None,
    include_empty: Annotated[
        bool,
        flag(
            "--all",
            "Include landmarks that no photo has: your own, and those of the models.",
        ),
    ] = False,
    format_: FormatName = None,
    json: Json = False,
) -> None:
    """List the landmarks in your photos with the number of photos of each, most photos first.

    Example: tagger landmark list --country france
    """
    output_format = parse_format(
        format_,
        json=json,
        impossible={Format.PATHS},
        reason="landmarks have no paths; use another format",
    )
    database = open_for_reading().database
    if not write_landmarks(
        landmark_counts(database, country, include_empty=include_empty), output_format
    ):
        console.info("no photo has a tag yet; to tag photos, run: tagger tag FOLDER")
        if include_empty:
            console.info(
                "to see which landmarks the model knows, run: tagger model show"
            )


@landmark_app.command("add")
def add(
    name: Annotated[str, argument("NAME", "Name of the landmark, in any script.")],
    slug: Annotated[
        str | None,
        option(
            "--slug",
            "SLUG",
            "Identifier that never changes, like old-town-hall.",
            show_default="from the name",
        ),
    ] = None,
    country: LandmarkCountry = None,
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

    tagger landmark add "Old mill" --city Arles --country France --at 43.676,4.628

    tagger confirm old-mill holiday/IMG_0042.jpg
    """
    from tagger.landmarks.edits import NewLandmark, add_landmark

    new = NewLandmark(
        name,
        slug,
        country,
        region,
        city,
        parse_at(at),
        extent,
        tuple(alias or ()),
    )
    landmark = add_landmark(open_session().database, new, dry_run=dry_run)
    text = f"{printable(landmark.name)} {_would('added', dry_run=dry_run)} as {landmark.slug}"
    console.write_result(landmark_document(landmark, dry_run=dry_run), text, json=json)


@landmark_app.command("edit")
def edit(
    landmark: Existing,
    name: Annotated[
        str | None,
        option(
            "--name",
            "NAME",
            "New name. For a name in another language, use `tagger landmark name`.",
        ),
    ] = None,
    country: LandmarkCountry = None,
    region: Region = None,
    city: City = None,
    at: At = None,
    extent: ExtentName = None,
    alias: Aliases = None,
    remove_alias: Annotated[
        list[str] | None,
        option("--remove-alias", "NAME", "An alias to remove. Repeatable."),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Change what is known of a landmark, your own or the model's. An empty value removes it: --city "".

    Models do not change what you set. The slug never changes.

    For example:

    tagger landmark edit old-mill --city Arles --alias "The windmill"
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
        changes["position"] = parse_at(at) if at.strip() else None
    if not changes:
        raise typer.BadParameter(
            "name what to change, like --city Dresden", param_hint="LANDMARK"
        )
    _edit(landmark, cast("LandmarkChanges", changes), dry_run=dry_run, json=json)


@landmark_app.command("name")
def name_(
    landmark: Existing,
    name: Annotated[
        str | None, argument("NAME", "Name of the landmark in the language.")
    ] = None,
    *,
    lang: Annotated[
        str, option("--lang", "LANGUAGE", "Language of the name, like de or zh-Hant.")
    ],
    remove: Annotated[
        bool, flag("--remove", "Remove the name in this language.")
    ] = False,
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
        str, option("--into", "LANDMARK", "The landmark that remains, by slug or name.")
    ],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Merge a landmark into another one, which gets its verdicts, tags and names.

    The old slug and names find the other landmark from now on. Of opposite verdicts on the same photo, the
    newer one stays.

    Example: tagger landmark merge koelner-dom --into cologne-cathedral
    """
    from tagger.landmarks.edits import merge_landmark

    result = merge_landmark(open_session().database, landmark, into, dry_run=dry_run)
    moved = f"{count_of(result.verdicts, 'verdict')} and {count_of(result.tags, 'tag')}"
    text = (
        f"{result.merged.slug} {_would('merged', dry_run=dry_run)} into "
        f"{result.landmark.slug}, with {moved}"
    )
    if result.replaced:
        text += f"; of {count_of(result.replaced, 'image')} with opposite verdicts, the newer one stays"
    merged = vars(result) | vars(landmark_document(result.landmark, dry_run=dry_run))
    console.write_result(merged | {"merged": result.merged.slug}, text, json=json)


@landmark_app.command("remove")
def remove(
    landmark: Existing,
    with_verdicts: Annotated[
        bool, flag("--with-verdicts", "Delete the verdicts on it too, if it has any.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove a landmark of your own. That of a registered model stays, since the model would find it again.

    Example: tagger landmark remove old-mill --dry-run
    """
    from tagger.landmarks.edits import remove_landmark

    database = open_session().database
    result = remove_landmark(
        database, landmark, with_verdicts=with_verdicts, dry_run=dry_run
    )
    verdicts = count_of(result.confirmed + result.rejected, "verdict")
    text = f"{result.landmark} {_would('removed', dry_run=dry_run)}, with {verdicts}"
    console.write_result(result, text, json=json)
    for schedule in result.schedules:
        console.warning(
            f"the schedule {schedule} selects photos by this landmark, so its runs will fail"
        )


def _edit(
    landmark: str, changes: LandmarkChanges, *, dry_run: bool, json: bool
) -> None:
    from tagger.landmarks.edits import edit_landmark

    session = open_session()
    result = edit_landmark(session.database, landmark, changes, dry_run=dry_run)
    if not dry_run:
        update_positions(session)
    is_set = _would("set", dry_run=dry_run)
    lines = [
        f"{result.landmark.slug}: {fact} {is_set} to {_text(after)}"
        f"{f' (was {_text(before)})' if before else ''}"
        for column, (before, after) in result.changes.items()
        for fact, before, after in _changed_facts(column, before, after)
    ]
    text = "\n".join(map(printable, lines)) or f"{result.landmark.slug} is unchanged"
    edited = vars(landmark_document(result.landmark, dry_run=dry_run)) | {
        "changed": sorted(result.changes)
    }
    console.write_result(edited, text, json=json)


def _changed_facts(
    column: str, before: Any, after: Any
) -> Iterator[tuple[str, Any, Any]]:
    # A change as text names it: of names, only those that differ, each with its language.
    if column != "names":
        yield column, before, after
        return
    for language in sorted({*before, *after}):
        if before.get(language) != after.get(language):
            yield f"name in {language}", before.get(language), after.get(language)


def _text(value: object) -> str:
    return (
        ", ".join(value) or "nothing"
        if isinstance(value, list)
        else str(value or "nothing")
    )


def _would(participle: str, *, dry_run: bool) -> str:
    return f"would be {participle}" if dry_run else participle
