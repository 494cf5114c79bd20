"""Measures what `tagger tag` costs without its model, and how fast the interpreter's lock lets it become.

    python -m bench.pipeline [--photos 3000] [--rounds 2] [--parts 12] [--processes 1 2 4] [--database URL]

The model is a stub that returns at once. The CPU time of one process is sampled, and each sample says whether
its thread holds the interpreter's lock, which one thread at a time can have: a second divided by this time is
the bound of one process, on any number of cores. Then several processes run. Needs Linux and a C compiler.
"""

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.photos import draw_photos, photos_in
from bench.processes import TAGGER, Finished, run, tagger_environment
from bench.report import note, print_heading, print_table
from bench.stub_backend import REPORTS

KINDS = {"small": ((640, 480), 1), "large": ((4000, 3000), 5)}
"""The size of the photos of a kind, and by how much fewer they are."""
FIRST, START = "first", "start of "
FIRST_PHOTOS, START_PHOTOS = 16, 192
"""Photos that make the database, and those of each kind whose cost is subtracted, with that of the start of
the processes: four chunks."""
FEWEST_PHOTOS = 1500
ROOT = Path(__file__).parents[1]
FRAME = re.compile(r'  File "[^"]*/tagger/([^"]*)\.py", line \d+ in (\S+)')
LOCKED = "locked"


@dataclass(frozen=True)
class Tagged:
    """A run of `tagger tag` over new photos: CPU and wall seconds beyond those of its start.

    `locked` and `unlocked`: ms of CPU time a photo, with and without the lock, by the innermost function of
    the tagger. `waiting`: the share of the processes' time in which they waited to begin a transaction.
    """

    cpu_s: float
    wall_s: float
    locked: Mapping[str, float]
    unlocked: Mapping[str, float]
    waiting: float


def main() -> None:
    """Measure `tagger tag` without its model."""
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description=main.__doc__)
    parser.add_argument(
        "--photos", type=int, default=3000, help="small ones; a fifth as many large ones [3000]"
    )
    parser.add_argument("--rounds", type=int, default=2, help="[2]")
    parser.add_argument("--parts", type=int, default=12, help="functions that are listed [12]")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="[1 2 4]")
    parser.add_argument("--database", help="an empty PostgreSQL database, which is filled [SQLite]")
    args = parser.parse_args()
    if args.photos < FEWEST_PHOTOS:
        parser.error(f"--photos: use at least {FEWEST_PHOTOS}")
    print_heading("Tagging without a model")
    with tempfile.TemporaryDirectory(prefix="tagger-pipeline-") as name:
        bench = _Bench(Path(name), args.photos, args.database)
        one: dict[str, list[Tagged]] = {}
        for kind in KINDS:
            one[kind] = [bench.tag(kind, 1, sampled=True) for _ in range(args.rounds)]
        heading = (
            "photos",
            "decoding",
            "the rest",
            "with the lock",
            "rounds",
            "without it",
            "photos/s at most",
        )
        print_table(heading, [bench.row(kind, rounds) for kind, rounds in one.items()])
        for kind, rounds in one.items():
            print_table((f"{kind}: ms a photo in", "with the lock", "without it"), _parts(rounds, args.parts))
        counts = [count for count in args.processes if count > 1]
        names = ("photos", "processes", "photos/s", "CPU ms a photo", "waits to write")
        rows = [bench.process_row(kind, count, args.rounds) for kind in KINDS for count in (1, *counts)]
        print_table(names, rows)


