"""Measures how long a worker takes to be ready, and how long `tagger predict` and `tagger --help` take.

    python -m bench.start [PHOTO] [--rounds 5]

Each is compared with an import that it needs: `import torch` for the first two, `import typer` for the last. They
alternate in each round, after one round that is not measured. The worker's database and Redis exist before the measured
rounds. The worker is ready when it is listed in the database.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench.photos import draw_image
from bench.process_tree import cpu_seconds
from bench.processes import TAGGER, plain_environment, run, tagger_environment
from bench.report import note, print_heading, print_table, value_range
from bench.workers import embedded_redis_stopped, worker_database, worker_process
from tagger.database.connection import Database
from tagger.ledger.workers import list_workers

POLL_S = 0.01
READY_TIMEOUT_S = 120.0
IMPORT_TORCH, IMPORT_TYPER = "`import torch`", "`import typer`"
WORKER, PREDICT, HELP = "worker ready", "`tagger predict one.jpg`", "`tagger --help`"
TARGETS = ((WORKER, IMPORT_TORCH, 2), (PREDICT, IMPORT_TORCH, 2), (HELP, IMPORT_TYPER, 4))


@dataclass(frozen=True)
class Start:
    """Wall time and CPU time, in seconds."""

    wall_s: float
    cpu_s: float


def main() -> None:
    """Compare the time of starts with that of the imports they need."""
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=main.__doc__)
    parser.add_argument("photo", type=Path, nargs="?", help="[a drawn photo]")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print_heading("Starting")
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        folder = Path(name)
        draw_image(0, (1600, 1200)).save(folder / "drawn.jpg")
        starts = measure(args.photo or folder / "drawn.jpg", folder, args.rounds)
    _print(starts)


def measure(photo: Path, folder: Path, rounds: int) -> dict[str, list[Start]]:
    """Return the times of each start in each round, without the first round, which fills caches."""
    environment = tagger_environment(folder)
    with embedded_redis_stopped(folder):
        programs: dict[str, Callable[[], Start]] = {
            IMPORT_TORCH: partial(_command, [sys.executable, "-c", "import torch"], plain_environment()),
            IMPORT_TYPER: partial(_command, [sys.executable, "-c", "import typer"], plain_environment()),
            WORKER: partial(_worker, folder, environment),
            PREDICT: partial(_command, [*TAGGER, "predict", photo.absolute()], environment),
            HELP: partial(_command, [*TAGGER, "--help"], environment),
        }
        starts: dict[str, list[Start]] = {name: [] for name in programs}
        for number in range(rounds + 1):
            note(f"round {number} of {rounds}" if number else "warm-up")
            for name, program in programs.items():
                starts[name].append(program())
    return {name: each[1:] for name, each in starts.items()}


def _command(command: Sequence[str | Path], environment: Mapping[str, str]) -> Start:
    usage = run(command, environment).checked().usage
    return Start(usage.wall_s, usage.cpu_s)


def _worker(folder: Path, environment: dict[str, str]) -> Start:
    start = time.monotonic()
    with worker_process(folder, environment) as process:
        # Before the first start there is no database: this process or the worker creates it.
        with worker_database(folder) as database:
            _wait_until_ready(process, database)
        return Start(time.monotonic() - start, cpu_seconds(process.pid))


def _wait_until_ready(process: subprocess.Popen[bytes], database: Database) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not any(worker.name.startswith(f"tagger-{process.pid}@") for worker in list_workers(database)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("the worker did not start")
        time.sleep(POLL_S)


def _print(starts: Mapping[str, Sequence[Start]]) -> None:
    names = ("", "wall s", "range", "CPU s", "range")
    rows = []
    for name, each in starts.items():
        wall, cpu = [start.wall_s for start in each], [start.cpu_s for start in each]
        rows.append([name, median(wall), value_range(wall), median(cpu), value_range(cpu)])
    print_table(names, rows)
    print_table(("", "wall", "CPU", "target: at most"), [_ratio(starts, *target) for target in TARGETS])
    print("Medians of the rounds; ratios are medians of each round's ratio.\n", flush=True)


def _ratio(starts: Mapping[str, Sequence[Start]], name: str, baseline: str, target: int) -> list[object]:
    pairs = list(zip(starts[name], starts[baseline], strict=True))
    wall = median(start.wall_s / other.wall_s for start, other in pairs)
    cpu = median(start.cpu_s / other.cpu_s for start, other in pairs)
    return [f"{name} ÷ {baseline}", f"{wall:.2f}", f"{cpu:.2f}", target]


if __name__ == "__main__":
    main()
