"""The scratch recipe: our own network, from random weights.

A few thousand photos are few for that. What makes up for it: no view of a photo comes twice, mixed photos and softened
answers keep the network from learning photos by heart, small images first and larger ones later give it more
time for the same work, and the average of its weights is steadier than the weights themselves.
"""

from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import nn

from tagger.artifact import InputRule
from tagger.devices import choose_device
from trainer.backbones import own_backbone
from trainer.learning.augmentation import Augmentation
from trainer.learning.loop import Epoch, Learner, Schedule, growing_sizes
from trainer.learning.mixing import Mixing
from trainer.learning.training import Plan, train_network
from trainer.model.finishing import Learned, finish
from trainer.model.network import Encoder, Trainee
from trainer.model.runs import Run, open_run_folder
from trainer.photos.preparation import prepare
from trainer.recipes.options import Options

LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
DROPOUT = 0.2
BALANCE = 0.5
SIZES = ((0.6, 0.6), (0.92, 0.8), (1.0, 1.0))
"""Until which part of the epochs views have which part of the input's side."""


def train_scratch(options: Options, watch: Callable[[Epoch], None]) -> Run:
    """Train, calibrate and measure a classifier, and write the run; `watch` is called after every epoch.

    Raises:
        TaggerError: a leaf that says what to change in the data or the options.
    """
    open_run_folder(options.out)
    device = choose_device(options.device, None)
    prepared = prepare(options.data, options.unknown, options.pixels, size=options.size, seed=options.seed)
    torch.manual_seed(options.seed)
    backbone, network = own_backbone()
    encoder = Encoder(backbone, network)
    head = nn.Linear(backbone.features, prepared.classes)
    whole = Trainee(encoder, head, dropout=DROPOUT)
    rate = options.learning_rate or LEARNING_RATE
    learner = Learner(whole, _optimiser(whole, rate))
    plan = _plan(options)
    trained = train_network(
        prepared,
        learner,
        plan,
        device,
        out=options.out,
        settings={"recipe": "scratch"} | options.settings(),
        resume=options.resume,
        watch=watch,
    )
    learned = Learned(
        backbone=backbone,
        encoder=trained.network.encoder,
        head=trained.network.head,
        history=trained.history,
        recipe="scratch: a convolutional network of our own, from random weights",
        settings={
            "learning_rate": rate,
            "weight_decay": WEIGHT_DECAY,
            "dropout": DROPOUT,
            "plan": asdict(plan),
        },
    )
    rule = InputRule(size=options.size, short_side=options.size, fit="stretch")
    return finish(prepared, learned, rule, device, options.out, precision=options.precision)


def _optimiser(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW; what scales or shifts a channel is not pulled towards zero."""
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


def _plan(options: Options) -> Plan:
    return Plan(
        augmentation=Augmentation(least_area=0.25, erased_share=0.25),
        balance=BALANCE,
        schedule=Schedule(
            sizes=growing_sizes(options.epochs, options.size, SIZES),
            batch_size=options.batch_size,
            warm_up=min(3.0, options.epochs / 10),
            average_decay=0.998,
            clip=2.0,
            mixing=Mixing(),
            seed=options.seed,
        ),
    )
