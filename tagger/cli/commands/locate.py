"""`tagger locate …`: where photos were taken, and the GPS tracks that say so."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import console
from tagger.cli.console import ProgressLine, count_of, local_time, printable, write_json
from tagger.cli.help import (
    ADVANCED,
    DEFAULT,
    DefaultCommandGroup,
    argument,
    flag,
    option,
    with_option_groups,
)
from tagger.cli.options import DryRun, Json, QueryOptions
from tagger.cli.program import Session, open_for_reading, open_session, update_positions
from tagger.database import PositionSource
from tagger.kept import update as kept_update
from tagger.kept.update import PositionCounts
from tagger.positions.companions import CameraClock, unknown_clocks
from tagger.positions.tracks import AddedTrack, list_tracks, remove_track
from tagger.query.find import find_tagged
from tagger.texts.text_format import number_text

LONGEST_GAP_H = 48
# 57 years: clocks that were never set begin in 1970 or later.
LARGEST_OFFSET_H = 500_000
COMPANIONS_SHOWN = 10
MOST_HINTS = 3

locate_app = typer.Typer(cls=DefaultCommandGroup)


@locate_app.command(DEFAULT)
@with_option_groups
def locate(
    query_options: QueryOptions,
    gpx: Annotated[
        list[Path] | None,
        option("--gpx", "FILE", "Add a GPS track, which stays. Repeatable."),
    ] = None,
    max_gap: Annotated[
        str | None,
        option(
            "--max-gap",
            "TIME",
            "Estimate between photos at most this far apart, such as 2h or 30m. It stays.",
            ADVANCED,
            show_default="2h at first",
        ),
    ] = None,
    clock_offset: Annotated[
        list[str] | None,
        option(
            "--clock-offset",
            "CAMERA=±HH:MM",
            "How far the clock of a camera is ahead of UTC. It stays. Repeatable.",
        ),
    ] = None,
    position_odds: Annotated[
        bool | None,
        flag(
            "--position-odds/--no-position-odds",
            "Accept tags by the position of the photo, too, or by their scores alone. It stays.",
            ADVANCED,
            show_default="on at first",
        ),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Estimate where photos without GPS were taken, and count the sources.

    A photo with a landmark was taken near it; others where a track was at their time, else between photos
    of the same camera, or of one used with it. No photo is changed. The query options select which photos are
    counted.

    For example:

    tagger locate

    tagger locate --gpx hike.gpx --clock-offset "Canon EOS 5D=+02:00"
    """
    offsets = dict(map(_parse_clock_offset, clock_offset or []))
    max_gap_s = None if max_gap is None else _parse_gap(max_gap)
    settings = kept_update.EstimateSettings(
        max_gap_s, offsets, position_odds, gpx or ()
    )
    session = open_session(settle_jobs=True)
    photo_ids = None  # all are counted
    if any(vars(query_options).values()):
        query = query_options.parse(
            any_rank=not (query_options.landmark or query_options.country)
        )
        photo_ids = [
            photo.id
            for photo in find_tagged(session.database, query, session.settings.roots)
        ]
    with ProgressLine("locating photos") as line:
        counts = kept_update.locate(
            session.database, settings, photo_ids, line.show_step, dry_run=dry_run
        )
    for track in counts.tracks:
        _print_track(track, dry_run=dry_run)
    if json:
        write_json(_document(counts))
        return
    _print(counts, dry_run=dry_run)
    if not dry_run:
        _print_unknown_clocks(session)


def _print_track(track: AddedTrack, *, dry_run: bool) -> None:
    added = "would be added" if dry_run else "added"
    verb = added if track.is_new else "were added before"
    left_out = ", ".join(
        f"{count} {reason.replace('_', ' ')}"
        for reason, count in track.left_out.items()
    )
    others = f"; left out: {left_out}" if left_out else ""
    console.info(f"{count_of(track.points, 'point')} of {track.name}{others} {verb}")
    if track.fault:
        console.warning(
            f"{track.name} breaks off at {track.fault}. Copy or export it again to add what is missing"
        )


def _parse_gap(text: str) -> int:
    match = re.fullmatch(r"(\d{1,4})(h|m)", text)
    unit_s = {"h": 3600, "m": 60}
    seconds = 0 if match is None else int(match[1]) * unit_s[match[2]]
    if not 0 < seconds <= LONGEST_GAP_H * 3600:
        reason = f"{text!r} is no time up to {LONGEST_GAP_H}h. Write it like 2h or 30m"
        raise typer.BadParameter(reason, param_hint="--max-gap")
    return seconds


