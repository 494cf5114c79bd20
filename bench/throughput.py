"""Folders of photos through three programs, in turn: the plain script, `tagger tag`, and one Celery worker.

    python -m bench.throughput FOLDER… [--rounds 3] [--copies N] [--photos N]

Every round uses a database and a Redis of its own, so every photo is new. A folder of few photos is too short a run:
`--copies N` makes N of each, cropped differently and saved anew at quality 95 (the digest leaves metadata out, so a
copy with other metadata would be looked at once), into a cache that later runs use again.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.copies import copies_of, photos_in, some_of
from bench.processes import TAGGER, Usage, run, tagger_environment
from bench.report import median, note, print_heading, print_table, spread
from bench.workers import WorkerRun, run_worker

T = TypeVar("T")

SHIPPED = Path(__file__).parent.parent / "tagger" / "shipped" / "landmarks.pt"
CACHE = Path("build") / "bench-copies"
START_PHOTOS = 8
"""TorchScript optimises a network in its first runs; the start is measured with them in it."""
WHAT_IS_MEASURED = f"""\
- **photos/s, whole**: photos ÷ wall time of the command, from Python's start with imports and the model's loading; for
  the worker, which is ready before, from the start of `tagger enqueue` to the job's end.
- **photos/s, going**: without the start, which is a run over {START_PHOTOS} of the photos: what the others took
  beyond that; for the worker from the job's first claim to its end.
- **CPU ms/photo**: user + system time of all threads, whole and going likewise; the worker's is its own process's while
  the job went on (`enqueue` is named below the table, Redis is not measured).
- **Peak MiB**: the largest resident set.
- The tagger also digests every photo, reads its EXIF, turns it upright, converts it to sRGB and stores what it found in
  SQLite; the plain script prints.
"""


@dataclass(frozen=True)
class Round:
    """One program once through a folder; `start` is its run over START_PHOTOS of them."""

    whole: Usage
    start: Usage
    photos: int

    @property
    def rate(self) -> float:
        return self.photos / self.whole.wall_s

    @property
    def rate_going(self) -> float:
        return (self.photos - START_PHOTOS) / max(self.whole.wall_s - self.start.wall_s, 0.001)

    @property
    def cpu_ms(self) -> float:
        return self.whole.cpu_s / self.photos * 1000

    @property
    def cpu_ms_going(self) -> float:
        return (self.whole.cpu_s - self.start.cpu_s) / (self.photos - START_PHOTOS) * 1000


@dataclass(frozen=True)
class Figures:
    """Medians of one program's rounds; None where there is nothing to tell apart."""

    name: str
    rate: float
    rate_going: float
    cpu_ms: float | None
    cpu_ms_going: float
    peak_mib: float
    rates_going: Sequence[float]


def main() -> None:
    """Compare the plain script, `tagger tag` and one Celery worker over folders of photos."""
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=0, help="make N photos of each, for small folders")
    parser.add_argument("--photos", type=int, default=0, help="only N of each folder, evenly spread")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"where copies are kept [{CACHE}]")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="an artifact [the one that ships]")
    asked = parser.parse_args()
    print_heading("Throughput")
    print(WHAT_IS_MEASURED)
    for folder in asked.folders:
        photos = copies_of(folder, asked.copies, asked.cache) if asked.copies else folder
        photos = some_of(photos, asked.photos, asked.cache) if asked.photos else photos
        compare(folder.name, photos, asked.model.absolute(), asked.rounds)


def compare(name: str, folder: Path, model: Path, rounds: int) -> None:
    """Run every program `rounds` times over a folder, in turn, and print the table."""
    files = photos_in(folder)
    size_mb = sum(file.stat().st_size for file in files) / len(files) / 1e6
    print(f"### {name}: {len(files)} photos, {size_mb:.2f} MB each on average, {rounds} rounds\n", flush=True)
    plain, tagged, worked = [], [], []
    for number in range(rounds):
        note(f"{name}: round {number + 1} of {rounds}")
        plain.append(_round(_plain, model, folder, files))
        tagged.append(_round(_tag, model, folder, files))
        worked.append(_with_data_folder(lambda data: run_worker(data, folder, model)))
    _print(plain, tagged, worked)


