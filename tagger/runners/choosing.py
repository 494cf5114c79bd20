"""The self-test: which runner and which batch size serve a model best on this machine.

TorchScript runs wherever the artifact does, and is what others are held against: another runner is taken if it spreads
its scores over the labels as TorchScript does, within SAME_WITHIN, and costs less by FASTER_BY.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tagger.errors import SettingsInvalid
from tagger.runners.interface import Plan, RunnerName, is_out_of_memory
from tagger.runners.torchscript import TorchScriptRunner

if TYPE_CHECKING:
    import torch

    from tagger.devices import Device
    from tagger.runners.interface import Images, Runner, Scores

log = logging.getLogger(__name__)

FASTER_BY = 1.3
SAME_WITHIN = 0.03
"""Mean distance in total variation, from 0 to 1. OpenVINO was 0.008 away; with red for blue, or sides exchanged, it would be 0.1."""
CPU_BATCHES = (4, 8, 16)
"""Beyond, a network's layers leave the processor's caches, and each pass asks the system for their memory anew."""
GPU_BATCHES = (32, 64, 128, 256, 512)
WARM_UPS, ROUNDS = 2, 3
"""TorchScript profiles its first two passes, and compiles then."""

Load = Callable[[], "torch.jit.ScriptModule"]


@dataclass(frozen=True)
class Tested:
    """A runner and its best batch size; `cost_ms` of a photo is CPU time on a CPU, and wall time on other devices."""

    runner: Runner
    batch_size: int
    cost_ms: float

    @property
    def plan(self) -> Plan:
        return Plan(self.runner.name, self.batch_size)


class Choosing:
    """The runners of one model on one device, for `at_once` passes at a time; `load` gives each a module of its own."""

    def __init__(self, load: Load, device: Device, size: int, at_once: int) -> None:
        self._load = load
        self._device = device
        self._size = size
        self._at_once = at_once

    def make(self, name: RunnerName) -> Runner:
        """The runner of that name.

        Raises:
            SettingsInvalid: its engine is not installed, runs on other devices only, or cannot run this model.
        """
        if name == "openvino":
            if not _is_installed(name):
                raise SettingsInvalid(
                    reason="runner: openvino is an extra; install landmark-tagger[openvino]"
                )
            if self._device.kind != "cpu":
                raise SettingsInvalid(reason="runner: openvino runs on a CPU; set TAGGER_DEVICE=cpu too")
            from tagger.runners.openvino import OpenVinoRunner

            module = self._load()
            try:
                return OpenVinoRunner(module, self._device, self._size, self._at_once)
            except Exception as error:  # its own kinds have no common root
                raise SettingsInvalid(
                    reason="runner: openvino cannot run this model; leave it at auto, or set torchscript"
                ) from error
        return TorchScriptRunner(self._load(), self._device, self._size, self._at_once)

    def choose(self, name: RunnerName | None, batch_size: int | None) -> Tested:
        """The runner of that name, or the least costly that agrees with TorchScript, at its best batch size unless one is given."""
        own = CPU_BATCHES if self._device.kind == "cpu" else GPU_BATCHES
        batches = (batch_size,) if batch_size else own
        runner = self.make(name or "torchscript")
        try:
            best = as_it_is = self._tested(runner, batches)
        except Exception as error:  # noqa: BLE001 - photos it does not fail on can still be looked at
            log.warning("the model fails on the self-test's pictures: %s", error)
            return Tested(runner, batch_size or self._device.batch_size, math.inf)
        for other in self._others() if name is None else []:
            tested = self._compared(as_it_is, other, batches)
            if tested is not None and tested.cost_ms < best.cost_ms:
                best = tested
        return best

    def _others(self) -> list[RunnerName]:
        return ["openvino"] if self._device.kind == "cpu" and _is_installed("openvino") else []

    def _compared(self, truth: Tested, name: RunnerName, batches: Sequence[int]) -> Tested | None:
        """Another runner, if it is as right as TorchScript and clearly faster."""
        try:
            other = self.make(name)
            apart = _distance(truth.runner, other, self._size)
            tested = self._tested(other, batches)
        except Exception as error:  # noqa: BLE001 - whatever another engine trips over, TorchScript is there
            log.warning("%s cannot run this model, TorchScript does", name)
            log.info("%s: %s", name, error.__cause__ or error)  # many lines, as a rule
            return None
        ratio = truth.cost_ms / tested.cost_ms
        log.info("%s: %.1f times as fast as TorchScript, %.3f apart", name, ratio, apart)
        return tested if apart <= SAME_WITHIN and ratio >= FASTER_BY else None

    def _tested(self, runner: Runner, batches: Sequence[int]) -> Tested:
        """The runner at its best batch size; none is tried beyond one that the device has no memory for."""
        tested: list[Tested] = []
        for batch_size in batches:
            try:
                cost_ms = _cost_ms(runner, self._device, pictures(self._size, batch_size))
            except Exception as error:
                if not (tested and is_out_of_memory(error)):
                    raise
                runner.free_memory()
                break
            tested.append(Tested(runner, batch_size, cost_ms))
        return min(tested, key=lambda each: each.cost_ms)


def _is_installed(engine: str) -> bool:
    return importlib.util.find_spec(engine) is not None


def _cost_ms(runner: Runner, device: Device, images: Images) -> float:
    clock = time.process_time if device.kind == "cpu" else time.perf_counter
    costs = []
    for _ in range(WARM_UPS + ROUNDS):
        began = clock()
        runner.forward(images)
        costs.append((clock() - began) / len(images) * 1000)
    return min(costs[WARM_UPS:])


def _distance(truth: Runner, other: Runner, size: int) -> float:
    images = pictures(size, 8)
    true, others = truth.forward(images), other.forward(images)
    if others.shape != true.shape or not np.isfinite(others).all():
        return math.inf
    return max(_variation(true, others), _variation(_shares(true), _shares(others)))


def _variation(true: Scores, others: Scores) -> float:
    return float(np.abs(true - others).sum(axis=1).mean() / 2)


def _shares(scores: Scores) -> Scores:
    """How a photo's scores are spread over the labels, whatever is left for none of them."""
    sums = scores.sum(axis=1, keepdims=True)
    shares: Scores = np.divide(scores, sums, out=np.full_like(scores, 1 / scores.shape[1]), where=sums > 0)
    return shares


def pictures(size: int, count: int) -> Images:
    """Coloured clouds, the same each time: no photos, but smooth as they are, and each in colours of its own."""
    drawn = np.random.default_rng(20)
    small = drawn.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    clouds = [Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC) for each in small]
    return np.stack([np.asarray(cloud) for cloud in clouds])
