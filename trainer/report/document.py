"""An evaluation as JSON holds it. A figure's interval stands beside it: `top1` and `top1_interval`."""

from collections.abc import Iterable
from pathlib import Path

from trainer.evaluation import Evaluation
from trainer.evaluation.alterations import Altered
from trainer.evaluation.formats import Agreement, format_name
from trainer.evaluation.intervals import RESAMPLES, SEED, Interval, Measured
from trainer.evaluation.landmarks import LabelResult
from trainer.evaluation.metrics import ReliabilityBin
from trainer.evaluation.mistakes import Mistake
from trainer.evaluation.rejection import Distractors, Rejection
from trainer.evaluation.tradeoff import Tradeoff, least_for

SHOWN_PRECISIONS = (0.90, 0.95, 0.98, 0.99)
INTERVALS: dict[str, object] = {
    "level": 0.95,
    "shares": "Wilson's score interval",
    "others": "percentile bootstrap: photos drawn with replacement, those of landmarks and distractors apart",
    "fpr_at_95_recall": "bootstrap, widened to Wilson's where that reaches further",
    "resamples": RESAMPLES,
    "seed": SEED,
}


def figures_of(evaluation: Evaluation) -> dict[str, object]:
    """The figures of an evaluation as JSON holds them."""
    seen = evaluation.recognition
    return {
        "model": evaluation.manifest.name,
        "digest": evaluation.digest,
        "device": evaluation.device.kind,
        "number_format": format_name(evaluation.device),
        "photos": evaluation.photos,
        "unreadable": evaluation.unreadable,
        "left_out": evaluation.left_out,
        "threshold": evaluation.manifest.threshold,
        "intervals": INTERVALS,
        **_measured("top1", seen.top1),
        **_measured("top3", seen.top3),
        **_measured("top5", seen.top5),
        **_measured("macro_top1", seen.macro_top1),
        **_measured("ece", seen.ece),
        **_measured("adaptive_ece", seen.adaptive_ece),
        **_measured("gap", evaluation.gap),
        **_measured("accepted", seen.accepted),
        **_measured("accepted_right", seen.accepted_right),
        **_measured("precision_at_threshold", seen.precision),
        "reliability": [_bin(entry) for entry in seen.bins],
        "labels": [_label(result) for result in seen.per_label],
        "rejection": _rejection(evaluation.rejection) if evaluation.rejection else None,
        "thresholds": _thresholds(evaluation.tradeoff),
        "altered": None if evaluation.altered is None else _altered(evaluation.altered),
        "agreements": [_agreement(agreement) for agreement in evaluation.agreements],
        "devices_not_measured": list(evaluation.missing_devices),
        "mistakes": [_mistake(mistake) for mistake in evaluation.mistakes],
        "false_tags": [_mistake(mistake) for mistake in evaluation.false_tags],
    }


def _measured(name: str, measured: Measured) -> dict[str, object]:
    return {name: measured.value, f"{name}_interval": _pair(measured.interval)}


def _pair(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _bin(entry: ReliabilityBin) -> dict[str, object]:
    return {
        "photos": entry.count,
        "mean_score": entry.confidence if entry.count else None,
        "right": entry.accuracy if entry.count else None,
        "right_interval": _pair(entry.interval) if entry.count else None,
    }


def _label(result: LabelResult) -> dict[str, object]:
    return {
        "label": result.label,
        "name": result.name,
        "photos": result.photos,
        "right": result.right,
        "accepted_right": result.accepted_right,
        **_measured("top1", result.top1),
        **_measured("tagged_rightly", result.tagged_rightly),
        "taken_for": result.taken_for,
        "taken_for_photos": result.taken_for_photos,
    }


def _rejection(rejection: Rejection) -> dict[str, object]:
    folders = {name: _distractors(folder) for name, folder in rejection.by_folder.items()}
    return {**_distractors(rejection.whole), "by_folder": folders}


def _distractors(distractors: Distractors) -> dict[str, object]:
    return {
        "photos": distractors.photos,
        **_measured("auroc", distractors.auroc),
        **_measured("fpr_at_95_recall", distractors.fpr_at_95_recall),
        **_measured("false_tags", distractors.false_tags),
    }


def _thresholds(tradeoff: Tradeoff) -> list[dict[str, object]]:
    points = [(precision, least_for(precision, tradeoff)) for precision in SHOWN_PRECISIONS]
    return [
        {
            "precision_wanted": wanted,
            "threshold": point.threshold if point else None,
            "precision": point.precision if point else None,
            "tagged_rightly": point.tagged_rightly if point else None,
            "false_tags": point.false_tags if point else None,
        }
        for wanted, point in points
    ]


def _altered(results: Iterable[Altered]) -> dict[str, object]:
    return {
        result.name: {
            "what": result.words,
            "photos": result.photos,
            **_measured("top1", result.top1),
            **_measured("difference", result.difference),
        }
        for result in results
    }


def _agreement(agreement: Agreement) -> dict[str, object]:
    return {
        "device": agreement.device,
        "number_format": agreement.number_format,
        **_measured("top1", agreement.top1),
        **_measured("same_name", agreement.same_name),
        **_measured("same_outcome", agreement.same_outcome),
        "largest_difference": agreement.largest_difference,
    }


def _mistake(mistake: Mistake) -> dict[str, object]:
    return {
        "photo": str(Path(*mistake.path.parts[-2:])),
        "shown": mistake.shown,
        "named": mistake.named,
        "score": mistake.score,
    }
