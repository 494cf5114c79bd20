"""The batches of an epoch: sample photos, augment them in threads ahead of the model, and mix them.

All randomness derives from the seed, the epoch and the position in it, so any epoch can be reproduced.
"""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from tagger.model.devices import core_count
from tagger.photos.decoding import Pixels
from trainer.data.pixels import CachedPhotos
from trainer.data.preparation import TrainingData
from trainer.threads import compute_ahead

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
    """The shares of batches that get mixup or CutMix, and the label smoothing."""

    mixup: float = 0.3
    cutmix: float = 0.3
    smoothing: float = 0.1


@dataclass(frozen=True)
class Batch:
    """Views of photos and their targets."""

    images: Tensor  # uint8 (B, 3, H, W), channels last in memory
    targets: Tensor  # int64 (B,)


@dataclass(frozen=True)
class TrainingSet:
    """The photos to train on, and the settings of their views."""

    cached: CachedPhotos
    positions: Positions  # int64 (N,), the training photos in `cached`
    targets: Positions  # int64 (N,)
    weights: npt.NDArray[np.float64]  # (N,), how frequent each photo is, relative to the others
    augmentation: Augmentation
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return max(1, len(self.positions) // self.batch_size)

    def epoch(self, number: int, size: int) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, with views of `size` pixels."""
        generator = np.random.default_rng((self.seed, number))
        order = sample_rows(self.weights, self.steps * self.batch_size, generator)
        seeds = generator.integers(0, 2**63, len(order))
        parts = [slice(first, first + self.batch_size) for first in range(0, len(order), self.batch_size)]
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


def training_set(data: TrainingData, augmentation: Augmentation, batch_size: int, seed: int) -> TrainingSet:
    """The training photos of `data`."""
    classes = data.classes_of_photos[data.training]
    weights = data.training_weights()
    return TrainingSet(data.cached, data.training, classes, weights, augmentation, batch_size, seed)


def sample_rows(weights: npt.NDArray[np.float64], count: int, generator: Generator) -> Positions:
    """Sample `count` rows in random order, int64, as often as their `weights`, float64 (N,), say.

    Systematic sampling: a row with an expected count of 1.3 occurs once or twice, one of 1 always.
    """
    rows = generator.permutation(len(weights))
    cumulative = np.cumsum(weights[rows])  # float64 (N,), ascending
    ticks = (generator.random() + np.arange(count)) * cumulative[-1] / count
    sample = rows[np.minimum(np.searchsorted(cumulative, ticks, side="right"), len(rows) - 1)]
    return generator.permutation(sample)


def augment(pixels: Pixels, size: int, options: Augmentation, generator: Generator) -> Pixels:
    """Return a random view of a photo, uint8 (size, size, 3).

    Args:
        pixels: the whole photo, uint8 (S, S, 3)
        size: side of the view in pixels
        options: how far the view may differ
        generator: the source of all randomness
    """
    image = _turn(Image.fromarray(pixels), options, generator)
    if generator.random() < options.coarse_share:
        image = _coarsen(image, generator)
    image = _crop(image, size, options, generator)
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = _change_light(image, options, generator)
    if generator.random() < options.jpeg_share:
        image = _compress(image, generator)
    view = np.array(image)
    if generator.random() < options.framed_share:
        _frame(view, generator)
    return view


def _turn(image: Image.Image, options: Augmentation, generator: Generator) -> Image.Image:
    if generator.random() < options.turned_share:
        quarter = Image.Transpose.ROTATE_90 if generator.random() < 0.5 else Image.Transpose.ROTATE_270
        image = image.transpose(quarter)
    if generator.random() < options.tilted_share:
        image = image.rotate(generator.uniform(-HIGHEST_TILT, HIGHEST_TILT), Image.Resampling.BILINEAR)
    return image


def _coarsen(image: Image.Image, generator: Generator) -> Image.Image:
    """Reduce the photo. The crop enlarges it again."""
    scale = math.exp(generator.uniform(math.log(LEAST_SCALE), math.log(0.9)))
    side = max(8, round(image.width * scale))
    small = image.resize((side, side), RESAMPLINGS[generator.integers(2)])
    return _compress(small, generator) if generator.random() < 0.5 else small


def _crop(image: Image.Image, size: int, options: Augmentation, generator: Generator) -> Image.Image:
    width, height = image.size
    area = generator.uniform(options.least_area, 1.0)
    stretch = math.exp(generator.uniform(-1, 1) * math.log(options.distortion))
    across, down = min(1.0, math.sqrt(area * stretch)), min(1.0, math.sqrt(area / stretch))
    left, top = generator.uniform(0, 1 - across), generator.uniform(0, 1 - down)
    box = (left * width, top * height, (left + across) * width, (top + down) * height)
    return image.resize((size, size), RESAMPLINGS[generator.integers(2)], box)


def _change_light(image: Image.Image, options: Augmentation, generator: Generator) -> Image.Image:
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for number in generator.permutation(len(enhancers)):
        image = enhancers[number](image).enhance(1 + options.light * generator.uniform(-1, 1))
    gains = 1 + options.tint * generator.uniform(-1, 1, (3, 1))
    image = image.point((np.arange(256) * gains).round().clip(0, 255).ravel().tolist())
    if generator.random() < options.grey_share:
        image = ImageEnhance.Color(image).enhance(0)
    return image


def _compress(image: Image.Image, generator: Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(generator.integers(25, 95)))
    return Image.open(file).convert("RGB")


def _frame(view: Pixels, generator: Generator) -> None:
    depth = max(1, int(view.shape[0] * generator.uniform(0.02, 0.15)))
    shade = (0, 255, int(generator.integers(256)))[generator.integers(3)]
    sides = generator.integers(3)
    if sides != 0:
        view[:depth] = view[-depth:] = shade
    if sides != 1:
        view[:, :depth] = view[:, -depth:] = shade


def mix(
    images: Tensor, targets: Tensor, classes: int, options: MixOptions, generator: Generator
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
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global CPU generator
            torch.default_generator.manual_seed(int(generator.integers(2**63)))
            images, probabilities = transform(alpha=alpha, num_classes=classes)(images, targets)
    else:
        probabilities = functional.one_hot(targets, classes).float()
    return images, probabilities * (1 - options.smoothing) + options.smoothing / classes
