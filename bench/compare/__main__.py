"""Compares the tagger with a PyTorch DataLoader and with plain Celery, with the same model.

    python -m bench.compare FOLDER… [--photos N] [--programs tag worker] [--rounds 3]

Prints a report in Markdown. `docs/how-to/benchmark.md` describes the programs and the report.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.compare.programs import (
    INTRODUCTION,
    PROGRAMS,
    WARM_UP_PHOTOS,
    ComparedProgram,
    Measurement,
    Results,
    Workload,
    cache_backend_selection,
    find_program,
    reference_tags,
)
from bench.rig import (
    SHIPPED,
    draw_photos,
    evenly_spread,
    note,
    photos_in,
    print_heading,
)

# The size of the photos that every program processes before it is measured.
SMALL = (320, 240)


def main() -> None:
    """Compare the tagger with a PyTorch DataLoader and with plain Celery."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description=main.__doc__
    )
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="FOLDER", help="folders with photos"
    )
    photos = "photos of each folder at most, evenly spread [800]"
    parser.add_argument("--photos", type=int, default=800, help=photos)
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    names = [program.name for program in PROGRAMS]
    parser.add_argument(
        "--programs", nargs="+", choices=names, default=names, help="[all]"
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=SHIPPED,
        help="a model file [the one of the package]",
    )
    args = parser.parse_args()
    args.model = args.model.absolute()
    programs = [find_program(name) for name in args.programs]
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        data_folder, warm_up = Path(name, "data"), Path(name, "warm-up")
        draw_photos(warm_up, 0, WARM_UP_PHOTOS, SMALL)
        cache_backend_selection(args.model, warm_up, data_folder)
        print_heading("Comparison")
        print(INTRODUCTION, flush=True)
        for number, source in enumerate(args.folders):
            folder = Path(name, f"photos-{number}")
            copy_photos(source.resolve(), folder, args.photos)
            workload = Workload(args.model, data_folder, warm_up, folder)
            results = compare(
                source.resolve().name,
                workload,
                programs,
                args.rounds,
            )
            print(results.report(), flush=True)


def copy_photos(source: Path, folder: Path, count: int) -> None:
    """Copy so many of a folder's photos, evenly spread, so that all programs get a folder."""
    for photo in evenly_spread(photos_in(source), count):
        copy = folder / photo.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, copy)


def compare(
    name: str, workload: Workload, programs: Sequence[ComparedProgram], count: int
) -> Results:
    note(f"{name}: {len(workload.photos)} photos; computing the reference tags")
    reference = reference_tags(workload)
    rounds: dict[str, list[Measurement]] = {program.name: [] for program in programs}
    for number in range(count):
        note(f"{name}: round {number + 1} of {count}")
        first = number % len(programs)  # none always follows the same one
        for program in (*programs[first:], *programs[:first]):
            measurement = program.measure(workload)
            rounds[program.name].append(measurement)
            note(
                f"{program.title}: {measurement.cpu_ms:.1f} CPU ms/photo, {measurement.rate:.1f} photos/s"
            )
    return Results(name, workload.photos, rounds, reference)


if __name__ == "__main__":
    main()