def _round(
    program: Callable[[Path, Sequence[Path]], Usage], model: Path, folder: Path, files: Sequence[Path]
) -> Round:
    first = files[:: len(files) // START_PHOTOS][:START_PHOTOS]
    return Round(start=program(model, first), whole=program(model, [folder]), photos=len(files))


def _plain(model: Path, paths: Sequence[Path]) -> Usage:
    return run([TAGGER[0], "-m", "bench.plain", model, *paths], tagger_environment(Path())).checked().usage


def _tag(model: Path, paths: Sequence[Path]) -> Usage:
    def tag(data: Path) -> Usage:
        environment = tagger_environment(data, model=str(model))
        return run([*TAGGER, "tag", *paths], environment).checked(0, 3).usage

    return _with_data_folder(tag)


def _with_data_folder(work: Callable[[Path], T]) -> T:
    folder = Path(tempfile.mkdtemp(prefix="tagger-bench-"))
    try:
        return work(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _print(plain: Sequence[Round], tagged: Sequence[Round], worked: Sequence[WorkerRun]) -> None:
    figures = [
        _of_rounds("plain script", plain),
        _of_rounds("`tagger tag`", tagged),
        _of_worker("one Celery worker", worked),
    ]
    names = ("", "photos/s, whole", "going", "least to greatest", "CPU ms/photo, whole", "going", "peak MiB")
    print_table(names, [_row(each) for each in figures])
    peer, *ours = figures
    ratios = ("against the plain script", "photos/s, whole", "photos/s, going", "CPU, whole", "CPU, going")
    print_table(ratios, [_ratios(each, peer) for each in ours])
    print(
        f"`tagger enqueue` used {median(run.enqueue_ms for run in worked):.2f} CPU ms/photo besides.\n",
        flush=True,
    )


def _of_rounds(name: str, rounds: Sequence[Round]) -> Figures:
    return Figures(
        name,
        rate=median(each.rate for each in rounds),
        rate_going=median(each.rate_going for each in rounds),
        cpu_ms=median(each.cpu_ms for each in rounds),
        cpu_ms_going=median(each.cpu_ms_going for each in rounds),
        peak_mib=median(each.whole.peak_mib for each in rounds),
        rates_going=[each.rate_going for each in rounds],
    )


def _of_worker(name: str, runs: Sequence[WorkerRun]) -> Figures:
    return Figures(
        name,
        rate=median(each.rate for each in runs),
        rate_going=median(each.rate_going for each in runs),
        cpu_ms=None,
        cpu_ms_going=median(each.cpu_ms for each in runs),
        peak_mib=median(each.whole.peak_mib for each in runs),
        rates_going=[each.rate_going for each in runs],
    )


def _row(figures: Figures) -> list[object]:
    cpu_ms: object = "-" if figures.cpu_ms is None else figures.cpu_ms
    rates = spread(figures.rates_going)
    return [
        figures.name,
        figures.rate,
        figures.rate_going,
        rates,
        cpu_ms,
        figures.cpu_ms_going,
        round(figures.peak_mib),
    ]


def _ratios(ours: Figures, peer: Figures) -> list[object]:
    cpu = "-" if ours.cpu_ms is None or peer.cpu_ms is None else f"{peer.cpu_ms / ours.cpu_ms:.1f} x less"
    return [
        ours.name,
        f"{ours.rate / peer.rate:.1f} x",
        f"{ours.rate_going / peer.rate_going:.1f} x",
        cpu,
        f"{peer.cpu_ms_going / ours.cpu_ms_going:.1f} x less",
    ]


if __name__ == "__main__":
    main()
