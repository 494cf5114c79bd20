"""Compares an epoch of training with the network's own cost, and with the data loading of torchvision's tutorial.

    python -m bench.training LANDMARKS [--weights FILE] [--size 192] [--batches 12] [--rounds 3]

LANDMARKS contains train/LABEL/photo.jpg. Each round measures the scratch network and, with weights, the transfer network with
three sources of batches. compute: the same batch in every step; trainer: the trainer's cached pixels; loader: a DataLoader that
decodes each photo in every epoch, as in torchvision's tutorial. The measure is CPU time, which other load changes least.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from bench.report import note, print_heading, print_table
from tagger.inference.devices import Device, choose_device
from trainer.backbones import load_backbone, scratch_backbone
from trainer.data.preparation import TrainingData, prepare
from trainer.learning.batches import Augmentation, Batch, MixOptions, TrainingSet
from trainer.learning.classifier import Encoder, TrainingNetwork
from trainer.learning.loop import LoopCallbacks, TrainingSchedule, TrainingState, Validation, fit
from trainer.learning.training import keep_freed_memory

BATCH_SIZE = 32
WORKERS = 2
SOURCES = ("compute", "trainer", "loader")


def main() -> None:
    """Measure training steps with three sources of batches."""
    args = _arguments()
    print_heading("Training")
    keep_freed_memory()
    device = choose_device("auto", None)
    networks = {"landmark_cnn": scratch_backbone}
    if args.weights:
        networks["mobilenet_v2"] = lambda: load_backbone("mobilenet_v2", args.weights, args.size)
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(args.photos, None, None, Path(folder), size=args.size, seed=0)
        costs: dict[tuple[str, str], list[float]] = {}
        for number, name, source in product(range(args.rounds), networks, SOURCES):
            backbone, network = networks[name]()
            head = nn.Linear(backbone.features, data.classes)
            training_network = TrainingNetwork(Encoder(backbone, network), head, dropout=0.2)
            epoch = batch_source(source, data, args.photos, args.size)
            cost = cpu_ms(training_network, epoch, args.batches, args.size, device)
            costs.setdefault((name, source), []).append(cost)
            note(f"round {number + 1}, {name}, {source}: {cost:.1f} CPU ms/photo")
    rows = []
    for name in networks:
        compute = median(costs[name, "compute"])
        for source in SOURCES:
            cost_ms = median(costs[name, source])
            rows.append((f"{name}, {source}", f"{cost_ms:.1f}", f"{compute / cost_ms:.2f}"))
    print_table(("network, source of batches", "CPU ms/photo", "compute ÷ source"), rows)


def batch_source(
    source: str, data: TrainingData, photos: Path, size: int
) -> Callable[[int, int], Iterator[Batch]]:
    """Return the function that makes the batches of an epoch, for `trainer.learning.loop.LoopCallbacks`."""
    training_set = TrainingSet(
        data.cached,
        data.training,
        data.targets[data.training],
        data.groups[data.training],
        0.5,
        Augmentation(),
        BATCH_SIZE,
        seed=0,
    )
    if source == "trainer":
        return training_set.epoch
    if source == "compute":
        batch = next(iter(training_set.epoch(1, size)))
        return lambda _number, _size: iter([batch] * training_set.steps)
    return lambda _number, size: _load_batches(photos, size)


def _load_batches(photos: Path, size: int) -> Iterator[Batch]:
    """Load as https://pytorch.org/tutorials/beginner/transfer_learning_tutorial.html does, with the colour jitter of the trainer."""
    steps = [
        transforms.RandomResizedCrop(size, scale=(0.3, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(0.3, 0.3, 0.3),
        transforms.PILToTensor(),
    ]
    folder = ImageFolder(photos / "train", transforms.Compose(steps))
    loader = DataLoader(folder, BATCH_SIZE, shuffle=True, num_workers=WORKERS, drop_last=True)
    for images, targets in loader:
        yield Batch(images, targets)


def cpu_ms(
    training_network: TrainingNetwork,
    epoch: Callable[[int, int], Iterator[Batch]],
    batches: int,
    size: int,
    device: Device,
) -> float:
    """Return the CPU milliseconds per photo of this process and its children."""
    schedule = TrainingSchedule(
        (size,), BATCH_SIZE, warm_up=0, average_decay=0.99, clip=5.0, mixing=MixOptions(), seed=0
    )
    optimiser = torch.optim.AdamW(
        [{"params": list(training_network.parameters()), "highest_rate": 1e-5}], lr=1e-5
    )
    callbacks = LoopCallbacks(
        batches=lambda number, size: islice(epoch(number, size), batches),
        steps=batches,
        classes=training_network.head.out_features,
        validate=lambda _network: Validation(0.0, 0.0),
        on_step=lambda _count, _loss: None,
        on_epoch=lambda _epoch: None,
    )
    start = _cpu_seconds()
    fit(TrainingState(training_network, optimiser), callbacks, schedule, device)
    return 1000 * (_cpu_seconds() - start) / (batches * BATCH_SIZE)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=main.__doc__)
    parser.add_argument("photos", type=Path, metavar="LANDMARKS")
    parser.add_argument("--weights", type=Path, help="of mobilenet_v2")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
