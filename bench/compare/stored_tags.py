"""The tags that a program has stored: all programs must do the same work to be comparable."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

PEER_QUERY = """
    SELECT photos.path, count(*), max(CASE WHEN tags.rank = 1 THEN tags.slug END)
    FROM photos JOIN tags ON tags.photo_id = photos.id GROUP BY photos.id
"""
TAGGER_QUERY = """
    SELECT roots.location || '/' || photos.path, count(*), max(CASE WHEN tags.rank = 1 THEN landmarks.slug END)
    FROM photos
    JOIN roots ON roots.id = photos.root_id
    JOIN tags ON tags.content_id = photos.content_id
    JOIN landmarks ON landmarks.id = tags.landmark_id
    GROUP BY photos.id
"""


@dataclass(frozen=True)
class ExpectedTags:
    """The photos that every program must store, and the number of tags of each."""

    photos: Sequence[Path]
    tags_per_photo: int


def read_top_tags(database: Path, query: str, expected: ExpectedTags, program: str) -> dict[str, str]:
    """Return the slug of each photo's best tag by the photo's path.

    Raises:
        SystemExit: the program stored fewer photos or tags than expected.
    """
    with closing(sqlite3.connect(database)) as connection:
        stored = {path: (count, slug) for path, count, slug in connection.execute(query)}
    paths = [str(photo) for photo in expected.photos]
    missing = [path for path in paths if path not in stored]
    if missing:
        raise SystemExit(
            f"{program} stored {len(paths) - len(missing)} of {len(paths)} photos; {missing[0]} is missing. The comparison "
            "needs the same work from all programs: check that each photo can be opened, or exclude the program with --programs"
        )
    for path in paths:
        if stored[path][0] != expected.tags_per_photo:
            raise SystemExit(
                f"{program} stored {stored[path][0]} tags of {path} instead of {expected.tags_per_photo}: correct it, or "
                "exclude it with --programs"
            )
    return {path: stored[path][1] for path in paths}


def count_stored(database: Path) -> tuple[int, float]:
    """Return the number of photos that a peer has stored so far, and the time of the last."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
            count, last = connection.execute("SELECT count(*), max(tagged_at) FROM photos").fetchone()
    except sqlite3.OperationalError:  # the database does not exist yet
        return 0, 0.0
    return int(count), float(last or 0.0)


def top1_agreement(top_tags: Mapping[str, str], reference: Mapping[str, str]) -> float:
    """Return the share of photos whose best tag is the reference's."""
    return sum(top_tags[path] == slug for path, slug in reference.items()) / len(reference)
