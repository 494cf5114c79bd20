"""A report's folder: what is written there, and when which drawing is there."""

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from tagger.artifact import Label
from trainer.errors import writing_to
from trainer.evaluation import Evaluation
from trainer.evaluation.metrics import confusion_counts, expected_calibration_error, reliability
from trainer.evaluation.mistakes import Mistake, surest_mistakes
from trainer.report.document import figures_of
from trainer.report.figures import draw_confusion, draw_reliability, draw_scores, draw_trade_off
from trainer.report.sheets import draw_sheet
from trainer.report.text import CONFUSION, FALSE_TAGS, MISTAKES, RELIABILITY, SCORES, TRADE_OFF, markdown

REPORT = "report.md"
METRICS = "metrics.json"


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write report.md, its drawings and metrics.json into `folder`; drawings of an earlier report that this one lacks go.

    Raises:
        OutputUnwritable: with the reason.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (SCORES, MISTAKES, FALSE_TAGS):
            (folder / name).unlink(missing_ok=True)
        _draw(evaluation, folder)
        document = json.dumps(figures_of(evaluation), indent=1, ensure_ascii=False)
        (folder / METRICS).write_text(document + "\n", "utf-8")
        (folder / REPORT).write_text(markdown(evaluation), "utf-8")


def write_validation_report(
    folder: Path, labels: Sequence[Label], scores: Tensor, targets: Tensor, paths: Sequence[Path]
) -> None:
    """Draw what the model makes of the photos held out into `folder`: confusion, reliability, scores, the surest mistakes.

    Args:
        folder: of the run; it is there
        labels: of the model, in its order
        scores: float32 (N, L)
        targets: int64 (N,), the right label of each; L: none of them
        paths: of the photos
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
            draw_sheet(mistakes, folder / MISTAKES)


def _validation_mistakes(
    names: Sequence[str], paths: Sequence[Path], scores: Tensor, targets: Tensor
) -> tuple[Mistake, ...]:
    """Where no threshold is known yet, an ordinary photo is named wrongly if any landmark is likelier than none."""
    none_of_them = 1 - scores.sum(dim=1)
    rejected = (targets == len(names)) & (scores.amax(dim=1) <= none_of_them)
    kept = (~rejected).nonzero().flatten()
    return surest_mistakes(names, [paths[row] for row in kept.tolist()], scores[kept], targets[kept])


def _draw(evaluation: Evaluation, folder: Path) -> None:
    seen, threshold = evaluation.recognition, evaluation.manifest.threshold
    names = [label.name for label in evaluation.manifest.labels]
    draw_confusion(seen.confusion, names, folder / CONFUSION)
    draw_reliability(seen.bins, seen.ece.value, folder / RELIABILITY)
    draw_trade_off(
        evaluation.tradeoff, threshold, folder / TRADE_OFF, distractors=evaluation.rejection is not None
    )
    if evaluation.rejection:
        draw_scores(seen.scores, evaluation.rejection.scores, threshold, folder / SCORES)
    if evaluation.mistakes:
        draw_sheet(evaluation.mistakes, folder / MISTAKES)
    if evaluation.false_tags:
        draw_sheet(evaluation.false_tags, folder / FALSE_TAGS)