def _parse_clock_offset(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.+)=([+-])(\d{1,6}):([0-5]\d)(?::([0-5]\d))?", text)
    hours = LARGEST_OFFSET_H if match is None else int(match[3])
    if match is None or hours >= LARGEST_OFFSET_H:
        reason = (
            f"{text!r} is no clock up to {LARGEST_OFFSET_H} hours off. Write it like 'Canon "
            "EOS 5D=+02:00'"
        )
        raise typer.BadParameter(reason, param_hint="--clock-offset")
    seconds = hours * 3600 + int(match[4]) * 60 + int(match[5] or 0)
    return match[1].strip(), -seconds if match[2] == "-" else seconds


def _clock_text(clock: CameraClock) -> str:
    camera = printable(clock.camera)
    if clock.offset_s is None:
        return f"the clock of {camera} is not known any more: photos of landmarks do not agree about it"
    minutes = round(abs(clock.offset_s) / 60)
    side = "behind" if clock.offset_s < 0 else "ahead of"
    return (
        f"the clock of {camera} is {minutes // 60}:{minutes % 60:02} hours {side} UTC, by landmarks that "
        "other cameras photographed too; --clock-offset sets it"
    )


def _print_unknown_clocks(session: Session) -> None:
    clocks = unknown_clocks(session.database)
    for clock in clocks[:MOST_HINTS]:
        camera = printable(clock.camera)
        console.info(
            f"the clock of {camera} is not known, so no track locates "
            f"{count_of(clock.photos, 'photo')} of it. "
            f"If it shows Paris time in summer, run: "
            f"tagger locate --clock-offset {shlex.quote(camera + '=+02:00')}"
        )


def _document(counts: PositionCounts) -> dict[str, object]:
    return {
        "photos": counts.photos,
        **{str(source): count for source, count in counts.sources.items()},
        "unknown": counts.unknown,
        "at_sights": counts.at_sights,
        "tags_doubtful": counts.doubtful,
        "tags_accepted": counts.accepted,
        "companions": [
            {
                "cameras": pair.cameras,
                "together": pair.agreeing,
                "occasions": pair.occasions,
            }
            for pair in counts.companions
        ],
    }


_RARE = (PositionSource.SIDECAR, PositionSource.TAKEOUT, PositionSource.TRIP)


def _print(counts: PositionCounts, *, dry_run: bool) -> None:
    texts = {
        PositionSource.CAMERA: "by the camera's GPS",
        PositionSource.SIDECAR: "by a sidecar",
        PositionSource.TAKEOUT: "by Google Takeout",
        PositionSource.LANDMARK: "by a landmark",
        PositionSource.TRACK: "by a track",
        PositionSource.NEIGHBOUR: "by photos taken before or after",
        PositionSource.TRIP: "by the other photos of their trips",
    }
    typer.echo(f"{count_of(counts.photos, 'photo')}:")
    for source, text in texts.items():
        if counts.sources[source] or source not in _RARE:
            typer.echo(f"{counts.sources[source]:>9,}  {text}")
    typer.echo(f"{counts.unknown:>9,}  without a position")
    if counts.at_sights:
        typer.echo(f"{count_of(counts.at_sights, 'photo')} at a sight")
    for clock in counts.clocks:
        console.info(_clock_text(clock))
    for pair in counts.companions[:COMPANIONS_SHOWN]:
        first, second = map(printable, pair.cameras)
        times = f"{number_text(pair.agreeing)} of {number_text(pair.occasions)} times"
        console.info(
            f"{first} and {second} were together {times}: each locates the other's photos"
        )
    far = "with a landmark that is far from where a photo of it was taken: doubtful"
    for number, noun, text in (
        (counts.moved, "position", "would change" if dry_run else "changed"),
        (counts.doubtful, "image", far),
        (
            counts.accepted,
            "image",
            "accepted with a lower score, taken near the landmark",
        ),
    ):
        if number:
            console.info(f"{count_of(number, noun)} {text}")
    if counts.unknown:
        console.info("to see the photos without one, run: tagger query --position none")


@locate_app.command("tracks")
def list_tracks_(json: Json = False) -> None:
    """List the GPS tracks in order of time.

    Example: tagger locate tracks
    """
    tracks = list_tracks(open_for_reading().database)
    rows = (
        [
            track.id,
            track.name,
            track.points,
            local_time(track.first_at),
            local_time(track.last_at),
        ]
        for track in tracks
    )
    console.write_list(
        tracks,
        ("Track", "Name", "Points", "From", "To"),
        rows,
        "there is no track; add one with: tagger locate --gpx FILE",
        json=json,
    )


@locate_app.command("forget-track")
def forget_track(
    name: Annotated[
        str, argument("TRACK", "Name of its file, or its number in the list.")
    ],
    json: Json = False,
) -> None:
    """Forget a GPS track, and the positions that follow from it. Its file stays.

    Example: tagger locate forget-track 2019-05-03.gpx
    """
    session = open_session()
    track = remove_track(session.database, name)
    update_positions(session)
    if json:
        write_json(asdict(track))
    else:
        console.info(f"{track.name} is removed")
