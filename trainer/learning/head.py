"""The linear layer on top of a backbone: learned on features of a backbone that is kept as it is, in seconds.

It is all there is to learn where photos are few, and where fine-tuning begins: gradients from a random layer would
spoil what the backbone knows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.evaluation.metrics import top_k_accuracy
from trainer.learning.loop import Epoch, Validation

BATCH_SIZE = 256
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1.0
BALANCE = 0.5
"""0: every photo counts alike; 1: every label counts alike, however few its photos."""


@dataclass(frozen=True)
class Examples:
    """Features of photos in several views and what is right for each; the target after the last label is "none of them"."""

    features: Tensor  # float32 (N, V, F)
    targets: Tensor  # int64 (N,)


def learn_head(
    training: Examples, validation: Examples, labels: int, classes: int, *, epochs: int, seed: int
) -> tuple[nn.Linear, list[Epoch]]:
    """Fit the layer on standardised features with AdamW, its rate falling along a cosine; the standardisation is then worked into its weights.

    Args:
        training: to learn from
        validation: of which the first view counts
        labels: L
        classes: C, one more than L where there are ordinary photos
        epochs: times through the examples
        seed: of their order
    """
    views, width = training.features.shape[1:]
    inputs = training.features.reshape(-1, width)  # float32 (N · V, F)
    targets = training.targets.repeat_interleave(views)
    mean, deviation = inputs.mean(dim=0), inputs.std(dim=0) + 1e-3
    head = nn.Linear(width, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    weights = _class_weights(training.targets, classes)
    plain = (validation.features[:, 0] - mean) / deviation
    history = []
    for number, loss in enumerate(
        _fit(head, (inputs - mean) / deviation, targets, weights, epochs, seed), start=1
    ):
        history.append(Epoch(number, loss, _validate(head, plain, validation.targets, labels)))
    with torch.no_grad():
        head.weight.div_(deviation)
        head.bias.sub_(head.weight @ mean)
    return head, history


def _fit(
    head: nn.Linear, inputs: Tensor, targets: Tensor, weights: Tensor, epochs: int, seed: int
) -> Iterator[float]:
    """Yields the mean loss of each epoch."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = -(-len(inputs) // BATCH_SIZE)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps)
    for _ in range(epochs):
        total = 0.0
        order = torch.randperm(len(inputs), generator=generator)
        for first in range(0, len(order), BATCH_SIZE):
            rows = order[first : first + BATCH_SIZE]
            loss = functional.cross_entropy(head(inputs[rows]), targets[rows], weight=weights)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            cosine.step()
            total += loss.item() * len(rows)
        yield total / len(inputs)


def _class_weights(targets: Tensor, classes: int) -> Tensor:
    counts = torch.bincount(targets, minlength=classes).float()
    return (counts.mean() / counts) ** BALANCE


@torch.no_grad()
def _validate(head: nn.Linear, features: Tensor, targets: Tensor, labels: int) -> Validation:
    logits = head(features)
    landmarks, known = targets < labels, targets < head.out_features
    loss = functional.cross_entropy(logits[known], targets[known]).item()
    return Validation(loss, top_k_accuracy(logits[landmarks, :labels], targets[landmarks], 1))
