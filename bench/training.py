"""How near an epoch of training is to the network's own cost, on this machine; and what torchvision's tutorial would need.

    python -m bench.training LANDMARKS [--weights FILE] [--size 192] [--batches 12] [--rounds 3]

LANDMARKS has train/LABEL/photo.jpg. Interleaved, round by round, for the scratch and (with weights) the transfer network:
compute: one batch that is there already, over and over; ours: the training loop with kept pixels; loader: the same steps fed as
torchvision's tutorial feeds them, by a DataLoader that decodes each photo each time. CPU seconds count, which other work on the machine
disturbs least.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from bench.report import median, note, print_heading, print_table
from tagger.devices import Device, choose_device
from trainer.backbones import load_backbone, own_backbone
from trainer.learning.augmentation import Augmentation
from trainer.learning.batches import Batch, TrainingSet
from trainer.learning.loop import Learner, Schedule, Validation, Work, fit
from trainer.learning.memory import keep_freed_memory
from trainer.learning.mixing import Mixing
from trainer.model.network import Encoder, Trainee
from trainer.photos.preparation import Prepared, prepare

BATCH_SIZE = 32
WORKERS = 2
WAYS = ("compute", "ours", "loader")


def main() -> None:
    """Time steps of training, fed in three ways."""
    asked = _arguments()
    print_heading("Training")
    keep_freed_memory()
    device = choose_device("auto", None)
    networks = {"landmark_cnn": own_backbone}
    if asked.weights:
        networks["mobilenet_v2"] = lambda: load_backbone("mobilenet_v2", asked.weights, asked.size)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(asked.photos, None, Path(folder), size=asked.size, seed=0)
        costs: dict[tuple[str, str], list[float]] = {}
        for number, name, way in product(range(asked.rounds), networks, WAYS):
            backbone, network = networks[name]()
            head = nn.Linear(backbone.features, prepared.classes)
            trainee = Trainee(Encoder(backbone, network), head, dropout=0.2)
            feed = feeds(way, prepared, asked.photos, asked.size)
            cost = cpu_ms(trainee, feed, asked.batches, asked.size, device)
            costs.setdefault((name, way), []).append(cost)
            note(f"round {number + 1}, {name}, {way}: {cost:.1f} ms of CPU a photo")
    rows = []
    for name in networks:
        compute = median(costs[name, "compute"])
        for way in WAYS:
            mine = median(costs[name, way])
            rows.append((f"{name}, {way}", f"{mine:.1f}", f"{compute / mine:.2f}"))
    print_table(("network, fed by", "CPU ms a photo", "compute ÷ it"), rows)


def feeds(way: str, prepared: Prepared, photos: Path, size: int) -> Callable[[int, int], Iterator[Batch]]:
    """What makes the batches of an epoch, as `trainer.learning.loop.Work` wants it."""
    kept = TrainingSet(
        prepared.kept,
        prepared.learned,
        prepared.targets[~prepared.held],
        0.5,
        Augmentation(),
        BATCH_SIZE,
        seed=0,
    )
    if way == "ours":
        return kept.epoch
    if way == "compute":
        batch = next(iter(kept.epoch(1, size)))
        return lambda _number, _size: iter([batch] * kept.steps)
    return lambda _number, size: _loaded(photos, size)


def _loaded(photos: Path, size: int) -> Iterator[Batch]:
    """As https://pytorch.org/tutorials/beginner/transfer_learning_tutorial.html has it, with the jitter that our views have."""
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
    trainee: Trainee, feed: Callable[[int, int], Iterator[Batch]], batches: int, size: int, device: Device
) -> float:
    """CPU milliseconds of this process and its children per photo."""
    schedule = Schedule((size,), BATCH_SIZE, warm_up=0, average_decay=0.99, clip=5.0, mixing=Mixing(), seed=0)
    optimiser = torch.optim.AdamW([{"params": list(trainee.parameters()), "highest_rate": 1e-5}], lr=1e-5)
    work = Work(
        batches=lambda number, size: islice(feed(number, size), batches),
        steps=batches,
        classes=trainee.head.out_features,
        validate=lambda _network: Validation(0.0, 0.0),
        on_step=lambda _count, _loss: None,
        on_epoch=lambda _epoch: None,
    )
    began = _cpu_seconds()
    fit(Learner(trainee, optimiser), work, schedule, device)
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
