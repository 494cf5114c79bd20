"""Drawings for reports: learning curves, confusion, reliability, how scores of landmarks and distractors differ."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from trainer.loop import Epoch
from trainer.metrics import ReliabilityBin

BLUE, ORANGE, GREY = "#3366aa", "#dd7733", "#999999"
MOST_NAMES = 120
"""With more labels than this, a confusion matrix's axes carry no names."""


def draw_curves(epochs: Sequence[Epoch], path: Path) -> None:
    """Loss and accuracy, epoch by epoch."""
    numbers = [epoch.number for epoch in epochs]
    with _drawing(path, width=9, height=3.6, columns=2) as (losses, accuracies):
        losses.plot(numbers, [epoch.loss for epoch in epochs], color=BLUE, marker=".", label="training")
        losses.plot(
            numbers, [epoch.validation.loss for epoch in epochs], color=ORANGE, marker=".", label="validation"
        )
        losses.set(xlabel="epoch", ylabel="loss", title="Loss", ylim=(0, None))
        losses.legend()
        top1 = [100 * epoch.validation.top1 for epoch in epochs]
        accuracies.plot(numbers, top1, color=ORANGE, marker=".")
        accuracies.set(
            xlabel="epoch", ylabel="right, %", title="Top-1 on validation photos", ylim=(min(top1) - 5, 100.5)
        )
        for axes in (losses, accuracies):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)


def draw_confusion(confusion: Tensor, names: Sequence[str], path: Path) -> None:
    """Which landmark (row) was taken for which (column), as shares of each row."""
    shares = confusion.double() / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    side = min(max(4.0, 0.19 * len(names) + 3), 26)
    with _drawing(path, width=side + 0.6, height=side) as (axes,):
        image = axes.imshow(100 * shares.numpy(), cmap="Blues", vmin=0, vmax=100)
        if len(names) <= MOST_NAMES:
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set(xlabel="named", ylabel="shown", title="What is taken for what")
        bar = axes.figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("% of the landmark's photos")


def draw_reliability(bins: Sequence[ReliabilityBin], error: float, path: Path) -> None:
    """How often the model is right, given how sure it is; the diagonal is perfect."""
    width = 1 / len(bins)
    with _drawing(path, width=9, height=4, columns=2) as (accuracy, counts):
        middles = [(number + 0.5) * width for number in range(len(bins))]
        filled = [entry for entry in bins if entry.count]
        accuracy.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
        accuracy.plot(
            [entry.confidence for entry in filled],
            [entry.accuracy for entry in filled],
            color=BLUE,
            marker="o",
        )
        accuracy.set(
            xlabel="score",
            ylabel="share that is right",
            title=f"Reliability, ECE {100 * error:.1f} %",
            xlim=(0, 1),
            ylim=(0, 1.02),
        )
        counts.bar(middles, [entry.count for entry in bins], width=0.9 * width, color=BLUE)
        counts.set(xlabel="score", ylabel="photos", title="How many photos have which score", xlim=(0, 1))
        for axes in (accuracy, counts):
            axes.grid(alpha=0.3)


def draw_scores(landmarks: Tensor, distractors: Tensor, threshold: float, path: Path) -> None:
    """The highest score of photos of landmarks and of photos that show none."""
    with _drawing(path, width=7, height=4) as (axes,):
        edges = [number / 25 for number in range(26)]
        for scores, colour, name in ((landmarks, BLUE, "landmarks"), (distractors, ORANGE, "distractors")):
            weights = [100 / len(scores)] * len(scores)
            axes.hist(scores.numpy(), bins=edges, weights=weights, color=colour, alpha=0.65, label=name)
        axes.axvline(threshold, color="black", linewidth=1, label=f"threshold {threshold:.2f}")
        axes.set(
            xlabel="highest score", ylabel="% of the photos", title="Landmarks and distractors", xlim=(0, 1)
        )
        axes.legend()
        axes.grid(alpha=0.3)


@contextmanager
def _drawing(path: Path, *, width: float, height: float, columns: int = 1) -> Iterator[Sequence[Axes]]:
    """Axes to draw on, written to `path` afterwards; without pyplot, so without any state or window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield list(figure.subplots(1, columns, squeeze=False)[0])
    figure.savefig(path, dpi=130)
