"""Selects the backend and the batch size that are fastest for a model on this machine.

TorchScript is the reference; without torch, OpenVINO in floating point is. Another backend is chosen if it distributes its scores over
the labels as the reference does (within MAX_DISTANCE) and is faster by MIN_SPEEDUP.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tagger.errors import SettingsInvalid, TaggerError
from tagger.extensions import BACKENDS, extensions, extra_missing, is_installed
from tagger.model.backends.protocol import (
    EIGHT_BITS,
    BackendName,
    Conversions,
    is_out_of_memory,
    is_passing,
)

if TYPE_CHECKING:
    import openvino
    import torch

    from tagger.model.artifact import Range
    from tagger.model.backends.protocol import Backend, Embeddings, Images, Scores
    from tagger.model.devices import Device

log = logging.getLogger(__name__)

MIN_SPEEDUP = 1.1
"""Three rounds of the same backend may differ by this factor. A higher limit wastes CPU time: OpenVINO runs the model of the package 1.2 to
1.5 times as fast as TorchScript."""
MAX_DISTANCE = 0.03
"""Mean total variation distance, 0 to 1. OpenVINO measures 0.008; swapped colour channels or sides would measure 0.1."""
EIGHT_BITS_ALLOWANCE = 5
"""How many times as far scores in eight bits may be. Those of generated images, which show no landmark, hang on details: they are at
0.11, those of photos at 0.004. Embeddings hang less on details: of generated images they are at 0.014, with swapped sides at 0.043."""
CPU_BATCHES = (4, 8, 16)
"""Larger batches do not fit a processor's caches, and each pass then allocates its memory anew."""
GPU_BATCHES = (32, 64, 128, 256, 512)
WARM_UPS, ROUNDS = 2, 3
"""TorchScript profiles and compiles in its first two passes."""

LoadModule = Callable[[], "torch.jit.ScriptModule"]


@dataclass(frozen=True)
class BackendTrial:
    """A backend and its best batch size. `cost_ms` per photo is CPU time on a CPU and wall time on other devices.

    `is_final`: the next selection will have the same result. Otherwise something failed that may succeed at the next start.
    """

    backend: Backend
    batch_size: int
    cost_ms: float
    is_final: bool = True


class BackendSelector:
    """Loads and compares the backends of one model on one device. `load_module` returns a new module at each call.

    `ranges` are those of the model's manifest; without any, it has no eight-bit backend. `conversions` may have what OpenVINO made of this
    model before.
    """

    def __init__(
        self,
        load_module: LoadModule,
        device: Device,
        size: int,
        at_once: int,
        ranges: Sequence[Range] = (),
        conversions: Conversions | None = None,
    ) -> None:
        self._load_module = load_module
        self._device = device
        self._size = size
        self._at_once = at_once
        self._ranges = ranges
        self._conversions = conversions

    def choose(self, name: BackendName | None, batch_size: int | None) -> BackendTrial:
        """Return the backend `name`, or the fastest that agrees with the reference, at `batch_size` or its best one.

        Raises:
            SettingsInvalid, ExtraMissing: as `load`.
        """
        candidates = CPU_BATCHES if self._device.kind == "cpu" else GPU_BATCHES
        batch_sizes = (batch_size,) if batch_size else candidates
        backend = self.load(name or reference_name())
        try:
            reference = self._measure(backend, batch_sizes)
        except Exception as error:  # noqa: BLE001 - photos may still pass where the test images fail
            log.warning("the model fails on the generated images: %s", error)
            return BackendTrial(backend, batch_size or self._device.batch_size, math.inf, is_final=False)
        others = self._alternatives() if name is None else []
        trials = [reference, *(self._compare(reference, other, batch_sizes) for other in others)]
        best = min(trials, key=lambda trial: trial.cost_ms)
        return replace(best, is_final=all(trial.is_final for trial in trials))

    def load(self, name: BackendName) -> Backend:
        """Load the model into the backend `name`.

        Raises:
            SettingsInvalid: its engine does not support the device, or cannot run this model.
            ExtraMissing: the engine, or the model's conversion to it, needs torch, which is not installed.
        """
        if name == "torchscript":
            if not is_installed("torch"):
                raise extra_missing("The backend torchscript", "torch")
            from tagger.model.backends.torchscript import TorchScriptBackend

            return TorchScriptBackend(self._load_module(), self._device, self._size, self._at_once)
        if name in ("openvino", EIGHT_BITS):
            return self._load_openvino(name)
        return self._load_extension(name)

    def _load_openvino(self, name: BackendName) -> Backend:
        if not is_installed("openvino"):
            raise SettingsInvalid(reason=f"backend: {name} has no package for this machine; set torchscript")
        if self._device.kind != "cpu":
            raise SettingsInvalid(reason=f"backend: {name} runs on a CPU; set TAGGER_DEVICE=cpu too")
        if name == EIGHT_BITS and not self._ranges:
            raise SettingsInvalid(reason=f"backend: this model has no ranges for {name}; set openvino")
        ranges = self._ranges if name == EIGHT_BITS else ()
        try:
            from tagger.model.backends.openvino import OpenVinoBackend

            model = self._stored_model() or self._convert()
            return OpenVinoBackend(model, self._device, self._size, self._at_once, ranges)
        except TaggerError:
            raise
        except Exception as error:  # OpenVINO's exceptions have no common base class
            until = f" now ({error})" if is_passing(error) else ""
            raise SettingsInvalid(
                reason=f"backend: {name} cannot run this model{until}; leave it at auto, or set torchscript"
            ) from error

    def _stored_model(self) -> openvino.Model | None:
        """OpenVINO's form of the model, from this package or from an earlier start."""
        from tagger.model.backends.openvino import read_conversion, read_shipped_graph

        if self._conversions is None:
            return None
        artifact, digest, folder = self._conversions
        return read_shipped_graph(artifact, digest) or (None if folder is None else read_conversion(folder))

    def _convert(self) -> openvino.Model:
        if not is_installed("torch"):
            raise extra_missing("This model", "torch")
        from tagger.model.backends.conversion import convert_once

        return convert_once(self._load_module(), self._size, self._conversions and self._conversions.folder)

    def _load_extension(self, name: str) -> Backend:
        """Load the model into the backend of an installed package."""
        factory = extensions(BACKENDS).get(name)
        if factory is None:
            raise SettingsInvalid(reason=f"backend: no installed package adds {name}")
        try:
            backend: Backend = factory(self._load_module(), self._device, self._size, self._at_once)
        except Exception as error:
            raise SettingsInvalid(reason=f"backend: {name} cannot run this model: {error}") from error
        return backend

    def _alternatives(self) -> list[BackendName]:
        if self._device.kind != "cpu" or not is_installed("openvino"):
            return []
        names = ["openvino", EIGHT_BITS] if self._ranges else ["openvino"]
        return [name for name in names if name != reference_name()]

    def _compare(
        self, reference: BackendTrial, name: BackendName, batch_sizes: Sequence[int]
    ) -> BackendTrial:
        """Another backend, if it agrees with the reference and is clearly faster; else the reference."""
        try:
            backend = self.load(name)
            distance = backend_distance(reference.backend, backend, self._size)
            trial = self._measure(backend, batch_sizes)
        except Exception as error:  # noqa: BLE001 - whatever fails in another engine, the reference works
            is_final = not is_passing(error)
            until = "" if is_final else " now, and is tried again at the next start"
            log.warning("%s cannot run this model%s; %s runs it", name, until, reference.backend.name)
            log.info("%s: %s", name, error.__cause__ or error)
            return replace(reference, is_final=is_final)
        speedup = reference.cost_ms / trial.cost_ms
        text = "%s is %.1f times as fast as %s, at a distance of %.3f"
        log.info(text, name, speedup, reference.backend.name, distance)
        return trial if distance <= MAX_DISTANCE and speedup >= MIN_SPEEDUP else reference

    def _measure(self, backend: Backend, batch_sizes: Sequence[int]) -> BackendTrial:
        """The backend at its best batch size. Out of memory ends the search at the sizes before."""
        trials: list[BackendTrial] = []
        for batch_size in batch_sizes:
            try:
                cost_ms = _cost_ms(backend, self._device, generated_images(self._size, batch_size))
            except Exception as error:
                if not (trials and is_out_of_memory(error)):
                    raise
                backend.free_memory()
                break
            trials.append(BackendTrial(backend, batch_size, cost_ms))
        return min(trials, key=lambda trial: trial.cost_ms)


