"""A line of text per photo, safe for a terminal whatever the file is called."""

from collections.abc import Sequence
from pathlib import Path

from tagger.cli.output import printable
from tagger.ledger.chunks import ItemOutcome
from tagger.results import Looked, Prediction, Result
from tagger.tables import Outcome


def photo_line(path: Path, result: Result, outcome: ItemOutcome, labels: Sequence[tuple[str, str]]) -> str:
    """`labels` holds (slug, name) by the label's position."""
    return f"{printable(str(path))}: {_what(result, outcome, labels)}"


def scored(prediction: Prediction, labels: Sequence[tuple[str, str]]) -> str:
    return f"{labels[prediction.position][1]} {prediction.score:.0%}"


def _what(result: Result, outcome: ItemOutcome, labels: Sequence[tuple[str, str]]) -> str:
    match outcome.outcome:
        case Outcome.FAILED:
            return f"failed ({outcome.reason}): {outcome.text}"
        case Outcome.SKIPPED:
            return f"skipped: {outcome.reason}"
        case _ if not isinstance(result, Looked):
            return f"{outcome.outcome}, like a copy of it"
        case Outcome.TAGGED:
            return ", ".join(scored(p, labels) for p in result.predictions if p.accepted)
        case _:
            return f"unknown (at best {scored(result.predictions[0], labels)})"
