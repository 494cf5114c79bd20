"""`tagger trips`: photos grouped by time and place. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.options import FormatName, Json, TakenAfter, TakenBefore, parse_date, parse_format
from tagger.cli.output import console
from tagger.cli.output.formats import Format, write_documents, write_table
from tagger.cli.session import open_session

if TYPE_CHECKING:
    from tagger.library.query.trip_summaries import TripSummary

_LANDMARKS = 3
_PLACES = 3


def trips(
    year: Annotated[
        int | None, typer.Option("--year", min=1900, max=9998, help="Trips with photos of this year.")
    ] = None,
    taken_after: TakenAfter = None,
    taken_before: TakenBefore = None,
    format_: FormatName = None,
    json: Json = False,
) -> None:
    """List trips: photos that were taken away from home, grouped by time and place, newest first.

    The option --trip of `query` takes the id of a trip. If photos have no GPS, run `tagger locate` first.

    For example:

    tagger trips --year 2019

    tagger query --trip 2019-05-03-arles-and-avignon --format paths
    """
    from tagger.library.query.trip_summaries import trip_document, trip_summaries

    output_format = parse_format(format_, json=json)
    if output_format in {Format.PATHS, Format.GEOJSON, Format.CSV}:
        raise typer.BadParameter("use table, json or ndjson", param_hint="--format")
    if year is not None:
        if taken_after or taken_before:
            raise typer.BadParameter("it contradicts --taken-after and --taken-before", param_hint="--year")
        taken_after, taken_before = f"{year}-01-01", f"{year + 1}-01-01"
    summaries = trip_summaries(
        open_session().database,
        parse_date(taken_after, "--taken-after"),
        parse_date(taken_before, "--taken-before"),
    )
    if output_format is Format.TABLE:
        write_table(("Trip", "Name", "Dates", "Photos", "Places", "Landmarks"), map(_row, summaries))
    else:
        write_documents((), map(trip_document, summaries), output_format)
    if not summaries:
        if taken_after or taken_before:
            console.info("no trips at that time; to list all, run: tagger trips")
        else:
            console.info("no trips; trips need photos with positions; to locate photos, run: tagger locate")


def _row(summary: TripSummary) -> list[object]:
    return [
        summary.trip.id,
        summary.name,
        summary.trip.dates,
        summary.photos,
        ", ".join(place.city for place in summary.trip.places[:_PLACES] if place.city),
        ", ".join(landmark.name for landmark in summary.landmarks[:_LANDMARKS]),
    ]
