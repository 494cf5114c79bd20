"""The report of a comparison: a table in Markdown, and the figures as JSON."""

import json

from tagger.model.devices import core_count
from trainer.errors import writing_to
from trainer.recipes.comparison import ROUNDS, TIMED_PHOTOS, Comparison, ComparisonRow, Speed, Trial
from trainer.recipes.transfer import HEAD_EPOCHS

TABLE = "comparison.md"
FIGURES = "comparison.json"

HEADINGS = (
    *("backbone", "top-1", "95 % interval", "top-3", "95 % interval", "parameters, million"),
    *("file, MB", "photos/s, model", "photos/s, with decoding"),
)


def write_comparison(comparison: Comparison) -> None:
    """Write comparison.md and comparison.json to the output folder.

    Raises:
        OutputUnwritable: with the reason.
    """
    folder = comparison.options.out
    with writing_to(folder):
        text = json.dumps(comparison_document(comparison), indent=1, ensure_ascii=False)
        (folder / FIGURES).write_text(text + "\n", "utf-8")
        (folder / TABLE).write_text(_markdown(comparison), "utf-8")


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
    return "\n\n".join([*parts, *_failures(comparison), _method(comparison)]) + "\n"


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
    return comparison.device.precision
