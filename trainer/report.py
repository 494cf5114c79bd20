"""The report of an evaluation: Markdown, drawings, and the figures as JSON."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from tagger.model.artifact import Label
from trainer import writing_to
from trainer.data.inspection import SheetRow, draw_sheet
from trainer.evaluation import (
    DistractorResult,
    Estimate,
    Evaluation,
    LibraryResult,
    Mistake,
    Rejection,
    calibration_errors,
    confident_mistakes,
    reliability,
)
from trainer.learning.classifier import Epoch

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
        document = json.dumps(
            evaluation_document(evaluation), indent=1, ensure_ascii=False
        )
        (folder / METRICS).write_text(document + "\n", "utf-8")
        (folder / REPORT).write_text(markdown(evaluation), "utf-8")


def write_validation_report(
    folder: Path,
    labels: Sequence[Label],
    scores: Tensor,
    targets: Tensor,
    paths: Sequence[Path],
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
    names, shown = (
        [label.name for label in labels],
        [paths[row] for row in rows.tolist()],
    )
    mistakes = confident_mistakes(names, shown, scores[rows], targets[rows])
    with writing_to(folder):
        draw_reliability(
            top,
            predicted == targets[landmarks],
            folder / RELIABILITY,
        )
        draw_mistakes(mistakes, folder / MISTAKES)


def evaluation_document(evaluation: Evaluation) -> dict[str, object]:
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
            "by_folder": {
                name: _figures(result) for name, result in rejection.by_folder.items()
            },
        },
        "library": evaluation.library and _figures(evaluation.library),
        "mistakes": [_mistake(mistake) for mistake in evaluation.mistakes],
        "false_tags": [_mistake(mistake) for mistake in evaluation.false_tags],
    }


def _figures(result: object) -> dict[str, object]:
    # The numbers and texts of a result; estimates with their intervals.
    document: dict[str, object] = {}
    for name, value in vars(result).items():
        if isinstance(value, Estimate):
            estimate = {name: value.value, f"{name}_interval": [value.low, value.high]}
            document |= estimate
        elif not isinstance(value, Tensor | tuple):
            document[name] = value
    return document


def _mistake(mistake: Mistake) -> dict[str, object]:
    return {
        "photo": str(Path(*mistake.path.parts[-2:])),
        "shown": mistake.shown,
        "named": mistake.predicted,
        "score": mistake.score,
    }


# An evaluation in Markdown: the most important figures, and all details.

RELIABILITY, MISTAKES, FALSE_TAGS = "reliability.png", "mistakes.png", "false-tags.png"
METHOD = """## Method

