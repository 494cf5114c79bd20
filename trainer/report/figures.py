"""Drawings for reports: learning curves, confusion, reliability, scores, what each threshold would do."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from trainer.evaluation.metrics import ReliabilityBin
from trainer.evaluation.tradeoff import Tradeoff
from trainer.learning.loop import Epoch

BLUE, ORANGE, GREEN, GREY = "#3366aa", "#dd7733", "#338855", "#999999"
MOST_NAMES = 120
"""With more labels than this, a confusion matrix's axes carry no names."""


def draw_curves(epochs: Sequence[Epoch], path: Path) -> None:
    """Losses and accuracy, epoch by epoch, and accuracy over the hours spent."""
    numbers = [epoch.number for epoch in epochs]
    top1 = [100 * epoch.validation.top1 for epoch in epochs]
    hours = list(accumulate(epoch.seconds / 3600 for epoch in epochs))
    with drawing(path, width=13, height=3.8, columns=3) as (losses, accuracies, over_time):
        losses.plot(numbers, [epoch.loss for epoch in epochs], color=BLUE, marker=".", label="training")
        losses.plot(
            numbers, [epoch.validation.loss for epoch in epochs], color=ORANGE, marker=".", label="validation"
        )
        losses.set(xlabel="epoch", ylabel="loss", title="Loss", ylim=(0, None))
        losses.legend()
        accuracies.plot(numbers, top1, color=ORANGE, marker=".")
        accuracies.set_title(f"Top-1 on validation photos, at last {top1[-1]:.1f} %")
        over_time.plot(hours, top1, color=ORANGE, marker=".")
        over_time.set(xlabel="hours", title=f"The same over time: {hours[-1]:.2f} hours")
        for axes in (accuracies, over_time):
            axes.set(ylabel="right, %", ylim=(min(top1) - 5, 100.5))
        for axes in (losses, accuracies):
            axes.set(xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (losses, accuracies, over_time):
            axes.grid(alpha=0.3)


def draw_confusion(confusion: Tensor, names: Sequence[str], path: Path) -> None:
    """Which landmark (row) was taken for which (column), as shares of each row, with the counts of mistakes."""
    shares = confusion.double() / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    named = len(names) <= MOST_NAMES
    side = min(max(4.0, 0.2 * len(names) + 3), 27)
    with drawing(path, width=side + 0.6, height=side) as (axes,):
        image = axes.imshow(100 * shares.numpy(), cmap="Blues", vmin=0, vmax=100)
        if named:
            photos = confusion.sum(dim=1).tolist()
            shown = [f"{name} ({count})" for name, count in zip(names, photos, strict=True)]
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8, parse_math=False)
            axes.set_yticks(range(len(names)), shown, fontsize=8, parse_math=False)
            axes.set_xticks([place - 0.5 for place in range(1, len(names))], minor=True)
            axes.set_yticks([place - 0.5 for place in range(1, len(names))], minor=True)
            axes.grid(which="minor", color="#e8e8e8", linewidth=0.5)
            axes.tick_params(which="minor", length=0)
            _count_mistakes(axes, confusion)
        axes.set(xlabel="named", ylabel="shown (photos)", title="What is taken for what")
        bar = axes.figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, shrink=0.5)
        bar.set_label("% of the landmark's photos")


def _count_mistakes(axes: Axes, confusion: Tensor) -> None:
    """The numbers off the diagonal, in a colour that stands out from however pale a blue."""
    mistakes = confusion.clone().fill_diagonal_(0)
    for row, column in mistakes.nonzero().tolist():
        count = int(mistakes[row, column])
        axes.text(
            column, row, str(count), ha="center", va="center", fontsize=8, color="#bb2200", weight="bold"
        )


def draw_reliability(bins: Sequence[ReliabilityBin], error: float, path: Path) -> None:
    """How often the model is right, given how sure it is, with 95 % intervals; the diagonal is perfect."""
    width = 1 / len(bins)
    filled = [entry for entry in bins if entry.count]
    sure, right = [entry.confidence for entry in filled], [entry.accuracy for entry in filled]
    below = [entry.accuracy - entry.interval.low for entry in filled]
    above = [entry.interval.high - entry.accuracy for entry in filled]
    with drawing(path, width=10, height=4.6, columns=2) as (accuracy, counts):
        accuracy.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as sure as right")
        accuracy.errorbar(
            sure,
            right,
            yerr=([max(0.0, each) for each in below], [max(0.0, each) for each in above]),
            color=BLUE,
            marker="o",
            linestyle="",
            elinewidth=1,
            capsize=3,
            label="right, 95 % interval",
        )
        accuracy.set(xlabel="score", ylabel="share that is right", xlim=(0, 1.02), ylim=(-0.02, 1.02))
        accuracy.set_title(f"Reliability, ECE {100 * error:.1f} %")
        accuracy.legend(loc="lower right")
        middles = [(number + 0.5) * width for number in range(len(bins))]
        bars = counts.bar(middles, [entry.count for entry in bins], width=0.9 * width, color=BLUE)
        counts.bar_label(bars, [str(entry.count or "") for entry in bins], fontsize=8)
        counts.set(xlabel="score", ylabel="photos", title="How many photos have which score", xlim=(0, 1))
        for axes in (accuracy, counts):
            axes.grid(alpha=0.3)


