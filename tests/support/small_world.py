"""A data set that trains in a second, with two labels of tiny photos and ordinary photos, and its options."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from support.scenes import draw_label
from torchvision import models

from trainer.data.preparation import find_training_photos
from trainer.export.artifact import FinishedRun
from trainer.options import TransferOptions
from trainer.recipes import train_found

SIZE = 32
LABELS = ("Arch", "Bridge")
BACKBONE = "squeezenet1_1"
"""The network with the fewest weights."""


def draw_small_world(folder: Path, photos: int = 8) -> Path:
    """Draw `data/train/LABEL` for two labels and `unknown/`, and save the weights of `BACKBONE`."""
    for number, label in enumerate(LABELS):
        draw_label(folder / "data" / "train" / label, range(100 * number, 100 * number + photos))
    draw_label(folder / "unknown", range(900, 905))
    save_file(models.squeezenet1_1(weights=None).state_dict(), folder / "weights.safetensors")
    return folder


def transfer_options(folder: Path, out: Path, epochs: int = 2, **others: object) -> TransferOptions:
    options = TransferOptions(
        backbone=BACKBONE,
        weights=folder / "weights.safetensors",
        data=folder / "data",
        unknown=folder / "unknown",
        out=out,
        cache=folder / "pixels",
        epochs=epochs,
        size=SIZE,
        batch_size=8,
        device="cpu",
        seed=3,
        precision=0.99,
    )
    return replace(options, **others)


def train(options: TransferOptions, on_epoch: Callable[[int], None] = lambda _number: None) -> FinishedRun:
    """Train a backbone. `on_epoch` is called when the log tells the end of an epoch."""
    log, handler = logging.getLogger("trainer"), _EpochEnds(on_epoch)
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        return train_found(find_training_photos(options.data, options.unknown, options.others), options)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


class _EpochEnds(logging.Handler):
    def __init__(self, on_epoch: Callable[[int], None]) -> None:
        super().__init__()
        self._on_epoch = on_epoch

    def emit(self, record: logging.LogRecord) -> None:
        if match := re.match(r"epoch (\d+) of", record.getMessage()):
            self._on_epoch(int(match[1]))


def require_same(one: FinishedRun, other: FinishedRun) -> None:
    """Check that the runs are equal to the last bit, except for their durations."""
    state, other_state = one.classifier.state_dict(), other.classifier.state_dict()
    assert state.keys() == other_state.keys()
    differing = [name for name in state if not torch.equal(state[name], other_state[name])]
    assert not differing
    assert _untimed(one) == _untimed(other)


def _untimed(run: FinishedRun) -> dict[str, object]:
    epochs = tuple(replace(epoch, seconds=0, images_per_second=0) for epoch in run.record.epochs)
    return run.record.model_copy(update={"epochs": epochs}).model_dump()
