"""Draws libraries from a collection of photos, and counts what looks find in them and which questions are right.

    tagger tag COLLECTION/places/others COLLECTION/ordinary COLLECTION/unknown
    python tests/rig/look_libraries.py DATABASE_FILE [--libraries 12] [--seed 1]

Each library has ten sights that the model does not know, with `n` photos near each that show it, and as many
others that the share of showing ones is as drawn; and twenty sights that nobody photographed, with fifteen
photos near them. The others are a burst or two of another place, and ordinary photos. The rest of the sights'
photos has no position. One photo is in one place of a library. The same seed draws the same libraries.
"""

import argparse
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagger.model import SUGGESTED_SCORE, TAUGHT_THRESHOLD
from tagger.model.artifact import read_background, read_manifest
from tagger.teaching.classifiers import (
    Embeddings,
    EmbeddingSpace,
    calibrate,
    fit_direction,
    restore,
    share_of,
)
from tagger.teaching.looks import LEAST_LIKELY, Surroundings, find_looks

SHIPPED = Path(__file__).parents[2] / "tagger/shipped/landmarks.pt"
SIGHTS, PASSED, NEAR_PASSED = 10, 20, 15
FAR, WITHOUT_POSITION = 250, 300
NUMBERS, SHARES = (3, 5, 8), (0.25, 0.5, 0.75)
ORDINARY = ""


@dataclass(frozen=True)
class Photos:
    """Embeddings (N, D), those transformed, and what each shows: a place of the collection, or nothing."""

    embeddings: Embeddings
    transformed: Embeddings
    shown: Sequence[str]


def read_photos(file: Path, left_out: Collection[str]) -> tuple[Photos, EmbeddingSpace]:
    manifest = read_manifest(SHIPPED)
    assert manifest.embedding is not None
    known = {label.slug for label in manifest.labels} | set(left_out)
    database = sqlite3.connect(file)
    digest = database.execute("SELECT digest FROM models WHERE kind = 'landmarks'").fetchone()[0]
    rows = database.execute(
        "SELECT location || '/' || path, data FROM embeddings JOIN photos USING (content_id)"
        " JOIN roots ON roots.id = root_id GROUP BY content_id ORDER BY 1"
    ).fetchall()
    shown = [path.split("/others/")[1].split("/")[0] if "/others/" in path else ORDINARY for path, _ in rows]
    chosen = [row for row, place in enumerate(shown) if place not in known]
    embeddings = restore([rows[row][1] for row in chosen], manifest.embedding.dimension)
    space = EmbeddingSpace.of(read_background(SHIPPED, digest, manifest.embedding))
    return Photos(embeddings, space.transform(embeddings), [shown[row] for row in chosen]), space


@dataclass
class Library:
    """Rows of photos near each sight, far from all, and without a position. `sights`: the photographed ones."""

    sights: Sequence[str]
    near: dict[str, list[int]]
    far: list[int]
    without: list[int]


def draw(photos: Photos, rng: np.random.Generator, number: int, share: float) -> Library:
    rows_of = defaultdict[str, list[int]](list)
    for row in rng.permutation(len(photos.shown)).tolist():
        rows_of[photos.shown[row]].append(row)
    ordinary = rows_of.pop(ORDINARY)
    large = [place for place, rows in sorted(rows_of.items()) if len(rows) >= number + 2]
    sights = [str(place) for place in rng.choice(large, min(SIGHTS, len(large)), replace=False)]
    others = [str(place) for place in rng.permutation(sorted(rows_of.keys() - set(sights)))]

    def noise(count: int) -> list[int]:
        """A place nearby with up to four photos, and ordinary ones."""
        nearby = rows_of[others.pop()][: min(4, count)] if others else []
        rows = [*nearby, *(ordinary.pop() for _ in range(count - len(nearby)))]
        return [rows[index] for index in rng.permutation(len(rows))]

    near, without = {}, []
    for place in sights:
        near[place] = [*rows_of[place][:number], *noise(round(number * (1 - share) / share))]
        without += rows_of[place][number:]
    for passed in range(PASSED):
        near[f"passed {passed}"] = noise(NEAR_PASSED)
    far = [ordinary.pop() for _ in range(FAR)]
    without += [ordinary.pop() for _ in range(min(WITHOUT_POSITION, len(ordinary)))]
    return Library(sights, near, far, without)


