"""The training loop: fit a network to views of photos, with averaged weights, and a checkpoint each epoch.

Random numbers depend on seed and epoch alone: a resumed run gives the result of an uninterrupted one.
"""

import ctypes
import logging
import math
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.model.backends.protocol import is_out_of_memory
from tagger.model.devices import Device
from trainer.data.preparation import TrainingData
from trainer.errors import TrainingFailed
from trainer.learning.batches import Augmentation, MixOptions, TrainingSet, mix, training_set
from trainer.learning.classifier import measure_logits
from trainer.learning.state import (
    CHECKPOINT,
    Epoch,
    Network,
    TrainingState,
    Validation,
    resume_checkpoint,
    save_checkpoint,
)
from trainer.options import RecipeOptions
from trainer.progress import PhotoCounter, photo_counter

# Steps between two checks of the loss. Each check waits for the device.
CHECK_EVERY = 10
VALIDATION_BATCH = 32
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_RETAINED_BYTES = 2**30

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class TrainingPlan:
    """How a recipe trains. Learning rates rise for `warm_up` epochs, then fall to zero along a cosine.

    `sizes` has the side of the views for every epoch, in pixels. `average_decay` is the decay of the
    moving average of the weights (EMA) per step. `clip` is the highest norm of the gradient.
    """

    augmentation: Augmentation
    sizes: tuple[int, ...]
    batch_size: int
    warm_up: float
    clip: float
    mixing: MixOptions
    seed: int
    average_decay: float = 0.998

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


def train_network(
    data: TrainingData,
    state: TrainingState[Network],
    plan: TrainingPlan,
    device: Device,
    *,
    options: RecipeOptions,
    settings: dict[str, object],
) -> None:
    """Train the network on prepared photos; write a checkpoint after every epoch, or continue from one.

    Args:
        data: the photos
        state: its network maps float images (B, 3, H, W) of 0…255 to logits (B, C); its average is the result
        plan: how to train
        device: where to train
        options: the run folder, and whether to continue
        settings: what else must stay the same to continue, apart from options, plan and photos

    Raises:
        TrainingFailed, OutputUnwritable: with what to change. The last epoch's checkpoint is intact.
    """
    keep_freed_memory()
    settings |= options.settings() | {"plan": asdict(plan), "photos": data.provenance()["digest"]}
    checkpoint = options.out / CHECKPOINT
    if options.resume and checkpoint.exists():
        resume_checkpoint(checkpoint, state, settings)
        log.info("resuming after epoch %d of %d", len(state.history), plan.epochs)
    photos = training_set(data, plan.augmentation, plan.batch_size, plan.seed)
    # torch's stubs lack it.
    state.network.to(device.kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    state.average.to(device.kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    epoch_photos = photos.steps * plan.batch_size
    finished = len(state.history) * epoch_photos
    with photo_counter("training", plan.epochs * epoch_photos, finished) as counter:
        for number in range(len(state.history) + 1, plan.epochs + 1):
            start = time.monotonic()
            try:
                loss = _epoch(state, photos, data.classes, plan, device, number, counter)
                seconds = time.monotonic() - start
                validation = _validate(state.average, data, plan.sizes[-1], device)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise TrainingFailed(
                    reason=f"the memory of the device ({device.kind}) is too small for "
                    f"batches of {plan.batch_size} photos",
                    remedy=f"Train with --batch-size {max(2, plan.batch_size // 2)}, "
                    "or with a smaller --size",
                ) from error
            if not math.isfinite(validation.loss):
                # The gradients of the last step were not finite; the training loss does not show it.
                raise _diverged(number, photos.steps)
            rate = max(group["lr"] for group in state.optimiser.param_groups)
            epoch = Epoch(number, loss, validation, rate, seconds, epoch_photos / seconds)
            state.history.append(epoch)
            save_checkpoint(checkpoint, state, settings)
            log.info(
                "epoch %d of %d: loss %.4f, validation loss %.4f, "
                "validation top-1 before calibration %.1f %%, rate %.1e, %.0f photos/s, %.0f s",
                *(number, plan.epochs, loss, validation.loss, 100 * validation.top1, rate),
                *(epoch.images_per_second, seconds),
            )
    state.average.cpu()


def _epoch(
    state: TrainingState[Network],
    photos: TrainingSet,
    classes: int,
    plan: TrainingPlan,
    device: Device,
    number: int,
    counter: PhotoCounter,
) -> float:
    torch.manual_seed(plan.seed * 1_000_003 + number)  # for dropout
    generator = np.random.default_rng((plan.seed, number, 1))
    state.network.train()
    total = torch.zeros((), device=device.kind)
    for step, batch in enumerate(photos.epoch(number, plan.sizes[number - 1])):
        done = number - 1 + step / photos.steps
        for group in state.optimiser.param_groups:
            group["lr"] = group["highest_rate"] * plan.rate(done)
        images = batch.images.to(device.kind, non_blocking=True).float()
        targets = batch.targets.to(device.kind)
        images, probabilities = mix(images, targets, classes, plan.mixing, generator)
        images = images.contiguous(memory_format=torch.channels_last)
        loss = _step(state, images, probabilities, plan, device)
        total += loss
        _average(state, plan.average_decay, (number - 1) * photos.steps + step)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == photos.steps:
            mean = total.item() / (step + 1)
            if not math.isfinite(mean):
                raise _diverged(number, step + 1)
            steps = min(CHECK_EVERY, step % CHECK_EVERY + 1)
            counter.advance(steps * plan.batch_size, f"epoch {number}, loss {mean:.3f}")
    return total.item() / photos.steps


def _step(
    state: TrainingState[Network],
    images: Tensor,
    probabilities: Tensor,
    plan: TrainingPlan,
    device: Device,
) -> Tensor:
    """Take one step of the optimiser; returns its loss, on the device."""
    with torch.autocast(device.kind, device.dtype, enabled=device.dtype != torch.float32):
        logits = state.network(images).float()
    loss = functional.cross_entropy(logits, probabilities)
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.network.parameters(), plan.clip)
    state.optimiser.step()
    return loss.detach()


@torch.no_grad()
def _average(state: TrainingState[Network], decay: float, step: int) -> None:
    """Update the moving average. Its decay starts low, so that the initial weights are soon forgotten.

    Not torch's `AveragedModel`, which averages integer buffers, and prefixes the names in checkpoints.
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
        remedy="Continue from the last epoch with --resume. If training fails again, start over with half "
        "the --learning-rate",
    )


def _validate(network: nn.Module, data: TrainingData, size: int, device: Device) -> Validation:
    """Measure the network on the validation photos, scaled to `size` pixels."""
    autocast = torch.autocast(device.kind, device.dtype, enabled=device.dtype != torch.float32)
    with torch.inference_mode(), autocast:
        batches = data.cached.batches(data.validation.tolist(), size, VALIDATION_BATCH)
        logits = torch.cat([network(images.to(device.kind)).float().cpu() for images in batches])
    return measure_logits(logits, torch.from_numpy(data.targets[data.validation]), len(data.labels))


def keep_freed_memory() -> None:
    """Let the process retain up to a gigabyte of freed memory, on Linux with glibc; does nothing elsewhere.

    Every training step frees and allocates the same large blocks. By default each returns to the system and
    comes back as zeroed pages, which takes a seventh of the time.
    """
    if sys.platform != "linux":
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _RETAINED_BYTES)
        set_option(_TRIM_THRESHOLD, _RETAINED_BYTES)
