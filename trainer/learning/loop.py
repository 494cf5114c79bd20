"""The training loop: fit a network to altered views of photos, with a checkpoint each epoch.

All randomness derives from the seed, the epoch and the position in it: a resumed run gives the result of an
uninterrupted one.
"""

from __future__ import annotations

import ctypes
import io
import logging
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import v2

from tagger.model.backends import is_out_of_memory
from tagger.model.devices import Device, core_count
from tagger.photos.decoding import Pixels
from trainer import PhotoCounter, TrainingFailed, compute_ahead, photo_counter
from trainer.data.preparation import CachedPhotos, TrainingData
from trainer.learning.classifier import (
    CHECKPOINT,
    Epoch,
    Network,
    TrainingState,
    Validation,
    measure_logits,
    resume_checkpoint,
    save_checkpoint,
)
from trainer.options import RecipeOptions

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


def growing_sizes(
    epochs: int,
    size: int,
    shares: tuple[tuple[float, float], ...],
) -> tuple[int, ...]:
    """The side of the views for every epoch, in multiples of 32 pixels.

    Args:
        epochs: their number
        size: side of the model's input, in pixels
        shares: (end as a share of the epochs, share of `size`), in order; the last ends at 1
    """
    sizes = []
    for number in range(1, epochs + 1):
        share = next(
            share for end, share in shares if number <= end * epochs or end == 1
        )
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
    settings |= options.settings() | {
        "plan": asdict(plan),
        "photos": data.provenance()["digest"],
    }
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
                loss = _epoch(
                    state,
                    photos,
                    data.classes,
                    plan,
                    device,
                    number,
                    counter,
                )
                seconds = time.monotonic() - start
                validation = _validate(
                    state.average,
                    data,
                    plan.sizes[-1],
                    device,
                )
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
            epoch = Epoch(
                number,
                loss,
                validation,
                rate,
                seconds,
                epoch_photos / seconds,
            )
            state.history.append(epoch)
            save_checkpoint(checkpoint, state, settings)
            log.info(
                "epoch %d of %d: loss %.4f, validation loss %.4f, "
                "validation top-1 before calibration %.1f %%, rate %.1e, %.0f photos/s, %.0f s",
                *(
                    number,
                    plan.epochs,
                    loss,
                    validation.loss,
                    100 * validation.top1,
                    rate,
                ),
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
        images, probabilities = mix(
            images,
            targets,
            classes,
            plan.mixing,
            generator,
        )
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
    # Take one step of the optimiser; returns its loss, on the device.
    with torch.autocast(
        device.kind,
        device.dtype,
        enabled=device.dtype != torch.float32,
    ):
        logits = state.network(images).float()
    loss = functional.cross_entropy(logits, probabilities)
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.network.parameters(), plan.clip)
    state.optimiser.step()
    return loss.detach()


@torch.no_grad()
def _average(state: TrainingState[Network], decay: float, step: int) -> None:
    # Update the moving average. Its decay starts low, so that the initial weights are soon forgotten.
    # Not torch's `AveragedModel`, which averages integer buffers, and prefixes the names in checkpoints.
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


def _validate(
    network: nn.Module, data: TrainingData, size: int, device: Device
) -> Validation:
    # Measure the network on the validation photos, scaled to `size` pixels.
    autocast = torch.autocast(
        device.kind,
        device.dtype,
        enabled=device.dtype != torch.float32,
    )
    with torch.inference_mode(), autocast:
        batches = data.cached.batches(data.validation.tolist(), size, VALIDATION_BATCH)
        logits = torch.cat(
            [network(images.to(device.kind)).float().cpu() for images in batches]
        )
    return measure_logits(
        logits,
        torch.from_numpy(data.targets[data.validation]),
        len(data.labels),
    )


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


# The batches of an epoch: sample photos, augment them in threads ahead of the model, and mix them.
#
# All randomness derives from the seed, the epoch and the position in it, so any epoch can be
# reproduced.

