"""Photos, landmarks and failures on stdout in every format. They are written one by one, as they come."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tagger.cli.output.formats import (
    Counter,
    Format,
    printable,
    write_documents,
    write_json_list,
    write_parts,
    write_table,
)
from tagger.library.query.documents import (
    LANDMARK_COLUMNS,
    SIMILAR_PHOTO_COLUMNS,
    csv_parts,
    json_line_parts,
    landmark_document,
    landmark_feature_parts,
    landmark_row,
    photo_csv_parts,
    photo_document,
    photo_feature_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tagger.ledger.failures import FailingPhoto
    from tagger.library.query.landmark_counts import LandmarkCount
    from tagger.library.query.tagged_photos import Tag, TaggedPhoto

FAILURE_COLUMNS = ("path", "kind", "text", "attempts", "job")


def write_photos(photos: Iterable[TaggedPhoto], output_format: Format, *, end: bytes = b"\n") -> int:
    """Write photos; returns their number. `end` follows each path."""
    counter = Counter(photos)
    match output_format:
        case Format.JSON:
            write_json_list(photo_document(photo) for photo in counter)
        case Format.NDJSON:
            write_parts(json_line_parts(photo_document(photo) for photo in counter))
        case Format.CSV:
            write_parts(photo_csv_parts(counter))
        case Format.PATHS:
            write_parts(os.fsencode(photo.path) + end for photo in counter)
        case Format.GEOJSON:
            write_parts(photo_feature_parts(counter))
        case Format.TABLE:
            rows = (row for photo in counter for row in _photo_rows(photo))
            write_table(("Photo", "Landmark", "Score", "Country"), rows)
    return counter.count


def write_similar_photos(photos: Sequence[TaggedPhoto], output_format: Format) -> int:
    """Write photos with their similarities; returns their number."""
    match output_format:
        case Format.CSV:
            write_parts(photo_csv_parts(photos, SIMILAR_PHOTO_COLUMNS))
        case Format.TABLE:
            write_table(("Photo", "Similarity", "Landmarks"), map(_similar_row, photos))
        case _:
            write_photos(photos, output_format)
    return len(photos)


def _similar_row(photo: TaggedPhoto) -> list[object]:
    return [photo.path, f"{photo.similarity:.2f}", ", ".join(tag.name for tag in photo.tags)]


def _photo_rows(photo: TaggedPhoto) -> Iterator[list[object]]:
    if not photo.tags:
        yield [photo.path, photo.outcome or "not classified", None, None]
    for tag in photo.tags:
        score = "" if tag.score is None else f"{tag.score:.0%}"
        yield [photo.path, tag.name, f"{score} {_tag_state(tag)}".strip(), tag.country]


def _tag_state(tag: Tag) -> str:
    """The verdict, or why a tag is not accepted; nothing for an accepted tag without a verdict."""
    if tag.verdict or tag.accepted:
        return tag.verdict or ""
    if tag.reason:
        return tag.reason
    return "suggested" if tag.source == "taught" else "not accepted"


def write_landmarks(counts: Iterable[LandmarkCount], output_format: Format) -> int:
    """Write landmarks with their numbers of photos; returns the number of landmarks."""
    counter = Counter(landmark_document(count) for count in counts)
    match output_format:
        case Format.JSON:
            write_json_list(counter)
        case Format.NDJSON:
            write_parts(json_line_parts(counter))
        case Format.CSV:
            write_parts(csv_parts(LANDMARK_COLUMNS, map(landmark_row, counter)))
        case Format.PATHS:
            raise ValueError("landmarks have no paths")
        case Format.GEOJSON:
            write_parts(landmark_feature_parts(counter))
        case Format.TABLE:
            rows = ([d["landmark"], d["name"], d["country"], d["photos"]] for d in counter)
            write_table(("Landmark", "Name", "Country", "Photos"), rows)
    return counter.count


def write_failures(
    failures: Iterable[tuple[Path, FailingPhoto]], output_format: Format, *, end: bytes = b"\n"
) -> int:
    """Write failing photos with their paths; returns their number. `end` follows each path."""
    counter = Counter(
        {
            "path": str(path),
            "kind": photo.kind,
            "text": photo.text,
            "attempts": photo.attempts,
            "job": photo.job,
        }
        for path, photo in failures
    )
    if output_format is Format.PATHS:
        write_parts(os.fsencode(document["path"]) + end for document in counter)
    elif output_format is Format.TABLE and sys.stdout.isatty():  # two long columns do not fit a terminal
        lines = (
            f"{d['path']}: {d['kind']}: {d['text']} (attempts: {d['attempts']}, job {d['job']})"
            for d in counter
        )
        write_parts(printable(line).encode() + b"\n" for line in lines)
    else:
        write_documents(FAILURE_COLUMNS, counter, output_format)
    return counter.count
