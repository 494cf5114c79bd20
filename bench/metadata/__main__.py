"""Embeds tags into copies of photos, checks the files, and undoes the writes.

    python -m bench.metadata FOLDER… [--files N]

Photos are copied before anything is written. An undo must restore each file byte for byte; until then, it must have the
same pixels, and exiftool, if it is installed, must find all of its metadata. Otherwise the exit code is 1.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.metadata.round_trip import Copies, RoundTrip, run_round_trip
from bench.photos import evenly_spread, files_in
from bench.report import note, print_heading, print_table
from tests.rig.exiftool import fixed_fields, is_installed, lost_fields, new_warnings, read_fields

TARGET = 0.9
"""The share of decodable JPEGs that should be embedded."""


def main() -> None:
    """Write tags into copies of photos, undo the writes, and print the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.metadata", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--files", type=int, help="use N files of each folder, evenly spread")
    args = parser.parse_args()
    for folder in args.folders:
        if not folder.is_dir():
            parser.error(f"there is no folder {folder}")
    print_heading("Metadata")
    problems = [problem for folder in args.folders for problem in check_folder(folder, args.files)]
    for problem in problems:
        print(f"- **problem**: {problem}")
    raise SystemExit(1 if problems else 0)


def check_folder(folder: Path, count: int | None) -> list[str]:
    """Run a round trip for each file of a folder, print the results, and return the problems."""
    files = [file for file in files_in(folder) if file.is_file() and not file.is_symlink()]
    selected = evenly_spread(files, count)
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as folder_name:
        copies = Copies.create_in(Path(folder_name))
        results = {}
        for position, file in enumerate(selected):
            name = f"{position:05}{file.suffix.lower()}"
            results[name] = run_round_trip(file, name, copies)
            if position % 100 == 99:
                note(f"{folder.name}: {position + 1} of {len(selected)}")
        field_count = _check_with_exiftool(results, copies)
    _print(folder, list(results.values()), field_count)
    return [
        f"{folder.name}/{result.name}: {problem}"
        for result in results.values()
        for problem in result.problems
    ]


def _check_with_exiftool(results: dict[str, RoundTrip], copies: Copies) -> int:
    """Add the fields that exiftool finds changed to the results' problems; return the number of compared fields."""
    if not is_installed():
        return 0
    before, after = read_fields(copies.before), read_fields(copies.after)
    for name, fields in before.items():
        changed_fields = lost_fields(fields, after.get(name, {}))
        warnings = new_warnings(fields, after.get(name, {}))
        results[name].problems += [f"exiftool finds another {field}" for field in changed_fields]
        results[name].problems += [f"exiftool warns: {text}" for text in warnings]
    return sum(len(fixed_fields(fields)) for fields in before.values())


def _print(folder: Path, results: Sequence[RoundTrip], field_count: int) -> None:
    print(
        f"### {folder.name}: {len(results)} files, {sum(result.size_bytes for result in results) / 2**20:.0f} MiB\n"
    )
    jpegs = [result for result in results if result.is_jpeg]
    groups = {
        "files": results,
        "JPEGs": jpegs,
        "JPEGs that the tagger decodes": [result for result in jpegs if result.is_decodable],
    }
    counts = [Counter(result.outcome for result in group) for group in groups.values()]
    rows = [(outcome, *(count[outcome] for count in counts)) for outcome in sorted(counts[0])]
    print_table(("outcome", *groups), [*rows, ("**total**", *map(len, groups.values()))])
    decodable = list(groups.values())[-1]
    if decodable:
        share = sum(result.embedded for result in decodable) / len(decodable)
        print(f"Of the JPEGs that the tagger decodes, {share:.1%} were embedded (target: {TARGET:.0%}).\n")
    if reasons := Counter(result.reason for result in results if result.reason).most_common():
        print_table(("refused, or a sidecar instead, because", "files"), reasons)
    checks = [
        ("owner's fields compared by exiftool", field_count if is_installed() else "not installed"),
        ("photos decoded before and after", sum(result.is_decodable for result in results)),
        ("files embedded or with a sidecar", sum(result.was_written for result in results)),
        ("sidecars created", sum(result.wrote_sidecar for result in results)),
        ("problems", sum(len(result.problems) for result in results)),
    ]
    print_table(("checked", "count"), checks)


if __name__ == "__main__":
    main()
