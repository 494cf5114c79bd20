"""An evaluation as people read it: Markdown, drawings, and the figures as JSON."""

import json
from pathlib import Path

from trainer.errors import writing_to
from trainer.evaluation import Evaluation, LabelResult, Rejection
from trainer.figures import draw_confusion, draw_reliability, draw_scores

REPORT = "report.md"
METRICS = "metrics.json"


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write report.md, its drawings and metrics.json into `folder`.

    Raises:
        OutputUnwritable: with the reason.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = [label.name for label in evaluation.manifest.labels]
        draw_confusion(evaluation.confusion, names, folder / "confusion.png")
        draw_reliability(evaluation.bins, evaluation.ece, folder / "reliability.png")
        if evaluation.rejection:
            threshold = evaluation.manifest.threshold
            draw_scores(evaluation.scores, evaluation.rejection.scores, threshold, folder / "scores.png")
        (folder / METRICS).write_text(
            json.dumps(figures_of(evaluation), indent=1, ensure_ascii=False) + "\n", "utf-8"
        )
        (folder / REPORT).write_text(_markdown(evaluation), "utf-8")


def figures_of(evaluation: Evaluation) -> dict[str, object]:
    """The figures of an evaluation as JSON holds them."""
    figures: dict[str, object] = {
        "model": evaluation.manifest.name,
        "digest": evaluation.digest,
        "photos": evaluation.photos,
        "unreadable": evaluation.unreadable,
        "left_out": evaluation.left_out,
        "threshold": evaluation.manifest.threshold,
        "top1": evaluation.top1,
        "top1_interval": [evaluation.top1_interval.low, evaluation.top1_interval.high],
        "top3": evaluation.top3,
        "top5": evaluation.top5,
        "ece": evaluation.ece,
        "accepted": evaluation.accepted,
        "accepted_right": evaluation.accepted_right,
        "precision_at_threshold": evaluation.precision,
        "labels": [
            {
                "label": r.label,
                "name": r.name,
                "photos": r.photos,
                "right": r.right,
                "accepted_right": r.accepted_right,
            }
            for r in evaluation.per_label
        ],
        "rejection": _rejection_figures(evaluation.rejection) if evaluation.rejection else None,
    }
    return figures


def _rejection_figures(rejection: Rejection) -> dict[str, object]:
    return {
        "photos": rejection.photos,
        "auroc": rejection.auroc,
        "fpr_at_95_recall": rejection.fpr_at_95_recall,
        "false_tags": rejection.false_tags,
        "false_tags_interval": [rejection.false_tags_interval.low, rejection.false_tags_interval.high],
        "by_folder": {
            name: {"photos": count, "false_tags": share}
            for name, (count, share) in rejection.by_folder.items()
        },
    }


def _markdown(evaluation: Evaluation) -> str:
    parts = [
        f"# {evaluation.manifest.name}: evaluation",
        _summary(evaluation),
        "## Calibration\n\n![Reliability](reliability.png)",
    ]
    if evaluation.rejection:
        parts.append(_rejection_section(evaluation.rejection))
    parts += [
        "## Landmarks\n\nThose with the most mistakes first.\n\n" + _table(evaluation.per_label),
        "## Confusion\n\n![Confusion](confusion.png)",
    ]
    return "\n\n".join(parts) + "\n"


def _summary(evaluation: Evaluation) -> str:
    interval = evaluation.top1_interval
    lines = [
        f"Model digest `{evaluation.digest}`, {len(evaluation.manifest.labels)} labels.",
        "",
        "| figure | value |",
        "|---|---|",
        f"| photos | {evaluation.photos} |",
        f"| photos that could not be read | {evaluation.unreadable} |",
        f"| photos left out, their label is not the model's | {sum(evaluation.left_out.values())} |",
        f"| top-1 | {evaluation.top1:.1%} (95 % interval {interval.low:.1%} to {interval.high:.1%}) |",
        f"| top-3 | {evaluation.top3:.1%} |",
        f"| top-5 | {evaluation.top5:.1%} |",
        f"| expected calibration error | {evaluation.ece:.1%} |",
        f"| threshold | {evaluation.manifest.threshold:.4g} |",
        f"| right label accepted | {evaluation.accepted_right:.1%} of the photos |",
        f"| accepted labels that are right | {evaluation.precision:.1%} |",
    ]
    return "\n".join(lines)


def _rejection_section(rejection: Rejection) -> str:
    interval = rejection.false_tags_interval
    lines = [
        "## Photos that show none of the landmarks",
        "",
        "| figure | value |",
        "|---|---|",
        f"| photos | {rejection.photos} |",
        f"| AUROC of the highest score | {rejection.auroc:.3f} |",
        f"| false positives at 95 % recall | {rejection.fpr_at_95_recall:.1%} |",
        f"| with a false tag at the threshold | {rejection.false_tags:.1%} (95 % interval {interval.low:.1%} to {interval.high:.1%}) |",
    ]
    lines += [
        f"| … in `{name}` ({count} photos) | {share:.1%} |"
        for name, (count, share) in rejection.by_folder.items()
    ]
    return "\n".join(lines) + "\n\n![Scores](scores.png)"


def _table(results: tuple[LabelResult, ...]) -> str:
    lines = ["| landmark | photos | right | right and accepted | taken most for |", "|---|---|---|---|---|"]
    ordered = sorted((r for r in results if r.photos), key=lambda r: (r.right / r.photos, r.label))
    lines += [
        f"| {_cell(r.name)} | {r.photos} | {r.right} ({r.right / r.photos:.0%}) | {r.accepted_right} | {_cell(r.taken_for or '')} |"
        for r in ordered
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
