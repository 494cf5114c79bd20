"""What benchmarks share: processes whose costs are measured, drawn photos, and tables of results."""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from tagger.model.devices import core_count, engine_version, hardware_name

# Processes

TAGGER = (sys.executable, "-m", "tagger")
# The model that the package ships.
SHIPPED = Path(__file__).parents[1] / "tagger" / "shipped" / "landmarks.pt"


@dataclass(frozen=True)
class Finished:
    """A process that has ended. `cpu_s` is that of all threads, and of children that it waited for.

    `memory_mib` is the most memory that it had.
    """

    wall_s: float
    cpu_s: float
    memory_mib: float
    code: int
    out: str
    err: str

    def checked(self, *allowed_codes: int) -> "Finished":
        """Return itself if the exit code is one of `allowed_codes` (0 by default).

        Raises:
            SystemExit: it has another exit code. The message ends with its error output.
        """
        if self.code not in (allowed_codes or (0,)):
            raise SystemExit(
                f"a command ended with code {self.code}:\n{self.err[-2000:]}"
            )
        return self


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> Finished:
    """Run a command to its end. Its output goes to files, so that no reader disturbs the measurement."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        _, status, rusage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="surrogateescape"))
    cpu_s, memory_mib = rusage.ru_utime + rusage.ru_stime, rusage.ru_maxrss / 1024
    return Finished(wall_s, cpu_s, memory_mib, process.returncode, *texts)


def tagger_environment(data_folder: Path, **settings: str) -> dict[str, str]:
    """Return the environment of the tagger's first start with a data folder, with only these settings.

    Photos are read at once: those that a benchmark has just drawn or copied are complete.
    """
    variables = {f"TAGGER_{name.upper()}": value for name, value in settings.items()}
    defaults = {"TAGGER_DATA_FOLDER": str(data_folder), "TAGGER_SETTLE_S": "0"}
    return plain_environment() | defaults | variables


def plain_environment() -> dict[str, str]:
    """Return the environment of this process, without settings of the tagger.

    PYTHONDONTWRITEBYTECODE is removed too: where it is set, as in many containers, every start would compile
    torch and all other modules again, and the measurement would include that.
    """
    excluded = ("TAGGER_", "PYTHONDONTWRITEBYTECODE")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(excluded)
    }


def cpu_seconds(pid: int) -> float:
    """Return the CPU time so far of a worker and its descendants, but not of its embedded Redis."""
    total, session = 0.0, os.getsid(pid)
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.Error, ProcessLookupError):  # it has ended since
            if os.getsid(process.pid) == session:
                total += sum(
                    process.cpu_times()[:4]
                )  # with the children that it waited for
    return total


# Photos for benchmarks: those of a folder, and drawn ones.

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
_SQUARE_PX = 40
# Makes a JPEG of coloured squares as large as that of a photo.
_NOISE = 4.0


def photos_in(folder: Path) -> list[Path]:
    """Return the photos of a folder that all compared programs can read.

    Raises:
        SystemExit: there are none.
    """
    files = sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in EXTENSIONS
    )
    if not files:
        raise SystemExit(f"there are no photos in {folder}")
    return files


def evenly_spread(files: Sequence[Path], count: int) -> Sequence[Path]:
    """Return `count` of the files, evenly spread, or all of them."""
    count = min(count, len(files))
    return [files[position * len(files) // count] for position in range(count)]


def draw_photos(
    folder: Path,
    first: int,
    count: int,
    size: tuple[int, int],
) -> None:
    """Draw distinct photos into a new folder; `first` is the number of those drawn before."""
    folder.mkdir(parents=True)
    files = [folder / f"{number:06}.jpg" for number in range(first, first + count)]
    with ProcessPoolExecutor(core_count(), get_context("spawn")) as pool:
        list(
            pool.map(
                partial(_draw, size=size),
                files,
                range(first, first + count),
                chunksize=8,
            )
        )


def _draw(file: Path, number: int, *, size: tuple[int, int]) -> None:
    width, height = size
    rng = np.random.default_rng(number)
    rows, columns = -(-height // _SQUARE_PX), -(-width // _SQUARE_PX)
    noise = rng.normal(0, _NOISE, (_SQUARE_PX, width, 1)).astype(np.int16)
    colours = rng.integers(0, 256, (rows, columns, 3), dtype=np.int16)
    squares = colours.repeat(_SQUARE_PX, axis=0).repeat(_SQUARE_PX, axis=1)[
        :height, :width
    ]
    pixels = squares + np.tile(noise, (rows, 1, 1))[:height]
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)


# The heading and the Markdown tables of a report.

PACKAGES = (
    "landmark-tagger",
    "torch",
    "torchvision",
    "pillow",
    "sqlalchemy",
    "celery",
    "redis",
)


def print_heading(title: str) -> None:
    versions = ", ".join(f"{package} {engine_version(package)}" for package in PACKAGES)
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    processor = hardware_name("cpu")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    spec = sys.modules["__main__"].__spec__
    program = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem

    # Folders are shortened to their names: private paths stay out of reports.
    words = [
        Path(word).name if os.sep in word and "://" not in word else word
        for word in sys.argv[1:]
    ]
    arguments = f"`{' '.join(words)}`" if words else "no arguments"

    lines = (
        f"## {title}\n",
        f"- {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}, load averages at the start: {load}",
        f"- {processor}, {core_count()} cores, {memory_gib:.0f} GiB; {platform.platform(terse=True)}",
        f"- Python {platform.python_version()}, {versions}",
        f"- `python -m {program}` with {arguments}\n",
    )
    print("\n".join(lines), flush=True)


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table and an empty line; the first column is text, the others are numbers."""
    lines = [
        "| " + " | ".join(names) + " |",
        "|" + "---|" + "--:|" * (len(names) - 1),
    ]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def value_range(values: Sequence[float]) -> str:
    """Return minimum and maximum, which show how reliable a median of few rounds is."""
    return f"{_cell(min(values))} to {_cell(max(values))}"


def _cell(value: object) -> str:
    if isinstance(value, float):
        places = 2 - (abs(value) >= 10) - (abs(value) >= 100)
        return f"{value:.{places}f}"
    return str(value)
