"""Photos, landmarks and failures on stdout in every format, as they come; and the text of `tagger show`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tagger.cli.console import (
    Counter,
    Format,
    Score,
    count_of,
    printable,
    write_csv,
    write_documents,
    write_json_list,
    write_parts,
    write_table,
)
from tagger.database import TagState
from tagger.errors import QueryOptionInvalid
from tagger.model import TAUGHT_THRESHOLD
from tagger.photos import RESULT_FACTS
from tagger.query.options import PhotoQuery
from tagger.query.photo_json import (
    LANDMARK_COLUMNS,
    SIMILAR_PHOTO_COLUMNS,
    json_line_parts,
    landmark_feature_parts,
    photo_csv_parts,
    photo_feature_parts,
)
from tagger.query.tagged_photos import Tag, TaggedPhoto, photo_document
from tagger.texts.text_format import gettext
from tagger.things import ShownThing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from tagger.cli.program import Session
    from tagger.ledger.items import FailureDocument
    from tagger.query.counts import LandmarkCount
    from tagger.query.details import (
        Dismissal,
        MetadataWrite,
        PhotoDetails,
        PositionEvidence,
        Verdict,
    )
    from tagger.query.filter_words import Options

_OUTCOMES = ("unknown", "untagged", "failed")
FAILURE_COLUMNS = ("path", "kind", "text", "attempts", "job")


def write_photos(
    photos: Iterable[TaggedPhoto],
    output_format: Format,
    *,
    end: bytes = b"\n",
    folder: Path | None = None,
) -> int:
    """Write photos; returns their number. `end` follows each path.

    A table on a terminal has paths relative to the folder, by default the working directory.
    """
    counter = Counter(photos)
    match output_format:
        case Format.JSON:
            write_json_list(photo_document(photo) for photo in counter)
        case Format.NDJSON:
            write_parts(json_line_parts(photo_document(photo) for photo in counter))
        case Format.CSV | Format.CSV_BOM:
            write_csv(photo_csv_parts(counter), output_format)
        case Format.PATHS:
            write_parts(os.fsencode(photo.path) + end for photo in counter)
        case Format.GEOJSON:
            write_parts(photo_feature_parts(counter))
        case Format.TABLE:
            # Long paths do not fit a terminal. The start ends with a slash.
            start = (
                str((folder or Path.cwd()) / "_")[:-1] if sys.stdout.isatty() else ""
            )
            rows = (
                row
                for photo in counter
                for row in _photo_rows(photo, photo.path.removeprefix(start))
            )
            write_table(("Photo", "Landmark", "Score", "State", "Country"), rows)
    return counter.count


def no_photo_text(session: Session, query: PhotoQuery, typed: Collection[str]) -> str:
    """That no photo matches; and which outcome instead, or options less, select photos, with their number.

    Options that are not `typed` come from a text, and are named as it has them.
    """
    from tagger.query.facets import count_photos
    from tagger.query.filter_words import active_filters, options_without

    options = replace(query, limit=None).texts
    conditions = {
        name: value for name, value in options.items() if name not in _OUTCOMES
    }
    others: dict[str, Options] = {
        f"with --{name}": conditions | {name: "1"}
        for name in _OUTCOMES
        if name not in options
    }
    for words, removed in active_filters(options, query, {}):
        if None in removed.values() and (
            name := next((each for each in removed if each in options), None)
        ):
            left_out = f"--{name.replace('_', '-')}" if name in typed else f'"{words}"'
            # Without `any_rank`, which the page adds: as the command answers without the option.
            rest = options_without(options, removed).items()
            others[f"without {left_out}"] = {
                option: value for option, value in rest if option in options
            }
    queries = {}
    for words, each in others.items():
        with suppress(QueryOptionInvalid):
            queries[words] = PhotoQuery.parse(each)
    counts = count_photos(session.database, queries.values(), session.settings.roots)
    found = (
        f"{words}: {count_of(number, 'photo')}{'' if exact else ' or more'}"
        for words, (exact, number) in zip(queries, counts, strict=True)
        if number
    )
    return "; ".join(filter(None, ("no photo matches", ", ".join(found))))


def write_similar_photos(photos: Sequence[TaggedPhoto], output_format: Format) -> int:
    """Write photos with their similarities; returns their number."""
    match output_format:
        case Format.CSV | Format.CSV_BOM:
            write_csv(photo_csv_parts(photos, SIMILAR_PHOTO_COLUMNS), output_format)
        case Format.TABLE:
            rows = (
                [
                    photo.path,
                    f"{photo.similarity:.2f}",
                    ", ".join(tag.name for tag in photo.tags),
                ]
                for photo in photos
            )
            write_table(("Photo", "Similarity", "Landmarks"), rows)
        case _:
            write_photos(photos, output_format)
    return len(photos)


def _photo_rows(photo: TaggedPhoto, path: str) -> Iterator[list[object]]:
    if not photo.tags:
        shown = ", ".join(each.name for each in photo.things)
        yield [path, None, None, shown or photo.outcome or "not classified", None]
    for tag in photo.tags:
        score = None if tag.score is None else Score(tag.score)
        # The verdict, or why a tag is accepted or not in spite of its score.
        state = tag.verdict or tag.reason or ""
        if not state and not tag.accepted:
            state = tag.state or "not accepted"
        yield [path, tag.name, score, state, tag.country]


def write_landmarks(counts: Iterable[LandmarkCount], output_format: Format) -> int:
    """Write landmarks with their numbers of photos; returns the number of landmarks."""
    counter = Counter(counts)
    match output_format:
        case Format.GEOJSON:
            write_parts(landmark_feature_parts(counter))
        case Format.TABLE:
            rows = (
                [each.landmark, each.name, each.country, each.photos]
                for each in counter
            )
            write_table(("Landmark", "Name", "Country", "Photos"), rows)
        case _:
            write_documents(LANDMARK_COLUMNS, counter, output_format)
    return counter.count


def write_failures(
    failures: Iterable[FailureDocument], output_format: Format, *, end: bytes = b"\n"
) -> int:
    """Write failing photos with their paths; returns their number. `end` follows each path."""
    counter = Counter(failures)
    if output_format is Format.PATHS:
        write_parts(os.fsencode(each.path) + end for each in counter)
    elif (
        output_format is Format.TABLE and sys.stdout.isatty()
    ):  # two long columns do not fit a terminal
        lines = (
            f"{each.path}: {each.kind}: {each.text} (attempts: {each.attempts}, job {each.job})"
            for each in counter
        )
        write_parts(printable(line).encode() + b"\n" for line in lines)
    elif output_format is Format.TABLE:
        rows = (
            (each.path, each.kind, each.text, each.attempts, each.job)
            for each in counter
        )
        write_table(("Photo", "Failure", "Remedy", "Attempts", "Job"), rows)
    else:
        write_documents(FAILURE_COLUMNS, counter, output_format)
    return counter.count


def print_details(details: PhotoDetails) -> None:
    photo = details.photo
    size = f"{photo.width} x {photo.height} pixels" if photo.width else None
    by = ", ".join(details.thresholds)
    at = f"{details.classified_at:%Y-%m-%d %H:%M} UTC " if details.classified_at else ""
    classified = f"{at}by {by}" if by else None
    taken = photo.taken_at and _taken(photo.taken_at, photo.taken_source, details)
    # With the lowest score with which a suggested landmark would be accepted.
    suggested = [
        (
            tag,
            TAUGHT_THRESHOLD
            if tag.source == "taught"
            else details.thresholds[str(tag.model)],
        )
        for tag in photo.tags
        if tag.state is TagState.SUGGESTED and not tag.reason
    ]
    own, own_position = details.own_facts or {}, ""
    if "latitude" in own:
        own_text = f"{own['latitude']:.5f}, {own['longitude']:.5f}"
        own_position = f"; the photo itself says {own_text}"
    facts: list[tuple[str, object]] = [
        ("photo", photo.path),
        *(("raw file", path) for path in details.raw_files),
        ("outcome", photo.outcome or "not classified"),
        ("size", size),
        ("damaged", "a part of the image is missing" if photo.damaged else None),
        *(
            (fact.label.lower(), taken if name == "taken_at" else getattr(photo, name))
            for name, fact in RESULT_FACTS.items()
        ),
        ("camera", details.camera),
        (
            "position",
            photo.position
            and ", ".join(
                filter(None, (photo.position.text, photo.position.whole_place))
            )
            + own_position,
        ),
        (
            "follows",
            photo.position
            and details.evidence
            and _evidence(details.evidence, photo.position.source),
        ),
        ("shows", ", ".join(map(_shown_text, photo.things)) or None),
        ("classified", classified),
        ("threshold", details.threshold),
        *(
            (
                "suggested",
                f"{tag.name} {tag.score:.2f}; below the threshold {threshold:.4g}",
            )
            for tag, threshold in suggested
        ),
        (
            "last job",
            details.job
            and ": ".join(
                filter(
                    None,
                    (f"{details.job.job}, {details.job.outcome}", details.job.reason),
                )
            ),
        ),
        (
            "fails",
            details.failure and f"{details.failure.kind}: {details.failure.text}",
        ),
        (
            "gone since",
            details.gone_since and f"{details.gone_since:%Y-%m-%d %H:%M} UTC",
        ),
        *(("written", _metadata(write)) for write in details.metadata),
        *(("copy", copy) for copy in details.copies),
        *(
            ("verdict", _verdict(f"{verdict.name} {verdict.verdict}", verdict))
            for verdict in details.verdicts
        ),
        (
            "verdict",
            details.dismissal and _verdict("not a landmark", details.dismissal),
        ),
    ]
    for name, value in facts:
        if value is not None:
            typer.echo(f"{name + ':':<12}{printable(str(value))}")
    rows = (
        [
            tag.rank,
            tag.name,
            None if tag.score is None else f"{tag.score:.1%}",
            _state(tag),
            *([tag.model or ""] if len(details.thresholds) > 1 else []),
        ]
        for tag in photo.tags
    )
    titles = ("Rank", "Landmark", "Score", "State")
    write_table((*titles, "Model") if len(details.thresholds) > 1 else titles, rows)


def _shown_text(shown: ShownThing) -> str:
    # `Dog 93%`, or `Dog (rejected)`.
    if shown.verdict is not None or shown.score is None:
        return f"{shown.name} ({shown.verdict})"
    return f"{shown.name} {shown.score:.0%}"


def _taken(at: datetime, source: str | None, details: PhotoDetails) -> str:
    # `2019-07-14 21:38:03`, and who says so, if not the photo itself. A name says the day alone.
    from tagger.query.details import STATED_BY  # lists need it not

    text = str(at.date() if source == "name" else at)
    if details.clock_may_be_reset:
        return f"{text}, if the camera's clock was set: clocks begin on 1 January"
    if source not in STATED_BY:
        return text
    own = (
        f"; the photo itself says {details.own_taken_at}"
        if details.own_taken_at
        else ""
    )
    return f"{text}, {_uncapitalised(STATED_BY[source])}{own}"


def _evidence(evidence: PositionEvidence, source: str) -> str:
    # Where the position comes from: `between A (GPS, 12 min before) and B (Colosseum, 8 min after)`.
    neighbours = {
        side: neighbour and f"{neighbour.file} ({neighbour.reason} {side})"
        for side, neighbour in (("before", evidence.before), ("after", evidence.after))
    }
    photo = neighbours["before"] or neighbours["after"]
    name = evidence.landmark or evidence.track
    return _uncapitalised(
        gettext(evidence.phrase(source), **neighbours, photo=photo, name=name)
    )


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]


def _metadata(write: MetadataWrite) -> str:
    target = "to the photo" if write.target == "embed" else f"to {write.file}"
    job = f" by job {write.job}" if write.job else ""
    return f"{', '.join(write.landmarks) or 'position'} {target}, {write.written_at:%Y-%m-%d}{job}"


def _verdict(text: str, given: Verdict | Dismissal) -> str:
    by = f" by {given.given_by}" if given.given_by else ""
    return f"{text}{by}, {given.given_at:%Y-%m-%d}"


def _state(tag: Tag) -> str:
    if tag.reason or tag.verdict or not tag.accepted:
        return tag.reason or tag.state or ""
    return "taught" if tag.source == "taught" else "accepted"
