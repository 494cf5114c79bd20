"""The training loop: fit a network to batches, with a moving average of its weights and figures for every epoch.

Knows nothing of photos on disk, labels or recipes; its callers provide the network, the optimiser, the photos and the validation.
Random numbers depend on the seed and the epoch alone, so a resumed run gives the same result as an uninterrupted one.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional

from tagger.model.backends.protocol import is_out_of_memory
from tagger.model.devices import Device
from trainer.errors import TrainingFailed
from trainer.learning.batches import Augmentation, MixOptions, TrainingSet, mix

CHECK_EVERY = 10
"""Steps between two checks of the loss. Each check waits for the device."""


@dataclass(frozen=True)
class TrainingPlan:
    """How a recipe trains. Learning rates rise for `warm_up` epochs, then fall to zero along a cosine.

    `balance` is that of the labels. `sizes` has the side of the views for every epoch, in pixels. `average_decay` is the decay of the
    moving average of the weights (EMA) per step. `clip` is the highest norm of the gradient.
    """

    augmentation: Augmentation
    balance: float
    sizes: tuple[int, ...]
    batch_size: int
    warm_up: float
    average_decay: float
    clip: float
    mixing: MixOptions
    seed: int

    @property
    def epochs(self) -> int:
        return len(self.sizes)

    def rate(self, done: float) -> float:
        """The factor of the learning rates after `done` epochs."""
        rise = min(1.0, (done + 0.01) / self.warm_up) if self.warm_up else 1.0
        return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, done / self.epochs)))


def growing_sizes(epochs: int, size: int, shares: tuple[tuple[float, float], ...]) -> tuple[int, ...]:
    """The side of the views for every epoch, in multiples of 32 pixels.

    Args:
        epochs: their number
        size: side of the model's input, in pixels
        shares: (end as a share of the epochs, share of `size`), in order; the last ends at 1
    """
    sizes = []
    for number in range(1, epochs + 1):
        share = next(share for end, share in shares if number <= end * epochs or end == 1)
        sizes.append(max(32, 32 * round(share * size / 32)))
    return tuple(sizes)


@dataclass(frozen=True)
class Validation:
    """Loss and top-1 of the averaged network on validation photos."""

    loss: float
    top1: float


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch. `learning_rate` is the highest of all groups at its end."""

    number: int
    loss: float
    validation: Validation
    learning_rate: float = 0.0
    seconds: float = 0.0
    images_per_second: float = 0.0


Network = TypeVar("Network", bound=nn.Module)


@dataclass
class TrainingState(Generic[Network]):
    """Everything that changes in training. `average`, the moving average of the network's weights, is the result.

    The optimiser's groups have their highest learning rate under "highest_rate".
    """

    network: Network
    optimiser: torch.optim.Optimizer
    average: Network = field(init=False)
    history: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.average = copy.deepcopy(self.network).requires_grad_(requires_grad=False).eval()


