"""Compares the tagger with other designs over the same photos with the same model.

    python -m bench.compare --data FOLDER [--sets originals,landmarks,mix] [--photos N] [--rounds 3]
    python -m bench.compare FOLDER… [--programs tag,worker,celery]

Prints a report in Markdown. `docs/how-to/benchmark.md` describes the programs and the report; the other designs are in
`bench/peers`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.compare.photo_sets import SETS, PhotoSet, folder_set, prepared_set, warm_up_photos
from bench.compare.programs import (
    PROGRAMS,
    TORCHSCRIPT,
    Measurement,
    Program,
    Workload,
    cache_backend_selection,
    find_program,
    reference_tags,
)
from bench.compare.report import INTRODUCTION, Results, progress_line, results_markdown
from bench.compare.stored_tags import ExpectedTags
from bench.models import SHIPPED
from bench.peers import TOP_K
from bench.report import names_of, note, print_heading
from tagger.model.artifact import read_manifest

CACHE = Path("build") / "bench-photos"


def main() -> None:
    """Compare the tagger with other designs."""
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        data_folder = Path(name)
        for settings in ({}, TORCHSCRIPT):
            cache_backend_selection(args.model, warm_up_photos(args.cache), data_folder, **settings)
        print_heading("Comparison")
        print(INTRODUCTION, flush=True)
        for photo_set in _photo_sets(args):
            print(results_markdown(compare(photo_set, args, data_folder)), flush=True)


def compare(photo_set: PhotoSet, args: argparse.Namespace, data_folder: Path) -> Results:
    """Run every program over a set of photos in each round."""
    photos = photo_set.photos
    expected = ExpectedTags(photos, min(TOP_K, len(read_manifest(args.model).labels)))
    workload = Workload(args.model, data_folder, warm_up_photos(args.cache), photo_set.folder, expected)
    note(f"{photo_set.name}: {len(photos)} photos; computing the reference tags")
    reference = reference_tags(workload)
    rounds: dict[str, list[Measurement]] = {program.name: [] for program in args.programs}
    for number in range(args.rounds):
        note(f"{photo_set.name}: round {number + 1} of {args.rounds}")
        for program in _rotated(args.programs, number):
            measurement = program.measure(workload)
            rounds[program.name].append(measurement)
            note(progress_line(program.name, measurement))
    return Results(photo_set, len(photos), rounds, reference)


def _photo_sets(args: argparse.Namespace) -> list[PhotoSet]:
    sets = [folder_set(folder, args.photos, args.cache) for folder in args.folders]
    if args.data:
        sets += [prepared_set(name, args.data, args.photos, args.cache) for name in args.sets]
    if not sets:
        raise SystemExit("name folders with photos, or --data with a folder that contains originals")
    return sets


def _rotated(programs: Sequence[Program], number: int) -> list[Program]:
    """Let each round start with another program, so that none always follows the same one."""
    first = number % len(programs)
    return [*programs[first:], *programs[:first]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="folders with photos")
    parser.add_argument("--data", type=Path, help="a folder with originals and landmarks/test for --sets")
    parser.add_argument("--sets", type=names_of("set", SETS), default=list(SETS), help=f"[{','.join(SETS)}]")
    parser.add_argument("--photos", type=int, help="photos per set at most, rounded up to batches of 32")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    names = [program.name for program in PROGRAMS]
    parser.add_argument("--programs", type=_programs, default=PROGRAMS, help=f"[{','.join(names)}]")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="a model file [the one of the package]")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"folder of prepared photos [{CACHE}]")
    args = parser.parse_args()
    args.model = args.model.absolute()
    return args


def _programs(text: str) -> list[Program]:
    return [find_program(name) for name in names_of("program", [each.name for each in PROGRAMS])(text)]


if __name__ == "__main__":
    main()
