"""The recipes: each trains one kind of classifier, from photos to a finished run.

The first one also compares backbones: their accuracy, size and speed on the user's photos.
"""

import copy
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from tagger.model.artifact import file_digest, read_background, read_manifest
from tagger.model.backends.selection import generated_images
from tagger.model.devices import Device, choose_device
from tagger.model.model import load_model
from trainer import (
    BackboneUnusable,
    ExportImpossible,
    TrainingFailed,
    photo_progress,
    writing_to,
)
from trainer.backbones import (
    SHIPPED_MODEL,
    find_source,
    goes_on_from_model,
    load_backbone,
    scratch_backbone,
    shipped_backbone,
)
from trainer.data.preparation import (
    LEAST_LABELS,
    FoundPhotos,
    TrainingData,
    find_training_photos,
    prepare,
    trained_photos,
)
from trainer.evaluation import (
    LEAST_OTHER_PHOTOS,
    LEAST_OTHER_PLACES,
    are_tested,
    wilson_interval,
)
from trainer.export.artifact import FinishedRun, create_run_folder, export_run
from trainer.export.calibration import (
    TrainedClassifier,
    complete_run,
    finish_run,
)
from trainer.learning.classifier import (
    Encoder,
    Epoch,
    TrainingNetwork,
    TrainingState,
    embedding_of,
)
from trainer.learning.head import (
    FeatureSet,
    TaughtClassifier,
    features_from_cache,
    features_from_files,
    fit_head,
    fit_taught,
    without_blends,
)
from trainer.learning.loop import (
    Augmentation,
    MixOptions,
    TrainingPlan,
    growing_sizes,
    train_network,
)
from trainer.networks import Backbone
from trainer.options import PIXELS, DeviceName, RecipeOptions, TransferOptions

# The transfer recipe: train a linear layer on a pretrained backbone's features, then fine-tune
# both.
#
# Each kind of ordinary photos is one more class of the linear layer, and so is each other landmark.
# The scores of these background classes are missing from the sum of the landmarks' scores.

BACKBONE = "mobilenet_v2"
HEAD_RATE = 1e-3
# The rate of the backbone's last layer. It falls towards the first, whose edges need little change.
LEARNING_RATE = 4e-4
# The share of the layers, from the first, that keep their weights. They cost half of a step's time.
FROZEN = 0.2
# The rate of the first layer as a share of `LEARNING_RATE`.
FIRST_LAYER = 0.06
WEIGHT_DECAY = 0.05
DROPOUT = 0.2
# (end as a share of the epochs, share of the input side): most views are smaller than the input.
#
# A view shows a part of the photo, so objects in it appear larger than in the whole photo. With
# fewer pixels they have the same apparent size ("FixRes", Touvron et al., 2019). Smaller views are
# also faster, and for the first epochs they suffice ("EfficientNetV2", Tan and Le, 2021).
SIZES = ((0.35, 0.57), (0.7, 0.72), (0.9, 0.86), (1.0, 1.0))

log = logging.getLogger("trainer")


def train_transfer(options: TransferOptions) -> FinishedRun:
    photos = find_training_photos(options.data, options.unknown, options.others)
    if photos.are_few and options.backbone is None and options.weights is None:
        create_run_folder(options.out)
        log_few(photos, ", so they are taught. To train one, name its --backbone")
        return train_taught(photos, options)
    places = {photo.place for photo in photos.other}
    if len(photos.labels) < LEAST_LABELS and not are_tested(
        len(photos.other), len(places)
    ):
        raise TrainingFailed(
            reason=f"a network that learns {len(photos.labels)} landmarks gives their names to many others",
            remedy=f"Name --others, a folder with {LEAST_OTHER_PHOTOS} photos of {LEAST_OTHER_PLACES} other "
            "landmarks or more. Or leave out --backbone and --weights: then they are taught",
        )
    if photos.are_few:
        log_few(
            photos,
            ". Training goes on; to teach them, which may be better, leave out --backbone",
        )
    return train_found(photos, options)


