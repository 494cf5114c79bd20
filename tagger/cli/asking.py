"""`tagger query`, `landmarks`, `show`: what the database knows. Nothing is changed by them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli import console
from tagger.cli.options import (
    Formatted,
    Json,
    Print0,
    TakenAfter,
    TakenBefore,
    Under,
    chosen_date,
    chosen_format,
)
from tagger.cli.output import (
    Format,
    printable,
    write_json,
    write_landmarks,
    write_photos,
    write_table,
)
from tagger.documents import details_document

if TYPE_CHECKING:
    from tagger.database import Database
    from tagger.query import Near, PhotoQuery
    from tagger.query.details import LastJob, MetadataWritten, PhotoDetails, Verdict
    from tagger.settings import Settings

DEFAULT_RADIUS_KM = 10.0

LandmarkName = Annotated[
    str | None, typer.Option("--landmark", help="A landmark by slug or name, in any case.")
]
Country = Annotated[str | None, typer.Option("--country", help="Landmarks of this country, in any case.")]
NearPlace = Annotated[
    str | None, typer.Option("--near", metavar="LAT,LON", help="Landmarks near this place, in degrees.")
]
RadiusKm = Annotated[float | None, typer.Option("--radius-km", min=0.0, help="How near.", show_default="10")]
MinScore = Annotated[
    float | None,
    typer.Option("--min-score", min=0.0, max=1.0, help="Tags with at least this score, or confirmed."),
]
LookedBy = Annotated[
    str | None, typer.Option("--model", help="Photos that this registered model looked at last.")
]


def query(
    landmark: LandmarkName = None,
    country: Country = None,
    near: NearPlace = None,
    radius_km: RadiusKm = None,
    min_score: MinScore = None,
    under: Under = None,
    taken_after: TakenAfter = None,
    taken_before: TakenBefore = None,
    model: LookedBy = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Photos looked at in which nothing was accepted.")
    ] = False,
    untagged: Annotated[
        bool,
        typer.Option(
            "--untagged", help="Photos no model has looked at yet; see failures for those that fail."
        ),
    ] = False,
    any_rank: Annotated[
        bool, typer.Option("--any-rank", help="Every photo looked at, with its whole top-k.")
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many photos.")] = None,
    written_as: Formatted = None,
    json: Json = False,
    print0: Print0 = False,
) -> None:
    """Find photos by what they show: photos with accepted tags, and those tags.

    All conditions given hold together. What a person rejected is not found, what a person confirmed always is.

    For example:

    tagger query --landmark "Eiffel Tower" --min-score 0.9

    tagger query --country italy --taken-after 2024-06-01 --taken-before 2024-09-01 --format csv > italy.csv

    tagger query --near 48.86,2.29 --radius-km 5 -0 | xargs -0 cp -t paris/
    """
    from tagger.query import PhotoQuery, find_tagged

    asked = PhotoQuery(
        landmark=landmark,
        country=country,
        near=chosen_near(near, radius_km),
        min_score=min_score,
        under=tuple(under or ()),
        taken_after=chosen_date(taken_after, "--taken-after"),
        taken_before=chosen_date(taken_before, "--taken-before"),
        model=model,
        unknown=unknown,
        untagged=untagged,
        any_rank=any_rank,
        limit=limit,
    )
    _check_agreement(asked)
    wanted = chosen_format(written_as, json=json, print0=print0)
    settings, database = _open()
    found = find_tagged(database, asked, settings.roots)
    if not write_photos(found, wanted, end=b"\0" if print0 else b"\n"):
        console.say("no photo in the database fits")


def landmarks(
    country: Country = None,
    all_known: Annotated[
        bool, typer.Option("--all", help="Also landmarks that the models know and no photo shows.")
    ] = False,
    written_as: Formatted = None,
    json: Json = False,
) -> None:
    """List landmarks with their numbers of photos, most photos first.

    For example:

    tagger landmarks

    tagger landmarks --country france --json
    """
    from tagger.query.details import landmark_counts

    wanted = chosen_format(written_as, json=json)
    if wanted is Format.PATHS:
        raise typer.BadParameter("landmarks have no paths", param_hint="--format")
    _, database = _open()
    if not write_landmarks(landmark_counts(database, country, all_known=all_known), wanted):
        console.say("no photo in the database shows a known landmark yet; start with: tagger tag FOLDER")


def show(
    photo: Annotated[Path, typer.Argument(help="A photo; the file need not be there any more.")],
    json: Json = False,
) -> None:
    """Tell all that is known of one photo: top-k, verdicts, model, job, failure, copies.

    Example: tagger show holiday/IMG_0042.jpg
    """
    from tagger.query.details import photo_details

    settings, database = _open()
    details = photo_details(database, photo, settings.roots)
    if json:
        write_json(details_document(details))
    else:
        _print_details(details)


def _open() -> tuple[Settings, Database]:
    from tagger.database import open_database
    from tagger.settings import load_settings

    settings = load_settings()
    return settings, open_database(settings.effective_database_url)


def chosen_near(place: str | None, radius_km: float | None) -> Near | None:
    """The circle that --near and --radius-km mean together; what is no place is wrong usage."""
    from tagger.query import Near

    if place is None:
        if radius_km is not None:
            raise typer.BadParameter("it needs --near LAT,LON", param_hint="--radius-km")
        return None
    try:
        latitude, longitude = (float(number) for number in place.split(","))
    except ValueError:
        latitude = longitude = float("nan")
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        text = f"{place!r} is no place; give degrees of latitude and longitude, like 48.86,2.29"
        raise typer.BadParameter(text, param_hint="--near")
    return Near(latitude, longitude, DEFAULT_RADIUS_KM if radius_km is None else radius_km)


def _check_agreement(asked: PhotoQuery) -> None:
    """Options that contradict each other are a mistake, not an empty answer."""
    of_tags: dict[str, object] = {
        "--landmark": asked.landmark,
        "--country": asked.country,
        "--near": asked.near,
        "--min-score": asked.min_score,
    }
    if asked.unknown:
        _refuse_with("--unknown", of_tags)
    if asked.untagged:
        others: dict[str, object] = {
            "--unknown": asked.unknown,
            "--any-rank": asked.any_rank,
            "--model": asked.model,
        }
        _refuse_with("--untagged", of_tags | others)


def _refuse_with(option: str, others: dict[str, object]) -> None:
    for name, value in others.items():
        if value is not None and value is not False:
            raise typer.BadParameter(f"such photos have no {name[2:]}; leave one out", param_hint=option)


def _print_details(details: PhotoDetails) -> None:
    photo = details.photo
    facts: list[tuple[str, object]] = [
        ("photo", printable(photo.path)),
        ("outcome", photo.outcome or "not looked at yet"),
        ("size", f"{photo.width} x {photo.height} pixels" if photo.width else None),
        ("taken", photo.taken_at),
        (
            "looked at",
            f"{details.looked_at:%Y-%m-%d %H:%M} UTC by {details.model}" if details.model else None,
        ),
        ("threshold", details.threshold),
        ("last job", details.job and _job(details.job)),
        ("fails", details.failure and f"{details.failure.kind}: {details.failure.text}"),
        ("gone since", details.gone_since),
        *(("written", _written(each)) for each in details.metadata),
        *(("copy", printable(copy)) for copy in details.copies),
        *(("verdict", _given(given)) for given in details.verdicts),
    ]
    for name, value in facts:
        if value is not None:
            typer.echo(f"{name + ':':<12}{value}")
    rows = ([tag.rank, tag.name, _score(tag.score), _word(tag)] for tag in photo.tags)
    write_table(("Rank", "Landmark", "Score", ""), rows, flexible=1)


def _written(written: MetadataWritten) -> str:
    where = "into the photo" if written.target == "embed" else f"into {printable(written.file)}"
    by = f" by job {written.job}" if written.job else ""
    return f"{', '.join(written.landmarks)} {where}, {written.written_at:%Y-%m-%d}{by}"


def _given(verdict: Verdict) -> str:
    by = f" by {printable(verdict.given_by)}" if verdict.given_by else ""
    return f"{verdict.name} {verdict.verdict}{by}, {verdict.given_at:%Y-%m-%d}"


def _job(job: LastJob) -> str:
    return f"{job.job}, {job.outcome}" + (f": {job.reason}" if job.reason else "")


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.1%}"


def _word(tag: Any) -> str:
    return tag.verdict or ("accepted" if tag.accepted else "")
