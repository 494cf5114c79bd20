"""Measures how long teaching a landmark takes in a large library, and what taught landmarks cost when photos are tagged.

    python -m bench.teach_time [--photos 1500,100000] [--postgres] [--landmarks 500]

For each number of photos, a database is filled with embeddings that are drawn from the background statistics of the shipped
model, and `tagger teach` is run with five of them. No photo has a file: teaching needs none. Then the comparison of a batch
with so many landmarks is timed beside the model's forward pass.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, insert

from bench.models import SHIPPED, load_model
from bench.report import print_heading, print_table
from bench.stored_library import (
    ROOT,
    StoredLibrary,
    add_library_options,
    blocks,
    photo_name,
    store_photos,
    stored_libraries,
)
from tagger.catalog.registered_models import RegisteredModel
from tagger.database.tables import embeddings
from tagger.inference.artifact import read_background
from tagger.places.classifiers import Classifier
from tagger.places.embeddings import quantize
from tagger.places.learning import embedding_of
from tagger.places.taught_tags import TaughtLandmarks

EXAMPLES = 5
SHOWN = 20
"""Photos of the landmark that is taught, examples included."""
BATCH = 128
ROUNDS = 5

Values = npt.NDArray[np.float32]


def main() -> None:
    """Time `tagger teach`, and the comparison of new photos with taught landmarks."""
    parser = argparse.ArgumentParser(prog="python -m bench.teach_time", description=main.__doc__)
    parser.add_argument("--landmarks", type=int, default=500, help="taught landmarks of the comparison [500]")
    add_library_options(parser)
    args = parser.parse_args()
    print_heading("Time of teaching")
    rows = [_time_teach(library) for library in stored_libraries(args, _fill)]
    names = ("photos", "seconds", "CPU seconds", "peak MiB", "tagged", "suggested")
    print_table(names, rows)
    _print_comparison(args.landmarks)


def _time_teach(library: StoredLibrary) -> tuple[object, ...]:
    examples = [ROOT / photo_name(number) for number in range(1, EXAMPLES + 1)]
    document, usage = library.run("teach", "Our church", *examples)
    assert document["compared"] == library.photos
    return (
        f"{library.photos:,}",
        f"{usage.wall_s:.2f}",
        f"{usage.cpu_s:.2f}",
        f"{usage.peak_mib:.0f}",
        document["tagged"],
        document["suggested"],
    )


def _fill(connection: Connection, model: RegisteredModel, count: int) -> None:
    for ids, values in _drawn(model, count):
        store_photos(connection, model, ids)
        rows = [
            {"content_id": number, "model_id": model.id, "taught_version": 0, "data": data}
            for number, data in zip(ids, quantize(values), strict=True)
        ]
        connection.execute(insert(embeddings), rows)


def _drawn(model: RegisteredModel, count: int) -> Iterator[tuple[range, Values]]:
    """Blocks of embeddings with the model's mean and variances; the first SHOWN ones share a direction."""
    background = read_background(model.file, model.digest, embedding_of(model))
    deviation = np.sqrt(background.covariance.diagonal())
    generator = np.random.default_rng(0)
    shift = generator.normal(0, 1, len(deviation)).astype(np.float32)
    for ids in blocks(count):
        drawn = generator.normal(0, 1, (len(ids), len(deviation))).astype(np.float32)
        if ids.start == 1:
            drawn[:SHOWN] += shift
        yield ids, np.maximum(0, background.mean + deviation * drawn)


def _print_comparison(landmarks: int) -> None:
    """Compare the CPU time of a batch in the model with that of its comparison with taught landmarks."""
    with tempfile.TemporaryDirectory() as cache:
        model = load_model(SHIPPED, Path(cache))
        size = model.manifest.input.size
        images = list(np.random.default_rng(0).integers(0, 255, (BATCH, size, size, 3), dtype=np.uint8))
        values = model.outputs(images).embeddings
        model_ms = _cpu_ms(lambda: model.outputs(images))
    assert values is not None
    generator = np.random.default_rng(0)
    drawn = generator.normal(0, 1, (landmarks, values.shape[1])).astype(np.float32)
    taught = TaughtLandmarks(
        1, {number: Classifier(weights, -1000.0) for number, weights in enumerate(drawn)}
    )
    taught_ms = _cpu_ms(lambda: taught.tags(values))
    rows = (
        ("forward pass", f"{model_ms / BATCH:.2f}"),
        (f"comparison with {landmarks} landmarks", f"{taught_ms / BATCH:.3f}"),
        ("share", f"{taught_ms / model_ms:.2%}"),
    )
    print_table(("for each photo", "CPU ms"), rows)
    print(f"\nAn embedding takes {len(quantize(values)[0])} bytes.")


def _cpu_ms(work: Callable[[], object]) -> float:
    """The median CPU time of a call."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * median(times)


if __name__ == "__main__":
    main()