def train_found(photos: FoundPhotos, options: TransferOptions) -> FinishedRun:
    """Train on photos that were found before, however few they are."""
    create_run_folder(options.out)
    device = choose_device(options.device, None)
    backbone, network = load_backbone(
        options.backbone or BACKBONE,
        options.weights,
        options.size,
    )
    learnt = None
    if goes_on_from_model(options.weights) and not options.epochs:
        learnt = trained_photos(read_manifest(options.weights)) or None
    data = prepare(
        photos,
        options.pixels,
        size=options.size,
        seed=options.seed,
        learnt=learnt,
    )
    encoder = Encoder(backbone, network)
    # Fine-tuning augments photos itself.
    model = _train_head(
        data,
        encoder,
        backbone,
        options,
        device.kind,
        mirrored=not options.epochs,
    )
    if options.epochs:
        known = (
            copy.deepcopy(model.encoder)
            if goes_on_from_model(options.weights)
            else None
        )
        model = _fine_tune(data, model, options, device)
        if known is not None:
            # Fit the linear layer on the mean of the backbone before and after fine-tuning.
            # Fine-tuning forgets a little of what the model before learned from photos that are not
            # here. The mean of the weights keeps it, and most of what is new ("WiSE-FT", Wortsman
            # et al., 2022).
            for tuned, before in zip(
                model.encoder.state_dict().values(),
                known.state_dict().values(),
                strict=True,
            ):
                if tuned.is_floating_point():
                    tuned.lerp_(before, 0.5)
            last = _train_head(
                data, model.encoder, model.backbone, options, device.kind, mirrored=True
            )
            model = replace(
                model,
                head=last.head,
                fit_again=last.fit_again,
                recipe=f"{model.recipe}; a linear layer on the mean of the backbone before and after",
            )
    return complete_run(data, model, options, device)


def log_few(photos: FoundPhotos, advice: str) -> None:
    counts = len(photos.labels), len(photos.train)
    log.info("%d landmarks with %d photos are few for a network%s", *counts, advice)


def _train_head(
    data: TrainingData,
    encoder: Encoder,
    backbone: Backbone,
    options: TransferOptions,
    device: str,
    *,
    mirrored: bool,
) -> TrainedClassifier:
    # Fit the linear layer on the frozen backbone's features; `mirrored`: of mirrored photos, too.
    features = features_from_cache(
        encoder,
        data.cached,
        range(len(data.cached.photos)),
        options.size,
        device,
        mirrored=mirrored,
    )
    validation = torch.from_numpy(data.is_validation)
    measured = FeatureSet(
        features[validation], torch.from_numpy(data.targets)[validation]
    )
    fit = partial(
        fit_last_layer, features=features, measured=measured, seed=options.seed
    )
    head, history = fit(data)
    settings: dict[str, object] = {"seed": options.seed}
    return TrainedClassifier(
        backbone,
        encoder,
        head,
        tuple(history),
        "transfer: a linear layer on a frozen backbone",
        settings,
        fit,
    )


def fit_last_layer(
    photos: TrainingData, features: Tensor, measured: FeatureSet, seed: int
) -> tuple[nn.Linear, list[Epoch]]:
    """Fit the linear layer on the training photos, by the features of all photos, float32 (N, V, F)."""
    return fit_head(
        FeatureSet(
            features[photos.training],
            torch.from_numpy(photos.classes_of_photos[photos.training]),
        ),
        torch.from_numpy(photos.training_weights()),
        measured,
        len(photos.labels),
        photos.classes,
        seed=seed,
    )


