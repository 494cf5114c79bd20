"""Drawings for reports: learning curves, confusion, reliability, scores, thresholds, and sheets of mistakes."""

import textwrap
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

from tagger.errors import PhotoFailed
from tagger.photos.decoding import Resize, decode_photo
from tagger.photos.files import read_photo
from trainer.data.folders import MAX_BYTES, MAX_PIXELS
from trainer.evaluation.metrics import ReliabilityBin
from trainer.evaluation.recognition import Mistake
from trainer.learning.loop import Epoch

BLUE, ORANGE, GREEN, GREY = "#3366aa", "#dd7733", "#338855", "#999999"
MOST_NAMES = 120
"""The most labels whose names are on the axes of a confusion matrix."""


def draw_curves(epochs: Sequence[Epoch], path: Path) -> None:
    """Draw losses and accuracy by epoch, and accuracy by time."""
    numbers = [epoch.number for epoch in epochs]
    top1 = [100 * epoch.validation.top1 for epoch in epochs]
    hours = list(accumulate(epoch.seconds / 3600 for epoch in epochs))
    with figure_axes(path, width=13, height=3.8, columns=3) as (losses, accuracies, by_time):
        losses.plot(numbers, [epoch.loss for epoch in epochs], color=BLUE, marker=".", label="training")
        losses.plot(
            numbers, [epoch.validation.loss for epoch in epochs], color=ORANGE, marker=".", label="validation"
        )
        losses.set(xlabel="epoch", ylabel="loss", title="Loss", ylim=(0, None))
        losses.legend()
        accuracies.plot(numbers, top1, color=ORANGE, marker=".")
        accuracies.set_title(f"Top-1 on validation photos, finally {top1[-1]:.1f} %")
        by_time.plot(hours, top1, color=ORANGE, marker=".")
        by_time.set(xlabel="hours", title=f"The same over time: {hours[-1]:.2f} hours")
        for axes in (accuracies, by_time):
            axes.set(ylabel="right, %", ylim=(min(top1) - 5, 100.5))
        for axes in (losses, accuracies):
            axes.set(xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (losses, accuracies, by_time):
            axes.grid(alpha=0.3)


def draw_confusion(confusion: Tensor, names: Sequence[str], path: Path) -> None:
    """Draw which landmark (row) is predicted as which (column), as shares of each row, with the counts of mistakes."""
    shares = confusion.double() / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    has_names = len(names) <= MOST_NAMES
    side = min(max(4.0, 0.2 * len(names) + 3), 27)
    with figure_axes(path, width=side + 0.6, height=side) as (axes,):
        image = axes.imshow(100 * shares.numpy(), cmap="Blues", vmin=0, vmax=100)
        if has_names:
            photos = confusion.sum(dim=1).tolist()
            row_names = [f"{name} ({count})" for name, count in zip(names, photos, strict=True)]
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8, parse_math=False)
            axes.set_yticks(range(len(names)), row_names, fontsize=8, parse_math=False)
            axes.set_xticks([edge - 0.5 for edge in range(1, len(names))], minor=True)
            axes.set_yticks([edge - 0.5 for edge in range(1, len(names))], minor=True)
            axes.grid(which="minor", color="#e8e8e8", linewidth=0.5)
            axes.tick_params(which="minor", length=0)
            _count_mistakes(axes, confusion)
        axes.set(xlabel="predicted", ylabel="shown (photos)", title="Confusion")
        bar = axes.figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, shrink=0.5)
        bar.set_label("% of the landmark's photos")


def _count_mistakes(axes: Axes, confusion: Tensor) -> None:
    """Write the numbers off the diagonal, in a colour that is readable on every blue."""
    mistakes = confusion.clone().fill_diagonal_(0)
    for row, column in mistakes.nonzero().tolist():
        count = int(mistakes[row, column])
        axes.text(
            column, row, str(count), ha="center", va="center", fontsize=8, color="#bb2200", weight="bold"
        )


def draw_reliability(bins: Sequence[ReliabilityBin], error: float, path: Path) -> None:
    """Draw accuracy by score, with 95 % intervals, and the distribution of scores. Perfect calibration is the diagonal."""
    width = 1 / len(bins)
    filled = [entry for entry in bins if entry.count]
    scores, right = [entry.confidence for entry in filled], [entry.accuracy for entry in filled]
    below = [entry.accuracy - entry.interval.low for entry in filled]
    above = [entry.interval.high - entry.accuracy for entry in filled]
    with figure_axes(path, width=10, height=4.6, columns=2) as (accuracy, counts):
        accuracy.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect calibration")
        accuracy.errorbar(
            scores,
            right,
            yerr=([max(0.0, value) for value in below], [max(0.0, value) for value in above]),
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
        counts.set(xlabel="score", ylabel="photos", title="Photos by score", xlim=(0, 1))
        for axes in (accuracy, counts):
            axes.grid(alpha=0.3)


def draw_scores(landmarks: Tensor, distractors: Tensor, threshold: float | None, path: Path) -> None:
    """Draw the distribution of the highest scores of landmark photos and of distractors."""
    with figure_axes(path, width=8, height=4.4) as (axes,):
        edges = [number / 25 for number in range(26)]
        least = 70 / max(len(landmarks), len(distractors))  # less than one photo
        # The few photos in the middle, for which the threshold matters, are invisible on a linear scale.
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


@contextmanager
def figure_axes(
    path: Path, *, width: float, height: float, rows: int = 1, columns: int = 1
) -> Iterator[Sequence[Axes]]:
    """Yield axes to draw on, and save the figure to `path` afterwards. Does not use pyplot, which has global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield list(figure.subplots(rows, columns, squeeze=False).flat)
    with warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; a warning for each is not helpful.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(path, dpi=130)


_ACROSS = 6
_WHOLE = Resize(short_side=256, size=256, fit="stretch")
"""The whole photo, not only the part that the model receives. Drawing it restores the proportions."""
_LONGEST = 26
"""The most letters of a name below a photo."""


def draw_mistakes(mistakes: Sequence[Mistake], path: Path) -> None:
    """Draw the photos of mistakes, at least one, in their order."""
    columns = min(_ACROSS, len(mistakes))
    rows = -(-len(mistakes) // columns)
    with figure_axes(path, width=2.1 * columns, height=2.75 * rows, rows=rows, columns=columns) as axes:
        for unused in axes[len(mistakes) :]:
            unused.set_axis_off()
        for cell, mistake in zip(axes, mistakes, strict=False):
            _draw_mistake(cell, mistake)


def _draw_mistake(axes: Axes, mistake: Mistake) -> None:
    try:
        data = read_photo(mistake.path, max_bytes=MAX_BYTES).data
        image = decode_photo(data, _WHOLE, max_pixels=MAX_PIXELS)
        axes.imshow(image.pixels, aspect=image.height / image.width)
    except PhotoFailed:
        axes.text(0.5, 0.5, "no longer readable", ha="center")
    axes.set(xticks=[], yticks=[], anchor="SW")
    truth = f"shows {_short(mistake.shown)}" if mistake.shown else "shows none of them"
    text = f"{truth}\npredicted {_short(mistake.predicted)}\nscore {mistake.score:.2f}"
    axes.set_xlabel(text, fontsize=8, loc="left", multialignment="left", linespacing=1.3, parse_math=False)


def _short(name: str) -> str:
    return textwrap.shorten(name, _LONGEST, placeholder="…") if " " in name else name[:_LONGEST]
