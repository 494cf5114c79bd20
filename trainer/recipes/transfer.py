"""The transfer recipe: features of a pretrained backbone, kept as it is, and a linear layer learned on top of them.

Ordinary photos, if there are any, are one more class of that layer: what it gives them is missing from the scores of
the landmarks. Temperature and threshold are fitted on photos that were held out.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from blake3 import blake3
from torch import Tensor, nn
from torch.nn import functional

from tagger.artifact import InputRule
from tagger.devices import choose_device
from tagger.photos import path_text
from trainer.backbones import Backbone, load_backbone
from trainer.calibration import Threshold, choose_threshold, fit_temperature
from trainer.data import LabelledPhoto, TrainingFolder, find_ordinary_photos, read_training_folder
from trainer.errors import LabelEmpty, ValidationImpossible, writing_to
from trainer.features import Extractor, SeenPhotos, see_photos
from trainer.figures import draw_curves
from trainer.gazetteer import labels_with_landmarks
from trainer.loop import Epoch, Schedule, Validation, fit
from trainer.metrics import (
    auroc,
    expected_calibration_error,
    false_positive_rate_at,
    reliability,
    top_k_accuracy,
)
from trainer.network import Classifier, Encoder
from trainer.runs import (
    CURVES,
    FEATURES,
    Run,
    RunRecord,
    open_run_folder,
    program_versions,
    save_run,
)
from trainer.split import hold_out
from trainer.views import VIEWS

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Options:
    """What a person chooses; the rest was tuned on validation photos and is fixed below."""

    data: Path
    unknown: Path | None
    out: Path
    weights: Path | None
    backbone: str
    epochs: int
    size: int
    device: str
    seed: int


BATCH_SIZE = 256
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1.0
BALANCE = 0.5
"""0: every photo counts alike; 1: every label counts alike, however few its photos."""
HELD_OUT = 0.2
PRECISION = 0.95


@dataclass(frozen=True)
class Examples:
    """Features of photos and what is right for each; the target after the last label is "none of them"."""

    features: Tensor  # float32 (N, V, F)
    targets: Tensor  # int64 (N,)


def train_transfer(options: Options) -> Run:
    """Train, calibrate and measure a classifier, and write the run.

    Raises:
        TaggerError: a leaf that says what to change in the data, the weights or the options.
    """
    open_run_folder(options.out)
    folder = read_training_folder(options.data)
    labels = labels_with_landmarks(folder.labels, options.data)
    backbone, network = load_backbone(options.backbone, options.weights)
    encoder = Encoder(backbone, network).eval()
    rule = InputRule(size=options.size, short_side=options.size)

    ordinary = find_ordinary_photos(options.unknown) if options.unknown else ()
    seen = _look(options, (*folder.train, *folder.val, *ordinary), encoder, backbone, rule)
    held = _held_out(seen, folder, options)
    targets = torch.tensor([_target(photo, folder.labels) for photo in seen.photos])
    training = Examples(seen.features[~held], targets[~held])
    validation = Examples(seen.features[held], targets[held])

    head, epochs = _learn(training, validation, len(labels), options)
    classifier = _calibrated(encoder, head, validation, len(labels))
    threshold, metrics = _measure(classifier, validation)
    record = RunRecord(
        labels=labels,
        input=rule,
        backbone=backbone,
        background=head.out_features > len(labels),
        temperature=classifier.temperature,
        threshold=threshold.value,
        threshold_reason=threshold.reason,
        training=_provenance(seen, held, options, backbone),
        metrics=metrics,
        versions=program_versions(),
        epochs=tuple(epochs),
        validation_photos=_names(seen, held),
    )
    run = Run(record, classifier)
    with writing_to(options.out):
        save_run(options.out, run)
        draw_curves(record.epochs, options.out / CURVES)
    return run


def _look(
    options: Options, photos: tuple[LabelledPhoto, ...], encoder: Encoder, backbone: Backbone, rule: InputRule
) -> SeenPhotos:
    device = choose_device(options.device, None).kind
    described = {"backbone": asdict(backbone), "input": rule.model_dump(), "views": VIEWS}
    fingerprint = blake3(json.dumps(described, sort_keys=True).encode()).hexdigest()
    encoder.to(device)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    seen = see_photos(photos, Extractor(encoder, rule.resize, device, fingerprint), options.out / FEATURES)
    encoder.to("cpu")
    unreadable = len(photos) - len(seen.photos)
    log.info("%d photos looked at, %d could not be read and are left out", len(seen.photos), unreadable)
    return seen


def _held_out(seen: SeenPhotos, folder: TrainingFolder, options: Options) -> Tensor:
    """Which photos are for validation, bool (N,): those in val/, else some of train/; and some of the ordinary ones."""
    own = set(folder.val)
    drawn = hold_out(
        [photo.label for photo in seen.photos],
        seen.hashes,
        seen.digests,
        fraction=HELD_OUT,
        seed=options.seed,
    )
    held = [
        photo in own or (out and (photo.label is None or not own))
        for photo, out in zip(seen.photos, drawn, strict=True)
    ]
    learned = {photo.label for photo, out in zip(seen.photos, held, strict=True) if not out}
    for label in folder.labels:
        if label not in learned:
            raise LabelEmpty(path=options.data / "train" / label)
    if not any(out and photo.label is not None for photo, out in zip(seen.photos, held, strict=True)):
        raise ValidationImpossible(path=options.data)
    return torch.tensor(held)


def _target(photo: LabelledPhoto, labels: tuple[str, ...]) -> int:
    return len(labels) if photo.label is None else labels.index(photo.label)


def _learn(
    training: Examples, validation: Examples, labels: int, options: Options
) -> tuple[nn.Linear, list[Epoch]]:
    """Fit the head on standardised features; the standardisation is then worked into its weights, and these rounded to half precision."""
    views, width = training.features.shape[1:]
    inputs = training.features.reshape(-1, width)  # float32 (N · V, F)
    targets = training.targets.repeat_interleave(views)
    mean, deviation = inputs.mean(dim=0), inputs.std(dim=0) + 1e-3
    classes = max(labels, int(targets.max()) + 1)
    head = nn.Linear(width, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    plain = (validation.features[:, 0] - mean) / deviation
    epochs = fit(
        head,
        ((inputs - mean) / deviation, targets),
        class_weights=_class_weights(training.targets, classes),
        schedule=Schedule(options.epochs, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY, options.seed),
        validate=lambda: _validate(head, plain, validation.targets, labels),
        on_epoch=_report_epoch,
    )
    with torch.no_grad():
        head.weight.div_(deviation)
        head.bias.sub_(head.weight @ mean)
        for parameter in head.parameters():
            parameter.copy_(parameter.half())
    return head.requires_grad_(False), epochs


def _class_weights(targets: Tensor, classes: int) -> Tensor:
    counts = torch.bincount(targets, minlength=classes).float()
    return (counts.mean() / counts) ** BALANCE


@torch.no_grad()
def _validate(head: nn.Linear, features: Tensor, targets: Tensor, labels: int) -> Validation:
    logits = head(features)
    landmarks = targets < labels
    loss = functional.cross_entropy(logits, targets).item()
    return Validation(loss, top_k_accuracy(logits[landmarks, :labels], targets[landmarks], 1))


def _report_epoch(epoch: Epoch) -> None:
    text = "epoch %d: loss %.4f, validation loss %.4f, validation top-1 %.1f %%"
    log.info(text, epoch.number, epoch.loss, epoch.validation.loss, 100 * epoch.validation.top1)


def _calibrated(encoder: Encoder, head: nn.Linear, validation: Examples, labels: int) -> Classifier:
    temperature = fit_temperature(head(validation.features[:, 0]), validation.targets)
    return Classifier(encoder, head, labels=labels, temperature=temperature).eval()


def _measure(classifier: Classifier, validation: Examples) -> tuple[Threshold, dict[str, float]]:
    """The threshold, and figures on the photos held out, from the scores that the exported model will give them."""
    scores = classifier.scores_of(validation.features[:, 0])  # float32 (N, L)
    landmarks = validation.targets < classifier.labels
    of_landmarks, targets = scores[landmarks], validation.targets[landmarks]
    top, predicted = of_landmarks.max(dim=1)
    correct = predicted == targets
    ordinary = scores[~landmarks].amax(dim=1)
    threshold = choose_threshold(top, correct, ordinary, precision=PRECISION)
    metrics = {
        "val_photos": float(len(targets)),
        "val_top1": top_k_accuracy(of_landmarks, targets, 1),
        "val_top3": top_k_accuracy(of_landmarks, targets, 3),
        "val_top5": top_k_accuracy(of_landmarks, targets, 5),
        "val_ece": expected_calibration_error(reliability(top, correct)),
        "val_precision_at_threshold": threshold.precision,
        "val_accepted_rightly": threshold.accepted,
    }
    if len(ordinary):
        metrics |= {
            "val_ordinary_photos": float(len(ordinary)),
            "val_auroc": auroc(top, ordinary),
            "val_fpr_at_95_recall": false_positive_rate_at(0.95, top, ordinary),
            "val_false_tags_at_threshold": threshold.false_tags,
        }
    return threshold, metrics


def _provenance(seen: SeenPhotos, held: Tensor, options: Options, backbone: Backbone) -> dict[str, object]:
    """What the model was made from, in figures and digests; no names of files or machines."""
    rows = sorted(
        f"{photo.label or ''}\t{digest}" for photo, digest in zip(seen.photos, seen.digests, strict=True)
    )
    digest = blake3("\n".join(rows).encode()).hexdigest()
    landmarks = torch.tensor([photo.label is not None for photo in seen.photos])
    return {
        "recipe": "transfer: linear layer on a frozen backbone",
        "backbone": asdict(backbone),
        "digest": f"blake3:{digest}",
        "photos": int((landmarks & ~held).sum()),
        "ordinary_photos": int((~landmarks & ~held).sum()),
        "validation_photos": int((landmarks & held).sum()),
        "validation_ordinary_photos": int((~landmarks & held).sum()),
        "views": list(VIEWS),
        "epochs": options.epochs,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "class_balance": BALANCE,
        "seed": options.seed,
    }


def _names(seen: SeenPhotos, held: Tensor) -> tuple[str, ...]:
    rows = zip(seen.photos, held.tolist(), strict=True)
    return tuple(path_text(photo.path.absolute())[0] for photo, out in rows if out)
