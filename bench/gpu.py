"""Compares a GPU with float32 on the CPU, and `tagger tag` with the limits of the machine.

    python -m bench.gpu [--device auto] [--photos 4000] [--pictures FOLDER]

Limits are decoding, forward passes, and what the rest of the tagger does: `tagger tag` runs with a model that
returns at once, too. One process of it shows the bound by the interpreter's lock, on any number of cores.

Prints a table. The exit code is 1 if a goal is missed. On a CPU, a GPU's goals are not judged.
"""

import argparse
import json
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil

from bench.rig import (
    SHIPPED,
    TAGGER,
    Finished,
    draw_photos,
    evenly_spread,
    note,
    photos_in,
    print_heading,
    run,
    table,
    tagger_environment,
)
from tagger.errors import SettingsInvalid
from tagger.model.artifact import file_digest, load_module, read_manifest
from tagger.model.backends import Images, Outputs
from tagger.model.backends.selection import generated_images
from tagger.model.devices import (
    CPU_BATCH,
    Device,
    choose_device,
    core_count,
    hardware_name,
)
from tagger.photos.decoding import Pixels
from tagger.photos.files import read_photo
from tagger.pipeline import Limits, open_bytes

MANIFEST = read_manifest(SHIPPED)
LIMITS = Limits(readers=1, max_bytes=2**29, max_pixels=250_000_000)
SIZES = ((640, 480), (1600, 1200), (4000, 3000))
GPU_BATCHES, CPU_BATCHES = (64, 128, 256, 512), (CPU_BATCH,)
WARM_UPS, ROUNDS = 3, 12
COMPARED, FEWEST_PHOTOS, WARM_UP_PHOTOS = 500, 96, 64
# The goals: best tags the same, mean difference of their scores, cosine, and share of the limit.
SAME, SCORE_DIFFERENCE, COSINE, SHARE = 0.995, 0.02, 0.999, 0.85
# Scores so near are the same: of a drawn picture, none is above a few hundredths.
TIE = 0.005

# What was measured, its value, its goal and its verdict.
Row = tuple[str, str, str, str]