BATCHES_AHEAD = 4
# In degrees.
HIGHEST_TILT = 8.0
# The least scale of a coarse photo: from the squares for a model of 224 pixels, it makes photos of
# 96.
LEAST_SCALE = 1 / 3
RESAMPLINGS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
MIXUP_ALPHA, CUTMIX_ALPHA = 0.4, 1.0

Generator = np.random.Generator
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Augmentation:
    """How far views may differ from the photo. Shares are probabilities of an alteration."""

    # The smallest share of the photo's area that a view shows.
    least_area: float = 0.3
    # The highest factor by which a view's aspect ratio changes.
    distortion: float = 1.5
    # The highest relative change of brightness, contrast and saturation.
    light: float = 0.3
    # The highest relative change of each colour channel, like another white balance.
    tint: float = 0.08
    # Downscaled, half of them compressed, and upscaled: size must not tell sources apart.
    coarse_share: float = 0.5
    # Saved as JPEG of low quality.
    jpeg_share: float = 0.25
    grey_share: float = 0.03
    # Turned by a quarter to the left or right, like photos that lost their orientation.
    turned_share: float = 0.0
    # Turned by an angle of up to `HIGHEST_TILT`, with black corners.
    tilted_share: float = 0.0
    # Bars of one colour at two opposite sides or all of them, like screenshots and prints.
    framed_share: float = 0.05


@dataclass(frozen=True)
class MixOptions:
    mixup: float = 0.3
    cutmix: float = 0.3
    smoothing: float = 0.1


@dataclass(frozen=True)
class Batch:
    images: Tensor  # uint8 (B, 3, H, W), channels last in memory
    targets: Tensor  # int64 (B,)


@dataclass(frozen=True)
class TrainingSet:
    cached: CachedPhotos
    positions: Positions  # int64 (N,), the training photos in `cached`
    targets: Positions  # int64 (N,)
    weights: npt.NDArray[
        np.float64
    ]  # (N,), how frequent each photo is, relative to the others
    augmentation: Augmentation
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        return max(1, len(self.positions) // self.batch_size)

    def epoch(self, number: int, size: int) -> Iterator[Batch]:
        generator = np.random.default_rng((self.seed, number))
        order = sample_rows(
            self.weights,
            self.steps * self.batch_size,
            generator,
        )
        seeds = generator.integers(0, 2**63, len(order))
        parts = [
            slice(first, first + self.batch_size)
            for first in range(0, len(order), self.batch_size)
        ]
        yield from compute_ahead(
            lambda part: self._batch(order[part], seeds[part], size),
            parts,
            ahead=max(BATCHES_AHEAD, core_count()),
            name="views",
        )

    def _batch(self, rows: Positions, seeds: Positions, size: int) -> Batch:
        views = [
            augment(
                self.cached.image(self.positions[row]),
                size,
                self.augmentation,
                np.random.default_rng(int(seed)),
            )
            for row, seed in zip(rows, seeds, strict=True)
        ]
        images = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)
        return Batch(images, torch.from_numpy(self.targets[rows]))


def training_set(
    data: TrainingData, augmentation: Augmentation, batch_size: int, seed: int
) -> TrainingSet:
    classes = data.classes_of_photos[data.training]
    weights = data.training_weights()
    return TrainingSet(
        data.cached,
        data.training,
        classes,
        weights,
        augmentation,
        batch_size,
        seed,
    )


def sample_rows(
    weights: npt.NDArray[np.float64],
    count: int,
    generator: Generator,
) -> Positions:
    """Sample `count` rows in random order, int64, as often as their `weights`, float64 (N,), say.

    Systematic sampling: a row with an expected count of 1.3 occurs once or twice, one of 1 always.
    """
    rows = generator.permutation(len(weights))
    cumulative = np.cumsum(weights[rows])  # float64 (N,), ascending
    ticks = (generator.random() + np.arange(count)) * cumulative[-1] / count
    sample = rows[
        np.minimum(np.searchsorted(cumulative, ticks, side="right"), len(rows) - 1)
    ]
    return generator.permutation(sample)


