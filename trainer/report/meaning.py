"""What the figures of an evaluation say, in sentences for somebody who has never heard of them."""

from collections.abc import Iterator

from trainer.evaluation import Evaluation
from trainer.evaluation.intervals import Measured
from trainer.evaluation.rejection import Rejection

_WORST = 3


def meaning(evaluation: Evaluation) -> Iterator[str]:
    """Sentences, the most important first."""
    seen = evaluation.recognition
    yield f"Of 100 photos of these landmarks, {_of_100(seen.top1)} get the right first name."
    wrong = seen.accepted.value - seen.accepted_right.value
    yield (
        f"At its threshold the model tags {_of_100(seen.accepted_right)} of 100 such photos rightly and {_about(wrong)} wrongly, "
        f"and leaves {_about(1 - seen.accepted.value)} without a tag."
    )
    if evaluation.rejection:
        yield from _rejected(evaluation.rejection)
    yield _sureness(evaluation)
    yield from _worst(evaluation)
    yield from _altered(evaluation)
    yield from _elsewhere(evaluation)


def _of_100(measured: Measured) -> str:
    low, high = 100 * measured.interval.low, 100 * measured.interval.high
    return f"{_about(measured.value)} (between {low:.0f} and {high:.0f})"


def _about(share: float) -> str:
    return f"about {100 * share:.0f}" if share == 0 or share >= 0.005 else "fewer than 1"


def _rejected(rejection: Rejection) -> Iterator[str]:
    yield f"Of 100 photos that show none of them, {_of_100(rejection.whole.false_tags)} get a false tag."
    name, worst = max(rejection.by_folder.items(), key=lambda item: item[1].false_tags.value)
    if worst.false_tags.value > rejection.whole.false_tags.value + 0.01:
        yield f"False tags are most frequent in `{name}`: {_of_100(worst.false_tags)} of 100 photos."


def _sureness(evaluation: Evaluation) -> str:
    seen = evaluation.recognition
    points = 100 * (seen.scores.double().mean().item() - seen.top1.value)
    if abs(points) < 1:
        return "On the whole its scores are as high as it is often right."
    return f"On the whole its scores are {abs(points):.0f} points too {'high' if points > 0 else 'low'} for how often it is right."


def _worst(evaluation: Evaluation) -> Iterator[str]:
    wrong = [result for result in evaluation.recognition.per_label if result.right < result.photos]
    worst = sorted(wrong, key=lambda result: (result.top1.value, -result.photos))[:_WORST]
    if worst:
        named = ", ".join(f"{result.name} ({result.right} of {result.photos} right)" for result in worst)
        yield f"The weakest landmarks: {named}."


def _altered(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.altered:
        return
    worst = min(evaluation.altered, key=lambda altered: altered.difference.value)
    if worst.difference.interval.high < 0:
        yield f"It suffers most from photos {worst.words}: {100 * worst.difference.value:+.1f} points of top-1."
    else:
        yield "None of the alterations tried makes a difference that these photos can show."


def _elsewhere(evaluation: Evaluation) -> Iterator[str]:
    for agreement in evaluation.agreements:
        if agreement.number_format == "bfloat16" and agreement.device == evaluation.device.kind:
            yield (
                f"In bfloat16, as it runs where the device has it, {100 * agreement.same_name.value:.1f} % of the first names "
                "are the same as in full precision."
            )
