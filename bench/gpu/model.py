"""The model alone, in this process: whether a device computes what the CPU does in float32, and how fast each step is without the others."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from blake3 import blake3

from bench.gpu.photos import Rate
from bench.gpu.report import Report
from bench.processes import SHIPPED
from tagger.model.artifact import load_module, read_background, read_manifest
from tagger.model.backends.protocol import Embeddings, Images, Outputs
from tagger.model.backends.selection import generated_images
from tagger.model.backends.torchscript import TorchScriptBackend, freeze
from tagger.model.devices import CPU_BATCH, Device, passes_at_once
from tagger.model.predictions import TAUGHT_THRESHOLD
from tagger.photos.decoding import Pixels
from tagger.teaching.classifiers import EmbeddingSpace, calibrate, fit_direction, quantize, restore

MANIFEST = read_manifest(SHIPPED)
DIGEST = blake3(SHIPPED.read_bytes()).hexdigest()
GPU_BATCHES = (64, 128, 256, 512)
OTHER_BATCHES = (37, 101, 211)
NEW_SIZE, FIRST_S = f"first pass of {', '.join(map(str, OTHER_BATCHES))}", 1.0
"""Batches at the end of a job have sizes that TorchScript has not compiled."""
COPY = "copy of 512 from pinned memory"
DISTINCT, WARM_UPS, ROUNDS = 16, 3, 12
FLOAT32 = Device("cpu", "float32", CPU_BATCH)

HALF = Device("cuda", "float16", 256)  # type: ignore[arg-type]  # no device has it; it is measured
SAME, SCORE_DIFFERENCE, COSINE = 0.995, 0.02, 0.999
TAUGHT, VIEWS = 8, 2
"""Places that are taught, and how many views of each."""


def load(device: Device) -> TorchScriptBackend:
    """The shipped model in the backend that GPUs run."""
    return TorchScriptBackend(load_module(SHIPPED, DIGEST), device, MANIFEST.input.size, 1)


def check_equality(report: Report, device: Device, images: Sequence[Pixels], *, are_photos: bool) -> None:
    """Compare what the device computes with float32 on the CPU."""
    reference = _outputs(FLOAT32, images)
    found = Comparison.of(reference, _outputs(device, images))
    what = f"{len(images)} images of {'photos' if are_photos else 'drawn pictures'}, {found.tags} best tags"
    report.add("compared", f"{device.kind} {device.precision} with cpu float32, {what}")
    report.add("best tag the same", f"{found.same:.1%}", f"≥ {SAME:.1%}", passed=found.same >= SAME)
    mean, most, maximum = found.scores
    value = f"{mean:.4f} on average, {most:.4f} on 99 %, at most {maximum:.4f}"
    share, difference = ("99 %", most) if are_photos else ("average", mean)
    is_small = difference <= SCORE_DIFFERENCE
    report.add("difference of its score", value, f"≤ {SCORE_DIFFERENCE} on {share}", passed=is_small)
    report.add("cosine of embeddings", f"≥ {found.cosine:.5f}", f"≥ {COSINE}", passed=found.cosine >= COSINE)
    value = f"{found.taught:.1%}, {found.taught_tags} tags of {TAUGHT} places"
    report.add("taught places the same", value, f"≥ {SAME:.1%}", passed=found.taught >= SAME)
    if device.kind == "cuda":
        half = Comparison.of(reference, _outputs(HALF, images))
        value = f"{half.same:.1%} the same, at most {half.scores[2]:.4f}, cosine ≥ {half.cosine:.5f}"
        report.add("float16 in place of it", value)


@dataclass(frozen=True)
class Comparison:
    """How far outputs are apart. `scores`: the mean, the 99th percentile and the maximum of the differences of the best tags' scores.

    `same`: the share of images with the same best tag. `taught`: that of the same decisions on taught places, of which so many give a tag.
    """

    tags: int
    same: float
    scores: tuple[float, float, float]
    cosine: float
    taught: float
    taught_tags: int

    @classmethod
    def of(cls, expected: Outputs, actual: Outputs) -> Self:
        """Compare the outputs of two devices for the same images."""
        best, rows = expected.scores.argmax(axis=1), np.arange(len(expected.scores))
        differences = np.abs(expected.scores[rows, best] - actual.scores[rows, best])
        one, other = _embeddings(expected), _embeddings(actual)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        taught = _taught(one)
        return cls(
            len(set(best.tolist())),
            float((actual.scores.argmax(axis=1) == best).mean()),
            (float(differences.mean()), float(np.quantile(differences, 0.99)), float(differences.max())),
            float(((one * other).sum(axis=1) / lengths).min()),
            float((_taught(other) == taught).mean()),
            int(taught.sum()),
        )


def _embeddings(outputs: Outputs) -> Embeddings:
    if outputs.embeddings is None:
        raise SystemExit("the shipped model gives no embeddings")
    return outputs.embeddings


def _outputs(device: Device, images: Sequence[Pixels]) -> Outputs:
    backend = load(device)
    passes = []
    for first in range(0, len(images), device.batch_size):
        part = images[first : first + device.batch_size]
        batch = backend.empty(len(part))
        np.stack(part, out=batch)
        passes.append(backend.forward(batch))
    embeddings = [each.embeddings for each in passes if each.embeddings is not None]
    return Outputs(np.concatenate([each.scores for each in passes]), np.concatenate(embeddings))


def _taught(embeddings: Embeddings) -> npt.NDArray[np.bool_]:
    """Which images (N,) are tagged with which taught place (P,): each of the first photos is one, and its views are the examples."""
    rule = MANIFEST.embedding
    assert rule is not None  # the shipped model has one
    stored = restore(quantize(embeddings), rule.dimension)
    space = EmbeddingSpace.of(read_background(SHIPPED, DIGEST, rule))
    examples = (stored[first : first + VIEWS] for first in range(0, VIEWS * TAUGHT, VIEWS))
    directions = (fit_direction(space, each, stored[:0]) for each in examples)
    scores = [calibrate(direction, stored).scores(stored) for direction in directions]
    return np.stack(scores, axis=1) >= TAUGHT_THRESHOLD


@dataclass(frozen=True)
class DeviceLimits:
    """The fastest rate of the model alone, and of copies to the device; memory of passes in bytes, by batch size."""

    forward: Rate
    copy: Rate | None
    memory: dict[int, int]


def measure_limits(report: Report, device: Device) -> DeviceLimits:
    """Measure forward passes without any copies, and copies without any pass."""
    if device.kind != "cuda":
        return _cpu_limits(report, device)
    network = freeze(load_module(SHIPPED, DIGEST), device)
    rates, memory = {}, {}
    for size in GPU_BATCHES:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        rates[size] = _gpu_rate(partial(network, _on_gpu(size)), size)
        memory[size] = torch.cuda.max_memory_reserved()
        value = f"{rates[size]}, {1000 * rates[size].seconds:.1f} ms, {memory[size] / 2**20:,.0f} MiB"
        report.add(f"forward pass of {size}", value)
    first_s = max(_gpu_seconds(partial(network, _on_gpu(size))) for size in OTHER_BATCHES)
    report.add(NEW_SIZE, f"at most {first_s:.2f} s", f"≤ {FIRST_S} s", passed=first_s <= FIRST_S)
    batch = torch.from_numpy(load(device).empty(GPU_BATCHES[-1]))
    copy = _gpu_rate(partial(batch.to, "cuda", non_blocking=True), len(batch))
    report.add(COPY, f"{copy}, {batch.numel() / copy.seconds / 1e9:.1f} GB/s")
    del network
    torch.cuda.empty_cache()
    return DeviceLimits(max(rates.values(), key=lambda rate: rate.per_s), copy, memory)


def _on_gpu(count: int) -> torch.Tensor:
    return torch.from_numpy(_batch(count)).to("cuda").permute(0, 3, 1, 2)


def _batch(count: int) -> Images:
    images = generated_images(MANIFEST.input.size, min(count, DISTINCT))
    return np.resize(images, (count, *images.shape[1:]))


def _gpu_rate(run: Callable[[], object], count: int) -> Rate:
    """The fastest of some runs, after those in which TorchScript compiles."""
    for _ in range(WARM_UPS):
        _gpu_seconds(run)
    return Rate(count, min(_gpu_seconds(run) for _ in range(ROUNDS)))


@torch.inference_mode()
def _gpu_seconds(run: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _cpu_limits(report: Report, device: Device) -> DeviceLimits:
    """On a CPU, one pass per core, of the batch size of CPUs."""
    at_once = passes_at_once(device, None)
    torch.set_num_threads(1)
    backend, images = load(device), _batch(CPU_BATCH)
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(backend.forward, repeat(images, WARM_UPS * at_once)))
        start = time.perf_counter()
        list(pool.map(backend.forward, repeat(images, ROUNDS * at_once)))
        rate = Rate(ROUNDS * at_once * CPU_BATCH, time.perf_counter() - start)
    report.add(f"forward pass of {CPU_BATCH}, one on each core", str(rate))
    for size in GPU_BATCHES:
        report.add_for_gpu(f"forward pass of {size}")
    report.add_for_gpu(NEW_SIZE, goal=f"≤ {FIRST_S} s")
    report.add_for_gpu(COPY)
    return DeviceLimits(rate, None, {})