def draw_scores(landmarks: Tensor, distractors: Tensor, threshold: float | None, path: Path) -> None:
    """The highest score of photos of landmarks and of photos that show none."""
    with drawing(path, width=8, height=4.4) as (axes,):
        edges = [number / 25 for number in range(26)]
        least = 70 / max(len(landmarks), len(distractors))  # less than one photo is
        # The few in the middle are those that a threshold decides about; a plain scale would hide them.
        axes.set(yscale="log", ylim=(least, 150), xlim=(0, 1))
        for scores, colour, name in ((landmarks, BLUE, "landmarks"), (distractors, ORANGE, "distractors")):
            weights = [100 / len(scores)] * len(scores)
            axes.hist(
                scores.clamp(0, 1).numpy(),
                bins=edges,
                weights=weights,
                color=colour,
                alpha=0.65,
                label=f"{name} ({len(scores)} photos)",
            )
        if threshold is not None:
            axes.axvline(threshold, color="black", linewidth=1, label=f"threshold {threshold:.2f}")
        shares = [share for share in _SHARES if share >= least]
        axes.set_yticks(shares, [f"{share:g}" for share in shares])
        axes.set(xlabel="highest score", ylabel="% of the photos", title="Landmarks and distractors")
        axes.legend(loc="upper center")
        axes.grid(alpha=0.3)


_SHARES = (0.01, 0.1, 1, 3, 10, 30, 100)


def draw_trade_off(tradeoff: Tradeoff, threshold: float, path: Path, *, distractors: bool) -> None:
    """Precision against coverage, and what each threshold does."""
    with drawing(path, width=11, height=4.6, columns=2) as (curve, over):
        _draw_curve(curve, tradeoff, threshold, distractors=distractors)
        lines = [(tradeoff.precision, BLUE, "accepted names that are right")]
        lines.append((tradeoff.tagged_rightly, GREEN, "landmark photos tagged rightly"))
        if distractors:
            lines.append((tradeoff.false_tags, ORANGE, "distractors with a false tag"))
        for values, colour, name in lines:
            over.plot(tradeoff.thresholds, 100 * values, color=colour, label=name)
        over.axvline(threshold, color="black", linewidth=1, label=f"the model's threshold, {threshold:.2f}")
        over.set(xlabel="threshold", ylabel="%", xlim=(0, 1), ylim=(0, 101))
        over.set_title("What each threshold would do")
        over.legend(loc="center left", fontsize=8)
        for axes in (curve, over):
            axes.grid(alpha=0.3)


def _draw_curve(axes: Axes, tradeoff: Tradeoff, threshold: float, *, distractors: bool) -> None:
    coverage = 100 * tradeoff.tagged_rightly
    axes.plot(coverage, 100 * tradeoff.precision_on_landmarks, color=GREEN, label="on landmark photos alone")
    if distractors:
        axes.plot(coverage, 100 * tradeoff.precision, color=BLUE, label="half of all photos distractors")
    shown = tradeoff.precision if distractors else tradeoff.precision_on_landmarks
    reached = (tradeoff.thresholds >= threshold).nonzero().flatten()
    least = 80.0
    if len(reached):
        at = int(reached[-1])
        label = f"the model's threshold, {threshold:.2f}"
        axes.plot(coverage[at], 100 * shown[at], color="black", marker="o", linestyle="", label=label)
        least = max(0.0, min(least, 100 * shown[at].nan_to_num(1.0).item() - 10))
    axes.set(xlabel="landmark photos tagged rightly, %", ylabel="accepted names that are right, %")
    axes.set(xlim=(0, 101), ylim=(least, 100.5), title="Precision and coverage")
    axes.legend(loc="lower left", fontsize=8)


@contextmanager
def drawing(
    path: Path, *, width: float, height: float, rows: int = 1, columns: int = 1
) -> Iterator[Sequence[Axes]]:
    """Axes to draw on, written to `path` afterwards; without pyplot, so without any state or window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield list(figure.subplots(rows, columns, squeeze=False).flat)
    with warnings.catch_warnings():
        # Names in scripts that the font lacks are drawn as boxes; saying so for every letter helps nobody.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(path, dpi=130)
