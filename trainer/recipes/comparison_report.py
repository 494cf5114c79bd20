"""The report of a comparison: a table in Markdown, a chart, and the figures as JSON."""

import json
import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from tagger.model.devices import core_count
from trainer.errors import writing_to
from trainer.recipes.comparison import ROUNDS, TIMED_PHOTOS, Comparison, ComparisonRow, Speed, Trial
from trainer.recipes.transfer import HEAD_EPOCHS
from trainer.report.drawings import BLUE, GREY, ORANGE, figure_axes

TABLE = "comparison.md"
FIGURES = "comparison.json"
CHART = "comparison.png"

HEADINGS = (
    *("backbone", "top-1", "95 % interval", "top-3", "95 % interval", "parameters, million"),
    *("file, MB", "photos/s, model", "photos/s, with decoding"),
)


def write_comparison(comparison: Comparison) -> None:
    """Write comparison.md, comparison.json and comparison.png to the output folder.

    Raises:
        OutputUnwritable: with the reason.
    """
    folder = comparison.options.out
    with writing_to(folder):
        text = json.dumps(comparison_document(comparison), indent=1, ensure_ascii=False)
        (folder / FIGURES).write_text(text + "\n", "utf-8")
        (folder / TABLE).write_text(_markdown(comparison), "utf-8")
        _draw(comparison, folder / CHART)


def comparison_document(comparison: Comparison) -> dict[str, object]:
    """The figures of a comparison as JSON."""
    return {
        "size": comparison.options.size,
        "device": comparison.device.kind,
        "precision": _precision(comparison),
        "chosen": comparison.recommendation.backbone,
        "sentence": comparison.recommendation.sentence,
        "backbones": [_row_document(row) for row in comparison.rows],
    }


def text_table(comparison: Comparison) -> str:
    """A tab-separated table for the terminal, and the recommendation."""
    lines = ["\t".join(HEADINGS), *("\t".join(line) for line in _lines(comparison))]
    return "\n".join([*lines, *_failures(comparison), comparison.recommendation.sentence])


def _row_document(row: ComparisonRow) -> dict[str, object]:
    if row.trial is None or row.speed is None:
        return {"backbone": row.backbone, "reason": row.reason}
    trial = row.trial
    return {
        "backbone": row.backbone,
        "weights": trial.weights,
        "features": trial.features,
        "photos": trial.photos,
        "top1": trial.top1,
        "top1_interval": [trial.top1_interval.low, trial.top1_interval.high],
        "top3": trial.top3,
        "top3_interval": [trial.top3_interval.low, trial.top3_interval.high],
        "parameters": trial.parameters,
        "size_bytes": trial.size_bytes,
        "photos_per_second": row.speed.model,
        "photos_per_second_with_decoding": row.speed.with_decoding,
        "reason": None,
    }


def _markdown(comparison: Comparison) -> str:
    table = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    table += ["| " + " | ".join(line) + " |" for line in _lines(comparison)]
    parts = ["# Comparison of backbones", comparison.recommendation.sentence, "\n".join(table)]
    parts += _failures(comparison)
    parts += [f"![Accuracy against speed]({CHART})", _method(comparison)]
    return "\n\n".join(parts) + "\n"


def _results(comparison: Comparison) -> list[tuple[str, Trial, Speed]]:
    """The backbones that were compared."""
    return [(row.backbone, row.trial, row.speed) for row in comparison.rows if row.trial and row.speed]


def _lines(comparison: Comparison) -> list[tuple[str, ...]]:
    return [_line(*result) for result in _results(comparison)]


def _line(backbone: str, trial: Trial, speed: Speed) -> tuple[str, ...]:
    one, three = trial.top1_interval, trial.top3_interval
    return (
        backbone,
        f"{trial.top1:.1%}",
        f"{one.low:.1%} to {one.high:.1%}",
        f"{trial.top3:.1%}",
        f"{three.low:.1%} to {three.high:.1%}",
        f"{trial.parameters / 1e6:.1f}",
        f"{trial.size_bytes / 1e6:.1f}",
        f"{speed.model:.0f}",
        f"{speed.with_decoding:.0f}",
    )


def _failures(comparison: Comparison) -> list[str]:
    return [f"{row.backbone} was not compared: {row.reason}" for row in comparison.rows if row.reason]


def _method(comparison: Comparison) -> str:
    cores = f" with {core_count()} cores" if comparison.device.kind == "cpu" else ""
    photos = max(TIMED_PHOTOS, comparison.device.batch_size)
    return (
        f"Each backbone stays frozen. A linear layer is trained on its features for {HEAD_EPOCHS} epochs, from images of "
        f"{comparison.options.size} pixels. Fine-tuning improves all of them and may change their order. Accuracy is measured on the "
        f"validation photos, which are the same for all. Speed is the median of {ROUNDS} rounds over {photos} of these photos, in which the "
        f"exported models alternate, on this machine's {comparison.device.kind}{cores} in {_precision(comparison)}, as the tagger "
        "runs them. The fastest backbone within one standard error of the best top-1 is recommended."
    )


def _precision(comparison: Comparison) -> str:
    return str(comparison.device.dtype).removeprefix("torch.")


def _draw(comparison: Comparison, path: Path) -> None:
    results = _results(comparison)
    rates = [speed.model for *_, speed in results]
    middle = math.sqrt(min(rates) * max(rates))
    with figure_axes(path, width=8, height=5) as (axes,):
        for backbone, trial, speed in results:
            colour = ORANGE if backbone == comparison.recommendation.backbone else BLUE
            _draw_backbone(axes, backbone, trial, speed.model, colour, on_left=speed.model > middle)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(
            xlabel="photos/s, model alone (logarithmic)",
            ylabel="right, %",
            title="Top-1 on validation photos; area: file size; orange: recommended",
        )
        axes.margins(0.18)
        axes.grid(alpha=0.3)


def _draw_backbone(
    axes: Axes, backbone: str, trial: Trial, rate: float, colour: str, *, on_left: bool
) -> None:
    """Draw a backbone's interval, its point, and its name on the side with more room."""
    point, interval = (rate, 100 * trial.top1), trial.top1_interval
    axes.plot([rate] * 2, [100 * interval.low, 100 * interval.high], color=GREY, linewidth=1)
    axes.scatter(*point, s=30 + 12 * trial.size_bytes / 1e6, color=colour, alpha=0.65)
    axes.annotate(
        backbone,
        point,
        xytext=(-10 if on_left else 10, 8),
        textcoords="offset points",
        ha="right" if on_left else "left",
        fontsize=9,
    )
