"""From a trained network to a finished run: calibrate and measure it, choose its thresholds, write it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from tagger.model.artifact import BackgroundStatistics, InputRule, Range
from tagger.model.devices import Device
from tagger.photos.paths import path_text
from trainer import writing_to
from trainer.data.preparation import TrainingData
from trainer.evaluation import (
    LEAST_OTHER_PHOTOS,
    LEAST_OTHER_PLACES,
    Estimate,
    are_tested,
    calibration_errors,
    interval,
    top_k_accuracy,
)
from trainer.export.artifact import (
    MIXTURE,
    FinishedRun,
    RunRecord,
    program_versions,
    save_run,
)
from trainer.learning.classifier import (
    SECOND_LOOK,
    Encoder,
    Epoch,
    ExportedClassifier,
    LandmarkClassifier,
    Neighbours,
    ScoreRule,
    Scoring,
    UnlearntPhotos,
    embedding_of,
    fit_neighbours,
    fit_score_rule,
)
from trainer.learning.head import (
    FEATURE_BATCH_SIZE,
    features_from_cache,
    features_from_files,
)
from trainer.networks import Backbone, fuse_batch_norms
from trainer.options import ORDINARY, OTHERS, Mixture, RecipeOptions
from trainer.report import draw_curves, write_validation_report

# The threshold of a model that was not tested on other landmarks. Of 204 photos of six, a network
# that was trained for two epochs on 64 photos of four named 8 % from here on, and 30 % from 0.05
# on.
CAREFUL_THRESHOLD = 0.5

# The photos by which eight-bit backends scale. With 160, embeddings were as near to full precision.
SAMPLE = 512


@dataclass(frozen=True)
class TrainedClassifier:
    """The encoder and linear layer that a recipe trained, with the figures of its epochs and its settings.

    `fit_again` fits the layer on other training photos of the same; None: it was trained with the encoder.
    """

    backbone: Backbone
    encoder: Encoder
    head: nn.Linear
    history: tuple[Epoch, ...]
    recipe: str
    settings: dict[str, object]
    fit_again: Callable[[TrainingData], tuple[nn.Linear, list[Epoch]]] | None = None


def complete_run(
    data: TrainingData, model: TrainedClassifier, options: RecipeOptions, device: Device
) -> FinishedRun:
    """Calibrate and measure the model, let it learn from the photos that were held out, too, and write it.

    Its last step leaves score rule, threshold and figures as they are: those of the model before it.

    Raises:
        TrainingFailed, OutputUnwritable: with what to do.
    """
    size = options.size
    rule = InputRule(size=size, short_side=size, fit="stretch")
    backbone, encoder = (
        model.backbone,
        model.encoder.eval().requires_grad_(requires_grad=False),
    )
    # Batch norms are fused where possible, so that the shipped model computes no more than necessary.
    if (
        not backbone.folded
        and (fused := fuse_batch_norms(encoder.network, size)) is not None
    ):
        backbone = replace(backbone, folded=True)
        encoder = Encoder(backbone, fused)
    head = model.head.eval().requires_grad_(requires_grad=False)
    features = features_from_files(
        encoder, data.validation_paths(), rule.resize, device.kind, mirrored=True
    )
    embeddings = embedding_of(
        features_from_cache(
            encoder, data.cached, range(len(data.cached.photos)), size, device.kind
        )[:, 0]
    )
    parts = list(_unlearnt(data, model, embeddings, features))
    score_rule = fit_score_rule([part for _, part in parts], len(data.labels))
    scores = torch.zeros(len(features), len(data.labels))
    for rows, part in parts:
        scores[rows] = part.scores(len(data.labels), score_rule)

    def final() -> ExportedClassifier:
        last = head if model.fit_again is None else model.fit_again(data.whole)[0]
        scoring = Scoring(
            neighbours_of(data.whole, embeddings),
            len(data.labels),
            score_rule,
        )
        return LandmarkClassifier(
            encoder, last.requires_grad_(requires_grad=False), scoring
        )

    sample = data.training[:: max(1, len(data.training) // SAMPLE)].tolist()
    photos_seen = {
        "last_layer": len((data if model.fit_again is None else data.whole).training),
        "nearest_photos": len(data.whole.training),
    }
    return finish_run(
        data,
        options,
        backbone=backbone,
        rule=rule,
        scores=scores,
        final=final,
        score_rule=score_rule,
        second_look=SECOND_LOOK,
        background=BackgroundStatistics.measured(embeddings[data.training].numpy()),
        ranges=convolution_ranges(
            encoder, data.cached.batches(sample, size, FEATURE_BATCH_SIZE)
        ),
        recipe=model.recipe,
        settings=model.settings | {"photos_seen": photos_seen},
        history=model.history,
    )


def finish_run(
    data: TrainingData,
    options: RecipeOptions,
    *,
    backbone: Backbone,
    rule: InputRule,
    scores: Tensor,
    final: Callable[[], ExportedClassifier],
    score_rule: ScoreRule | None,
    second_look: Range | None,
    background: BackgroundStatistics,
    ranges: tuple[Range, ...],
    recipe: str,
    settings: dict[str, object],
    history: tuple[Epoch, ...] = (),
) -> FinishedRun:
    """Measure a model by its scores of the validation photos, float32 (V, L), and write the run.

    `final` makes the classifier that has learnt from these photos, too.
    """
    targets = torch.from_numpy(data.targets[data.validation])
    threshold, metrics = measure(data, scores, options)
    paths = data.validation_paths()
    record = RunRecord(
        labels=data.labels,
        input=rule,
        backbone=backbone,
        background_photos=background.photos,
        score_rule=score_rule,
        second_look=second_look,
        ranges=ranges,
        threshold=threshold.value,
        threshold_reason=threshold.reason,
        suggestion_threshold=threshold.suggested_from,
        training={
            "recipe": recipe,
            "backbone": asdict(backbone),
            MIXTURE: str(options.mixture),
        }
        | data.provenance()
        | settings,
        metrics=metrics,
        versions=program_versions(),
        epochs=history,
        validation_photos=tuple(path_text(path.absolute())[0] for path in paths),
    )
    run = FinishedRun(record, final().eval(), background)
    with writing_to(options.out):
        save_run(options.out, run)
        if record.epochs:
            draw_curves(record.epochs, options.out / "curves.png")
    write_validation_report(
        options.out,
        data.labels,
        scores,
        targets,
        paths,
    )
    return run


def _unlearnt(
    data: TrainingData, model: TrainedClassifier, embeddings: Tensor, features: Tensor
) -> Iterator[tuple[Tensor, UnlearntPhotos]]:
    # The validation photos in parts, with their rows among the `features`, float32 (V, 2, F).
    # A layer that can be fitted again has learnt all other parts, as the finished model will.
    targets = torch.from_numpy(data.targets[data.validation])
    folds = data.folds() if model.fit_again else np.where(data.is_validation, 0, -1)
    for fold in np.unique(folds[data.validation]):
        rows = torch.from_numpy(folds[data.validation] == fold).nonzero()[:, 0]
        photos, head = data, model.head
        if model.fit_again:
            photos = replace(data, is_validation=data.is_of_val | (folds == fold))
            head = model.fit_again(photos)[0]
        neighbours = neighbours_of(photos, embeddings)
        with torch.no_grad():
            logits, seen = head(features[rows]), embedding_of(features[rows])
        yield (
            rows,
            UnlearntPhotos(logits, seen, targets[rows], neighbours),
        )


def neighbours_of(data: TrainingData, embeddings: Tensor) -> Neighbours:
    """The training photos, by the embeddings of all photos, float32 (N, F)."""
    targets = torch.from_numpy(data.targets[data.training])
    return fit_neighbours(embeddings[data.training], targets, len(data.labels))


def measure(
    data: TrainingData, scores: Tensor, options: RecipeOptions
) -> tuple[ChosenThreshold, dict[str, float]]:
    """Choose the threshold and compute the metrics of the validation photos.

    Args:
        data: the photos
        scores: float32 (V, L), those of the validation photos, as the exported model will return them
        options: which share of the accepted labels should be right, and in which library
    """
    targets, is_other, together = (
        torch.from_numpy(values[data.validation])
        for values in (data.targets, data.is_other, data.together)
    )
    landmarks = targets < scores.shape[1]
    landmark_scores, labels = scores[landmarks], targets[landmarks]
    top, predicted = landmark_scores.max(dim=1)
    correct = predicted == labels
    kinds = {ORDINARY: ~landmarks & ~is_other, OTHERS: is_other}
    kinds = {kind: photos for kind, photos in kinds.items() if photos.any()}
    others = {kind: scores.amax(dim=1)[photos] for kind, photos in kinds.items()}
    groups = [together[photos] for photos in (landmarks, *kinds.values())]
    places = len(set(together[is_other].tolist()))
    is_tested = are_tested(int(is_other.sum()), places)
    least = LEAST_THRESHOLD if is_tested else CAREFUL_THRESHOLD
    threshold = choose_threshold(
        ValidationScores(top, correct, others, groups),
        options.mixture,
        options.precision,
        least,
    )
    if not is_tested:
        reason = (
            f"not below {CAREFUL_THRESHOLD}, where the landmark is more likely than all else: "
            f"of other landmarks, {int(is_other.sum())} photos "
            f"of {places} were tested, and {LEAST_OTHER_PHOTOS} of {LEAST_OTHER_PLACES} are needed. "
            f"{threshold.reason}"
        )
        threshold = replace(threshold, reason=reason)
    is_tag = top >= threshold.value
    metrics = {
        "val_other_landmarks": float(places),
        "val_photos": float(len(labels)),
        "val_top1": top_k_accuracy(landmark_scores, labels, 1),
        "val_top3": top_k_accuracy(landmark_scores, labels, 3),
        "val_top5": top_k_accuracy(landmark_scores, labels, 5),
        "val_ece": calibration_errors(top[None], correct[None]).item(),
        "val_precision_at_threshold": float(
            (correct & is_tag).sum() / is_tag.sum().clamp(min=1)
        ),
        **_with_interval("val_accepted_rightly", threshold.accepted),
        "val_suggested_rightly": float(
            (correct & (top >= threshold.suggested_from)).float().mean()
        ),
    }
    if others:
        metrics |= _with_interval("val_library_precision", threshold.precision)
    for kind, prefix in ((ORDINARY, "val_ordinary"), (OTHERS, "val_other_landmark")):
        if kind in others:
            metrics |= {
                f"{prefix}_photos": float(len(others[kind])),
                f"{prefix}_false_tags_at_threshold": threshold.false_tags[kind],
            }
    return threshold, metrics


def _with_interval(name: str, figure: Estimate) -> dict[str, float]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


@torch.no_grad()
def convolution_ranges(
    network: nn.Module, batches: Iterable[Tensor]
) -> tuple[Range, ...]:
    """The lowest and highest value that enters each convolution, in order, as means over the images.

    Means lose the few values that lie outside, and suit most images better than the extremes of all.

    Args:
        network: images (B, …) → anything
        batches: images

    Returns:
        one range per convolution; empty if a convolution does not run exactly once
    """
    count = 0
    extremes: dict[
        nn.Module, list[Tensor]
    ] = {}  # by convolution, (2, B) for each batch

    def observe(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].flatten(start_dim=1)
        extremes.setdefault(module, []).append(
            torch.stack([values.amin(dim=1), values.amax(dim=1)])
        )

    convolutions = [
        module for module in network.modules() if isinstance(module, nn.Conv2d)
    ]
    handles = [module.register_forward_pre_hook(observe) for module in convolutions]
    try:
        for images in batches:
            network(images)
            count += 1
    finally:
        for handle in handles:
            handle.remove()
    if any(len(extremes.get(module, ())) != count for module in convolutions):
        return ()
    means = [
        torch.cat(parts, dim=1).double().mean(dim=1) for parts in extremes.values()
    ]
    return tuple((low, high) for low, high in (mean.tolist() for mean in means))


# The thresholds of a model: from which score on its labels are tags, or suggestions, in a library.

LEAST_THRESHOLD = 0.05
SUGGESTED_PRECISION = 0.5
# The share of a kind's photos, those with the highest scores, from which the tail of the kind
# follows.
TAIL = 0.1
# The photos from which a tail can be estimated.
LEAST_TAIL = 5
LOGIT_LIMIT = 1e-7
LEAST_SHARE = 1e-12
RESAMPLES = 300
SEED = 0


@dataclass(frozen=True)
class ValidationScores:
    """The highest score of each photo: of landmarks, with whether it is right, and by kind of others.

    `groups`: the group of each photo, int64, of landmarks first: its place or its source.
    """

    top: Tensor
    correct: Tensor
    others: Mapping[str, Tensor]
    groups: Sequence[Tensor]

    def resampled(self, generator: torch.Generator) -> ValidationScores:
        """The photos of as many groups of each kind, drawn with replacement."""
        known, *rest = (_drawn(group, generator) for group in self.groups)
        others = {
            kind: each[rows]
            for (kind, each), rows in zip(self.others.items(), rest, strict=True)
        }
        return ValidationScores(
            self.top[known],
            self.correct[known],
            others,
            (),
        )


def _drawn(groups: Tensor, generator: torch.Generator) -> Tensor:
    # The rows of as many groups (N,) as there are, drawn with replacement.
    names, numbers = np.unique(groups.numpy(), return_inverse=True)
    drawn = torch.randint(len(names), (len(names),), generator=generator)
    times = drawn.bincount(minlength=len(names))[torch.from_numpy(numbers)]
    return torch.arange(len(groups)).repeat_interleave(times)


@dataclass(frozen=True)
class ChosenThreshold:
    """The chosen thresholds and their effect on validation photos. Suggestions begin at `suggested_from`."""

    value: float
    suggested_from: float
    precision: Estimate  # in a library
    accepted: Estimate  # share of landmark photos whose right label is accepted
    false_tags: dict[
        str, float
    ]  # by kind of other photos, the share with an accepted label
    reason: str


def choose_threshold(
    scores: ValidationScores,
    mixture: Mixture,
    precision: float,
    least: float = LEAST_THRESHOLD,
) -> ChosenThreshold:
    """Choose the lowest threshold, at least `least`, from which `precision` of a library's tags are right.

    Suggestions begin at the lowest score from which `SUGGESTED_PRECISION` of those below the threshold are
    right; without such a score, at the threshold, so that nothing is suggested by its score alone.
    """
    value = max(_lowest_score(scores, mixture, precision), least)
    suggested_from = min(
        value, _lowest_score(scores, mixture, SUGGESTED_PRECISION, below=value)
    )

    def accepted_rightly(photos: ValidationScores) -> float:
        return float((photos.correct & (photos.top >= value)).double().mean())

    generator = torch.Generator().manual_seed(SEED)
    drawn = [scores.resampled(generator) for _ in range(RESAMPLES)]
    right = interval(accepted_rightly(scores), map(accepted_rightly, drawn))
    actual = interval(
        library_precision(scores, mixture, value),
        (library_precision(each, mixture, value) for each in drawn),
    )
    false_tags = {
        kind: float((highest >= value).double().mean())
        for kind, highest in scores.others.items()
    }
    counts = "".join(
        f", {len(highest)} {kind}" for kind, highest in scores.others.items()
    )
    reason = (
        f"lowest score with at least {100 * precision:g}% of accepted labels right in a library of {mixture} "
        "known landmarks, others and "
        f"anything else, estimated from {len(scores.top)} validation photos of landmarks{counts}: "
        f"{actual.value:.1%} right ({actual.low:.1%} to {actual.high:.1%}), "
        f"{right.value:.1%} of landmark photos accepted rightly ({right.low:.1%} to {right.high:.1%})"
        + "".join(
            f", {share:.1%} of {kind} accepted falsely"
            for kind, share in false_tags.items()
        )
    )
    return ChosenThreshold(value, suggested_from, actual, right, false_tags, reason)


def _lowest_score(
    scores: ValidationScores,
    mixture: Mixture,
    precision: float,
    below: float = math.inf,
) -> float:
    # The lowest score from which so many labels are right, of those with scores `below` a value.
    # In ascending order.
    candidates = torch.cat([scores.top, *scores.others.values()]).double().sort().values
    right, accepted = library_shares(scores, mixture, candidates)
    if below < math.inf:
        right_above, above = library_shares(
            scores,
            mixture,
            torch.tensor([below]),
        )
        candidates = candidates[candidates < below]
        right, accepted = (
            right[: len(candidates)] - right_above,
            accepted[: len(candidates)] - above,
        )
    precisions = right / accepted.clamp(min=LEAST_SHARE)
    sufficient = precisions >= precision
    if below < math.inf and not sufficient.any():
        return below
    index = (
        int(sufficient.long().argmax())
        if bool(sufficient.any())
        else int(precisions.argmax())
    )
    previous = candidates[index - 1] if index else candidates[index] * 0
    # Halfway to the next lower score, and rounded, so that rounding errors elsewhere change no outcome.
    return max(
        round(float((candidates[index] + previous) / 2), 4),
        LEAST_THRESHOLD,
    )


def library_shares(
    scores: ValidationScores, mixture: Mixture, thresholds: Tensor
) -> tuple[Tensor, Tensor]:
    """The shares of a library's photos with a right label and with any, by threshold (C,): float64 (C,).

    A kind without photos here counts as if it were like the other.
    """
    right = mixture.known * _shares_above(
        scores.top.where(scores.correct, -1), thresholds
    )
    accepted = mixture.known * _shares_above(scores.top, thresholds)
    kinds = list(scores.others.values())
    for kind, share in (
        ((OTHERS, mixture.other), (ORDINARY, mixture.ordinary)) if kinds else ()
    ):
        accepted = accepted + share * tail_shares(
            scores.others.get(kind, kinds[0]), thresholds
        )
    return right, accepted


def library_precision(
    scores: ValidationScores, mixture: Mixture, threshold: float
) -> float:
    right, accepted = library_shares(scores, mixture, torch.tensor([threshold]))
    return float(right / accepted.clamp(min=LEAST_SHARE))


def tail_shares(scores: Tensor, thresholds: Tensor) -> Tensor:
    """The share of a kind of photos with at least a score, by threshold (C,): float64 (C,).

    In a library, thousands of such photos are rejected for each tag, and here are some hundred: where the
    threshold should lie, hardly one is left to count. The highest scores' logits fall off exponentially
    ("peaks over threshold", Davison and Smith, 1990), which gives shares between and above the photos that
    are here. Their median says how fast; the mean would follow the odd photo that shows a landmark.
    """
    counted = _shares_above(scores, thresholds)
    count = math.ceil(TAIL * len(scores))
    if count < LEAST_TAIL:
        return counted
    logits, at = _logits(scores).sort(descending=True).values, _logits(thresholds)
    start = logits[count]
    excess = ((logits[:count] - start).median() / math.log(2)).clamp(min=LOGIT_LIMIT)
    return torch.where(
        at > start,
        count / len(scores) * torch.exp((start - at) / excess),
        counted,
    )


def _shares_above(scores: Tensor, thresholds: Tensor) -> Tensor:
    below = torch.searchsorted(
        scores.double().sort().values,
        thresholds.double(),
    )
    return 1 - below.double() / max(len(scores), 1)


def _logits(scores: Tensor) -> Tensor:
    return scores.double().logit(LOGIT_LIMIT)
