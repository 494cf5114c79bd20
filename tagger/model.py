"""A loaded artifact: batches that fit the device's memory, top-k. Knows nothing of files of photos or of SQL."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tagger.artifact import Manifest, load_module
from tagger.devices import Device, core_count
from tagger.errors import SettingsInvalid
from tagger.images.memory import give_back_memory
from tagger.metrics import BATCH_SIZE
from tagger.results import Prediction
from tagger.runners.interface import Decoder, Plan, Runner, RunnerName, Scores, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tagger.images import Pixels
    from tagger.runners.remembering import Memory

log = logging.getLogger(__name__)


class OutOfDeviceMemory(Exception):
    """The device has no memory left for a single image; that is no fault of the image."""


class Model:
    """A loaded model; up to `at_once` threads may call `scores` at a time.

    `batch_size` is the most images of a forward pass; it is halved for good where the device's memory runs out.
    `decoder` decodes plain JPEGs on the device, where that is faster than the cores.
    """

    def __init__(
        self, runner: Runner, manifest: Manifest, batch_size: int, decoder: Decoder | None = None
    ) -> None:
        self._runner = runner
        self.manifest = manifest
        self.decoder = decoder
        self.batch_size = batch_size
        BATCH_SIZE.set(self.batch_size)

    @property
    def at_once(self) -> int:
        return self._runner.at_once

    @property
    def runner_name(self) -> str:
        return self._runner.name

    def scores(self, images: Sequence[Pixels]) -> Scores:
        """Calibrated scores, float32 (B, L), of images of the manifest's input size; each row sums to at most 1."""
        parts: list[Scores] = []
        done, most = 0, self.batch_size
        while done < len(images):
            part = images[done : done + most]
            try:
                parts.append(self._forward(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise OutOfDeviceMemory(str(error)) from error
                most = len(part) // 2
                self._halve(most)
            else:
                done += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _forward(self, images: Sequence[Pixels]) -> Scores:
        batch = self._runner.empty(len(images))
        for row, image in zip(batch, images, strict=True):
            np.copyto(row, image)
        return self._runner.forward(batch)

    def _halve(self, enough: int) -> None:
        if enough < self.batch_size:  # else another thread has met the same
            log.warning(
                "the device's memory is too small for a batch of %d; going on with %d",
                self.batch_size,
                enough,
            )
            self.batch_size = enough
            BATCH_SIZE.set(enough)
        self._runner.free_memory()


def load_model(
    path: Path, digest: str, manifest: Manifest, device: Device, *, threads: int | None = None
) -> Model:
    """Load a registered artifact as the TorchScript it is, for one forward pass at a time.

    Raises:
        ModelRefused: the file is not the registered one, or torch cannot run it.
    """
    import torch

    from tagger.runners.torchscript import TorchScriptRunner

    if device.kind == "cpu":
        torch.set_num_threads(threads or core_count())
    runner = TorchScriptRunner(load_module(path, digest), device, manifest.input.size, at_once=1)
    return _warm(Model(runner, manifest, device.batch_size))


@dataclass(frozen=True)
class HowToRun:
    """What is asked of a loaded model; `runner` and `batch_size` are the self-test's choice where they are None.

    `at_once` forward passes run at a time; `memory` is the file in which the self-test's findings are kept.
    """

    runner: RunnerName | None
    at_once: int
    batch_size: int | None
    memory: Path


def load_fastest(path: Path, digest: str, manifest: Manifest, device: Device, how: HowToRun) -> Model:
    """Load a registered artifact into whatever runs it best here.

    Raises:
        ModelRefused: the file is not the registered one, or torch cannot run it.
        SettingsInvalid: the runner that is asked for is not installed.
    """
    import torch

    from tagger.runners.choosing import Choosing
    from tagger.runners.choosing_decoder import choose_decoder, make_decoder

    if device.kind == "cpu":
        # As many passes as cores, each on one of them: none waits for the others' threads.
        torch.set_num_threads(1)
    choosing = Choosing(lambda: load_module(path, digest), device, manifest.input.size, how.at_once)
    found = _findings(digest, device, how)
    plan = found.plan
    if plan is not None:
        try:
            runner = choosing.make(plan.runner)
        except SettingsInvalid as error:
            log.warning("what an earlier self-test chose does not run any more: %s", error.__cause__ or error)
        else:
            decoder = make_decoder(device, manifest.input.resize) if plan.decodes_jpegs else None
            return _warm(Model(runner, manifest, plan.batch_size, decoder))
    tested = choosing.choose(how.runner, how.batch_size)
    give_back_memory()  # of the runner that was not taken
    decoder = choose_decoder(device, manifest.input.resize) if how.runner is None else None
    if math.isfinite(tested.cost_ms):  # else the test failed, which another time it may not
        found.keep(replace(tested.plan, decodes_jpegs=decoder is not None))
    return Model(tested.runner, manifest, tested.batch_size, decoder)


def known_plan(digest: str, device: Device, how: HowToRun) -> Plan | None:
    """What an earlier self-test found to run a model best here; None where there was none yet."""
    return _findings(digest, device, how).plan


def _findings(digest: str, device: Device, how: HowToRun) -> Memory:
    from tagger.runners.remembering import Circumstances, Memory

    return Memory(how.memory, Circumstances.of(digest, device, how.runner, how.at_once, how.batch_size))


def top_k(scores: Scores, k: int, threshold: float) -> tuple[Prediction, ...]:
    """The `k` best of one photo's scores, float32 (L,), best first; equal scores in label order."""
    order = np.argsort(-scores, kind="stable")[:k]
    return tuple(
        Prediction(position=int(position), rank=rank, score=score, accepted=score >= threshold)
        for rank, position in enumerate(order, start=1)
        for score in (min(1.0, max(0.0, float(scores[position]))),)
    )


def _warm(model: Model) -> Model:
    """TorchScript profiles its first two passes; done here, the first photos do not wait for it."""
    size = model.manifest.input.size
    blank = np.zeros((size, size, 3), dtype=np.uint8)
    for count in (1, model.batch_size, model.batch_size):
        model.scores([blank] * count)
    return model
