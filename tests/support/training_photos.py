"""Labelled photos to train on, drawn or as decoded squares, and networks with random weights."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rig.drawing import draw_photo
from safetensors.torch import save_file
from support.scenes import draw_label
from torchvision import models

from tagger.photos.decoding import Pixels
from trainer.data import LabelledPhoto
from trainer.data.preparation import CachedPhotos, find_training_photos
from trainer.export.artifact import FinishedRun
from trainer.learning.loop import Augmentation, TrainingSet
from trainer.options import TransferOptions
from trainer.recipes import train_found

TINTS = {"01.Red_House": (200, 40, 40), "Green Tower": (40, 180, 60), "Tòa Xanh": (40, 70, 210)}
GREY = (128, 128, 128)


def draw_world(folder: Path) -> Path:
    """Draw `landmarks/{train,test}` with three labels, ten `others/`, and `unknown/` with photos of no landmark."""
    for number, (label, tint) in enumerate(TINTS.items()):
        draw_tinted(folder / "landmarks" / "train" / label, range(100 * number, 100 * number + 16), tint)
        draw_tinted(
            folder / "landmarks" / "test" / label, range(1000 + 100 * number, 1000 + 100 * number + 5), tint
        )
    draw_tinted(folder / "unknown" / "deep" / "down", range(2000, 2012), GREY)
    draw_others(folder / "others")
    return folder


def draw_others(folder: Path) -> None:
    """Draw two photos each of ten other landmarks: as many as training of few labels needs."""
    for number in range(10):
        draw_tinted(folder / f"place-{number}", range(3000 + 2 * number, 3002 + 2 * number), GREY)


def save_random_weights(path: Path) -> Path:
    """Save weights of MobileNetV2 that blur and mix channels at random: its features depend on colours."""
    network = models.mobilenet_v2(weights=None)
    generator = torch.Generator().manual_seed(0)
    for module in network.features.modules():
        if isinstance(module, torch.nn.Conv2d):
            if module.groups > 1:
                module.weight.data.fill_(1 / 9)
            else:
                deviation = (2 / module.weight[0].numel()) ** 0.5
                module.weight.data.normal_(0, deviation, generator=generator)
    state = {
        name: values for name, values in network.state_dict().items() if not name.startswith("classifier.")
    }
    save_file(state, path)
    return path


def draw_tinted(folder: Path, seeds: range, tint: tuple[int, int, int]) -> None:
    folder.mkdir(parents=True)
    for seed in seeds:
        photo = np.asarray(draw_photo(seed, (120, 90)).convert("RGB"), dtype=np.float32)
        tinted = 0.3 * photo + 0.7 * np.array(tint)
        Image.fromarray(tinted.astype(np.uint8)).save(folder / f"{seed}.jpg", quality=90)


@dataclass(frozen=True)
class NoiseSquares(CachedPhotos):
    pixels: npt.NDArray[np.uint8]  # (N, S, S, 3)

    def image(self, position: int) -> Pixels:
        square: Pixels = self.pixels[position]
        return square


def noise_squares(count: int, side: int = 32, seed: int = 0) -> CachedPhotos:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, side // 8, side // 8, 3), dtype=np.uint8)
    return NoiseSquares(
        photos=tuple(LabelledPhoto(Path(f"{number}.jpg"), "label") for number in range(count)),
        digests=tuple(map(str, range(count))),
        folder=Path(),
        side=side,
        pixels=coarse.repeat(8, axis=1).repeat(8, axis=2),
    )


def training_set(targets: list[int], *, batch_size: int = 4, seed: int = 0) -> TrainingSet:
    return TrainingSet(
        cached=noise_squares(len(targets)),
        positions=np.arange(len(targets)),
        targets=np.array(targets),
        weights=np.ones(len(targets)),
        augmentation=Augmentation(framed_share=0.5),
        batch_size=batch_size,
        seed=seed,
    )


SIZE = 32
LABELS = ("Arch", "Bridge")
BACKBONE = "squeezenet1_1"  # The network with the fewest weights


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
