"""From prepared photos and a network to a trained network: batches, validation, progress and checkpoints around the loop."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.devices import Device
from trainer.evaluation.metrics import top_k_accuracy
from trainer.learning.augmentation import Augmentation
from trainer.learning.batches import TrainingSet
from trainer.learning.checkpoints import resume_checkpoint, save_checkpoint
from trainer.learning.loop import Epoch, Learner, Schedule, Validation, Work, fit
from trainer.learning.memory import keep_freed_memory
from trainer.model.network import Trainee
from trainer.photos.preparation import Prepared
from trainer.progress import training_progress

VALIDATION_BATCH = 32
CHECKPOINT = Path("checkpoint", "training.safetensors")

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Plan:
    """How a recipe trains: what the views look like, how labels are balanced, how long and how fast."""

    augmentation: Augmentation
    balance: float
    schedule: Schedule


@dataclass(frozen=True)
class Trained:
    """The averaged network, float images (B, 3, H, W) of 0…255 → logits (B, C), and how it came about."""

    network: Trainee
    history: tuple[Epoch, ...]


def train_network(
    prepared: Prepared,
    learner: Learner[Trainee],
    plan: Plan,
    device: Device,
    *,
    out: Path,
    settings: dict[str, object],
    resume: bool,
    watch: Callable[[Epoch], None],
) -> Trained:
    """Train as planned, from the run's checkpoint where `resume` says so and there is one.

    Args:
        prepared: the photos
        learner: the network, float images (B, 3, H, W) of 0…255 → logits (B, C), and its optimiser
        plan: how
        device: where
        out: the run's folder, to which a checkpoint is written after every epoch
        settings: what else shapes the run, and has to be the same for it to be resumed
        resume: go on from that checkpoint
        watch: called after every epoch

    Raises:
        CheckpointUnusable, TrainingDiverged, DeviceMemoryExhausted, OutputUnwritable: with what to change.
    """
    keep_freed_memory()
    schedule = plan.schedule
    photos = TrainingSet(
        prepared.kept,
        prepared.learned,
        prepared.targets[~prepared.held],
        plan.balance,
        plan.augmentation,
        schedule.batch_size,
        schedule.seed,
    )
    settings = settings | {"plan": asdict(plan), "photos": prepared.provenance()["digest"]}
    if resume and (out / CHECKPOINT).exists():
        resume_checkpoint(out / CHECKPOINT, learner, settings)
        log.info("going on after epoch %d of %d", len(learner.history), schedule.epochs)

    def on_epoch(epoch: Epoch) -> None:
        save_checkpoint(out / CHECKPOINT, learner, settings)
        bar.epoch_ended()
        _report(epoch, schedule.epochs)
        watch(epoch)

    total = photos.steps * schedule.batch_size
    with training_progress(len(learner.history), schedule.epochs, total) as bar:
        size = schedule.sizes[-1]
        work = Work(
            batches=photos.epoch,
            steps=photos.steps,
            classes=prepared.classes,
            validate=lambda network: _validate(network, prepared, size, device),
            on_step=bar.advance,
            on_epoch=on_epoch,
        )
        fit(learner, work, schedule, device)
    return Trained(learner.average.cpu(), tuple(learner.history))


def _validate(network: nn.Module, prepared: Prepared, size: int, device: Device) -> Validation:
    positions = prepared.validation
    logits = _logits_of(network, prepared, positions, size, device)
    targets = torch.from_numpy(prepared.targets[positions])
    landmarks = targets < len(prepared.labels)
    known = targets < logits.shape[1]
    loss = functional.cross_entropy(logits[known], targets[known]).item()
    return Validation(
        loss, top_k_accuracy(logits[landmarks][:, : len(prepared.labels)], targets[landmarks], 1)
    )


def _logits_of(
    network: nn.Module, prepared: Prepared, positions: npt.NDArray[np.int64], size: int, device: Device
) -> Tensor:
    """What the network makes of kept photos, plainly scaled to `size`: float32 (N, C), on the CPU."""
    with (
        torch.inference_mode(),
        torch.autocast(device.kind, device.dtype, enabled=device.dtype != torch.float32),
    ):
        parts = [
            positions[first : first + VALIDATION_BATCH]
            for first in range(0, len(positions), VALIDATION_BATCH)
        ]
        batches = (prepared.kept.scaled(part.tolist(), size) for part in parts)
        return torch.cat([network(images.to(device.kind)).float().cpu() for images in batches])


def _report(epoch: Epoch, epochs: int) -> None:
    text = "epoch %d of %d: loss %.4f, validation loss %.4f, top-1 %.1f %%, rate %.1e, %.0f photos/s, %.0f s"
    validation = epoch.validation
    log.info(
        text,
        epoch.number,
        epochs,
        epoch.loss,
        validation.loss,
        100 * validation.top1,
        epoch.learning_rate,
        epoch.images_per_second,
        epoch.seconds,
    )
