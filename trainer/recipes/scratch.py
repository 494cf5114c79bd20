"""The scratch recipe: train our own network from random weights.

A few thousand photos are little data for this, so the recipe regularises strongly: every view of a photo is
different, mixed photos and smoothed labels prevent memorisation, images grow during training to save time for
more epochs, and the moving average of the weights is the result.
"""

from dataclasses import asdict

import torch
from torch import nn

from tagger.model.devices import choose_device
from trainer.backbones.loading import scratch_backbone
from trainer.data.preparation import find_training_photos, prepare
from trainer.export.calibration import TrainedClassifier, complete_run
from trainer.export.run import FinishedRun, create_run_folder
from trainer.learning.batches import Augmentation, MixOptions
from trainer.learning.classifier import Encoder, TrainingNetwork
from trainer.learning.loop import TrainingPlan, growing_sizes, train_network
from trainer.learning.state import TrainingState
from trainer.options import RecipeOptions

LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
DROPOUT = 0.2
# (share of the epochs, share of the input side): the size of the views during training.
SIZES = ((0.6, 0.6), (0.92, 0.8), (1.0, 1.0))


def train_scratch(options: RecipeOptions) -> FinishedRun:
    """Train, calibrate and measure a classifier, and write the run."""
    found = find_training_photos(options.data, options.unknown, options.others)
    create_run_folder(options.out)
    device = choose_device(options.device, None)
    data = prepare(found, options.pixels, size=options.size, seed=options.seed)
    torch.manual_seed(options.seed)
    backbone, network = scratch_backbone()
    head = nn.Linear(backbone.features, data.classes)
    classifier = TrainingNetwork(Encoder(backbone, network), head, dropout=DROPOUT)
    rate = options.learning_rate or LEARNING_RATE
    plan = TrainingPlan(
        augmentation=Augmentation(least_area=0.25, framed_share=0.25),
        sizes=growing_sizes(options.epochs, options.size, SIZES),
        batch_size=options.batch_size,
        warm_up=min(3.0, options.epochs / 10),
        clip=2.0,
        mixing=MixOptions(),
        seed=options.seed,
    )
    state = TrainingState(classifier, _optimiser(classifier, rate))
    train_network(data, state, plan, device, options=options, settings={"recipe": "scratch"})
    model = TrainedClassifier(
        backbone=backbone,
        encoder=state.average.encoder,
        head=state.average.head,
        history=tuple(state.history),
        recipe="scratch: a convolutional network of our own, from random weights",
        settings={
            "learning_rate": rate,
            "weight_decay": WEIGHT_DECAY,
            "dropout": DROPOUT,
            "plan": asdict(plan),
        },
    )
    return complete_run(data, model, options, device)


def _optimiser(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW without decay of biases and norms."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": weights, "highest_rate": rate, "weight_decay": WEIGHT_DECAY},
            {"params": others, "highest_rate": rate, "weight_decay": 0.0},
        ],
        lr=rate,
        betas=(0.9, 0.99),
    )