Intervals cover the random choice of these photos, not their difference from your own photos. Each change to a
model that is based on test photos makes later figures too good; this report cannot tell how often that has
happened. `docs/reference/evaluation.md` defines every figure and interval."""


def markdown(evaluation: Evaluation) -> str:
    parts = [
        f"# {evaluation.manifest.name}: evaluation",
        _headline(evaluation),
        f"## Calibration\n\nBelow the diagonal, scores are too high.\n\n![Reliability]({RELIABILITY})",
        _rejection(evaluation.rejection) if evaluation.rejection else "",
        _library(evaluation.library) if evaluation.library else "",
        _mistakes(evaluation),
        _landmarks(evaluation),
        METHOD,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. Vertical bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )


def _percent(estimate: Estimate) -> str:
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.1f} % [{low:.1f}, {high:.1f}]"


def _headline(evaluation: Evaluation) -> str:
    recognition, rejection = evaluation.recognition, evaluation.rejection
    rows = [
        ("top-1: the first prediction is right", _percent(recognition.top1)),
        ("top-3", _percent(recognition.top3)),
        ("top-5", _percent(recognition.top5)),
        (
            "expected calibration error, 15 bins of equal width",
            _percent(recognition.ece),
        ),
        ("landmark photos with the right tag", _percent(recognition.accepted_right)),
        (
            "landmark photos with the right tag or suggestion",
            _percent(recognition.suggested_right),
        ),
        ("landmark photos with a tag", _percent(recognition.accepted)),
        (
            "tags of landmark photos that are right",
            _percent(recognition.precision_at_threshold),
        ),
    ]
    if rejection:
        rows.append(
            ("distractors with a false tag", _percent(rejection.overall.false_tags))
        )
    photos = f"{evaluation.photos} photos of landmarks"
    if rejection:
        photos += f" and {rejection.overall.photos} distractors, which show none of the landmarks"
    if evaluation.unreadable:
        photos += f" ({evaluation.unreadable} could not be read)"
    if evaluation.trained:
        left_out = (
            "are left out, because they, or others of their landmark, were in training"
        )
        photos += f" ({evaluation.trained} {left_out})"
    if evaluation.skipped:
        photos += f" ({sum(evaluation.skipped.values())} skipped, because the model lacks their labels)"
    return (
        f"Model digest `{evaluation.digest}`, {len(evaluation.manifest.labels)} labels, on {photos}. "
        "Tags are predictions with a score of at least the model's threshold, "
        f"{evaluation.manifest.threshold:.4g}. "
        "Brackets are 95 % intervals.\n\n" + table(("figure", "value"), rows)
    )


def _rejection(rejection: Rejection) -> str:
    rows = [_rejection_row("all", rejection.overall)]
    rows += [
        _rejection_row(f"`{name}`", result)
        for name, result in rejection.by_folder.items()
    ]
    head = ("distractors", "photos", "with a false tag")
    return f"## Photos that show none of the landmarks\n\n{table(head, rows)}"


def _library(library: LibraryResult) -> str:
    others = f"{library.other_photos} photos of other landmarks with a false tag"
    ordinary = f"{library.ordinary_photos} ordinary photos with a false tag"
    rows = [
        ("tags that are right", _percent(library.precision)),
        ("photos with a wrong tag", _percent(library.false_tags)),
        (others, _percent(library.other_false_tags)),
        (ordinary, _percent(library.ordinary_false_tags)),
    ]
    shows = f"{library.mixture} of its photos show landmarks of the model, other landmarks, and anything else"
    return f"## A library\n\n{shows}.\n\n{table(('figure', 'value'), rows)}"


def _rejection_row(name: str, result: DistractorResult) -> tuple[str, ...]:
    return name, str(result.photos), _percent(result.false_tags)


def _mistakes(evaluation: Evaluation) -> str:
    text = "## Most confident mistakes\n\n"
    if evaluation.mistakes:
        text += "Landmark photos with a wrong first prediction, as shown → predicted, "
        text += "the highest scores first."
        text += f"\n\n![Mistakes]({MISTAKES})"
    else:
        text += "The first prediction is right for every landmark photo."
    if evaluation.false_tags:
        text += f"\n\nDistractors with a false tag, the highest scores first.\n\n![False tags]({FALSE_TAGS})"
    return text


def _landmarks(evaluation: Evaluation) -> str:
    recognition = evaluation.recognition
    results = [result for result in recognition.per_label if result.photos]
    ordered = sorted(results, key=lambda result: (result.top1.value, result.label))
    head = (
        "landmark",
        "photos",
        "right",
        "right, %",
        "right tag",
        "most often taken for",
    )
    absent = len(recognition.per_label) - len(results)
    rows = []
    for result in ordered:
        taken_for = (
            f"{result.taken_for} ({result.taken_for_photos})"
            if result.taken_for
            else ""
        )
        right, tagged = str(result.right), str(result.accepted_right)
        rows.append(
            (
                result.name,
                str(result.photos),
                right,
                _percent(result.top1),
                tagged,
                taken_for,
            )
        )
    return (
        "## Landmarks\n\nThe highest share of mistakes first. With few photos, intervals are wide."
        + (f" {absent} labels of the model have no photo here." if absent else "")
        + "\n\n"
        + table(head, rows)
    )


# Drawings for reports: learning curves, reliability, and sheets of mistakes.

BLUE, ORANGE, GREY = "#3366aa", "#dd7733", "#999999"


def draw_curves(epochs: Sequence[Epoch], path: Path) -> None:
    numbers = [epoch.number for epoch in epochs]
    top1 = [100 * epoch.validation.top1 for epoch in epochs]
    with figure_axes(path, width=9, height=3.8, columns=2) as (losses, accuracies):
        losses.plot(
            numbers,
            [epoch.loss for epoch in epochs],
            color=BLUE,
            marker=".",
            label="training, on altered photos",
        )
        losses.plot(
            numbers,
            [epoch.validation.loss for epoch in epochs],
            color=ORANGE,
            marker=".",
            label="validation",
        )
        losses.set(xlabel="epoch", ylabel="loss", title="Loss", ylim=(0, None))
        losses.legend()
        accuracies.plot(numbers, top1, color=ORANGE, marker=".")
        accuracies.set(
            ylabel="right, %",
            ylim=(min(top1) - 5, min(100.5, max(top1) + 5)),
        )
        accuracies.set_title(
            f"Validation photos before calibration, finally {top1[-1]:.1f} %"
        )
        for axes in (losses, accuracies):
            axes.set(xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)


def draw_reliability(scores: Tensor, correct: Tensor, path: Path) -> None:
    """Draw accuracy by score, (N,) each, with 95 % intervals. Perfect calibration is the diagonal."""
    bins, error = (
        reliability(scores, correct),
        calibration_errors(scores[None], correct[None]).item(),
    )
    right = [entry.right.value for entry in bins]
    below = [max(0.0, entry.right.value - entry.right.low) for entry in bins]
    above = [max(0.0, entry.right.high - entry.right.value) for entry in bins]
    with figure_axes(path, width=6, height=4.6) as (axes,):
        axes.plot(
            [0, 1],
            [0, 1],
            color=GREY,
            linestyle="--",
            linewidth=1,
            label="perfect calibration",
        )
        confidences, label = (
            [entry.confidence for entry in bins],
            "right, 95 % interval",
        )
        axes.errorbar(
            confidences,
            right,
            yerr=(below, above),
            color=BLUE,
            fmt="o",
            capsize=3,
            label=label,
        )
        axes.set(
            xlabel="score",
            ylabel="share that is right",
            xlim=(0, 1.02),
            ylim=(-0.02, 1.02),
        )
        axes.set_title(f"Reliability, ECE {100 * error:.1f} %")
        axes.legend(loc="lower right")
        axes.grid(alpha=0.3)


@contextmanager
def figure_axes(
    path: Path, *, width: float, height: float, columns: int = 1
) -> Iterator[Sequence[Axes]]:
    """Yield axes to draw on, and save the figure afterwards. Does not use pyplot, which has global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield list(figure.subplots(1, columns, squeeze=False).flat)
    with warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; a warning for each is not helpful.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(path, dpi=130)


def draw_mistakes(mistakes: Sequence[Mistake], path: Path) -> None:
    """Draw the photos of mistakes in their order, and remove an earlier drawing if there are none."""
    path.unlink(missing_ok=True)
    rows = [
        SheetRow(
            f"{mistake.shown or 'none of them'} → {mistake.predicted}",
            f"score {mistake.score:.2f}",
            [mistake.path],
        )
        for mistake in mistakes
    ]
    if rows:
        draw_sheet(rows, path, columns=3)
