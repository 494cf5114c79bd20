"""Counters and timers, under the names that Prometheus shows (see docs/how-to/monitor.md).

They are always updated, which takes microseconds. A worker serves them if a port is configured.
"""

import time

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0)

PHOTOS = Counter("tagger_photos", "Photos by outcome.", ["outcome"])
FAILURES = Counter("tagger_failures", "Failed photos by kind.", ["kind"])
STAGE_SECONDS = Histogram(
    "tagger_stage_seconds",
    "Seconds in each stage: read, digest and decode per photo, model and store per batch.",
    ["stage"],
    buckets=_SECONDS,
)
STAGE_CPU_SECONDS = Counter(
    "tagger_stage_cpu_seconds",
    "CPU seconds of this program's threads in each stage, without the threads of the engine that runs the "
    "model.",
    ["stage"],
)
BATCH_FILL = Histogram(
    "tagger_batch_fill",
    "Photos in a forward pass, as a share of the batch size.",
    buckets=(0.125, 0.25, 0.5, 0.75, 0.9, 1.0),
)
BATCH_SIZE = Gauge(
    "tagger_batch_size",
    "Most photos in a forward pass; halved when device memory runs out.",
)
READS_HUNG = Gauge("tagger_reads_hung", "Threads that hang in reading a photo.")
RETRIES = Counter(
    "tagger_retries", "Chunks claimed again after a claim that ended badly."
)
LEASES_RETURNED = Counter("tagger_leases_returned", "Chunks whose lease expired.")
QUEUE_DEPTH = Gauge("tagger_queue_depth", "Messages waiting in Redis.", ["queue"])
CHUNKS_HELD = Gauge("tagger_chunks_held", "Chunks that this worker is processing.")
DEVICE_MEMORY = Gauge(
    "tagger_device_memory_bytes",
    "Memory that torch has reserved on a CUDA device; 0 elsewhere.",
)

_METRICS = {
    stage: (STAGE_SECONDS.labels(stage), STAGE_CPU_SECONDS.labels(stage))
    for stage in ("read", "digest", "decode", "model", "store")
}


def photos_done() -> float:
    """The photos that this process has stored, whatever their outcome."""
    samples = (sample for metric in PHOTOS.collect() for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


class stage_timer:  # noqa: N801 - a context, which would take twice the time as a generator
    """Records the wall-clock and CPU seconds of a stage in the calling thread."""

    __slots__ = ("_cpu_start", "_metrics", "_start")

    def __init__(self, stage: str) -> None:
        self._metrics = _METRICS[stage]

    def __enter__(self) -> None:
        self._start, self._cpu_start = time.perf_counter(), time.thread_time()

    def __exit__(self, *_exc: object) -> None:
        seconds, cpu_seconds = self._metrics
        cpu_seconds.inc(time.thread_time() - self._cpu_start)
        seconds.observe(time.perf_counter() - self._start)
