"""The training loop: batches in, a fitted module out, one line of figures per epoch.

Knows nothing of photos, labels or recipes: a recipe brings the module, the examples and the way to validate.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Schedule:
    """How to optimise: AdamW, its learning rate falling to zero along a cosine."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int


@dataclass(frozen=True)
class Validation:
    """How the module does on photos it does not learn from."""

    loss: float
    top1: float


@dataclass(frozen=True)
class Epoch:
    """One time through the examples."""

    number: int
    loss: float
    validation: Validation


def fit(
    module: nn.Module,
    examples: tuple[Tensor, Tensor],
    *,
    class_weights: Tensor,
    schedule: Schedule,
    validate: Callable[[], Validation],
    on_epoch: Callable[[Epoch], None],
) -> list[Epoch]:
    """Fit `module` to the examples; what it does is fixed by the schedule and its seed.

    Args:
        module: inputs → logits (B, C); fitted in place
        examples: inputs (N, …) and targets, int64 (N,)
        class_weights: float (C,), how much an example of each class counts
        schedule: how to optimise
        validate: called after each epoch
        on_epoch: called with what each epoch brought
    """
    inputs, targets = examples
    generator = torch.Generator().manual_seed(schedule.seed)
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    steps = -(-len(inputs) // schedule.batch_size)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, schedule.epochs * steps)
    history = []
    for number in range(1, schedule.epochs + 1):
        total = 0.0
        order = torch.randperm(len(inputs), generator=generator)
        for first in range(0, len(order), schedule.batch_size):
            rows = order[first : first + schedule.batch_size]
            loss = functional.cross_entropy(module(inputs[rows]), targets[rows], weight=class_weights)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            cosine.step()
            total += loss.item() * len(rows)
        history.append(Epoch(number, total / len(inputs), validate()))
        on_epoch(history[-1])
    return history
