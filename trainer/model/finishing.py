"""From a trained network to a finished run: rounded, calibrated, measured on the photos held out, written and drawn."""

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tagger.artifact import InputRule
from tagger.devices import Device
from trainer.backbones import Backbone, folded, round_to_half
from trainer.errors import writing_to
from trainer.evaluation.metrics import (
    auroc,
    expected_calibration_error,
    false_positive_rate_at,
    reliability,
    top_k_accuracy,
)
from trainer.learning.loop import Epoch
from trainer.model.calibration import Threshold, choose_threshold
from trainer.model.features import features_as_kept, features_as_tagged
from trainer.model.network import Classifier, Distance, Encoder
from trainer.model.rejection import ScoreRule, feature_space, fit_score_rule
from trainer.model.runs import CURVES, Run, RunRecord, program_versions, save_run
from trainer.photos.preparation import Prepared
from trainer.report import write_validation_report
from trainer.report.figures import draw_curves

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Learned:
    """What a recipe made: an encoder and the linear layer on top, how they came about, in words and figures."""

    backbone: Backbone
    encoder: Encoder
    head: nn.Linear
    history: tuple[Epoch, ...]
    recipe: str
    settings: dict[str, object]


def finish(
    prepared: Prepared, learned: Learned, rule: InputRule, device: Device, out: Path, *, precision: float
) -> Run:
    """Calibrate and measure what was learned, and write the run to `out`.

    Args:
        prepared: the photos
        learned: what a recipe made of them
        rule: what the model is shown of a photo
        device: where to compute
        out: the run's folder
        precision: how many of the accepted labels should be right, 0…1

    Raises:
        PhotosGone, OutputUnwritable: with what to do.
    """
    backbone, encoder = _simplified(learned, rule.size)
    head = learned.head.eval().requires_grad_(requires_grad=False)
    round_to_half(encoder)
    round_to_half(head)
    paths = prepared.validation_paths()
    features = features_as_tagged(encoder, paths, rule.resize, device.kind)
    targets = torch.from_numpy(prepared.targets[prepared.validation])
    classifier = _calibrated(prepared, encoder, head, features, rule.size, device)
    scores = classifier.scores_of(features)  # float32 (N, L)
    threshold, metrics = measure(scores, targets, precision)
    record = RunRecord(
        labels=prepared.labels,
        input=rule,
        backbone=backbone,
        background=head.out_features > len(prepared.labels),
        score_rule=ScoreRule(classifier.temperature, classifier.slope, classifier.reach),
        space_dimensions=classifier.distance.centres.shape[1],
        threshold=threshold.value,
        threshold_reason=threshold.reason,
        training={"recipe": learned.recipe, "backbone": asdict(backbone)}
        | prepared.provenance()
        | learned.settings,
        metrics=metrics,
        versions=program_versions(),
        epochs=learned.history,
        validation_photos=prepared.validation_names(),
    )
    run = Run(record, classifier)
    with writing_to(out):
        save_run(out, run)
        draw_curves(record.epochs, out / CURVES)
    write_validation_report(out, prepared.labels, scores, targets, paths)
    return run


def _simplified(learned: Learned, size: int) -> tuple[Backbone, Encoder]:
    """Without batch norms where that is possible: what is shipped should do no more than it has to."""
    encoder = learned.encoder.eval().requires_grad_(requires_grad=False)
    simpler = None if learned.backbone.folded else folded(encoder.network, size)
    if simpler is None:
        return learned.backbone, encoder
    backbone = replace(learned.backbone, folded=True)
    return backbone, Encoder(backbone, simpler)


@torch.no_grad()
def _calibrated(
    prepared: Prepared, encoder: Encoder, head: nn.Linear, features: Tensor, size: int, device: Device
) -> Classifier:
    """The whole model; its score rule is fitted on the validation photos, whose `features` are float32 (N, F)."""
    labels = len(prepared.labels)
    learned = features_as_kept(encoder, prepared.kept, prepared.learned.tolist(), size, device.kind)
    space = feature_space(learned, torch.from_numpy(prepared.targets[prepared.learned]), labels)
    distance = Distance(space)
    targets = torch.from_numpy(prepared.targets[prepared.validation])
    rule = fit_score_rule(head(features), distance(features), targets, labels)
    return Classifier(encoder, head, distance, labels=labels, rule=rule).eval()


def measure(scores: Tensor, targets: Tensor, precision: float) -> tuple[Threshold, dict[str, float]]:
    """The threshold, and figures on the photos held out.

    Args:
        scores: float32 (N, L), as the exported model will give them
        targets: int64 (N,); L: none of them
        precision: how many of the accepted labels should be right, 0…1
    """
    landmarks = targets < scores.shape[1]
    of_landmarks, right = scores[landmarks], targets[landmarks]
    top, predicted = of_landmarks.max(dim=1)
    correct = predicted == right
    ordinary = scores[~landmarks].amax(dim=1)
    threshold = choose_threshold(top, correct, ordinary, precision=precision)
    metrics = {
        "val_photos": float(len(right)),
        "val_top1": top_k_accuracy(of_landmarks, right, 1),
        "val_top3": top_k_accuracy(of_landmarks, right, 3),
        "val_top5": top_k_accuracy(of_landmarks, right, 5),
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