class _Bench:
    """Photos of each kind, and an environment whose backend is the stub."""

    def __init__(self, folder: Path, count: int, database: str | None) -> None:
        self._folder = folder
        self._database = database
        number = 0
        for kind, (size, fewer) in KINDS.items():
            draw_photos(folder / kind, number, count // fewer, size)
            draw_photos(folder / f"{START}{kind}", number + count, START_PHOTOS, size)
            number += count + START_PHOTOS
        draw_photos(folder / FIRST, number, FIRST_PHOTOS, KINDS["small"][0])
        self._library = folder / "sampler.so"
        source = Path(__file__).with_name("lock_sampler.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", self._library], check=True)
        package = folder / "site" / "bench_stub-1.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-stub\nVersion: 1\n")
        (package / "entry_points.txt").write_text("[tagger.backends]\nstub = bench.stub_backend:make\n")
        self._path = f"{ROOT}:{package.parent}"

    def _more_photos(self, kind: str) -> int:
        """The photos whose cost is measured: those beyond the ones of the start."""
        return len(photos_in(self._folder / kind)) - START_PHOTOS

    def tag(self, kind: str, processes: int, *, sampled: bool = False) -> Tagged:
        """Tag the photos of a kind in a new database, or in the given one anew."""
        data = Path(tempfile.mkdtemp(dir=self._folder))
        settings = {"backend": "stub", "processes": str(processes)}
        if self._database is not None:
            settings["database_url"] = self._database
        environment = tagger_environment(data, **settings) | {"PYTHONPATH": self._path}

        library = str(self._library) if sampled else ""

        def tag(name: str) -> tuple[Finished, Path]:
            reports = Path(tempfile.mkdtemp(dir=data))
            variables = environment | {REPORTS: json.dumps([str(reports), library])}
            again = ["--again"] if self._database is not None else []
            return run([*TAGGER, "tag", *again, self._folder / name], variables).checked(), reports

        tag(FIRST)
        (start, start_reports), (end, reports) = tag(f"{START}{kind}"), tag(kind)
        found = [json.loads(file.read_text()) for file in reports.glob("*.json")]
        waiting = sum(each["waited_s"] for each in found) / sum(each["lasted_s"] for each in found)
        cpu_s = end.cpu_s - start.cpu_s
        locked, unlocked = _samples(reports)
        for counted, before in zip((locked, unlocked), _samples(start_reports), strict=True):
            counted.subtract(before)
        # Two threads that run at once may give one sample: the numbers tell shares of the CPU time.
        ms = 1000 * cpu_s / self._more_photos(kind) / max(locked.total() + unlocked.total(), 1)
        shutil.rmtree(data)
        return Tagged(cpu_s, end.wall_s - start.wall_s, _scaled(locked, ms), _scaled(unlocked, ms), waiting)

    def row(self, kind: str, rounds: Sequence[Tagged]) -> tuple[object, ...]:
        """A kind of photos in one process: ms of CPU time a photo, and the bound that follows."""
        decoding = self._decoding_ms(kind)
        locked = [sum(each.locked.values()) for each in rounds]
        unlocked = median(sum(each.unlocked.values()) for each in rounds)
        rest = median(locked) + unlocked - decoding
        note(f"{kind}: {', '.join(f'{ms:.2f}' for ms in locked)} ms with the lock")
        spread = f"{min(locked):.2f} to {max(locked):.2f}"
        return kind, decoding, rest, median(locked), spread, unlocked, 1000 / median(locked)

    def _decoding_ms(self, kind: str) -> float:
        """The CPU time in which a photo is read and decoded, in a process that does nothing else."""
        files = list(map(str, photos_in(self._folder / kind)))
        command = (TAGGER[0], "-m", "bench.decoding")
        environment = tagger_environment(self._folder) | {"PYTHONPATH": str(ROOT)}
        few, many = (run([*command, *some], environment).checked().cpu_s for some in (files[:1], files))
        return 1000 * (many - few) / (len(files) - 1)

    def process_row(self, kind: str, processes: int, rounds: int) -> tuple[object, ...]:
        """A kind of photos in several processes."""
        found = [self.tag(kind, processes) for _ in range(rounds)]
        note(f"{kind}: {processes} processes")
        wall_s, cpu_s = (median(values) for values in zip(*((f.wall_s, f.cpu_s) for f in found), strict=True))
        waiting = f"{median(each.waiting for each in found):.1%}"
        count = self._more_photos(kind)
        return kind, processes, count / max(wall_s, 1e-3), 1000 * cpu_s / count, waiting


def _samples(reports: Path) -> tuple[Counter[str], Counter[str]]:
    """The numbers of samples with the lock and without, by functions."""
    locked, unlocked = Counter[str](), Counter[str]()
    for file in reports.glob("*.txt"):
        for sample in file.read_text(errors="replace").split("@ ")[1:]:
            state, _, stack = sample.partition("\n")
            frame = FRAME.search(stack)
            where = f"{frame[1].replace('/', '.')}.{frame[2]}" if frame else "outside of the tagger"
            (locked if state == LOCKED else unlocked)[where] += 1
    return locked, unlocked


def _scaled(samples: Counter[str], ms: float) -> dict[str, float]:
    return {where: number * ms for where, number in samples.items()}


def _parts(rounds: Sequence[Tagged], count: int) -> Iterator[tuple[object, ...]]:
    """The functions that hold the lock longest, with the means of all rounds."""

    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(rounds)

    means = {name: mean(each.locked.get(name, 0.0) for each in rounds) for name in rounds[0].locked}
    for name in sorted(means, key=means.__getitem__, reverse=True)[:count]:
        without = mean(each.unlocked.get(name, 0.0) for each in rounds)
        yield name, f"{means[name]:.3f}", f"{without:.3f}"


if __name__ == "__main__":
    main()
