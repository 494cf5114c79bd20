"""Runs `tagger tag` on every file of a folder, each named on the command line, and counts the outcomes.

    python -m bench.outcomes FOLDER…

Use it on folders of broken and hostile files. Each file must have exactly one outcome, the job's counts must add up
to the number of files, and the command must exit with 0 or 3. Otherwise the benchmark exits with code 1.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.processes import TAGGER, Finished, run, tagger_environment
from bench.report import print_heading, print_table

DONE, SOME_PHOTOS_FAILED = 0, 3


def main() -> None:
    """Tag every file of the folders, of whatever format, and print the outcomes."""
    parser = argparse.ArgumentParser(prog="python -m bench.outcomes", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    args = parser.parse_args()
    print_heading("Outcomes")
    problems = [problem for folder in args.folders for problem in examine(folder)]
    for problem in problems:
        print(f"- **problem**: {problem}")
    raise SystemExit(1 if problems else 0)


def examine(folder: Path) -> list[str]:
    """Tag a folder's files, print the table, and return the problems."""
    files = files_in(folder)
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as data:
        environment = tagger_environment(Path(data))
        finished = run([*TAGGER, "tag", "--json", *files], environment)
        if finished.code not in {DONE, SOME_PHOTOS_FAILED}:
            return [f"{folder.name}: the command ended with code {finished.code}: {finished.err[-500:]}"]
        job = json.loads(finished.out)
        outcomes = _outcomes(environment)
    _print(folder, files, outcomes, finished)
    return [f"{folder.name}: {problem}" for problem in _problems(files, outcomes, job)]


def files_in(folder: Path) -> list[Path]:
    """Return all files below a folder, as absolute paths."""
    # Links are not resolved: a link counts as a file of its own, as it does for the command.
    entries = folder.resolve().rglob("*")
    return sorted(file for file in entries if file.is_symlink() or not file.is_dir())


def _outcomes(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return path and outcome of every photo in the database, as `query` and `failures` list them."""
    classified = _run_json(environment, "query", "--any-rank")
    failed = _run_json(environment, "failures")
    return [(photo["path"], photo["outcome"]) for photo in classified] + [
        (photo["path"], f"failed: {photo['kind']}") for photo in failed
    ]


def _run_json(environment: Mapping[str, str], *args: str) -> list[Any]:
    rows: list[Any] = json.loads(run([*TAGGER, *args, "--json"], environment).checked().out)
    return rows


def _problems(
    files: Iterable[Path], outcomes: Iterable[tuple[str, str]], job: Mapping[str, Any]
) -> list[str]:
    expected = Counter(str(file) for file in files)
    actual = Counter(path for path, _ in outcomes)
    kinds = Counter(outcome.partition(":")[0] for _, outcome in outcomes)
    problems = [f"{path!a} has no outcome" for path in expected - actual]
    problems += [f"{path!a} has {actual[path]} outcomes" for path in actual - expected]
    if job["total"] != expected.total():
        problems.append(f"the job has {job['total']} photos, the folder {expected.total()} files")
    for name in ("tagged", "unknown", "failed"):
        if job[name] != kinds[name]:
            problems.append(f"the job counts {job[name]} {name}, the database {kinds[name]}")
    return problems


def _print(folder: Path, files: list[Path], outcomes: Iterable[tuple[str, str]], finished: Finished) -> None:
    size_mib = sum(file.stat().st_size for file in files if file.is_file()) / 2**20
    print(f"### {folder.name}: {len(files)} files, {size_mib:.0f} MiB\n")
    counts = Counter(outcome for _, outcome in outcomes)
    print_table(("outcome", "files"), [*sorted(counts.items()), ("**total**", counts.total())])
    usage = finished.usage
    print(
        f"`tagger tag` ended with code {finished.code}; {usage.wall_s:.1f} s, {usage.cpu_s:.1f} s of CPU, "
        f"at most {usage.peak_mib:.0f} MiB.\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
