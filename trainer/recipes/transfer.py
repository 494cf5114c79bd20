"""The transfer recipe: a pretrained backbone, a linear layer learned on its features, then both fine-tuned together.

Ordinary photos, if there are any, are one more class of that layer: what it gives them is missing from the scores of the landmarks.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from tagger.artifact import InputRule
from tagger.devices import Device, choose_device
from trainer.backbones import Backbone, load_backbone
from trainer.learning.augmentation import Augmentation
from trainer.learning.head import Examples, learn_head
from trainer.learning.loop import Epoch, Learner, Schedule, growing_sizes
from trainer.learning.mixing import Mixing
from trainer.learning.training import Plan, train_network
from trainer.learning.views import PLAIN, VIEWS
from trainer.model.features import features_of_views
from trainer.model.finishing import Learned, finish
from trainer.model.network import Encoder, Trainee
from trainer.model.runs import FEATURES, Run, open_run_folder
from trainer.photos.preparation import Prepared, prepare
from trainer.recipes.options import Options

HEAD_EPOCHS = 12
HEAD_RATE = 1e-3
LEARNING_RATE = 4e-4
"""Of the backbone's last layer. Those below learn slower, the first one by `FIRST_LAYER`: edges and colours are right already."""
FIRST_LAYER = 0.06
WEIGHT_DECAY = 0.05
DROPOUT = 0.2
BALANCE = 0.5
SIZES = ((0.75, 0.75), (1.0, 0.875))
"""Until which part of the epochs views have which part of the input's side.

Views are parts of photos, so what they show is larger than in the photo as a whole; of the same apparent size it is when views
have fewer pixels ("FixRes", Touvron et al., 2019). Smaller ones are quicker, too.
"""


@dataclass(frozen=True)
class TransferOptions(Options):
    """`weights` is a file (None: the published ones). No epochs: the backbone is kept as it is, and the linear layer is all that is learned."""

    backbone: str
    weights: Path | None

    def settings(self) -> dict[str, object]:
        return super().settings() | {"backbone": self.backbone}


def train_transfer(options: TransferOptions, watch: Callable[[Epoch], None]) -> Run:
    """Train, calibrate and measure a classifier, and write the run; `watch` is called after every epoch.

    Raises:
        TaggerError: a leaf that says what to change in the data, the weights or the options.
    """
    open_run_folder(options.out)
    device = choose_device(options.device, None)
    backbone, network = load_backbone(options.backbone, options.weights, options.size)
    prepared = prepare(options.data, options.unknown, options.pixels, size=options.size, seed=options.seed)
    learned = _with_head(prepared, backbone, Encoder(backbone, network), options, device.kind)
    if options.epochs:
        learned = _fine_tuned(prepared, learned, options, device, watch)
    rule = InputRule(size=options.size, short_side=options.size, fit="stretch")
    return finish(prepared, learned, rule, device, options.out, precision=options.precision)


def _with_head(
    prepared: Prepared, backbone: Backbone, encoder: Encoder, options: TransferOptions, device: str
) -> Learned:
    cache = options.out / FEATURES
    views = PLAIN if options.epochs else VIEWS  # fine-tuning sees enough of them later
    features = features_of_views(
        encoder, prepared.kept, options.size, views, device, cache=cache, made_by=asdict(backbone)
    )
    targets = torch.from_numpy(prepared.targets)
    held = torch.from_numpy(prepared.held)
    head, history = learn_head(
        Examples(features[~held], targets[~held]),
        Examples(features[held], targets[held]),
        len(prepared.labels),
        prepared.classes,
        epochs=HEAD_EPOCHS,
        seed=options.seed,
    )
    settings: dict[str, object] = {"head_epochs": HEAD_EPOCHS, "seed": options.seed}
    return Learned(
        backbone, encoder, head, tuple(history), "transfer: a linear layer on a frozen backbone", settings
    )


def _fine_tuned(
    prepared: Prepared,
    learned: Learned,
    options: TransferOptions,
    device: Device,
    watch: Callable[[Epoch], None],
) -> Learned:
    rate = options.learning_rate or LEARNING_RATE
    whole = Trainee(learned.encoder, learned.head, dropout=DROPOUT)
    learner = Learner(whole, _optimiser(learned.encoder, learned.head, rate))
    plan = _plan(options)
    trained = train_network(
        prepared,
        learner,
        plan,
        device,
        out=options.out,
        settings={"recipe": "transfer", "weights": learned.backbone.weights} | options.settings(),
        resume=options.resume,
        watch=watch,
    )
    return Learned(
        backbone=learned.backbone,
        encoder=trained.network.encoder,
        head=trained.network.head,
        history=trained.history,
        recipe=f"{learned.recipe}, then both fine-tuned",
        settings=learned.settings
        | {
            "learning_rate": rate,
            "weight_decay": WEIGHT_DECAY,
            "dropout": DROPOUT,
            "plan": asdict(plan),
        },
    )


def _optimiser(encoder: Encoder, head: nn.Linear, rate: float) -> torch.optim.Optimizer:
    """AdamW, slower the nearer a parameter is to the pixels; what scales or shifts a channel is not pulled towards zero."""
    parameters = list(encoder.parameters())
    groups: list[dict[str, object]] = []
    for number, parameter in enumerate(parameters, start=1):
        part = FIRST_LAYER ** (1 - number / len(parameters))
        decay = WEIGHT_DECAY if parameter.ndim > 1 else 0.0
        groups.append({"params": [parameter], "highest_rate": rate * part, "weight_decay": decay})
    groups.append(
        {"params": list(head.parameters()), "highest_rate": HEAD_RATE, "weight_decay": WEIGHT_DECAY}
    )
    return torch.optim.AdamW(groups, lr=rate)


def _plan(options: TransferOptions) -> Plan:
    return Plan(
        augmentation=Augmentation(),
        balance=BALANCE,
        schedule=Schedule(
            sizes=growing_sizes(options.epochs, options.size, SIZES),
            batch_size=options.batch_size,
            warm_up=min(1.0, options.epochs / 10),
            average_decay=0.998,
            clip=5.0,
            mixing=Mixing(smoothing=0.05),
            seed=options.seed,
        ),
    )