def count(photos: Photos, space: EmbeddingSpace, library: Library) -> Counter[str]:
    """What is asked, tagged and suggested, and what of it is right."""
    counts = Counter[str]()
    without = photos.embeddings[library.without]
    shown = np.array([photos.shown[row] for row in library.without])
    every = np.array(
        [*library.far, *library.without, *(row for rows in library.near.values() for row in rows)]
    )
    surroundings = [_surroundings(photos, library, place, every) for place in library.near]
    looks = find_looks(space, surroundings, photos.transformed[every])
    for (place, rows), around, look in zip(library.near.items(), surroundings, looks, strict=True):
        is_photographed = place in library.sights
        counts["showing"] += int((shown == place).sum())
        if look is None:
            continue
        group = [photos.shown[rows[row]] == place for row in look.rows]
        is_right = sum(group) > len(group) / 2
        counts["learned of photographed"] += is_photographed
        counts["wrong of photographed"] += is_photographed and not is_right
        counts["learned of passed"] += not is_photographed
        if (look.classifier.scores(without) >= TAUGHT_THRESHOLD).sum() < LEAST_LIKELY:
            continue
        counts["questions"] += 1
        counts["right questions"] += is_right
        if not is_right:
            continue

        # A yes confirms the group, from which the landmark is taught.
        in_library = photos.transformed[every][around.is_other]
        direction = fit_direction(space, around.near[list(look.rows)], around.near[:0])
        classifier = calibrate(direction, in_library @ direction.weights)
        share = share_of(classifier.logits(in_library))
        scores = classifier.at_share(share).scores(photos.transformed[library.without])
        for name, least in (("tagged", TAUGHT_THRESHOLD), ("named", SUGGESTED_SCORE)):
            counts[name] += int((scores >= least).sum())
            counts[f"rightly {name}"] += int(((scores >= least) & (shown == place)).sum())
    return counts


def _surroundings(photos: Photos, library: Library, place: str, every: npt.NDArray[np.int64]) -> Surroundings:
    rows = library.near[place]
    others = [other for key, other in library.near.items() if key != place]
    return Surroundings(
        photos.transformed[rows],
        np.full(len(rows), np.nan),
        photos.transformed[:0],
        np.flatnonzero(np.isin(every, [*library.far, *chain.from_iterable(others)])),
        np.isin(every, rows, invert=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("database", type=Path)
    parser.add_argument("--libraries", type=int, default=12, help="of each number and share")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="PLACE")
    arguments = parser.parse_args()
    photos, space = read_photos(arguments.database, arguments.leave_out)
    sys.stdout.write(
        "n  share  questions  right  tags: P, R     with suggestions: P, R  learned  wrong  passed\n"
    )
    for number in NUMBERS:
        for share in SHARES:
            total = Counter[str]()
            for index in range(arguments.libraries):
                rng = np.random.default_rng((arguments.seed, number, round(100 * share), index))
                library = draw(photos, rng, number, share)
                total += count(photos, space, library)
                total["sights"] += len(library.sights)
                total["passed"] += PASSED
            sys.stdout.write(f"{_line(number, share, arguments.libraries, total)}\n")
            sys.stdout.flush()


def _line(number: int, share: float, libraries: int, total: Counter[str]) -> str:
    def ratio(part: str, whole: str) -> float:
        return total[part] / (total[whole] or 1)

    values = (
        ratio("right questions", "questions"),
        ratio("rightly tagged", "tagged"),
        ratio("rightly tagged", "showing"),
        ratio("rightly named", "named"),
        ratio("rightly named", "showing"),
        ratio("learned of photographed", "sights"),
        ratio("wrong of photographed", "learned of photographed"),
        ratio("learned of passed", "passed"),
    )
    text = "  ".join(f"{value:.3f}" for value in values)
    return f"{number}  {share:.2f}  {total['questions'] / libraries:9.1f}  {text}"


if __name__ == "__main__":
    main()