def augment(
    pixels: Pixels, size: int, options: Augmentation, generator: Generator
) -> Pixels:
    """Return a random view of a photo, uint8 (size, size, 3).

    Args:
        pixels: the whole photo, uint8 (S, S, 3)
        size: side of the view in pixels
        options: how far the view may differ
        generator: the source of all randomness
    """
    image = _turn(Image.fromarray(pixels), options, generator)
    if generator.random() < options.coarse_share:
        # Reduce the photo. The crop enlarges it again.
        scale = math.exp(generator.uniform(math.log(LEAST_SCALE), math.log(0.9)))
        side = max(8, round(image.width * scale))
        small = image.resize((side, side), RESAMPLINGS[generator.integers(2)])
        image = _compress(small, generator) if generator.random() < 0.5 else small
    width, height = image.size
    area = generator.uniform(options.least_area, 1.0)
    stretch = math.exp(generator.uniform(-1, 1) * math.log(options.distortion))
    across, down = (
        min(1.0, math.sqrt(area * stretch)),
        min(1.0, math.sqrt(area / stretch)),
    )
    left, top = generator.uniform(0, 1 - across), generator.uniform(0, 1 - down)
    box = (
        left * width,
        top * height,
        (left + across) * width,
        (top + down) * height,
    )
    image = image.resize((size, size), RESAMPLINGS[generator.integers(2)], box)
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = _change_light(image, options, generator)
    if generator.random() < options.jpeg_share:
        image = _compress(image, generator)
    view = np.array(image)
    if generator.random() < options.framed_share:
        depth = max(1, int(view.shape[0] * generator.uniform(0.02, 0.15)))
        shade = (0, 255, int(generator.integers(256)))[generator.integers(3)]
        sides = generator.integers(3)
        if sides != 0:
            view[:depth] = view[-depth:] = shade
        if sides != 1:
            view[:, :depth] = view[:, -depth:] = shade
    return view


def _turn(
    image: Image.Image, options: Augmentation, generator: Generator
) -> Image.Image:
    if generator.random() < options.turned_share:
        quarter = (
            Image.Transpose.ROTATE_90
            if generator.random() < 0.5
            else Image.Transpose.ROTATE_270
        )
        image = image.transpose(quarter)
    if generator.random() < options.tilted_share:
        image = image.rotate(
            generator.uniform(-HIGHEST_TILT, HIGHEST_TILT), Image.Resampling.BILINEAR
        )
    return image


def _change_light(
    image: Image.Image, options: Augmentation, generator: Generator
) -> Image.Image:
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for number in generator.permutation(len(enhancers)):
        image = enhancers[number](image).enhance(
            1 + options.light * generator.uniform(-1, 1)
        )
    gains = 1 + options.tint * generator.uniform(-1, 1, (3, 1))
    image = image.point((np.arange(256) * gains).round().clip(0, 255).ravel().tolist())
    if generator.random() < options.grey_share:
        image = ImageEnhance.Color(image).enhance(0)
    return image


def _compress(image: Image.Image, generator: Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(generator.integers(25, 95)))
    return Image.open(file).convert("RGB")


def mix(
    images: Tensor,
    targets: Tensor,
    classes: int,
    options: MixOptions,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Mix a batch's images with each other by mixup or CutMix, or not at all, and smooth its targets.

    Args:
        images: float (B, 3, H, W)
        targets: int64 (B,)
        classes: C
        options: the shares of mixed batches
        generator: the source of all randomness

    Returns:
        float (B, 3, H, W), and the probabilities of the classes, float32 (B, C), whose rows sum to 1
    """
    lot = generator.random()
    if lot < options.mixup + options.cutmix:
        transform = v2.MixUp if lot < options.mixup else v2.CutMix
        alpha = MIXUP_ALPHA if lot < options.mixup else CUTMIX_ALPHA
        with torch.random.fork_rng(
            devices=[]
        ):  # torchvision draws from torch's global CPU generator
            torch.default_generator.manual_seed(int(generator.integers(2**63)))
            images, probabilities = transform(alpha=alpha, num_classes=classes)(
                images, targets
            )
    else:
        probabilities = functional.one_hot(targets, classes).float()
    return images, probabilities * (1 - options.smoothing) + options.smoothing / classes
