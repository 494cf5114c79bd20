"""From a trained network to a finished run: calibrate and measure it on the validation photos, and write the run."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tagger.model.artifact import BackgroundStatistics, InputRule, Range
from tagger.model.devices import Device
from tagger.photos.paths import path_text
from trainer.backbones.backbone import Backbone, fuse_batch_norms
from trainer.data.preparation import TrainingData
from trainer.errors import writing_to
from trainer.evaluation.evaluation import ORDINARY, OTHERS
from trainer.evaluation.metrics import (
    aurocs,
    calibration_errors,
    false_positive_rates_at,
    top_k_accuracy,
)
from trainer.export.ranges import SAMPLE, convolution_ranges
from trainer.export.run import CURVES, FinishedRun, RunRecord, program_versions, save_run
from trainer.learning.classifier import Encoder, LandmarkClassifier, PhotoClassifier, embedding_of
from trainer.learning.head import FEATURE_BATCH_SIZE, features_from_cache, features_from_files
from trainer.learning.scoring import Neighbours, ScoreRule, Scoring, feature_space, fit_score_rule
from trainer.learning.state import Epoch
from trainer.report.assessment import LEAST_OTHER_PHOTOS, LEAST_OTHER_PLACES, are_tested
from trainer.report.drawings import draw_curves
from trainer.report.files import write_validation_report

LEAST_THRESHOLD = 0.05
CAREFUL_THRESHOLD = 0.5
"""The threshold of a model that was not tested on other landmarks. Of 204 photos of six, a network that was trained for two epochs on 64
photos of four named 8 % from here on, and 30 % from 0.05 on, which no photo of its own contradicted."""

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class TrainedClassifier:
    """The encoder and linear layer that a recipe trained, with the figures of its epochs and its settings.

    `fit_again` fits the layer on the training photos of other data with the same photos; None: it was trained with the encoder.
    """

    backbone: Backbone
    encoder: Encoder
    head: nn.Linear
    history: tuple[Epoch, ...]
    recipe: str
    settings: dict[str, object]
    fit_again: Callable[[TrainingData], tuple[nn.Linear, list[Epoch]]] | None = None


@dataclass(frozen=True)
class Threshold:
    """The chosen threshold and its effect on the validation photos, with the weights of `choose_threshold`."""

    value: float
    precision: float
    accepted: float  # share of landmark photos whose right label is accepted
    false_tags: dict[str, float]  # by kind of other photos, the share with an accepted label
    reason: str


def complete_run(
    data: TrainingData, model: TrainedClassifier, size: int, device: Device, out: Path, *, precision: float
) -> FinishedRun:
    """Calibrate and measure the model, let it learn from the photos that were held out, too, and write the run to `out`.

    Its last step leaves score rule, threshold and figures as they are: those of the model before it.

    Args:
        data: the photos
        model: the result of a recipe
        size: side of the model's input, in pixels
        device: where to compute
        out: the run folder
        precision: the share of accepted labels that should be right, 0…1

    Raises:
        TrainingFailed, OutputUnwritable: with what to do.
    """
    epoch = model.history[-1].number
    log.info("keeping the model of epoch %d, the last; calibration can change its first predictions", epoch)
    rule = InputRule(size=size, short_side=size, fit="stretch")
    backbone, encoder = model.backbone, model.encoder.eval().requires_grad_(requires_grad=False)
    # Batch norms are fused where possible, so that the shipped model computes no more than necessary.
    if not backbone.folded and (fused := fuse_batch_norms(encoder.network, size)) is not None:
        backbone = replace(backbone, folded=True)
        encoder = Encoder(backbone, fused)
    head = model.head.eval().requires_grad_(requires_grad=False)
    features = features_from_files(encoder, data.validation_paths(), rule.resize, device.kind)
    embeddings = embedding_of(
        features_from_cache(encoder, data.cached, range(len(data.cached.photos)), size, device.kind)[:, 0]
    )
    classifier, score_rule = _calibrate(data, encoder, head, embeddings, features)

    def final() -> PhotoClassifier:
        last = head if model.fit_again is None else model.fit_again(data.whole)[0]
        scoring = Scoring(_neighbours(data.whole, embeddings), len(data.labels), score_rule)
        return LandmarkClassifier(encoder, last.requires_grad_(requires_grad=False), scoring)

    photos_seen = {
        "last_layer": len((data if model.fit_again is None else data.whole).training),
        "nearest_photos": len(data.whole.training),
    }
    fitted = FittedModel(
        backbone,
        rule,
        classifier.scores_of(features),
        final,
        score_rule,
        BackgroundStatistics.measured(embeddings[data.training].numpy()),
        convolution_ranges(encoder, _sample(data, size)),
        model.recipe,
        model.settings | {"photos_seen": photos_seen},
        model.history,
    )
    return finish_run(data, fitted, out, precision=precision)


@dataclass(frozen=True)
class FittedModel:
    """A model before it learns from the validation photos, by the `scores` of those, float32 (V, L), and the classifier that `final` makes after it.

    The other fields are those of `RunRecord`.
    """

    backbone: Backbone
    input: InputRule
    scores: Tensor
    final: Callable[[], PhotoClassifier]
    score_rule: ScoreRule | None
    background: BackgroundStatistics
    ranges: tuple[Range, ...]
    recipe: str
    settings: dict[str, object]
    history: tuple[Epoch, ...] = ()


def finish_run(data: TrainingData, model: FittedModel, out: Path, *, precision: float) -> FinishedRun:
    """Measure the model on the validation photos, and write the run to `out`.

    Raises:
        OutputUnwritable: with the reason.
    """
    targets = torch.from_numpy(data.targets[data.validation])
    is_other = torch.from_numpy(data.is_other[data.validation])
    from_new_source = torch.from_numpy(data.is_from_new_source[data.validation])
    places = len({data.cached.photos[position].place for position in data.validation.tolist()} - {None})
    threshold, metrics = measure(model.scores, targets, is_other, from_new_source, precision, places)
    paths = data.validation_paths()
    record = RunRecord(
        labels=data.labels,
        input=model.input,
        backbone=model.backbone,
        background_photos=model.background.photos,
        score_rule=model.score_rule,
        ranges=model.ranges,
        threshold=threshold.value,
        threshold_reason=threshold.reason,
        training={"recipe": model.recipe, "backbone": asdict(model.backbone)}
        | data.provenance()
        | model.settings,
        metrics=metrics,
        versions=program_versions(),
        epochs=model.history,
        validation_photos=tuple(path_text(path.absolute())[0] for path in paths),
    )
    run = FinishedRun(record, model.final().eval(), model.background)
    with writing_to(out):
        save_run(out, run)
        if record.epochs:
            draw_curves(record.epochs, out / CURVES)
    write_validation_report(out, data.labels, model.scores, targets, paths)
    return run


def _sample(data: TrainingData, size: int) -> Iterator[Tensor]:
    """Batches of training photos, evenly spread, on the CPU."""
    positions = data.training[:: max(1, len(data.training) // SAMPLE)].tolist()
    for first in range(0, len(positions), FEATURE_BATCH_SIZE):
        yield data.cached.scaled(positions[first : first + FEATURE_BATCH_SIZE], size)


@torch.no_grad()
def _calibrate(
    data: TrainingData, encoder: Encoder, head: nn.Linear, embeddings: Tensor, features: Tensor
) -> tuple[LandmarkClassifier, ScoreRule]:
    """Build the classifier, and fit its score rule on the validation photos, whose `features` are float32 (V, F)."""
    labels = len(data.labels)
    neighbours = _neighbours(data, embeddings)
    targets = torch.from_numpy(data.targets[data.validation])
    rule = fit_score_rule(head(features), embedding_of(features), neighbours, targets, labels)
    return LandmarkClassifier(encoder, head, Scoring(neighbours, labels, rule)).eval(), rule


def _neighbours(data: TrainingData, embeddings: Tensor) -> Neighbours:
    """The training photos, by the embeddings of all photos, float32 (N, F)."""
    targets = torch.from_numpy(data.targets[data.training])
    return Neighbours(feature_space(embeddings[data.training], targets, len(data.labels)))


def measure(
    scores: Tensor,
    targets: Tensor,
    is_other: Tensor,
    from_new_source: Tensor,
    precision: float,
    places: int,
) -> tuple[Threshold, dict[str, float]]:
    """Choose the threshold and compute the metrics of the validation photos.

    Args:
        scores: float32 (N, L), as the exported model will return them
        targets: int64 (N,); L: none of them
        is_other: bool (N,), whether a photo shows a landmark without a label
        from_new_source: bool (N,), see `TrainingData.is_from_new_source`
        precision: the share of accepted labels that should be right, 0…1
        places: how many other landmarks the photos of `is_other` show
    """
    landmarks = targets < scores.shape[1]
    landmark_scores, labels = scores[landmarks], targets[landmarks]
    top, predicted = landmark_scores.max(dim=1)
    correct = predicted == labels
    highest = scores.amax(dim=1)
    others = {
        kind: highest[photos]
        for kind, photos in ((ORDINARY, ~landmarks & ~is_other), (OTHERS, is_other))
        if photos.any()
    }
    threshold = choose_threshold(top, correct, others, precision=precision)
    if not are_tested(int(is_other.sum()), places):
        careful = _threshold(max(threshold.value, CAREFUL_THRESHOLD), top, correct, others, precision)
        reason = (
            f"not below {CAREFUL_THRESHOLD}, where the landmark is more likely than all else: of other landmarks, {int(is_other.sum())} photos "
            f"of {places} were tested, and {LEAST_OTHER_PHOTOS} of {LEAST_OTHER_PLACES} are needed. {threshold.reason}"
        )
        threshold = replace(careful, reason=reason)
    metrics = {
        "val_other_landmarks": float(places),
        "val_photos": float(len(labels)),
        "val_top1": top_k_accuracy(landmark_scores, labels, 1),
        "val_top3": top_k_accuracy(landmark_scores, labels, 3),
        "val_top5": top_k_accuracy(landmark_scores, labels, 5),
        "val_ece": calibration_errors(top[None], correct[None]).item(),
        "val_precision_at_threshold": threshold.precision,
        "val_accepted_rightly": threshold.accepted,
    }
    new = from_new_source[landmarks]
    if new.any():
        accepted = top[new] >= threshold.value
        metrics |= {
            "val_new_source_photos": float(new.sum()),
            "val_new_source_top1": float(correct[new].float().mean()),
            "val_new_source_accepted_rightly": float((accepted & correct[new]).float().mean()),
            "val_new_source_accepted_wrongly": float((accepted & ~correct[new]).float().mean()),
        }
    for kind, prefix in ((ORDINARY, "val_ordinary"), (OTHERS, "val_other_landmark")):
        if kind in others:
            metrics |= {
                f"{prefix}_photos": float(len(others[kind])),
                f"{prefix}_auroc": aurocs(top[None], others[kind][None]).item(),
                f"{prefix}_fpr_at_95_recall": false_positive_rates_at(
                    0.95, top[None], others[kind][None]
                ).item(),
                f"{prefix}_false_tags_at_threshold": threshold.false_tags[kind],
            }
    return threshold, metrics


def choose_threshold(
    top: Tensor, correct: Tensor, others: Mapping[str, Tensor], *, precision: float
) -> Threshold:
    """Choose the lowest threshold at which accepted labels are right in `precision` of the photos.

    Other photos, if there are any, are weighted as half of all photos, because most folders are not collections of landmarks;
    each kind has the same weight.

    Args:
        top: float (N,), the highest score of each landmark photo
        correct: bool (N,), whether that score is of the right label
        others: by kind, float (M,), the highest score of each photo without a label
        precision: the share to reach, 0…1
    """
    rejected, weights = _weighted(others, len(top))
    candidates = torch.cat([top, rejected]).sort().values  # ascending
    right = torch.stack([(correct & (top >= c)).sum() for c in candidates]).double()
    wrong = torch.stack([(~correct & (top >= c)).sum() + weights[rejected >= c].sum() for c in candidates])
    precisions = right / (right + wrong).clamp(min=1e-12)  # float64 (C,)
    sufficient = precisions >= precision
    index = int(sufficient.long().argmax()) if bool(sufficient.any()) else int(precisions.argmax())
    below = candidates[index - 1] if index else candidates[index] * 0
    # Halfway to the next lower score, and rounded, so that rounding errors elsewhere change no outcome.
    value = max(round(float((candidates[index] + below) / 2), 4), LEAST_THRESHOLD)
    return _threshold(value, top, correct, others, precision)


def _weighted(others: Mapping[str, Tensor], total: int) -> tuple[Tensor, Tensor]:
    """The scores of all kinds, float (M,), and the weights of the photos, float64 (M,), whose sum is `total`."""
    if not others:
        return torch.empty(0), torch.empty(0, dtype=torch.float64)
    weights = [
        torch.full((len(scores),), total / len(others) / len(scores), dtype=torch.float64)
        for scores in others.values()
    ]
    return torch.cat(list(others.values())), torch.cat(weights)


def _threshold(
    value: float, top: Tensor, correct: Tensor, others: Mapping[str, Tensor], precision: float
) -> Threshold:
    right = int((correct & (top >= value)).sum())
    wrong = int((~correct & (top >= value)).sum())
    rejected, weights = _weighted(others, len(top))
    actual = right / max(right + wrong + float(weights[rejected >= value].sum()), 1e-12)
    false_tags = {kind: float((scores >= value).float().mean()) for kind, scores in others.items()}
    counts = " and ".join(f"{len(scores)} {kind}" for kind, scores in others.items())
    reason = (
        f"lowest score with at least {100 * precision:g}% of accepted labels right on {len(top)} validation photos of landmarks"
        + (f" and {counts}, weighted as half of all" if others else "")
        + f": {actual:.1%} right, {right / len(top):.1%} of landmark photos accepted rightly"
        + "".join(f", {share:.1%} of {kind} accepted falsely" for kind, share in false_tags.items())
    )
    return Threshold(value, actual, right / len(top), false_tags, reason)
