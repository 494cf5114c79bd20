"""The parts of the measurement in their order: the machine, the model alone, workers with their faults, and `tagger tag`."""

import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from sqlalchemy import select

from bench.gpu.faults import check_failing_photos, check_lost_device, check_small_memory, check_two_workers
from bench.gpu.jobs import GpuLoad, Library, Process, nvidia_smi, peak_memory_mib
from bench.gpu.model import MANIFEST, DeviceLimits, check_equality, measure_limits
from bench.gpu.photos import SIZES, Rate, decoding_rate, draw_broken, draw_three_sizes, views
from bench.gpu.report import Report
from bench.photos import draw_photos, evenly_spread, photos_in
from bench.processes import cpu_seconds
from tagger.database.tables import backend_selections
from tagger.model.devices import Device, core_count, hardware_name

GOAL = 0.85
EQUALITY_PHOTOS = 500
WARM_UP_PHOTOS, BROKEN_PHOTOS = 64, 20
SHORTEST_S = 1.0
"""Starts differ by some tenths of a second."""


@dataclass(frozen=True)
class Folders:
    """The folders of drawn photos. That of all sizes has one for each."""

    photos: Path
    warm_up: Path
    broken: Path

    @property
    def large(self) -> Path:
        return self.photos / str(SIZES[-1][0])

    @property
    def paths(self) -> list[Path]:
        """All photos, so that neighbours have different sizes."""
        return sorted(self.photos.rglob("*.jpg"), key=lambda path: path.name)


@dataclass(frozen=True)
class Limit:
    """The rate that no program can exceed, and what sets it."""

    rate: Rate
    name: str

    def __str__(self) -> str:
        return f"{self.rate}: {self.name}"


