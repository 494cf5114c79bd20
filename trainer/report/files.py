"""The files of a report: report.md, drawings, and metrics.json with an interval for every figure (`top1`, `top1_interval`)."""

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from tagger.model.artifact import Label
from trainer.errors import writing_to
from trainer.evaluation.evaluation import Evaluation
from trainer.evaluation.metrics import (
    RESAMPLES,
    SEED,
    SHOWN_PRECISIONS,
    Estimate,
    Interval,
    ReliabilityBin,
    Tradeoff,
    confusion_counts,
    expected_calibration_error,
    lowest_threshold,
    reliability,
)
from trainer.evaluation.recognition import (
    DistractorResult,
    LabelResult,
    Mistake,
    Recognition,
    Rejection,
    SourceResult,
    confident_mistakes,
)
from trainer.evaluation.robustness import AlterationResult
from trainer.report.drawings import (
    draw_confusion,
    draw_mistakes,
    draw_reliability,
    draw_scores,
)
from trainer.report.markdown import CONFUSION, FALSE_TAGS, MISTAKES, RELIABILITY, SCORES, markdown

REPORT = "report.md"
METRICS = "metrics.json"

log = logging.getLogger("trainer")


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write report.md, its drawings and metrics.json to `folder`, and remove outdated drawings of an earlier report.

    Raises:
        OutputUnwritable: with the reason.
    """
    log.info("drawing the report")
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (SCORES, MISTAKES, FALSE_TAGS):
            (folder / name).unlink(missing_ok=True)
        _draw(evaluation, folder)
        document = json.dumps(evaluation_document(evaluation), indent=1, ensure_ascii=False)
        (folder / METRICS).write_text(document + "\n", "utf-8")
        (folder / REPORT).write_text(markdown(evaluation), "utf-8")


def write_validation_report(
    folder: Path, labels: Sequence[Label], scores: Tensor, targets: Tensor, paths: Sequence[Path]
) -> None:
    """Draw the confusion, reliability, scores and most confident mistakes on validation photos into `folder`.

    Args:
        folder: the existing run folder
        labels: the labels of the model, in its order
        scores: float32 (N, L)
        targets: int64 (N,), the right labels; L: none of them
        paths: the photos
    """
    names = [label.name for label in labels]
    landmarks = targets < len(names)
    top, predicted = scores[landmarks].max(dim=1)
    bins = reliability(top, predicted == targets[landmarks])
    confusion = confusion_counts(predicted, targets[landmarks], len(names))
    with writing_to(folder):
        draw_confusion(confusion, names, folder / CONFUSION)
        draw_reliability(bins, expected_calibration_error(bins), folder / RELIABILITY)
        if not bool(landmarks.all()):
            draw_scores(top, scores[~landmarks].amax(dim=1), None, folder / SCORES)
        (folder / MISTAKES).unlink(missing_ok=True)
        if mistakes := _validation_mistakes(names, paths, scores, targets):
            draw_mistakes(mistakes, folder / MISTAKES)


def _validation_mistakes(
    names: Sequence[str], paths: Sequence[Path], scores: Tensor, targets: Tensor
) -> tuple[Mistake, ...]:
    """The most confident mistakes. Without a threshold, an ordinary photo is a mistake if a landmark is more likely than none."""
    none_of_them = 1 - scores.sum(dim=1)
    is_rejected = (targets == len(names)) & (scores.amax(dim=1) <= none_of_them)
    rows = (~is_rejected).nonzero().flatten()
    return confident_mistakes(names, [paths[row] for row in rows.tolist()], scores[rows], targets[rows])


def _draw(evaluation: Evaluation, folder: Path) -> None:
    recognition, threshold = evaluation.recognition, evaluation.manifest.threshold
    names = [label.name for label in evaluation.manifest.labels]
    draw_confusion(recognition.confusion, names, folder / CONFUSION)
    draw_reliability(recognition.bins, recognition.ece.value, folder / RELIABILITY)
    if evaluation.rejection:
        draw_scores(recognition.scores, evaluation.rejection.scores, threshold, folder / SCORES)
    if evaluation.mistakes:
        draw_mistakes(evaluation.mistakes, folder / MISTAKES)
    if evaluation.false_tags:
        draw_mistakes(evaluation.false_tags, folder / FALSE_TAGS)


INTERVALS: dict[str, object] = {
    "level": 0.95,
    "shares": "Wilson's score interval",
    "others": "percentile bootstrap: photos drawn with replacement, those of landmarks and distractors apart",
    "fpr_at_95_recall": "bootstrap, widened to Wilson's where that reaches further",
    "resamples": RESAMPLES,
    "seed": SEED,
}


def evaluation_document(evaluation: Evaluation) -> dict[str, object]:
    """The figures of an evaluation as JSON."""
    recognition = evaluation.recognition
    return {
        "model": evaluation.manifest.name,
        "digest": evaluation.digest,
        "device": evaluation.device.kind,
        "photos": evaluation.photos,
        "unreadable": evaluation.unreadable,
        "left_out": evaluation.skipped,
        "threshold": evaluation.manifest.threshold,
        "intervals": INTERVALS,
        **_figures(recognition),
        **_estimate("gap", evaluation.gap),
        "reliability": [_bin(entry) for entry in recognition.bins],
        "labels": [_figures(result) for result in recognition.per_label],
        "sources": {name: _figures(result) for name, result in evaluation.by_source.items()},
        "rejection": _rejection(evaluation.rejection) if evaluation.rejection else None,
        "thresholds": _thresholds(evaluation.tradeoff),
        "altered": None if evaluation.alterations is None else _alterations(evaluation.alterations),
        "mistakes": [_mistake(mistake) for mistake in evaluation.mistakes],
        "false_tags": [_mistake(mistake) for mistake in evaluation.false_tags],
    }


def _figures(result: Recognition | LabelResult | SourceResult | DistractorResult) -> dict[str, object]:
    """The numbers and texts of a result; estimates with their intervals."""
    document: dict[str, object] = {}
    for name, value in vars(result).items():
        if isinstance(value, Estimate):
            document |= _estimate(name, value)
        elif not isinstance(value, Tensor | tuple):
            document[name] = value
    return document


def _estimate(name: str, estimate: Estimate) -> dict[str, object]:
    return {name: estimate.value, f"{name}_interval": _pair(estimate.interval)}


def _pair(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _bin(entry: ReliabilityBin) -> dict[str, object]:
    return {
        "photos": entry.count,
        "mean_score": entry.confidence if entry.count else None,
        "right": entry.accuracy if entry.count else None,
        "right_interval": _pair(entry.interval) if entry.count else None,
    }


def _rejection(rejection: Rejection) -> dict[str, object]:
    folders = {name: _figures(folder) for name, folder in rejection.by_folder.items()}
    return {**_figures(rejection.overall), "by_folder": folders}


def _thresholds(tradeoff: Tradeoff) -> list[dict[str, object]]:
    points = [(precision, lowest_threshold(precision, tradeoff)) for precision in SHOWN_PRECISIONS]
    return [
        {
            "precision_wanted": target,
            "threshold": point.threshold if point else None,
            "precision": point.precision if point else None,
            "tagged_rightly": point.tagged_rightly if point else None,
            "false_tags": point.false_tags if point else None,
        }
        for target, point in points
    ]


def _alterations(results: Iterable[AlterationResult]) -> dict[str, object]:
    return {
        result.name: {
            "what": result.description,
            "photos": result.photos,
            **_estimate("top1", result.top1),
            **_estimate("difference", result.difference),
            **_estimate("wrong_tags", result.wrong_tags),
        }
        for result in results
    }


def _mistake(mistake: Mistake) -> dict[str, object]:
    return {
        "photo": str(Path(*mistake.path.parts[-2:])),
        "shown": mistake.shown,
        "named": mistake.predicted,
        "score": mistake.score,
    }
