"""An evaluation in Markdown: the most important figures, and all details."""

from collections.abc import Sequence

from trainer.evaluation.evaluation import Evaluation
from trainer.evaluation.metrics import Estimate
from trainer.evaluation.recognition import DistractorResult, LibraryResult, Rejection

RELIABILITY, MISTAKES, FALSE_TAGS = "reliability.png", "mistakes.png", "false-tags.png"
METHOD = """## Method

Intervals cover the random choice of these photos, not their difference from your own photos. Each change to a
model that is based on test photos makes later figures too good; this report cannot tell how often that has
happened. `docs/reference/evaluation.md` defines every figure and interval."""


def markdown(evaluation: Evaluation) -> str:
    """The whole report."""
    parts = [
        f"# {evaluation.manifest.name}: evaluation",
        _headline(evaluation),
        f"## Calibration\n\nBelow the diagonal, scores are too high.\n\n![Reliability]({RELIABILITY})",
        _rejection(evaluation.rejection) if evaluation.rejection else "",
        _library(evaluation.library) if evaluation.library else "",
        _mistakes(evaluation),
        _landmarks(evaluation),
        METHOD,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. Vertical bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _percent(estimate: Estimate) -> str:
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.1f} % [{low:.1f}, {high:.1f}]"


def _headline(evaluation: Evaluation) -> str:
    recognition, rejection = evaluation.recognition, evaluation.rejection
    rows = [
        ("top-1: the first prediction is right", _percent(recognition.top1)),
        ("top-3", _percent(recognition.top3)),
        ("top-5", _percent(recognition.top5)),
        ("expected calibration error, 15 bins of equal width", _percent(recognition.ece)),
        ("landmark photos with the right tag", _percent(recognition.accepted_right)),
        ("landmark photos with the right tag or suggestion", _percent(recognition.suggested_right)),
        ("landmark photos with a tag", _percent(recognition.accepted)),
        ("tags of landmark photos that are right", _percent(recognition.precision_at_threshold)),
    ]
    if rejection:
        rows.append(("distractors with a false tag", _percent(rejection.overall.false_tags)))
    photos = f"{evaluation.photos} photos of landmarks"
    if rejection:
        photos += f" and {rejection.overall.photos} distractors, which show none of the landmarks"
    if evaluation.unreadable:
        photos += f" ({evaluation.unreadable} could not be read)"
    if evaluation.trained:
        left_out = "are left out, because they, or others of their landmark, were in training"
        photos += f" ({evaluation.trained} {left_out})"
    if evaluation.skipped:
        photos += f" ({sum(evaluation.skipped.values())} skipped, because the model lacks their labels)"
    return (
        f"Model digest `{evaluation.digest}`, {len(evaluation.manifest.labels)} labels, on {photos}. "
        "Tags are predictions with a score of at least the model's threshold, "
        f"{evaluation.manifest.threshold:.4g}. "
        "Brackets are 95 % intervals.\n\n" + table(("figure", "value"), rows)
    )


def _rejection(rejection: Rejection) -> str:
    rows = [_rejection_row("all", rejection.overall)]
    rows += [_rejection_row(f"`{name}`", result) for name, result in rejection.by_folder.items()]
    head = ("distractors", "photos", "with a false tag")
    return f"## Photos that show none of the landmarks\n\n{table(head, rows)}"


def _library(library: LibraryResult) -> str:
    others = f"{library.other_photos} photos of other landmarks with a false tag"
    ordinary = f"{library.ordinary_photos} ordinary photos with a false tag"
    rows = [
        ("tags that are right", _percent(library.precision)),
        ("photos with a wrong tag", _percent(library.false_tags)),
        (others, _percent(library.other_false_tags)),
        (ordinary, _percent(library.ordinary_false_tags)),
    ]
    shows = f"{library.mixture} of its photos show landmarks of the model, other landmarks, and anything else"
    return f"## A library\n\n{shows}.\n\n{table(('figure', 'value'), rows)}"


def _rejection_row(name: str, result: DistractorResult) -> tuple[str, ...]:
    return name, str(result.photos), _percent(result.false_tags)


def _mistakes(evaluation: Evaluation) -> str:
    text = "## Most confident mistakes\n\n"
    if evaluation.mistakes:
        text += "Landmark photos with a wrong first prediction, as shown → predicted, "
        text += "the highest scores first."
        text += f"\n\n![Mistakes]({MISTAKES})"
    else:
        text += "The first prediction is right for every landmark photo."
    if evaluation.false_tags:
        text += f"\n\nDistractors with a false tag, the highest scores first.\n\n![False tags]({FALSE_TAGS})"
    return text


def _landmarks(evaluation: Evaluation) -> str:
    recognition = evaluation.recognition
    results = [result for result in recognition.per_label if result.photos]
    ordered = sorted(results, key=lambda result: (result.top1.value, result.label))
    head = ("landmark", "photos", "right", "right, %", "right tag", "most often taken for")
    absent = len(recognition.per_label) - len(results)
    rows = []
    for result in ordered:
        taken_for = f"{result.taken_for} ({result.taken_for_photos})" if result.taken_for else ""
        right, tagged = str(result.right), str(result.accepted_right)
        rows.append((result.name, str(result.photos), right, _percent(result.top1), tagged, taken_for))
    return (
        "## Landmarks\n\nThe highest share of mistakes first. With few photos, intervals are wide."
        + (f" {absent} labels of the model have no photo here." if absent else "")
        + "\n\n"
        + table(head, rows)
    )