def _fine_tune(
    data: TrainingData,
    model: TrainedClassifier,
    options: TransferOptions,
    device: Device,
) -> TrainedClassifier:
    # Train backbone and linear layer together, from the run's checkpoint if the run is resumed.
    rate = options.learning_rate or LEARNING_RATE
    head = without_blends(model.head, data.classes)
    network = TrainingNetwork(model.encoder, head, dropout=DROPOUT)

    # AdamW with lower rates near the pixels, no decay of biases and norms, and frozen first layers.
    parameters = list(model.encoder.parameters())
    groups: list[dict[str, object]] = []
    for number, parameter in enumerate(parameters, start=1):
        if number <= FROZEN * len(parameters):
            parameter.requires_grad = False
            continue
        share = FIRST_LAYER ** (1 - number / len(parameters))
        decay = WEIGHT_DECAY if parameter.ndim > 1 else 0.0
        groups.append(
            {"params": [parameter], "highest_rate": rate * share, "weight_decay": decay}
        )
    groups.append(
        {
            "params": list(head.parameters()),
            "highest_rate": HEAD_RATE,
            "weight_decay": WEIGHT_DECAY,
        }
    )
    optimiser = torch.optim.AdamW(groups, lr=rate)

    state = TrainingState(network, optimiser)
    plan = TrainingPlan(
        augmentation=Augmentation(
            light=0.4, grey_share=0.1, turned_share=0.2, tilted_share=0.2
        ),
        sizes=growing_sizes(options.epochs, options.size, SIZES),
        batch_size=options.batch_size,
        warm_up=min(1.0, options.epochs / 10),
        clip=5.0,
        mixing=MixOptions(smoothing=0.05),
        seed=options.seed,
    )
    train_network(
        data,
        state,
        plan,
        device,
        options=options,
        settings={"recipe": "transfer", "weights": model.backbone.weights},
    )
    return TrainedClassifier(
        backbone=model.backbone,
        encoder=state.average.encoder,
        head=state.average.head,
        history=tuple(state.history),
        recipe=f"{model.recipe}, then both fine-tuned",
        settings=model.settings
        | {
            "learning_rate": rate,
            "weight_decay": WEIGHT_DECAY,
            "dropout": DROPOUT,
            "plan": asdict(plan),
        },
    )


# The recipe for few landmarks, or few photos of them: they are learned as in teaching.
#
# It needs no photos of other things. Ordinary photos and other landmarks, where there are any, all
# test it.


def train_taught(found: FoundPhotos, options: TransferOptions) -> FinishedRun:
    device, shipped = (
        choose_device(options.device, None).kind,
        read_manifest(SHIPPED_MODEL),
    )
    data = prepare(
        found,
        options.pixels,
        size=shipped.input.size,
        seed=options.seed,
    )
    is_unknown = data.targets == len(data.labels)
    data = replace(
        data,
        is_validation=data.is_validation | is_unknown,
        is_of_val=data.is_of_val | is_unknown,
    )
    backbone, network = shipped_backbone()
    encoder = Encoder(backbone, network)
    everything = range(len(data.cached.photos))
    embeddings = embedding_of(
        features_from_cache(
            encoder, data.cached, everything, shipped.input.size, device
        )[:, 0]
    )
    if shipped.embedding is None:
        raise AssertionError("the shipped model gives embeddings")
    background = read_background(
        SHIPPED_MODEL, file_digest(SHIPPED_MODEL), shipped.embedding
    )

    def learned_from(photos: TrainingData) -> TaughtClassifier:
        targets = torch.from_numpy(photos.targets[photos.training])
        head = fit_taught(
            background,
            embeddings[photos.training],
            targets,
            len(photos.labels),
        )
        return TaughtClassifier(encoder, head.requires_grad_(requires_grad=False))

    features = features_from_files(
        encoder, data.validation_paths(), shipped.input.resize, device
    )[:, 0]
    return finish_run(
        data,
        options,
        backbone=backbone,
        rule=shipped.input,
        scores=learned_from(data).scores_of(features),
        final=lambda: learned_from(data.whole),
        score_rule=None,
        second_look=None,
        background=background,
        ranges=shipped.ranges,
        recipe="taught: what tells each landmark from strangers, on the frozen network of the shipped model",
        settings={"seed": options.seed},
    )


# The scratch recipe: train our own network from random weights.
#
# A few thousand photos are little data for this, so the recipe regularises strongly: every view of
# a photo is different, mixed photos and smoothed labels prevent memorisation, images grow during
# training to save time for more epochs, and the moving average of the weights is the result.

SCRATCH_RATE = 2e-3
# (share of the epochs, share of the input side): the size of the views during training.
SCRATCH_SIZES = ((0.6, 0.6), (0.92, 0.8), (1.0, 1.0))


