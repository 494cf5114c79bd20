"""What a worker counts and times, under the names that Prometheus shows (see docs/operations.md).

Kept whether or not anybody asks: counting costs microseconds. The worker serves them where a port is set.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0)

PHOTOS = Counter("tagger_photos", "Photos by how they ended in a job.", ["outcome"])
FAILURES = Counter("tagger_failures", "Photos that failed, by kind.", ["kind"])
STAGE_SECONDS = Histogram(
    "tagger_stage_seconds",
    "Seconds in each stage: read, digest, decode (a photo; where the device decodes, its part of a batch), model, store (a batch).",
    ["stage"],
    buckets=_SECONDS,
)
STAGE_CPU_SECONDS = Counter(
    "tagger_stage_cpu_seconds",
    "Processor time of our own threads in each stage; an engine's threads, which run the model, are not in it.",
    ["stage"],
)
BATCH_FILL = Histogram(
    "tagger_batch_fill",
    "Photos in a forward pass, as a share of the batch size.",
    buckets=(0.125, 0.25, 0.5, 0.75, 0.9, 1.0),
)
BATCH_SIZE = Gauge("tagger_batch_size", "Most photos in a forward pass; halved when device memory runs out.")
READS_HUNG = Gauge("tagger_reads_hung", "Threads that are stuck in reading a photo now.")
RETRIES = Counter("tagger_retries", "Chunks taken again after a claim that ended badly.")
LEASES_RETURNED = Counter("tagger_leases_returned", "Chunks taken from workers that went silent.")
MESSAGES_LOST = Counter("tagger_messages_lost", "Messages that Redis lost and that were sent again.")
QUEUE_DEPTH = Gauge("tagger_queue_depth", "Messages that wait in Redis.", ["queue"])
CHUNKS_HELD = Gauge("tagger_chunks_held", "Chunks in this worker's hands.")

STAGES = ("read", "digest", "decode", "model", "store")
_CLOCKS = {stage: (STAGE_SECONDS.labels(stage), STAGE_CPU_SECONDS.labels(stage)) for stage in STAGES}


@contextmanager
def staged(stage: str) -> Iterator[None]:
    """Time a stage of this thread's work, by the clock and by the processor."""
    began, used = time.perf_counter(), time.thread_time()
    try:
        yield
    finally:
        seconds, cpu_seconds = _CLOCKS[stage]
        cpu_seconds.inc(time.thread_time() - used)
        seconds.observe(time.perf_counter() - began)
