"""The files of a report: report.md, drawings, and metrics.json with an interval for every figure."""

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from tagger.model.artifact import Label
from trainer.errors import writing_to
from trainer.evaluation.evaluation import Evaluation
from trainer.evaluation.metrics import Estimate
from trainer.evaluation.recognition import Mistake, confident_mistakes
from trainer.report.drawings import draw_mistakes, draw_reliability
from trainer.report.markdown import FALSE_TAGS, MISTAKES, RELIABILITY, markdown

REPORT = "report.md"
METRICS = "metrics.json"


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write report.md, its drawings and metrics.json to `folder`, in place of an earlier report."""
    recognition = evaluation.recognition
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        draw_reliability(recognition.scores, recognition.correct, folder / RELIABILITY)
        draw_mistakes(evaluation.mistakes, folder / MISTAKES)
        draw_mistakes(evaluation.false_tags, folder / FALSE_TAGS)
        document = json.dumps(evaluation_document(evaluation), indent=1, ensure_ascii=False)
        (folder / METRICS).write_text(document + "\n", "utf-8")
        (folder / REPORT).write_text(markdown(evaluation), "utf-8")


def write_validation_report(
    folder: Path, labels: Sequence[Label], scores: Tensor, targets: Tensor, paths: Sequence[Path]
) -> None:
    """Draw the reliability and the most confident mistakes on validation photos into `folder`.

    Args:
        folder: the existing run folder
        labels: the labels of the model, in its order
        scores: float32 (N, L)
        targets: int64 (N,), the right labels; L: none of them
        paths: the photos
    """
    landmarks = targets < len(labels)
    top, predicted = scores[landmarks].max(dim=1)
    # Without a threshold, an ordinary photo is a mistake if a landmark is more likely than none.
    is_rejected = ~landmarks & (scores.amax(dim=1) <= 1 - scores.sum(dim=1))
    rows = (~is_rejected).nonzero().flatten()
    names, shown = [label.name for label in labels], [paths[row] for row in rows.tolist()]
    mistakes = confident_mistakes(names, shown, scores[rows], targets[rows])
    with writing_to(folder):
        draw_reliability(top, predicted == targets[landmarks], folder / RELIABILITY)
        draw_mistakes(mistakes, folder / MISTAKES)


def evaluation_document(evaluation: Evaluation) -> dict[str, object]:
    """The figures of an evaluation as JSON."""
    recognition, rejection = evaluation.recognition, evaluation.rejection
    return {
        "model": evaluation.manifest.name,
        "digest": evaluation.digest,
        "device": evaluation.device.kind,
        "photos": evaluation.photos,
        "unreadable": evaluation.unreadable,
        "left_out": evaluation.skipped,
        "in_training": evaluation.trained,
        "threshold": evaluation.manifest.threshold,
        "suggestion_threshold": evaluation.manifest.suggestion_threshold,
        **_figures(recognition),
        "labels": [_figures(result) for result in recognition.per_label],
        "rejection": rejection
        and {
            **_figures(rejection.overall),
            "by_folder": {name: _figures(result) for name, result in rejection.by_folder.items()},
        },
        "library": evaluation.library and _figures(evaluation.library),
        "mistakes": [_mistake(mistake) for mistake in evaluation.mistakes],
        "false_tags": [_mistake(mistake) for mistake in evaluation.false_tags],
    }


def _figures(result: object) -> dict[str, object]:
    """The numbers and texts of a result; estimates with their intervals."""
    document: dict[str, object] = {}
    for name, value in vars(result).items():
        if isinstance(value, Estimate):
            document |= _estimate(name, value)
        elif not isinstance(value, Tensor | tuple):
            document[name] = value
    return document


def _estimate(name: str, estimate: Estimate) -> dict[str, object]:
    return {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}


def _mistake(mistake: Mistake) -> dict[str, object]:
    return {
        "photo": str(Path(*mistake.path.parts[-2:])),
        "shown": mistake.shown,
        "named": mistake.predicted,
        "score": mistake.score,
    }