def train_scratch(options: RecipeOptions) -> FinishedRun:
    photos = find_training_photos(options.data, options.unknown, options.others)
    create_run_folder(options.out)
    device = choose_device(options.device, None)
    data = prepare(photos, options.pixels, size=options.size, seed=options.seed)
    torch.manual_seed(options.seed)
    backbone, network = scratch_backbone()
    head = nn.Linear(backbone.features, data.classes)
    classifier = TrainingNetwork(Encoder(backbone, network), head, dropout=DROPOUT)
    rate = options.learning_rate or SCRATCH_RATE
    plan = TrainingPlan(
        augmentation=Augmentation(least_area=0.25, framed_share=0.25),
        sizes=growing_sizes(options.epochs, options.size, SCRATCH_SIZES),
        batch_size=options.batch_size,
        warm_up=min(3.0, options.epochs / 10),
        clip=2.0,
        mixing=MixOptions(),
        seed=options.seed,
    )

    # AdamW without decay of biases and norms.
    weights = [parameter for parameter in classifier.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in classifier.parameters() if parameter.ndim <= 1]
    scratch_optimiser = torch.optim.AdamW(
        [
            {"params": weights, "highest_rate": rate, "weight_decay": WEIGHT_DECAY},
            {"params": others, "highest_rate": rate, "weight_decay": 0.0},
        ],
        lr=rate,
        betas=(0.9, 0.99),
    )

    state = TrainingState(classifier, scratch_optimiser)
    train_network(
        data, state, plan, device, options=options, settings={"recipe": "scratch"}
    )
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


# Comparing backbones: each stays frozen and gets a linear layer on its features, which predicts how it can
# be tuned.

MODEL = "model.pt"
TIMED_PHOTOS = 64
ROUNDS = 5


@dataclass(frozen=True)
class ComparisonOptions:
    """What to compare; `weights` maps backbones to weights files."""

    data: Path
    unknown: Path | None
    out: Path
    backbones: tuple[str, ...]
    weights: dict[str, Path]
    size: int
    device: DeviceName

    def folder_of(self, backbone: str) -> Path:
        return self.out / backbone.replace("/", "-")

    def model_of(self, backbone: str) -> Path:
        return self.folder_of(backbone) / MODEL


@dataclass(frozen=True)
class Trial:
    weights: str
    features: int
    parameters: int
    size_bytes: int
    photos: int
    top1: float
    top3: float

    def row(self, name: str, speed: float) -> dict[str, Any]:
        intervals = {
            top: wilson_interval(getattr(self, top), self.photos)
            for top in ("top1", "top3")
        }
        return {
            "backbone": name,
            **asdict(self),
            **{f"{top}_interval": interval for top, interval in intervals.items()},
            "photos_per_second": speed,
            "reason": None,
        }


def compare_backbones(options: ComparisonOptions) -> dict[str, Any]:
    """Train, export and measure every backbone, write comparison.json, and return it, with the choice.

    Raises:
        BackboneUnusable, ExtraMissing: before any work, as are errors in the photo folders.
        TrainingFailed: every backbone failed.
        OutputUnwritable: with the reason.
    """
    for backbone in options.backbones:
        find_source(backbone)
    photos = find_training_photos(options.data, options.unknown, None)
    if photos.are_few:
        log_few(
            photos,
            ". The comparison goes on; `trainer train transfer` without --backbone teaches them",
        )
    with writing_to(options.out):
        options.out.mkdir(parents=True, exist_ok=True)
    results = {
        backbone: _try_trial(backbone, photos, options)
        for backbone in options.backbones
    }
    trials = {
        name: result for name, result in results.items() if isinstance(result, Trial)
    }
    if not trials:
        raise TrainingFailed(
            reason="none of the backbones could be compared",
            remedy=f"The first failure: {next(iter(results.values()))}",
        )
    device = choose_device(options.device, None)
    speeds = measure_speeds(
        {name: options.model_of(name) for name in trials},
        options.size,
        device,
    )
    chosen, sentence = recommend(trials, speeds)
    document = {
        "size": options.size,
        "device": device.kind,
        "precision": device.precision,
        "chosen": chosen,
        "sentence": sentence,
        "backbones": [
            trials[name].row(name, speeds[name])
            if name in trials
            else {"backbone": name, "reason": result}
            for name, result in results.items()
        ],
    }
    with writing_to(options.out):
        text = json.dumps(document, indent=1, ensure_ascii=False)
        (options.out / "comparison.json").write_text(text + "\n", "utf-8")
    return document


