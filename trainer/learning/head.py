"""What is learned on a frozen backbone's features: a linear layer, or a classifier of few landmarks.

Training takes seconds, which is best if photos are few. The linear layer also initialises fine-tuning:
gradients from a random layer would damage the backbone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.model.artifact import BackgroundStatistics
from tagger.photos.decoding import Resize
from tagger.teaching.classifiers import EmbeddingSpace, calibrate, fit_direction
from trainer import TrainingFailed, photo_progress
from trainer.data.preparation import CachedPhotos, decode_batches
from trainer.learning.classifier import (
    SUM_LIMIT,
    Encoder,
    Epoch,
    ExportedClassifier,
    embedding_of,
    measure_logits,
)

BATCH_SIZE = 256
EPOCHS = 12
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1.0
# The weight of blended photos in the loss, relative to the photos themselves.
BLEND_WEIGHT = 0.5
# The share of one of two blended photos is between these.
BLEND_SHARES = 0.35, 0.65
# Larger batches are slower on a CPU, because their activations no longer fit in its caches.
FEATURE_BATCH_SIZE = 8


@dataclass(frozen=True)
class FeatureSet:
    """Features of photos in several views, and their targets.

    Targets are classes for training. For validation, the target after the last label is "none of them".
    """

    features: Tensor  # float32 (N, V, F)
    targets: Tensor  # int64 (N,)


def fit_head(
    training: FeatureSet,
    weights: Tensor,
    validation: FeatureSet,
    labels: int,
    classes: int,
    *,
    seed: int,
) -> tuple[nn.Linear, list[Epoch]]:
    """Fit the layer on standardised features with AdamW, then fold the standardisation into its weights.

    If there are background classes, the layer gets one more, for what lies between the classes: blends of the
    features of two photos, where most other things lie ("mixture outlier exposure", Zhang et al., 2023).

    Args:
        training: the features to fit
        weights: float (N,), of the photos in training
        validation: the features to measure; only the first view is used
        labels: L
        classes: C; those after the labels are background
        seed: of their order
    """
    views, width = training.features.shape[1:]
    inputs = training.features.reshape(-1, width)  # float32 (N · V, F)
    targets = training.targets.repeat_interleave(views)
    mean, deviation = inputs.mean(dim=0), inputs.std(dim=0) + 1e-3
    blended = classes if classes > labels else None
    head = nn.Linear(width, classes if blended is None else classes + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    weights = weights.float().repeat_interleave(views)
    plain = (validation.features[:, 0] - mean) / deviation
    history = []
    losses = _fit(
        head,
        (inputs - mean) / deviation,
        targets,
        weights,
        seed,
        blended,
    )
    for number, loss in enumerate(losses, start=1):
        with torch.no_grad():
            measured = measure_logits(head(plain), validation.targets, labels)
        history.append(Epoch(number, loss, measured))
    with torch.no_grad():
        head.weight.div_(deviation)
        head.bias.sub_(head.weight @ mean)
    return head, history


def _fit(
    head: nn.Linear,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor,
    seed: int,
    blended: int | None,
) -> Iterator[float]:
    # Yield the mean loss of each epoch. `blended`: the class of blends, if there is one.
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    steps = -(-len(inputs) // BATCH_SIZE)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * steps)
    for _ in range(EPOCHS):
        total = 0.0
        order = torch.randperm(len(inputs), generator=generator)
        for first in range(0, len(order), BATCH_SIZE):
            rows = order[first : first + BATCH_SIZE]
            losses = functional.cross_entropy(
                head(inputs[rows]),
                targets[rows],
                reduction="none",
            )
            loss = (losses * weights[rows]).sum() / weights[rows].sum()
            if blended is not None:
                blends = _blends(inputs[rows], targets[rows], generator)
                other = torch.full((len(blends),), blended)
                blended_loss = functional.cross_entropy(
                    head(blends), other, reduction="sum"
                )
                loss = loss + BLEND_WEIGHT * blended_loss / max(len(blends), 1)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            cosine.step()
            total += loss.item() * len(rows)
        yield total / len(inputs)


def without_blends(head: nn.Linear, classes: int) -> nn.Linear:
    """The layer without the class of blends, for fine-tuning, which mixes photos itself."""
    first = nn.Linear(head.in_features, classes)
    with torch.no_grad():
        first.weight.copy_(head.weight[:classes])
        first.bias.copy_(head.bias[:classes])
    return first


def _blends(inputs: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
    # Blend the photos of a batch, (B, F), with others of another class: float32 (at most B, F).
    partners = torch.randperm(len(inputs), generator=generator)
    shares = torch.empty(len(inputs), 1).uniform_(*BLEND_SHARES, generator=generator)
    return torch.lerp(inputs, inputs[partners], shares)[targets != targets[partners]]


def features_from_files(
    encoder: Encoder,
    paths: Sequence[Path],
    resize: Resize,
    device: str,
    *,
    mirrored: bool = False,
) -> Tensor:
    """Compute the features of photos decoded exactly as the tagger does, float32 (N, V, F).

    There is one view of each photo, and if `mirrored`, its mirror image as a second one.

    Raises:
        TrainingFailed: some were readable when training started and no longer are.
    """
    batches = (
        batch.images for batch in decode_batches(paths, resize, FEATURE_BATCH_SIZE)
    )
    features = _features(
        encoder,
        batches,
        len(paths),
        device,
        mirrored=mirrored,
    )
    if missing := len(paths) - len(features):
        raise TrainingFailed(
            reason=f"{missing} of the validation photos were readable when training started and no longer "
            "are",
            remedy="Restore them and run the same command again with --resume",
        )
    return features


def features_from_cache(
    encoder: Encoder,
    photos: CachedPhotos,
    positions: Sequence[int],
    size: int,
    device: str,
    *,
    mirrored: bool = False,
) -> Tensor:
    """The same of the cached photos at `positions`, scaled to `size` pixels."""
    batches = photos.batches(positions, size, FEATURE_BATCH_SIZE)
    return _features(encoder, batches, len(positions), device, mirrored=mirrored)


def _features(
    encoder: Encoder,
    batches: Iterable[Tensor],
    count: int,
    device: str,
    *,
    mirrored: bool,
) -> Tensor:
    features = []
    encoder.eval().to(device)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    try:
        with (
            torch.no_grad(),
            photo_progress("computing features", count) as advance,
        ):
            for batch in batches:
                images = batch.to(device)
                views = (images, images.flip(3)) if mirrored else (images,)
                of_views = [encoder(view).cpu() for view in views]
                features.append(torch.stack(of_views, dim=1))
                advance(len(images))
    finally:
        encoder.to("cpu")
    return torch.cat(features)


# The classifier of few landmarks: each is told from strangers as if it was taught.
#
# Its rejection needs no photos of other things. The file of the shipped model has the statistics of
# thousands of strangers, from which `tagger.teaching.classifiers` learns what tells few photos from
# all else.


class TaughtClassifier(ExportedClassifier):
    """Encoder, and a linear layer from embeddings to the log-odds of each landmark against all else."""

    limit: Final[float]

    def __init__(self, encoder: Encoder, head: nn.Linear) -> None:
        super().__init__(encoder, head)
        self.limit = SUM_LIMIT

    def scores_of(self, features: Tensor) -> Tensor:
        """Features (B, F) → probabilities of the landmarks (B, L), scaled down where their sum is above 1."""
        scores = torch.sigmoid(
            self.head(embedding_of(features).to(self.head.weight.dtype)).float()
        )
        return scores / scores.sum(dim=1, keepdim=True).clamp(min=1.0) * self.limit


def fit_taught(
    background: BackgroundStatistics, embeddings: Tensor, targets: Tensor, labels: int
) -> nn.Linear:
    """Learn each landmark from its photos, for libraries of which nothing else is known.

    Args:
        background: the statistics of strangers
        embeddings: float32 (N, F), of the training photos
        targets: int64 (N,), 0 to L - 1
        labels: L
    """
    space = EmbeddingSpace.of(background)
    photos = space.transform(embeddings.numpy())
    none = photos[:0]
    head = nn.Linear(photos.shape[1], labels)
    for label in range(labels):
        direction = fit_direction(
            space,
            photos[(targets == label).numpy()],
            negatives=none,
        )
        fitted = calibrate(direction, none[:, 0], logit_per_likeness=0)
        weights, bias = space.untransformed(fitted.weights, fitted.bias)
        with torch.no_grad():
            head.weight[label] = torch.from_numpy(weights[:, 0])
            head.bias[label] = float(bias[0])
    return head
