"""`tagger track …`: the GPS tracks that photos are located with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tagger.cli.derived_facts import update_positions
from tagger.cli.options import Json
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, write_json, write_table
from tagger.cli.session import open_session

track_app = typer.Typer(help="List and remove the GPS tracks of `tagger locate --gpx`.", no_args_is_help=True)

TrackName = Annotated[
    str, typer.Argument(metavar="TRACK", help="Name of its file, or its number in the list.")
]


@track_app.command("list")
def list_(json: Json = False) -> None:
    """List the tracks in order of time.

    Example: tagger track list
    """
    from tagger.library.positions.tracks import list_tracks

    tracks = list_tracks(open_session().database)
    if json:
        write_json([asdict(track) for track in tracks])
        return
    rows = (
        [track.id, track.name, track.points, local_time(track.first_at), local_time(track.last_at)]
        for track in tracks
    )
    write_table(("Track", "Name", "Points", "From", "To"), rows)
    if not tracks:
        console.info("there is no track; add one with: tagger locate --gpx FILE")


@track_app.command("remove")
def remove(name: TrackName, json: Json = False) -> None:
    """Remove a track from the database, and the positions that follow from it. Its file stays.

    Example: tagger track remove 2019-05-03.gpx
    """
    from tagger.library.positions.tracks import remove_track

    session = open_session()
    track = remove_track(session.database, name)
    update_positions(session)
    if json:
        write_json(asdict(track))
    else:
        console.info(f"{track.name} is removed")
