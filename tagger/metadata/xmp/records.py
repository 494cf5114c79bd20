"""What a packet itself says of what this program added to it, in fields of our own namespace.

Anybody may have written it: what makes no sense is passed over, and nothing here raises.
"""

from dataclasses import dataclass

from tagger.metadata.refusals import WriteRefused
from tagger.metadata.xmp.names import ADDED, LANDMARKS, OUR_PREFIX, WAS_EMPTY
from tagger.metadata.xmp.properties import Value, properties

FIELD, ADDED_VALUE = f"{OUR_PREFIX}:Field", f"{OUR_PREFIX}:Value"
SLUG, NAME, SCORE = f"{OUR_PREFIX}:Landmark", f"{OUR_PREFIX}:Name", f"{OUR_PREFIX}:Score"
MODEL, VERDICT = f"{OUR_PREFIX}:Model", f"{OUR_PREFIX}:Verdict"


@dataclass(frozen=True)
class WrittenLandmark:
    """A landmark as a packet notes it; texts as they stand there."""

    slug: str
    name: str | None
    score: str | None
    model: str | None
    verdict: str | None


def added(packet: bytes | None) -> tuple[tuple[str, str], ...]:
    """Which values of which fields are ours, as the packet says: ("dc:subject", "Eiffel Tower")."""
    return added_in(_readable(packet))


def is_ours(packet: bytes | None) -> bool:
    """Whether anything in the packet is ours; not where it cannot be read."""
    return any(name.startswith(f"{OUR_PREFIX}:") for name in _readable(packet))


def landmarks(packet: bytes | None) -> tuple[WrittenLandmark, ...]:
    """Which landmarks were written into the packet."""
    found = ({name: _text(value) for name, value in entry.items()} for entry in _entries(packet, LANDMARKS))
    return tuple(
        WrittenLandmark(entry[SLUG] or "", *(entry.get(name) for name in (NAME, SCORE, MODEL, VERDICT)))
        for entry in found
        if entry.get(SLUG)
    )


def added_in(fields: dict[str, Value]) -> tuple[tuple[str, str], ...]:
    """The same, from a packet's properties."""
    pairs = (
        (_text(entry.get(FIELD)), _text(entry.get(ADDED_VALUE))) for entry in _structures(fields.get(ADDED))
    )
    return tuple((field, value) for field, value in pairs if field and value)


def were_empty(fields: dict[str, Value]) -> frozenset[str]:
    """Which fields were there without a value before ours came in: taken back, they are to be left like that."""
    found = fields.get(WAS_EMPTY)
    return (
        frozenset(name for name in found if isinstance(name, str)) if isinstance(found, list) else frozenset()
    )


def _entries(packet: bytes | None, field: str) -> list[dict[str, Value]]:
    return _structures(_readable(packet).get(field))


def _readable(packet: bytes | None) -> dict[str, Value]:
    try:
        return properties(packet)
    except WriteRefused:
        return {}


def _structures(value: Value | None) -> list[dict[str, Value]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(value: Value | None) -> str | None:
    return value if isinstance(value, str) else None
