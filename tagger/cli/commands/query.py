"""`tagger query`, `show`, `trips` and `similar`: search the database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.console import (
    Format,
    count_of,
    printable,
    write_documents,
    write_json,
    write_table,
)
from tagger.cli.help import OUTPUT, argument, flag, option, with_option_groups
from tagger.cli.options import (
    FormatName,
    Json,
    Limit,
    OutcomeOptions,
    Print0,
    QueryOptions,
    parse_format,
    query_option,
    query_usage,
)
from tagger.cli.program import (
    Session,
    model_in_use,
    open_for_reading,
    print_due,
    warn_of_other_models,
)
from tagger.errors import ExamplesMissing, PhotoFailed, PhotoNotFound
from tagger.photos.paths import absolute_path, parse_path
from tagger.query import parse_date
from tagger.query.options import QUERY_OPTIONS, PhotoQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tagger.database.connection import Database
    from tagger.registry import RegisteredModel
    from tagger.teaching.classifiers import Embeddings


@with_option_groups
def query(
    text: Annotated[
        list[str] | None,
        argument(
            "TEXT",
            "Landmarks, countries, cities, trips, cameras, folders and dates.",
            show_default=False,
        ),
    ] = None,
    *,
    query_options: QueryOptions,
    outcome_options: OutcomeOptions,
    sort: Annotated[
        str | None, query_option("sort", QUERY_OPTIONS["sort"], OUTPUT)
    ] = None,
    limit: Limit = None,
    count: Annotated[
        bool, flag("--count", "Print the number of photos instead.", OUTPUT)
    ] = False,
    format_: FormatName = None,
    json: Json = False,
    print0: Print0 = False,
) -> None:
    """Search photos by landmark, position, folder and date, and print their accepted tags.

    A photo must match the text and all options; of a repeated option, any of its values. Rejected tags are
    never returned, confirmed tags always. --near, --country and --position also find photos without tags.

    For example:

    tagger query eiffel tower summer 2016 --min-score 0.9

    tagger query --country italy --taken-after 2024-06-01 --taken-before 2024-09-01 --format csv > italy.csv

    tagger query --near "eiffel tower" -0 | xargs -0 cp -t paris/
    """
    from tagger.cli.photo_lists import no_photo_text, write_photos
    from tagger.query.find import find_tagged
    from tagger.query.photo_conditions import require_folders
    from tagger.query.timeline import count_all
    from tagger.tags.models_in_use import things_off_text

    photo_query = query_options.parse(**vars(outcome_options), sort=sort, limit=limit)
    output_format = parse_format(format_, json=json, print0=print0)
    if count and output_format not in {Format.TABLE, Format.JSON}:
        raise typer.BadParameter("use table or json", param_hint="--format")
    settings, database = session = open_for_reading()
    require_folders(database, photo_query.under, settings.roots)
    options = photo_query.texts
    if text:
        photo_query = _with_text(session, photo_query, " ".join(text))
    if count:
        number = count_all(database, photo_query, settings.roots)
        console.write_result(
            {"photos": number}, str(number), json=output_format is Format.JSON
        )
        print_due(database)
        return
    tagged_photos = find_tagged(database, photo_query, settings.roots)
    photos = console.Counter(tagged_photos, lambda photo: not photo.tags)
    folder = (
        absolute_path(photo_query.under[0]) if len(photo_query.under) == 1 else None
    )
    number = write_photos(
        photos, output_format, end=b"\0" if print0 else b"\n", folder=folder
    )
    if not number:
        console.info(no_photo_text(session, photo_query, options))
        if photo_query.thing:
            with database.read() as connection:
                off_text = things_off_text(connection)
            if off_text:
                console.info(off_text)
    elif sys.stdout.isatty():
        by_position = photo_query.country or photo_query.near or photo_query.box
        untagged = photos.matching if by_position else 0
        others = f", {untagged} of them by position alone" if untagged else ""
        place = "" if folder is None else f" in {printable(str(folder))}"
        console.info(f"{count_of(number, 'photo')}{place}{others}")
    print_due(database)


def _with_text(session: Session, photo_query: PhotoQuery, text: str) -> PhotoQuery:
    # The query of the options and the text; say how the text is understood, if not word for word.
    from tagger.search.text_query import text_query

    understood = text_query(session.database, text, session.settings.roots)
    with query_usage():
        result = understood.within(photo_query)
    if understood.words.casefold() != text.casefold():
        console.info(f"searching for: {printable(understood.words)}")
    for words, meaning in understood.guesses:
        console.info(
            printable(
                f"{words} was read as {meaning.label}. To search for exactly this: '\"{words}\"'"
            )
        )
    if understood.hints:
        console.info(printable(understood.hints))
    return result


def show(
    photo: Annotated[
        Path, argument("PHOTO", "A photo. The file may be deleted already.")
    ],
    json: Json = False,
) -> None:
    """Print everything about one photo: its tags, verdicts, model, job, failure and copies.

    Example: tagger show holiday/IMG_0042.jpg
    """
    from tagger.cli.photo_lists import print_details
    from tagger.query.details import photo_details

    settings, database = open_for_reading()
    details = photo_details(database, photo, settings.roots)
    if json:
        write_json(details.document())
    else:
        print_details(details)


# Places and landmarks of a trip in a table.
SHOWN_OF_TRIP = 3


def trips(
    year: Annotated[
        int | None,
        option("--year", "YEAR", "Trips with photos of this year.", min=1900, max=9998),
    ] = None,
    taken_after: Annotated[
        str | None, query_option("taken_after", QUERY_OPTIONS["taken_after"])
    ] = None,
    taken_before: Annotated[
        str | None, query_option("taken_before", QUERY_OPTIONS["taken_before"])
    ] = None,
    format_: FormatName = None,
    json: Json = False,
) -> None:
    """List trips: photos that were taken away from home, grouped by time and place, newest first.

    The option --trip of `query` takes the id of a trip. If photos have no GPS, run `tagger locate` first.

    For example:

    tagger trips --year 2019

    tagger query --trip 2019-05-03-arles-and-avignon --format paths
    """
    from tagger.query.counts import trip_document, trip_summaries

    output_format = parse_format(
        format_,
        json=json,
        impossible={Format.PATHS, Format.GEOJSON, Format.CSV, Format.CSV_BOM},
        reason="use table, json or ndjson",
    )
    if year is not None:
        if taken_after or taken_before:
            raise typer.BadParameter(
                "it contradicts --taken-after and --taken-before", param_hint="--year"
            )
        taken_after, taken_before = f"{year}-01-01", f"{year + 1}-01-01"
    database = open_for_reading().database
    with query_usage():
        after = None if taken_after is None else parse_date(taken_after, "taken_after")
        before = (
            None if taken_before is None else parse_date(taken_before, "taken_before")
        )
    summaries = trip_summaries(database, after, before)
    if output_format is Format.TABLE:
        rows = (
            [
                summary.trip.id,
                summary.name,
                summary.trip.dates,
                summary.photos,
                ", ".join(
                    place.city
                    for place in summary.trip.places[:SHOWN_OF_TRIP]
                    if place.city
                ),
                ", ".join(
                    landmark.name for landmark in summary.landmarks[:SHOWN_OF_TRIP]
                ),
            ]
            for summary in summaries
        )
        write_table(("Trip", "Name", "Dates", "Photos", "Places", "Landmarks"), rows)
    else:
        write_documents((), map(trip_document, summaries), output_format)
    if not summaries and (taken_after or taken_before):
        console.info("no trips at that time; to list all, run: tagger trips")
    elif not summaries:
        console.info(_no_trips_text(database))
    print_due(database)


def _no_trips_text(database: Database) -> str:
    from tagger.query.counts import has_positions
    from tagger.trips.grouping import LEAST_PHOTOS, LEAST_PHOTOS_OF_A_DAY

    if not has_positions(database):
        return "no trips; trips need photos with positions; to locate photos, run: tagger locate"
    return (
        f"no trips; a trip needs {LEAST_PHOTOS} photos with positions on two days or more away from home, "
        f"or {LEAST_PHOTOS_OF_A_DAY} on one day"
    )


def similar(
    photos: Annotated[list[Path], argument("PHOTO", "Photos, stored or not.")],
    under: Annotated[
        list[Path] | None,
        option("--under", "FOLDER", "Only photos below these folders."),
    ] = None,
    limit: Annotated[
        int,
        option(
            "--limit", "N", "Maximum number of photos.", OUTPUT, min=1, max=2**31 - 1
        ),
    ] = 20,
    format_: FormatName = None,
    json: Json = False,
) -> None:
    """List the stored photos that resemble one of these most. Copies of these are left out.

    Nothing is stored.

    For example:

    tagger similar holiday/IMG_0042.jpg

    tagger similar church/1.jpg church/2.jpg --under ~/Pictures/2019 --format paths
    """
    from tagger.cli.photo_lists import write_similar_photos
    from tagger.query.photo_conditions import require_folders
    from tagger.teaching.similarity import find_similar

    output_format = parse_format(format_, json=json)
    session = open_for_reading()
    require_folders(session.database, under or (), session.settings.roots)
    model = model_in_use(session)
    embeddings, content_ids, has_failed = _given_embeddings(
        session, model, map(parse_path, photos)
    )
    found = find_similar(
        session.database,
        model,
        embeddings,
        session.settings.roots,
        under=under or (),
        limit=limit,
        without=content_ids,
    )
    if not write_similar_photos(found, output_format):
        console.info(
            "there is no other photo to compare with; name fewer photos, or tag more with: tagger tag FOLDER"
        )
    warn_of_other_models(session, model)
    raise typer.Exit(console.SOME_PHOTOS_FAILED if has_failed else console.DONE)


def _given_embeddings(
    session: Session, model: RegisteredModel, photos: Iterable[Path]
) -> tuple[Embeddings, list[int], bool]:
    # The embeddings (N, D) of photos, the content ids of stored ones, and whether a photo could not be used.
    #
    # Raises:
    #     ExamplesMissing: none of the photos can be used.
    #     PathNotFound: there is no such file.
    import numpy as np

    from tagger.photos.source import check_exists
    from tagger.teaching.learning import embedding_of, find_examples, load_embeddings

    settings, database = session
    content_ids: list[int] = []
    others: list[Path] = []
    for photo in photos:
        try:
            found = find_examples(database, model, [photo], settings.roots)
        except PhotoNotFound:
            check_exists(photo)
            others.append(photo)
            continue
        content_ids += [
            each.content_id for each in found if each.content_id is not None
        ]
        others += [parse_path(each.path) for each in found if each.content_id is None]
    computed, stored, has_failed = _computed_embeddings(session, model, others)
    content_ids += stored
    if not computed and not content_ids:
        raise ExamplesMissing
    with database.read() as connection:
        known = load_embeddings(
            connection, model.id, content_ids, embedding_of(model).dimension
        )
    return np.concatenate([known, *computed]), content_ids, has_failed


def _computed_embeddings(
    session: Session, model: RegisteredModel, photos: Sequence[Path]
) -> tuple[list[Embeddings], list[int], bool]:
    # The embeddings (1, D), the content ids of images stored at another path, and whether a photo failed.
    computed: list[Embeddings] = []
    content_ids: list[int] = []
    has_failed = False
    if not photos:
        return computed, content_ids, has_failed
    from tagger.jobs.processing.model_cache import open_local_model
    from tagger.teaching.similarity import content_with_embedding

    with open_local_model(model, session.settings, session.database) as local:
        for photo in photos:
            try:
                opened = local.open(str(photo))
                with session.database.read() as connection:
                    content_id = content_with_embedding(
                        connection, model.id, opened.digest
                    )
                if content_id is None:
                    computed.append(local.embeddings([opened.decode(local.resize)]))
                else:
                    content_ids.append(content_id)
            except PhotoFailed as error:
                has_failed = True
                console.warning(
                    f"{printable(str(photo))} is left out: {error.failure.text}"
                )
    return computed, content_ids, has_failed
