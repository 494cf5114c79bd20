"""What a program has in its database afterwards: the work that it is measured by has to be the same for all."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

BY_PEER = """
    SELECT photos.path, count(*), max(CASE WHEN tags.rank = 1 THEN tags.slug END)
    FROM photos JOIN tags ON tags.photo_id = photos.id GROUP BY photos.id
"""
BY_TAGGER = """
    SELECT roots.location || '/' || photos.path, count(*), max(CASE WHEN tags.rank = 1 THEN landmarks.slug END)
    FROM photos
    JOIN roots ON roots.id = photos.root_id
    JOIN tags ON tags.content_id = photos.content_id
    JOIN landmarks ON landmarks.id = tags.landmark_id
    GROUP BY photos.id
"""


@dataclass(frozen=True)
class Wanted:
    """What every program has to store: these photos, each with so many tags."""

    photos: Sequence[Path]
    tags_each: int


def first_tags(database: Path, query: str, wanted: Wanted, program: str) -> dict[str, str]:
    """The slug of each photo's best tag, by the photo's path.

    Raises:
        SystemExit: the program stored less than the others have to.
    """
    with closing(sqlite3.connect(database)) as connection:
        stored = {path: (count, first) for path, count, first in connection.execute(query)}
    paths = [str(photo) for photo in wanted.photos]
    missing = [path for path in paths if path not in stored]
    if missing:
        raise SystemExit(
            f"{program} stored {len(paths) - len(missing)} of {len(paths)} photos, and not {missing[0]}: it did less than the "
            "others, so nothing is compared; see that each photo can be opened, or leave this program out with --peers"
        )
    short = [path for path in paths if stored[path][0] != wanted.tags_each]
    if short:
        raise SystemExit(
            f"{program} stored {stored[short[0]][0]} tags of {short[0]}, and all have to store {wanted.tags_each}; mend it, or "
            "leave it out with --peers"
        )
    return {path: stored[path][1] for path in paths}


def count_stored(database: Path) -> tuple[int, float]:
    """How many photos a peer has stored so far, and when the last."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
            count, last = connection.execute("SELECT count(*), max(tagged_at) FROM photos").fetchone()
    except sqlite3.OperationalError:  # it is not there yet
        return 0, 0.0
    return int(count), float(last or 0.0)


def share_alike(firsts: Mapping[str, str], reference: Mapping[str, str]) -> float:
    """The share of photos whose best tag is the reference's."""
    return sum(firsts[path] == slug for path, slug in reference.items()) / len(reference)
