"""A comparison as people read it: a table, a drawing, and the figures as JSON."""

import json
import math
from pathlib import Path

from matplotlib.ticker import LogLocator, NullLocator

from tagger.devices import core_count
from trainer.comparison.comparing import Comparison, Row
from trainer.comparison.speed import PHOTOS, ROUNDS, Speed
from trainer.comparison.trying import Tried
from trainer.errors import writing_to
from trainer.recipes.transfer import HEAD_EPOCHS
from trainer.report.figures import BLUE, GREY, ORANGE, drawing

TABLE = "comparison.md"
FIGURES = "comparison.json"
DRAWING = "comparison.png"

HEADINGS = (
    *("backbone", "top-1", "95 % interval", "top-3", "95 % interval", "parameters, million"),
    *("file, MB", "photos/s, model", "photos/s, with decoding"),
)
Line = tuple[str, ...]


def write_comparison(comparison: Comparison) -> None:
    """Write comparison.md, comparison.json and comparison.png into the plan's folder.

    Raises:
        OutputUnwritable: with the reason.
    """
    folder = comparison.plan.out
    with writing_to(folder):
        text = json.dumps(figures_of(comparison), indent=1, ensure_ascii=False)
        (folder / FIGURES).write_text(text + "\n", "utf-8")
        (folder / TABLE).write_text(_markdown(comparison), "utf-8")
        _draw(comparison, folder / DRAWING)


def figures_of(comparison: Comparison) -> dict[str, object]:
    """The figures of a comparison as JSON holds them."""
    return {
        "size": comparison.plan.size,
        "device": comparison.device.kind,
        "precision": _precision(comparison),
        "chosen": comparison.choice.backbone,
        "sentence": comparison.choice.sentence,
        "backbones": [_row_figures(row) for row in comparison.rows],
    }


def text_table(comparison: Comparison) -> str:
    """The table for a terminal, tabs between the columns, and the sentence."""
    lines = ["\t".join(HEADINGS), *("\t".join(line) for line in _lines(comparison))]
    return "\n".join([*lines, *_not_compared(comparison), comparison.choice.sentence])


def _row_figures(row: Row) -> dict[str, object]:
    if row.tried is None or row.speed is None:
        return {"backbone": row.backbone, "reason": row.reason}
    tried = row.tried
    return {
        "backbone": row.backbone,
        "weights": tried.weights,
        "features": tried.features,
        "photos": tried.photos,
        "top1": tried.top1,
        "top1_interval": [tried.top1_interval.low, tried.top1_interval.high],
        "top3": tried.top3,
        "top3_interval": [tried.top3_interval.low, tried.top3_interval.high],
        "parameters": tried.parameters,
        "size_bytes": tried.size_bytes,
        "photos_per_second": row.speed.model,
        "photos_per_second_with_decoding": row.speed.with_decoding,
        "reason": None,
    }


def _markdown(comparison: Comparison) -> str:
    table = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    table += ["| " + " | ".join(line) + " |" for line in _lines(comparison)]
    parts = ["# Backbones compared", comparison.choice.sentence, "\n".join(table)]
    parts += _not_compared(comparison)
    parts += [f"![Accuracy against speed]({DRAWING})", _how(comparison)]
    return "\n\n".join(parts) + "\n"


def _lines(comparison: Comparison) -> list[Line]:
    return [_line(row.backbone, row.tried, row.speed) for row in comparison.rows if row.tried and row.speed]


def _line(backbone: str, tried: Tried, speed: Speed) -> Line:
    one, three = tried.top1_interval, tried.top3_interval
    return (
        backbone,
        f"{tried.top1:.1%}",
        f"{one.low:.1%} to {one.high:.1%}",
        f"{tried.top3:.1%}",
        f"{three.low:.1%} to {three.high:.1%}",
        f"{tried.parameters / 1e6:.1f}",
        f"{tried.size_bytes / 1e6:.1f}",
        f"{speed.model:.0f}",
        f"{speed.with_decoding:.0f}",
    )


def _not_compared(comparison: Comparison) -> list[str]:
    return [f"{row.backbone} was not compared: {row.reason}" for row in comparison.rows if row.reason]


def _how(comparison: Comparison) -> str:
    cores = f" of {core_count()} cores" if comparison.device.kind == "cpu" else ""
    return (
        f"Each backbone is kept as it is, and a linear layer learned on its features in {HEAD_EPOCHS} epochs, from images of "
        f"{comparison.plan.size} pixels; fine-tuning makes all of them better, and may change their order. Accuracies are on the "
        f"photos held out for validation, the same for all. Speeds are the medians of {ROUNDS} rounds in which the exported models took "
        f"turns, over {max(PHOTOS, comparison.device.batch_size)} of these photos, on this machine's {comparison.device.kind}{cores} "
        f"in {_precision(comparison)}, as the tagger runs them. The fastest backbone within one standard error of the best top-1 is chosen."
    )


def _precision(comparison: Comparison) -> str:
    return str(comparison.device.dtype).removeprefix("torch.")


def _draw(comparison: Comparison, path: Path) -> None:
    compared = [(row.backbone, row.tried, row.speed) for row in comparison.rows if row.tried and row.speed]
    middle = math.sqrt(
        min(speed.model for *_, speed in compared) * max(speed.model for *_, speed in compared)
    )
    with drawing(path, width=8, height=5) as (axes,):
        for backbone, tried, speed in compared:
            at, interval = (speed.model, 100 * tried.top1), tried.top1_interval
            colour = ORANGE if backbone == comparison.choice.backbone else BLUE
            axes.plot([speed.model] * 2, [100 * interval.low, 100 * interval.high], color=GREY, linewidth=1)
            axes.scatter(*at, s=30 + 12 * tried.size_bytes / 1e6, color=colour, alpha=0.65)
            left = speed.model > middle  # names stay inside the drawing
            axes.annotate(
                backbone,
                at,
                xytext=(-10 if left else 10, 8),
                textcoords="offset points",
                ha="right" if left else "left",
                fontsize=9,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(
            xlabel="photos/s, model alone (logarithmic)",
            ylabel="right, %",
            title="Top-1 on validation photos; area: size of the file; orange: taken",
        )
        axes.margins(0.18)
        axes.grid(alpha=0.3)
