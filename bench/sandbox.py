"""Measures what it costs to decode all photos in confined processes.

    python -m bench.sandbox FOLDER [--photos 200] [--rounds 5]

`tagger tag` runs over the same photos with TAGGER_SANDBOX=suspicious and =always, in turn: once over few of them, once over
all. The difference is the cost per photo; what is left of the run over few is the cost per job, which includes the start of
the processes. CPU time is that of all processes.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.photos import evenly_spread, photos_in
from bench.processes import TAGGER, run, tagger_environment
from bench.report import note, print_heading, print_table, value_range

SETTINGS = ("suspicious", "always")
FEW = 16


def main() -> None:
    """Compare the CPU time of decoding in this process and in confined processes."""
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--photos", type=int, default=200, help="[200]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    args = parser.parse_args()
    print_heading("Sandbox")
    with tempfile.TemporaryDirectory() as folder:
        costs = _measure(args.folder, Path(folder), args.photos, args.rounds)
    rows = []
    for setting, (photo_ms, job_s) in costs.items():
        more = median(photo_ms) / median(costs["suspicious"][0]) - 1
        rows.append(
            (
                setting,
                median(photo_ms),
                value_range(photo_ms),
                f"{more:+.0%}",
                median(job_s),
            )
        )
    print_table(
        ("TAGGER_SANDBOX", "CPU ms/photo", "lowest to highest", "difference", "CPU s/job besides"), rows
    )


def _measure(source: Path, work: Path, count: int, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    sample = evenly_spread(photos_in(source), count)
    many, few = _copies(sample, work / "many"), _copies(sample[:FEW], work / "few")
    costs: dict[str, tuple[list[float], list[float]]] = {setting: ([], []) for setting in SETTINGS}
    _cpu_s(few, work, "suspicious")  # selects the backend, and compiles the modules
    for number in range(rounds):
        for setting in SETTINGS if number % 2 else reversed(SETTINGS):
            few_s, many_s = _cpu_s(few, work, setting), _cpu_s(many, work, setting)
            photo_s = (many_s - few_s) / (len(sample) - FEW)
            costs[setting][0].append(1000 * photo_s)
            costs[setting][1].append(few_s - FEW * photo_s)
            note(f"round {number + 1}, {setting}: {1000 * photo_s:.1f} ms/photo")
    return costs


def _copies(photos: Sequence[Path], folder: Path) -> Path:
    folder.mkdir()
    for number, photo in enumerate(photos):
        shutil.copyfile(photo, folder / f"{number:05}{photo.suffix}")
    return folder


def _cpu_s(folder: Path, work: Path, setting: str) -> float:
    environment = tagger_environment(work / "data", sandbox=setting)
    command = (*TAGGER, "tag", folder, "--again", "--json")
    return run(command, environment).checked(0, 1, 3).usage.cpu_s


if __name__ == "__main__":
    main()