def fit(
    state: TrainingState[Network],
    photos: TrainingSet,
    classes: int,
    plan: TrainingPlan,
    device: Device,
    *,
    validate: Callable[[nn.Module], Validation],
    on_step: Callable[[int, float], None],
    on_epoch: Callable[[Epoch], None],
    teach: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> None:
    """Train from the epoch after `state.history` to the end of the plan.

    Args:
        state: its network maps float images (B, 3, H, W) of 0…255 to logits (B, C)
        photos: those to train on
        classes: C
        plan: how to train
        device: where to train
        validate: called with the averaged network after each epoch
        on_step: called with the number of images and the mean loss so far, for progress
        on_epoch: called after each epoch, to save the state
        teach: images and the network's logits → a second loss, which counts as much as that of the targets

    Raises:
        TrainingFailed: with what to change. The last epoch's checkpoint is intact.
    """
    state.network.to(device.kind, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    state.average.to(device.kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for number in range(len(state.history) + 1, plan.epochs + 1):
        start = time.monotonic()
        try:
            loss = _epoch(state, photos, classes, plan, device, number, teach, on_step)
            seconds = time.monotonic() - start
            validation = validate(state.average)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingFailed(
                reason=f"the memory of the device ({device.kind}) is too small for batches of {plan.batch_size} photos",
                remedy=f"Train with --batch-size {max(2, plan.batch_size // 2)}, or with a smaller --size",
            ) from error
        if not math.isfinite(validation.loss):
            # The gradients of the last step were not finite; the training loss does not show it.
            raise _diverged(number, photos.steps)
        images = photos.steps * plan.batch_size
        rate = max(group["lr"] for group in state.optimiser.param_groups)
        epoch = Epoch(number, loss, validation, rate, seconds, images / seconds)
        state.history.append(epoch)
        on_epoch(epoch)


def _epoch(
    state: TrainingState[Network],
    photos: TrainingSet,
    classes: int,
    plan: TrainingPlan,
    device: Device,
    number: int,
    teach: Callable[[Tensor, Tensor], Tensor] | None,
    on_step: Callable[[int, float], None],
) -> float:
    torch.manual_seed(plan.seed * 1_000_003 + number)  # for dropout
    generator = np.random.default_rng((plan.seed, number, 1))
    state.network.train()
    scaler = GradScaler(device.kind, enabled=device.dtype == torch.float16)
    total = torch.zeros((), device=device.kind)
    for step, batch in enumerate(photos.epoch(number, plan.sizes[number - 1])):
        done = number - 1 + step / photos.steps
        for group in state.optimiser.param_groups:
            group["lr"] = group["highest_rate"] * plan.rate(done)
        images = batch.images.to(device.kind, non_blocking=True).float()
        targets = batch.targets.to(device.kind)
        images, probabilities = mix(images, targets, classes, plan.mixing, generator)
        images = images.contiguous(memory_format=torch.channels_last)
        loss = _step(state, images, probabilities, plan, device, scaler, teach)
        total += loss
        _average(state, plan.average_decay, (number - 1) * photos.steps + step)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == photos.steps:
            mean = total.item() / (step + 1)
            if not math.isfinite(mean):
                raise _diverged(number, step + 1)
            on_step(min(CHECK_EVERY, step % CHECK_EVERY + 1) * plan.batch_size, mean)
    return total.item() / photos.steps


def _step(
    state: TrainingState[Network],
    images: Tensor,
    probabilities: Tensor,
    plan: TrainingPlan,
    device: Device,
    scaler: GradScaler,
    teach: Callable[[Tensor, Tensor], Tensor] | None,
) -> Tensor:
    """Take one step of the optimiser; returns its loss, on the device."""
    with torch.autocast(device.kind, device.dtype, enabled=device.dtype != torch.float32):
        logits = state.network(images).float()
    loss = functional.cross_entropy(logits, probabilities)
    if teach is not None:
        loss = (loss + teach(images, logits)) / 2
    state.optimiser.zero_grad()
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.unscale_(state.optimiser)
    nn.utils.clip_grad_norm_(state.network.parameters(), plan.clip)
    scaler.step(state.optimiser)
    scaler.update()
    return loss.detach()


@torch.no_grad()
def _average(state: TrainingState[Network], decay: float, step: int) -> None:
    """Update the moving average. Its decay starts low, so that the initial weights are soon forgotten.

    Not torch's `AveragedModel`, which copies the first weights, averages integer buffers, and prefixes the names in checkpoints.
    """
    decay = min(decay, (1 + step) / (10 + step))
    network = [*state.network.parameters(), *state.network.buffers()]
    average = [*state.average.parameters(), *state.average.buffers()]
    for mean, value in zip(average, network, strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _diverged(epoch: int, step: int) -> TrainingFailed:
    return TrainingFailed(
        reason=f"the loss is not a finite number in epoch {epoch}, at step {step}",
        remedy="Continue from the last epoch with --resume. If training fails again, start over with half the --learning-rate",
    )
