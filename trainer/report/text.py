"""An evaluation in Markdown: the figures that matter first, what they mean in words, then everything else."""

from collections.abc import Sequence

from trainer.evaluation import Evaluation
from trainer.evaluation.formats import format_name
from trainer.evaluation.intervals import RESAMPLES, SEED, Measured
from trainer.evaluation.landmarks import LabelResult
from trainer.evaluation.rejection import Distractors, Rejection
from trainer.evaluation.tradeoff import Tradeoff, least_for
from trainer.report.document import SHOWN_PRECISIONS
from trainer.report.meaning import meaning

CONFUSION, RELIABILITY, SCORES = "confusion.png", "reliability.png", "scores.png"
TRADE_OFF, MISTAKES, FALSE_TAGS = "thresholds.png", "mistakes.png", "false-tags.png"


def markdown(evaluation: Evaluation) -> str:
    """The whole report."""
    parts = [
        f"# {evaluation.manifest.name}: evaluation",
        _headline(evaluation),
        "## What it means\n\n" + "\n".join(f"- {line}" for line in meaning(evaluation)),
        _calibration(evaluation),
        _rejection(evaluation.rejection) if evaluation.rejection else "",
        _thresholds(evaluation.tradeoff, distractors=evaluation.rejection is not None),
        _altered(evaluation),
        _agreements(evaluation),
        _mistakes(evaluation),
        _landmarks(evaluation),
        f"## Confusion\n\nRows: what is shown; columns: what it was named; numbers: mistakes.\n\n![Confusion]({CONFUSION})",
        _how(evaluation),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _percent(measured: Measured) -> str:
    low, high = 100 * measured.interval.low, 100 * measured.interval.high
    return f"{_share(measured.value)} [{low:.1f}, {high:.1f}]"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _number(measured: Measured) -> str:
    return f"{measured.value:.3f} [{measured.interval.low:.3f}, {measured.interval.high:.3f}]"


def _points(measured: Measured) -> str:
    low, high = 100 * measured.interval.low, 100 * measured.interval.high
    return f"{100 * measured.value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _headline(evaluation: Evaluation) -> str:
    seen, rejection = evaluation.recognition, evaluation.rejection
    rows = [
        ("top-1: the first name is right", _percent(seen.top1)),
        ("top-3", _percent(seen.top3)),
        ("top-5", _percent(seen.top5)),
        ("top-1, mean over landmarks", _percent(seen.macro_top1)),
        ("expected calibration error, 15 stretches of equal width", _percent(seen.ece)),
        (f"GAP (µAP){', distractors included' if rejection else ''}", _number(evaluation.gap)),
        ("landmark photos tagged rightly", _percent(seen.accepted_right)),
        ("landmark photos tagged at all", _percent(seen.accepted)),
        ("tags of landmark photos that are right", _percent(seen.precision)),
    ]
    if rejection:
        rows += [
            ("distractors with a false tag", _percent(rejection.whole.false_tags)),
            ("AUROC, landmarks against distractors", _number(rejection.whole.auroc)),
            ("FPR at 95 % recall of landmark photos", _percent(rejection.whole.fpr_at_95_recall)),
        ]
    return (
        f"Model digest `{evaluation.digest}`, {len(evaluation.manifest.labels)} labels, on {_counted(evaluation)}. "
        f"Tags are names with a score of at least the model's threshold, {evaluation.manifest.threshold:.4g}. "
        "In brackets: 95 % intervals.\n\n" + table(("figure", "value"), rows)
    )


def _counted(evaluation: Evaluation) -> str:
    text = f"{evaluation.photos} photos of landmarks"
    if evaluation.rejection:
        text += f" and {evaluation.rejection.whole.photos} distractors, photos that show none of them"
    if evaluation.unreadable:
        text += f" ({evaluation.unreadable} could not be read)"
    if evaluation.left_out:
        text += f" ({sum(evaluation.left_out.values())} left out, their labels are not the model's)"
    return text


def _calibration(evaluation: Evaluation) -> str:
    seen = evaluation.recognition
    return (
        "## Do scores mean what they say?\n\n"
        f"Expected calibration error {_percent(seen.ece)}, with stretches that hold equally many photos {_percent(seen.adaptive_ece)}. "
        "Points below the diagonal: surer than right.\n\n"
        f"![Reliability]({RELIABILITY})"
    )


def _rejection(rejection: Rejection) -> str:
    rows = [_folder("all", rejection.whole)]
    rows += [_folder(f"`{name}`", folder) for name, folder in rejection.by_folder.items()]
    head = ("distractors", "photos", "AUROC", "FPR at 95 % recall", "with a false tag")
    return f"## Photos that show none of the landmarks\n\n{table(head, rows)}\n\n![Scores]({SCORES})"


def _folder(name: str, folder: Distractors) -> tuple[str, ...]:
    rate, false_tags = _percent(folder.fpr_at_95_recall), _percent(folder.false_tags)
    return name, str(folder.photos), _number(folder.auroc), rate, false_tags


def _thresholds(tradeoff: Tradeoff, *, distractors: bool) -> str:
    rows = [_threshold(precision, tradeoff) for precision in SHOWN_PRECISIONS]
    head = ["accepted names that are right", "least threshold", "landmark photos tagged rightly"]
    mixed = ""
    if distractors:
        head.append("distractors with a false tag")
        mixed = " Distractors count as half of all photos, whatever their number."
    return (
        "## Other thresholds\n\n"
        "To be looked at, not to choose from: a threshold chosen on these photos would make every figure above "
        f"flatter the model. Choose on validation photos.{mixed}\n\n"
        f"{table(head, [row[: len(head)] for row in rows])}\n\n![Thresholds]({TRADE_OFF})"
    )


def _threshold(precision: float, tradeoff: Tradeoff) -> tuple[str, ...]:
    wanted, point = f"{100 * precision:.0f} %", least_for(precision, tradeoff)
    if point is None:
        return wanted, "not reached", "", ""
    return wanted, f"{point.threshold:.4f}", _share(point.tagged_rightly), _share(point.false_tags)


def _altered(evaluation: Evaluation) -> str:
    if evaluation.altered is None:
        return ""
    rows = [("as they are", str(evaluation.photos), _percent(evaluation.recognition.top1), "")]
    rows += [
        (each.words, str(each.photos), _percent(each.top1), _points(each.difference))
        for each in evaluation.altered
    ]
    return "## The same photos, altered\n\n" + table(
        ("photos", "how many", "top-1", "difference in points"), rows
    )


def _agreements(evaluation: Evaluation) -> str:
    reference = evaluation.device
    rows = [
        (
            f"{each.device}, {each.number_format}",
            _percent(each.top1),
            _percent(each.same_name),
            _percent(each.same_outcome),
            f"{each.largest_difference:.2g}",
        )
        for each in evaluation.agreements
    ]
    rows += [
        (name, f"not measured: no {name.upper()} device", "", "", "") for name in evaluation.missing_devices
    ]
    of_all = ", of landmark photos and distractors" if evaluation.rejection else ""
    head = ("device, numbers", "top-1", "same first name", "same outcome", "largest difference of a score")
    return (
        "## Other devices and number formats\n\n"
        f"All other figures are computed on {reference.kind} in {format_name(reference)}. The same photos elsewhere; "
        f"an outcome is the accepted name or none{of_all}.\n\n" + table(head, rows)
    )


def _mistakes(evaluation: Evaluation) -> str:
    text = "## The surest mistakes\n\n"
    if evaluation.mistakes:
        text += f"Photos of landmarks that were named wrongly, the highest scores first.\n\n![Mistakes]({MISTAKES})"
    else:
        text += "No photo of a landmark was named wrongly."
    if evaluation.false_tags:
        text += f"\n\nDistractors with a false tag, the highest scores first.\n\n![False tags]({FALSE_TAGS})"
    return text


def _landmarks(evaluation: Evaluation) -> str:
    seen = evaluation.recognition
    shown = [result for result in seen.per_label if result.photos]
    ordered = sorted(shown, key=lambda result: (result.top1.value, result.label))
    head = ("landmark", "photos", "right", "right, %", "tagged rightly", "taken most for")
    rows = [_row(result) for result in ordered]
    absent = len(seen.per_label) - len(shown)
    return (
        "## Landmarks\n\n"
        f"Those with the largest share of mistakes first; with few photos, intervals are wide and a row says little. "
        f"Mean over the {len(shown)} landmarks with photos: {_percent(seen.macro_top1)}."
        + (f" {absent} labels of the model have no photo here." if absent else "")
        + "\n\n"
        + table(head, rows)
    )


def _row(result: LabelResult) -> tuple[str, ...]:
    taken_for = f"{result.taken_for} ({result.taken_for_photos})" if result.taken_for else ""
    right, tagged = str(result.right), str(result.accepted_right)
    return result.name, str(result.photos), right, _percent(result.top1), tagged, taken_for


def _how(evaluation: Evaluation) -> str:
    reference = f"{evaluation.device.kind} in {format_name(evaluation.device)}"
    return f"""## How these figures were made

- Intervals of shares are Wilson's score intervals. Those of the mean over landmarks, of calibration errors, GAP, AUROC, FPR
  and differences are percentile bootstraps: photos drawn with replacement {RESAMPLES} times (seed {SEED}), those of landmarks
  and distractors apart. That of FPR is widened to Wilson's where that reaches further.
- Intervals tell how far chance in the choice of photos may reach, not how unlike one's own photos these are.
- Every look at test photos that changes a model makes the next figures flatter it: nobody can see from this report how
  often that has happened.
- Photos are decoded as the tagger decodes them; the model runs on {reference}. `metrics.json` has every figure with its
  interval."""