def measure(
    report: Report, device: Device, folder: Path, count: int, pictures: Path | None, pool: Executor
) -> None:
    """Measure all parts. An error fails its own part only."""
    limit, fraction = None, None
    with report.part("machine"):
        describe_machine(report, device)
        folders = draw(report, folder, count, pool)
    with report.part("equality"):
        photos = [] if pictures is None else evenly_spread(photos_in(pictures), EQUALITY_PHOTOS // 2)
        images = views(photos, MANIFEST.input.resize, min(count // 2, EQUALITY_PHOTOS), pool)
        check_equality(report, device, images, are_photos=bool(photos))
    with report.part("limits"):
        decoding = measure_decoding(report, folders.paths, pool)
        alone = measure_limits(report, device)
        limit, fraction = nearest_limit(decoding, alone), memory_fraction(alone)
        report.add("nearest limit", str(limit))
    with Library(folder / "data", device.kind) as library:
        worker = library.start_worker()
        with report.part("worker"):
            measure_worker(report, library, worker, folders, limit)
        with report.part("selection"):
            describe_selection(report, library, device)
        with report.part("faults"):
            check_failing_photos(report, library, folders.broken, BROKEN_PHOTOS)
            other = check_two_workers(report, library, worker, folders.large)
            check_lost_device(report, library, other, folders.large)
        library.stop_workers()
        with report.part("tag"):
            measure_tag(report, library, folders, limit)
        with report.part("faults"):
            check_small_memory(report, library, folders.warm_up, fraction)


def describe_machine(report: Report, device: Device) -> None:
    """What runs the model."""
    report.add("device", f"{device.kind}: {hardware_name(device.kind)}; {core_count()} cores")
    report.add_for_gpu("driver, memory", nvidia_smi("driver_version,memory.total"))
    cuda = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
    report.add("torch", f"{torch.__version__}, {cuda}, {device.precision}")


def draw(report: Report, folder: Path, count: int, pool: Executor) -> Folders:
    """Draw all photos."""
    folders = Folders(folder / "photos", folder / "warm-up", folder / "broken")
    start = time.monotonic()
    draw_three_sizes(folders.photos, count, pool)
    draw_photos(folders.warm_up, 0, WARM_UP_PHOTOS, (320, 240))
    draw_broken(folders.broken, folders.paths[0], BROKEN_PHOTOS)
    mean_mb = sum(photo.stat().st_size for photo in folders.paths) / count / 1e6
    sizes = ", ".join(f"{width} x {height}" for width, height in SIZES)
    seconds = time.monotonic() - start
    report.add("photos", f"{count} of {sizes}, {mean_mb:.2f} MB on average, drawn in {seconds:.0f} s")
    return folders


def measure_decoding(report: Report, paths: Sequence[Path], pool: Executor) -> Rate:
    """How fast all cores decode the photos: in processes, which is the limit, and in the threads of one."""
    resize = MANIFEST.input.resize
    rate = decoding_rate(paths, resize, pool)
    report.add(f"decoding, {core_count()} processes", str(rate))
    with ThreadPoolExecutor(core_count()) as threads:
        report.add(
            f"decoding, {core_count()} threads of one process", str(decoding_rate(paths, resize, threads))
        )
    return rate


def nearest_limit(decoding: Rate, alone: DeviceLimits) -> Limit:
    """The slowest of the steps, which run at the same time; on a CPU, the same cores take them all."""
    if alone.copy is None:
        seconds = 1 / decoding.per_s + 1 / alone.forward.per_s
        return Limit(Rate(1, seconds), "decoding and forward passes")
    rates = {"decoding": decoding, "forward passes": alone.forward, "copies": alone.copy}
    name = min(rates, key=lambda each: rates[each].per_s)
    return Limit(rates[name], name)


def memory_fraction(alone: DeviceLimits) -> float | None:
    """The share of the GPU's memory in which a pass of 256 fits, and one of 512 does not."""
    if not alone.memory:
        return None
    middle = (alone.memory[256] + alone.memory[512]) / 2
    return middle / torch.cuda.get_device_properties(0).total_memory


def measure_worker(
    report: Report, library: Library, worker: Process, folders: Folders, limit: Limit | None
) -> None:
    """A job for a worker that has run before, from its first claim to its end."""
    start = time.monotonic()
    library.wait_until_ready(worker)
    report.add("ready after", f"{time.monotonic() - start:.1f} s")
    library.wait_for(library.enqueue(folders.warm_up))
    cpu_before_s = cpu_seconds(worker.pid)
    with GpuLoad() as gpu:
        job = library.wait_for(library.enqueue(folders.photos))
    if job.started_at is None or job.finished_at is None or job.failed:
        raise SystemExit(f"the job is not complete: {job}")
    rate = Rate(job.total, (job.finished_at - job.started_at).total_seconds())
    _add_costs(report, rate, limit, cpu_seconds(worker.pid) - cpu_before_s, peak_memory_mib(worker.pid))
    _add_load(report, gpu, job.started_at.timestamp(), job.finished_at.timestamp())


def measure_tag(report: Report, library: Library, folders: Folders, limit: Limit | None) -> None:
    """`tagger tag` over a few photos, and over these and the others: the difference is what the others take."""
    start = library.tag(folders.warm_up)
    report.add(f"{WARM_UP_PHOTOS} small photos", f"{start.wall_s:.1f} s, {start.cpu_s:.1f} CPU s")
    with GpuLoad() as gpu:
        total = library.tag(folders.warm_up, folders.photos)
    end, seconds = time.time(), total.wall_s - start.wall_s
    if seconds < SHORTEST_S:
        report.add_for_gpu("rate", "the photos are too few for it", f"≥ {SHORTEST_S} s", passed=False)
        return
    rate = Rate(len(folders.paths), seconds)
    _add_costs(report, rate, limit, total.cpu_s - start.cpu_s, total.memory_mib)
    _add_load(report, gpu, end - seconds, end)


def _add_costs(report: Report, rate: Rate, limit: Limit | None, cpu_s: float, memory_mib: float) -> None:
    report.add("rate", f"{rate}, {rate.seconds:.1f} s")
    share = 0.0 if limit is None else rate.per_s / limit.rate.per_s
    report.add_for_gpu("share of the nearest limit", f"{share:.2f}", f"≥ {GOAL}", passed=share >= GOAL)
    report.add("CPU time", f"{cpu_s:.1f} s, {1000 * cpu_s / rate.photos:.1f} ms/photo")
    report.add("memory", f"{memory_mib:,.0f} MiB")


def _add_load(report: Report, gpu: GpuLoad, start: float, end: float) -> None:
    report.add_for_gpu("load of the GPU", gpu.load(start, end))
    report.add_for_gpu("memory of the GPU, this program's too", gpu.memory)


def describe_selection(report: Report, library: Library, device: Device) -> None:
    """The backend and the batch size that the worker selected, and `tag` uses too."""
    columns = backend_selections.c
    query = select(columns.backend, columns.batch_size).order_by(columns.selected_at.desc())
    with library.database.read() as connection:
        row = connection.execute(query.limit(1)).one()
    gpu, cpu = "the fastest of 32 to 512 there", "set here; on CPUs all are as fast"
    report.add(
        "backend, batch size", f"{row.backend}, {row.batch_size}: {gpu if device.kind == 'cuda' else cpu}"
    )
