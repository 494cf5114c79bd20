"""The training loop: batches in, a fitted network out, a line of figures per epoch, a checkpoint that it can go on from.

Knows nothing of photos on disk, labels or recipes: a recipe brings the network, its optimiser, the batches and the way to validate.
What is drawn by chance depends on the seed and the epoch alone, so a run that was killed ends as if it had not been.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional

from tagger.devices import Device
from tagger.runners.interface import is_out_of_memory
from trainer.errors import DeviceMemoryExhausted, TrainingDiverged
from trainer.learning.batches import Batch
from trainer.learning.mixing import Mixing, mixed

CHECK_EVERY = 10
"""Steps between two looks at the loss: each look makes the device wait."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: the learning rates rise along `warm_up` epochs and fall to zero along a cosine.

    `sizes` are the sides of the views, epoch by epoch. `average_decay` is how much of the moving average of the weights (EMA) one step keeps.
    """

    sizes: tuple[int, ...]
    batch_size: int
    warm_up: float
    average_decay: float
    clip: float
    mixing: Mixing
    seed: int

    @property
    def epochs(self) -> int:
        return len(self.sizes)

    def rate(self, done: float) -> float:
        """What the learning rates are multiplied by after `done` epochs."""
        rise = min(1.0, (done + 0.01) / self.warm_up) if self.warm_up else 1.0
        return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, done / self.epochs)))


def growing_sizes(epochs: int, size: int, parts: tuple[tuple[float, float], ...]) -> tuple[int, ...]:
    """The side of the views, epoch by epoch, in whole strides of 32.

    Args:
        epochs: how many
        size: of the model's input
        parts: (until which part of the epochs, which part of `size`), in order; the last is until 1
    """
    sizes = []
    for number in range(1, epochs + 1):
        part = next(part for until, part in parts if number <= until * epochs or until == 1)
        sizes.append(max(32, 32 * round(part * size / 32)))
    return tuple(sizes)


@dataclass(frozen=True)
class Validation:
    """How the averaged network does on photos it does not learn from."""

    loss: float
    top1: float


@dataclass(frozen=True)
class Epoch:
    """One time through the photos. `learning_rate` is the highest group's at its end."""

    number: int
    loss: float
    validation: Validation
    learning_rate: float = 0.0
    seconds: float = 0.0
    images_per_second: float = 0.0


Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Learner(Generic[Network]):
    """All that changes in training: `network` learns, `average` is the moving average of its weights, which is what counts in the end.

    The optimiser's groups hold their highest learning rate under "highest_rate".
    """

    network: Network
    optimiser: torch.optim.Optimizer
    average: Network = field(init=False)
    history: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.average = copy.deepcopy(self.network).requires_grad_(requires_grad=False).eval()


@dataclass(frozen=True)
class Work:
    """What `fit` is given beside the learner.

    batches: makes the batches of an epoch, given its number and the side of the views
    steps: batches of an epoch
    classes: C, outputs of the network
    validate: called with the average after each epoch
    on_step: called with the images of a step and the loss so far, for progress
    on_epoch: called after each epoch, when the learner may be saved
    """

    batches: Callable[[int, int], Iterator[Batch]]
    steps: int
    classes: int
    validate: Callable[[nn.Module], Validation]
    on_step: Callable[[int, float], None]
    on_epoch: Callable[[Epoch], None]


def fit(learner: Learner[Network], work: Work, schedule: Schedule, device: Device) -> None:
    """Go on from the last epoch of `learner.history` to the last of the schedule.

    The network takes float images (B, 3, H, W) of 0…255 and gives logits (B, C).

    Raises:
        TrainingDiverged, DeviceMemoryExhausted: with what to change; the last epoch's checkpoint is whole.
    """
    learner.network.to(device.kind, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    learner.average.to(device.kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for number in range(len(learner.history) + 1, schedule.epochs + 1):
        began = time.monotonic()
        try:
            loss = _epoch(learner, work, schedule, device, number)
            seconds = time.monotonic() - began
            validation = work.validate(learner.average)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceMemoryExhausted(
                device=device.kind, batch_size=schedule.batch_size, smaller=max(2, schedule.batch_size // 2)
            ) from error
        if not math.isfinite(validation.loss):
            # The last step's gradients were not, and no loss has shown it yet.
            raise TrainingDiverged(epoch=number, step=work.steps)
        images = work.steps * schedule.batch_size
        rate = max(group["lr"] for group in learner.optimiser.param_groups)
        epoch = Epoch(number, loss, validation, rate, seconds, images / seconds)
        learner.history.append(epoch)
        work.on_epoch(epoch)


def _epoch(learner: Learner[Network], work: Work, schedule: Schedule, device: Device, number: int) -> float:
    torch.manual_seed(schedule.seed * 1_000_003 + number)  # dropout's chance
    generator = np.random.default_rng((schedule.seed, number, 1))
    learner.network.train()
    scaler = GradScaler(device.kind, enabled=device.dtype == torch.float16)
    total = torch.zeros((), device=device.kind)
    for step, batch in enumerate(work.batches(number, schedule.sizes[number - 1])):
        done = number - 1 + step / work.steps
        _set_rates(learner.optimiser, schedule.rate(done))
        images = batch.images.to(device.kind, non_blocking=True).float()
        images = images.contiguous(memory_format=torch.channels_last)
        images, wanted = mixed(
            images, batch.targets.to(device.kind), work.classes, schedule.mixing, generator
        )
        loss = _step(learner, images, wanted, schedule, device, scaler)
        total += loss
        _average(learner, schedule.average_decay, (number - 1) * work.steps + step)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == work.steps:
            mean = total.item() / (step + 1)
            if not math.isfinite(mean):
                raise TrainingDiverged(epoch=number, step=step + 1)
            work.on_step(min(CHECK_EVERY, step % CHECK_EVERY + 1) * schedule.batch_size, mean)
    return total.item() / work.steps


def _step(
    learner: Learner[Network],
    images: Tensor,
    wanted: Tensor,
    schedule: Schedule,
    device: Device,
    scaler: GradScaler,
) -> Tensor:
    """One step of the optimiser; its loss, on the device."""
    with torch.autocast(device.kind, device.dtype, enabled=device.dtype != torch.float32):
        logits = learner.network(images)
    loss = functional.cross_entropy(logits.float(), wanted)
    learner.optimiser.zero_grad()
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.unscale_(learner.optimiser)
    nn.utils.clip_grad_norm_(learner.network.parameters(), schedule.clip)
    scaler.step(learner.optimiser)
    scaler.update()
    return loss.detach()


def _set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["highest_rate"] * factor


@torch.no_grad()
def _average(learner: Learner[Network], decay: float, step: int) -> None:
    """Move the average towards the network; at first faster, or it would long remember where it began."""
    keep = min(decay, (1 + step) / (10 + step))
    network = [*learner.network.parameters(), *learner.network.buffers()]
    average = [*learner.average.parameters(), *learner.average.buffers()]
    for mine, its in zip(average, network, strict=True):
        if mine.is_floating_point():
            mine.lerp_(its, 1 - keep)
        else:
            mine.copy_(its)