def comparison_lines(document: dict[str, Any]) -> Iterator[str]:
    yield "backbone\ttop-1\t95 % interval\ttop-3\tparameters, million\tfile, MB\tphotos/s"
    for row in document["backbones"]:
        if row["reason"] is not None:
            yield f"{row['backbone']} was not compared: {row['reason']}"
            continue
        low, high = row["top1_interval"]
        yield (
            f"{row['backbone']}\t{row['top1']:.1%}\t{low:.1%} to {high:.1%}\t{row['top3']:.1%}"
            f"\t{row['parameters'] / 1e6:.1f}\t{row['size_bytes'] / 1e6:.1f}\t{row['photos_per_second']:.0f}"
        )
    yield document["sentence"]


def _try_trial(
    backbone: str, photos: FoundPhotos, options: ComparisonOptions
) -> Trial | str:
    try:
        return run_trial(backbone, photos, options)
    except (BackboneUnusable, ExportImpossible) as error:
        reason = str(error)
    except torch.OutOfMemoryError:
        reason = (
            f"The device does not have enough memory for {backbone}. Use --device cpu."
        )
    log.warning("%s is not compared: %s", backbone, reason)
    return reason


def run_trial(backbone: str, photos: FoundPhotos, options: ComparisonOptions) -> Trial:
    log.info("%s: training a linear layer on its features", backbone)
    folder, model = options.folder_of(backbone), options.model_of(backbone)
    transfer = TransferOptions(
        data=options.data,
        unknown=options.unknown,
        out=folder,
        cache=options.out / PIXELS,
        epochs=0,
        size=options.size,
        device=options.device,
        backbone=backbone,
        weights=options.weights.get(backbone),
    )
    run = train_found(photos, transfer)
    export_run(folder, model, name=backbone)
    return Trial(
        weights=run.record.backbone.weights,
        features=run.record.backbone.features,
        parameters=sum(values.numel() for values in run.classifier.parameters()),
        size_bytes=model.stat().st_size,
        photos=int(run.record.metrics["val_photos"]),
        top1=run.record.metrics["val_top1"],
        top3=run.record.metrics["val_top3"],
    )


def measure_speeds(
    models: dict[str, Path],
    size: int,
    device: Device,
) -> dict[str, float]:
    """The photos of `size` pixels per second that each model classifies, in the precision of `device`.

    It is the median over rounds in which the models alternate, as other load affects all. One is a warm-up.
    """
    loaded = {
        name: load_model(path, file_digest(path), read_manifest(path), device)
        for name, path in models.items()
    }
    images = list(generated_images(size, max(TIMED_PHOTOS, device.batch_size)))
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    with photo_progress(
        "timing",
        (ROUNDS + 1) * len(loaded) * len(images),
    ) as advance:
        for _ in range(ROUNDS + 1):
            for name, model in loaded.items():
                start = time.perf_counter()
                model.outputs(images)
                seconds[name].append(time.perf_counter() - start)
                advance(len(images))
    return {name: len(images) / median(rounds[1:]) for name, rounds in seconds.items()}


def recommend(trials: dict[str, Trial], speeds: dict[str, float]) -> tuple[str, str]:
    """Recommend, in a sentence, the fastest model whose top-1 is within a standard error of the best."""
    best = max(trials, key=lambda name: (trials[name].top1, speeds[name]))
    top1, photos = trials[best].top1, trials[best].photos
    error = math.sqrt(top1 * (1 - top1) / photos)
    candidates = [name for name in trials if trials[name].top1 >= top1 - error]
    fastest = max(candidates, key=lambda name: speeds[name])
    return fastest, (
        f"Use {fastest}: top-1 {trials[fastest].top1:.1%}, {speeds[fastest]:.0f} photos/s. "
        "No faster one has a top-1 within one standard "
        f"error ({100 * error:.1f} points on {photos} validation photos) of the best, {best} with {top1:.1%}."
    )