def main() -> None:
    """Compare a GPU with the CPU, and with the limits of the machine."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=main.__doc__
    )
    parser.add_argument(
        "--device", choices=("auto", "cuda", "cpu"), default="auto", help="[auto]"
    )
    parser.add_argument("--photos", type=int, default=4000, help="[4000]")
    pictures = "photos to compare results on [drawn pictures]"
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help=pictures)
    args = parser.parse_args()
    if args.photos < FEWEST_PHOTOS:
        parser.error(f"--photos: use at least {FEWEST_PHOTOS}")
    try:
        device = choose_device(args.device, None)
    except SettingsInvalid as error:
        raise SystemExit(f"error: {error}") from error
    print_heading("Tagging on a GPU")
    with tempfile.TemporaryDirectory(prefix="tagger-gpu-") as name:
        rows = list(_measure(device, Path(name), args.photos, args.pictures))
    print(table(("", "value", "goal", "verdict"), rows), flush=True)
    raise SystemExit(1 if any(row[-1] == "FAIL" for row in rows) else 0)


def _measure(
    device: Device,
    folder: Path,
    count: int,
    pictures: Path | None,
) -> Iterator[Row]:
    yield _figure(
        "device", f"{device.kind}, {device.precision}: {hardware_name(device.kind)}"
    )
    for number, size in enumerate(SIZES):
        draw_photos(
            folder / "photos" / str(size[0]),
            number * count,
            count // len(SIZES),
            size,
        )
    draw_photos(
        folder / "warm-up",
        len(SIZES) * count,
        WARM_UP_PHOTOS,
        SIZES[0],
    )
    photos = photos_in(folder / "photos")
    chosen = evenly_spread(
        photos if pictures is None else photos_in(pictures),
        COMPARED,
    )
    yield from compare(
        _outputs(Device("cpu", "float32", CPU_BATCH), chosen), _outputs(device, chosen)
    )
    decoding, forward = _decoding_rate(photos), 0.0
    yield _figure(f"decoding in {core_count()} processes", _rate(decoding))
    for images, rate in _forward_rates(device).items():
        yield _figure(f"forward passes of {images}", _rate(rate))
        forward = max(forward, rate)
    # A GPU computes while the cores decode; on a CPU, the same cores do both.
    limit = (
        min(decoding, forward)
        if device.kind == "cuda"
        else 1 / (1 / decoding + 1 / forward)
    )
    yield from _without_model(device, folder, len(photos))
    environment = _environment(device, folder / "data")
    alone = environment | {"TAGGER_PROCESSES": "1"}
    yield _figure(
        "`tagger tag` in one process",
        _rate(_tag_rate(folder, len(photos), alone)),
    )
    rate = _tag_rate(folder, len(photos), environment)
    yield _figure("`tagger tag`", _rate(rate))
    share, goal = rate / limit, f"≥ {SHARE}"
    verdict = "pass" if share >= SHARE else "FAIL"
    if device.kind != "cuda":
        verdict = "needs a GPU"
    yield "its share of the nearest limit", f"{share:.2f}", goal, verdict
    lost, twice = _after_a_kill(device, folder)
    yield _goal(
        "photos lost, counted twice after a kill",
        f"{lost}, {twice}",
        "0, 0",
        met=lost == twice == 0,
    )
    if device.kind == "cuda":
        # How many photos fail while another program has nearly all memory of the GPU.
        import torch

        free, _ = torch.cuda.mem_get_info()
        taken = torch.empty(
            max(free - LEFT_BYTES, 0),
            dtype=torch.uint8,
            device=device.kind,
        )
        environment = _environment(device, folder / "data", processes="1")
        end = run([*_tag(folder / "warm-up"), "--json"], environment).checked(0, 3)
        del taken
        failed: int = json.loads(end.out)["failed"]

        yield _goal("failed with little memory left", str(failed), "0", met=failed == 0)


def compare(expected: Outputs, actual: Outputs) -> Iterator[Row]:
    """How far the outputs of two devices for the same images are apart."""
    one, other = expected.embeddings, actual.embeddings
    if one is None or other is None:
        raise SystemExit("the shipped model gives no embeddings")
    best, rows = expected.scores.argmax(axis=1), np.arange(len(expected.scores))
    behind = actual.scores.max(axis=1) - actual.scores[rows, best]
    same = float((behind <= TIE).mean())
    difference = float(
        np.abs(expected.scores[rows, best] - actual.scores[rows, best]).mean()
    )
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine = float(((one * other).sum(axis=1) / lengths).min())
    yield _goal(
        f"best tag the same, of {len(best)}",
        f"{same:.1%}",
        f"≥ {SAME:.1%}",
        met=same >= SAME,
    )
    is_small = difference <= SCORE_DIFFERENCE
    yield _goal(
        "mean difference of its score",
        f"{difference:.4f}",
        f"≤ {SCORE_DIFFERENCE}",
        met=is_small,
    )
    yield _goal(
        "least cosine of embeddings",
        f"{cosine:.5f}",
        f"≥ {COSINE}",
        met=cosine >= COSINE,
    )


def _figure(what: str, value: str) -> Row:
    note(f"{what}: {value}")
    return what, value, "-", "-"


def _goal(what: str, value: str, goal: str, *, met: bool) -> Row:
    note(f"{what}: {value}")
    return what, value, goal, "pass" if met else "FAIL"


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f} photos/s"


def _outputs(device: Device, photos: Sequence[Path]) -> Outputs:
    forward, size = _forward(device), device.batch_size
    parts = [photos[first : first + size] for first in range(0, len(photos), size)]
    return Outputs.joined(
        [forward(np.stack([pixels(photo) for photo in part])) for part in parts]
    )


def _forward(device: Device) -> Callable[[Images], Outputs]:
    # Torch is not for the processes that decode.
    from tagger.model.backends.torchscript import TorchScriptBackend

    module = load_module(SHIPPED, file_digest(SHIPPED))
    return TorchScriptBackend(module, device, 1).forward


def pixels(photo: Path) -> Pixels:
    """Read and decode a photo as the pipeline does, in the size of the shipped model."""
    opened = open_bytes(read_photo(photo, max_bytes=LIMITS.max_bytes), LIMITS)
    return opened.decode(MANIFEST.input.resize).pixels


def _decoding_rate(photos: Sequence[Path]) -> float:
    with ProcessPoolExecutor(core_count(), get_context("spawn")) as pool:
        list(
            pool.map(pixels, photos[: core_count()])
        )  # the start of the processes does not count
        start = time.perf_counter()
        list(pool.map(pixels, photos, chunksize=8))
        return len(photos) / (time.perf_counter() - start)


def _forward_rates(device: Device) -> dict[int, float]:
    # Images per second by batch size, with the copies to and from the device, which the jobs have too.
    forward, rates = _forward(device), {}
    for size in GPU_BATCHES if device.kind == "cuda" else CPU_BATCHES:
        images = np.resize(
            generated_images(MANIFEST.input.size, 16),
            (
                size,
                *[MANIFEST.input.size] * 2,
                3,
            ),
        )
        seconds = []
        for _ in range(WARM_UPS + ROUNDS):
            start = time.perf_counter()
            forward(images)
            seconds.append(time.perf_counter() - start)
        rates[size] = size / min(seconds[WARM_UPS:])
    return rates


MOST_IMAGES = 1024
# The score of each fifth photo's landmark.
TAGGED, SHARE_TAGGED = 0.9, 5


class StubBackend:
    """A backend whose forward passes return at once: the pipeline without its model.

    It is an extension of the programs that are started here.
    """

    name = "stub"

    def __init__(
        self, _module: object, _device: object, _size: int, at_once: int
    ) -> None:
        self.at_once = at_once
        count = len(MANIFEST.labels)
        dimension = MANIFEST.embedding.dimension if MANIFEST.embedding else 0
        self._scores = np.full((MOST_IMAGES, count), 0.1 / count, np.float32)
        self._scores[::SHARE_TAGGED, 0] = TAGGED
        random = np.random.default_rng(1)
        self._embeddings = random.standard_normal(
            (MOST_IMAGES, dimension), dtype=np.float32
        )

    def forward(self, images: Images) -> Outputs:
        return Outputs(self._scores[: len(images)], self._embeddings[: len(images)])

    def free_memory(self) -> None:
        """Nothing is kept."""


def _without_model(device: Device, folder: Path, count: int) -> Iterator[Row]:
    # The rates of the tagger with a model that returns at once, in one process and in several.
    package = folder / "site" / "bench_stub-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: bench-stub\nVersion: 1\n"
    )
    (package / "entry_points.txt").write_text(
        "[tagger.backends]\nstub = bench.gpu:StubBackend\n"
    )
    path = f"{Path(__file__).parents[1]}:{package.parent}"
    environment = _environment(device, folder / "stub", backend="stub") | {
        "PYTHONPATH": path
    }
    for where, processes in (
        ("one process", {"TAGGER_PROCESSES": "1"}),
        ("all processes", {}),
    ):
        rate = _tag_rate(folder, count, environment | processes)
        yield _figure(f"`tagger tag` without its model in {where}", _rate(rate))


def _tag_rate(folder: Path, count: int, environment: dict[str, str]) -> float:
    # That of `tagger tag` over a few photos, and over these and the others; the difference counts.
    def tag(*folders: Path) -> Finished:
        return run(_tag(*folders), environment).checked(0, 3)

    # The first one chooses the batch size.
    *_, start = (tag(folder / "warm-up") for _ in repeat(None, 2))
    return count / max(
        tag(folder / "warm-up", folder / "photos").wall_s - start.wall_s, 1e-3
    )


def _tag(*folders: Path) -> list[str | Path]:
    return [*TAGGER, "tag", "--again", *folders]


def _environment(device: Device, data: Path, **settings: str) -> dict[str, str]:
    options = {
        "model": str(SHIPPED),
        "device": device.kind,
        "backend": "torchscript",
        **settings,
    }
    return tagger_environment(data, **options)


def _after_a_kill(device: Device, folder: Path) -> tuple[int, int]:
    # Kill one of two processes amid a job: photos without an outcome, and outcomes that counted twice.
    environment = _environment(device, folder / "data", processes="2")
    with closing(
        sqlite3.connect(folder / "data" / "tagger.sqlite", timeout=60)
    ) as database:
        job = before = database.execute(_LAST_JOB).fetchone()
        program = subprocess.Popen(
            _tag(folder / "photos"), env=environment, stdout=subprocess.DEVNULL
        )
        total = done = 0
        while program.poll() is None and (job == before or done <= total // 4):
            time.sleep(POLL_S)
            job = database.execute(_LAST_JOB).fetchone()
            total, done = database.execute(_PROGRESS, job).fetchone()
        max(
            psutil.Process(program.pid).children(),
            key=psutil.Process.create_time,
        ).kill()
        program.wait()
        total, done = database.execute(_PROGRESS, job).fetchone()
        (counted,) = database.execute(_COUNTED, job).fetchone()
    return total - done, counted - done


_LAST_JOB = "SELECT max(id) FROM jobs"
_PROGRESS = "SELECT count(*), count(outcome) FROM job_items WHERE job_id = ?"
_COUNTED = (
    "SELECT sum(tagged + unknown + skipped + failed) FROM chunks WHERE job_id = ?"
)
POLL_S = 0.1
# Too little for one batch of the usual size.
LEFT_BYTES = 600 * 2**20


if __name__ == "__main__":
    main()
