"""Compare an epoch of training with the network's own cost, and with the data loading of torchvision's tutorial.

    python -m bench.training LANDMARKS [--weights FILE] [--size 192] [--batches 12] [--rounds 3]

LANDMARKS contains train/LABEL/photo.jpg. Each round measures three ways to feed the scratch network and, with weights,
the transfer network. compute: the same batch in every step; ours: the training loop with cached pixels; loader: the same
steps fed by a DataLoader that decodes each photo in every epoch, as in torchvision's tutorial. The measure is CPU seconds,
which other work on the machine disturbs least.
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
WAYS = ("compute", "ours", "loader")


def main() -> None:
    """Time steps of training, fed in three ways."""
    args = _arguments()
    print_heading("Training")
    keep_freed_memory()
    device = choose_device("auto", None)
    networks = {"landmark_cnn": scratch_backbone}
    if args.weights:
        networks["mobilenet_v2"] = lambda: load_backbone("mobilenet_v2", args.weights, args.size)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(args.photos, None, Path(folder), size=args.size, seed=0)
        costs: dict[tuple[str, str], list[float]] = {}
        for number, name, way in product(range(args.rounds), networks, WAYS):
            backbone, network = networks[name]()
            head = nn.Linear(backbone.features, prepared.classes)
            trainee = TrainingNetwork(Encoder(backbone, network), head, dropout=0.2)
            feed = feeds(way, prepared, args.photos, args.size)
            cost = cpu_ms(trainee, feed, args.batches, args.size, device)
            costs.setdefault((name, way), []).append(cost)
            note(f"round {number + 1}, {name}, {way}: {cost:.1f} ms of CPU a photo")
    rows = []
    for name in networks:
        compute = median(costs[name, "compute"])
        for way in WAYS:
            cost_ms = median(costs[name, way])
            rows.append((f"{name}, {way}", f"{cost_ms:.1f}", f"{compute / cost_ms:.2f}"))
    print_table(("network, fed by", "CPU ms a photo", "compute ÷ it"), rows)


def feeds(way: str, prepared: TrainingData, photos: Path, size: int) -> Callable[[int, int], Iterator[Batch]]:
    """Return the function that makes the batches of an epoch, for `trainer.learning.loop.LoopCallbacks`."""
    training_set = TrainingSet(
        prepared.cached,
        prepared.training,
        prepared.targets[prepared.training],
        0.5,
        Augmentation(),
        BATCH_SIZE,
        seed=0,
    )
    if way == "ours":
        return training_set.epoch
    if way == "compute":
        batch = next(iter(training_set.epoch(1, size)))
        return lambda _number, _size: iter([batch] * training_set.steps)
    return lambda _number, size: _loaded(photos, size)


def _loaded(photos: Path, size: int) -> Iterator[Batch]:
    """Load as https://pytorch.org/tutorials/beginner/transfer_learning_tutorial.html does, with the jitter of our views."""
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
    trainee: TrainingNetwork,
    feed: Callable[[int, int], Iterator[Batch]],
    batches: int,
    size: int,
    device: Device,
) -> float:
    """Return the CPU milliseconds per photo of this process and its children."""
    schedule = TrainingSchedule(
        (size,), BATCH_SIZE, warm_up=0, average_decay=0.99, clip=5.0, mixing=MixOptions(), seed=0
    )
    optimiser = torch.optim.AdamW([{"params": list(trainee.parameters()), "highest_rate": 1e-5}], lr=1e-5)
    work = LoopCallbacks(
        batches=lambda number, size: islice(feed(number, size), batches),
        steps=batches,
        classes=trainee.head.out_features,
        validate=lambda _network: Validation(0.0, 0.0),
        on_step=lambda _count, _loss: None,
        on_epoch=lambda _epoch: None,
    )
    began = _cpu_seconds()
    fit(TrainingState(trainee, optimiser), work, schedule, device)
    return 1000 * (_cpu_seconds() - began) / (batches * BATCH_SIZE)


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