def reference_name() -> BackendName:
    """The backend that others are compared with, and that runs where they cannot."""
    return "torchscript" if is_installed("torch") else "openvino"


def generated_images(size: int, count: int) -> Images:
    """Coloured clouds, uint8 (count, size, size, 3), the same at each call: smooth like photos, each in its own colours."""
    seeds = np.random.default_rng(20).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    clouds = [Image.fromarray(seed).resize((size, size), Image.Resampling.BICUBIC) for seed in seeds]
    return np.stack([np.asarray(cloud) for cloud in clouds])


def _cost_ms(backend: Backend, device: Device, images: Images) -> float:
    clock = time.process_time if device.kind == "cpu" else time.perf_counter
    costs = []
    for _ in range(WARM_UPS + ROUNDS):
        start = clock()
        backend.forward(images)
        costs.append((clock() - start) / len(images) * 1000)
    return min(costs[WARM_UPS:])


def backend_distance(reference: Backend, other: Backend, size: int) -> float:
    """How far the outputs of two backends are apart, which MAX_DISTANCE limits. Infinite for wrong shapes and values that are not finite."""
    images = generated_images(size, 8)
    (expected, embeddings), (actual, other_embeddings) = reference.forward(images), other.forward(images)
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return math.inf
    scores_distance = max(_variation(expected, actual), _variation(_shares(expected), _shares(actual)))
    if other.name == EIGHT_BITS:
        scores_distance /= EIGHT_BITS_ALLOWANCE
    return max(scores_distance, _angle(embeddings, other_embeddings))


def _angle(expected: Embeddings | None, actual: Embeddings | None) -> float:
    """1 minus the mean cosine of the embeddings of the same photo: 0 if they have the same direction."""
    if expected is None or actual is None:
        return 0.0 if expected is actual else math.inf
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return math.inf
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
    cosines = np.divide((expected * actual).sum(axis=1), norms, out=np.ones_like(norms), where=norms > 0)
    return float(1 - cosines.mean())


def _variation(expected: Scores, actual: Scores) -> float:
    return float(np.abs(expected - actual).sum(axis=1).mean() / 2)


def _shares(scores: Scores) -> Scores:
    """Each photo's scores scaled to a sum of 1, whatever share "none of them" has."""
    sums = scores.sum(axis=1, keepdims=True)
    shares: Scores = np.divide(scores, sums, out=np.full_like(scores, 1 / scores.shape[1]), where=sums > 0)
    return shares
