"""Drawings for reports: learning curves, reliability, and sheets of mistakes."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from trainer.data.sheets import SheetRow, draw_sheet
from trainer.evaluation.metrics import calibration_errors, reliability
from trainer.evaluation.recognition import Mistake
from trainer.learning.state import Epoch

MISTAKE_COLUMNS = 3
BLUE, ORANGE, GREY = "#3366aa", "#dd7733", "#999999"


def draw_curves(epochs: Sequence[Epoch], path: Path) -> None:
    """Draw losses and accuracy by epoch."""
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
            numbers, [epoch.validation.loss for epoch in epochs], color=ORANGE, marker=".", label="validation"
        )
        losses.set(xlabel="epoch", ylabel="loss", title="Loss", ylim=(0, None))
        losses.legend()
        accuracies.plot(numbers, top1, color=ORANGE, marker=".")
        accuracies.set(ylabel="right, %", ylim=(min(top1) - 5, min(100.5, max(top1) + 5)))
        accuracies.set_title(f"Validation photos before calibration, finally {top1[-1]:.1f} %")
        for axes in (losses, accuracies):
            axes.set(xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)


def draw_reliability(scores: Tensor, correct: Tensor, path: Path) -> None:
    """Draw accuracy by score, (N,) each, with 95 % intervals. Perfect calibration is the diagonal."""
    bins, error = reliability(scores, correct), calibration_errors(scores[None], correct[None]).item()
    right = [entry.right.value for entry in bins]
    below = [max(0.0, entry.right.value - entry.right.low) for entry in bins]
    above = [max(0.0, entry.right.high - entry.right.value) for entry in bins]
    with figure_axes(path, width=6, height=4.6) as (axes,):
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect calibration")
        confidences, label = [entry.confidence for entry in bins], "right, 95 % interval"
        axes.errorbar(confidences, right, yerr=(below, above), color=BLUE, fmt="o", capsize=3, label=label)
        axes.set(xlabel="score", ylabel="share that is right", xlim=(0, 1.02), ylim=(-0.02, 1.02))
        axes.set_title(f"Reliability, ECE {100 * error:.1f} %")
        axes.legend(loc="lower right")
        axes.grid(alpha=0.3)


@contextmanager
def figure_axes(path: Path, *, width: float, height: float, columns: int = 1) -> Iterator[Sequence[Axes]]:
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
        draw_sheet(rows, path, columns=MISTAKE_COLUMNS)
