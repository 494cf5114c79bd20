"""Our records in a packet: which values this program added, in fields of our own namespace.

Any program may have written them, so invalid records are ignored, and nothing here raises.
"""

from dataclasses import dataclass

from tagger.metadata.errors import WriteRefused
from tagger.metadata.xmp.namespaces import ADDED, LANDMARKS, OUR_NAMESPACE, OUR_PREFIX, SIDECAR, WAS_EMPTY
from tagger.metadata.xmp.properties import Value, properties

FIELD, ADDED_VALUE = f"{OUR_PREFIX}:Field", f"{OUR_PREFIX}:Value"
SLUG, NAME, SCORE = f"{OUR_PREFIX}:Landmark", f"{OUR_PREFIX}:Name", f"{OUR_PREFIX}:Score"
MODEL, VERDICT = f"{OUR_PREFIX}:Model", f"{OUR_PREFIX}:Verdict"
_OUR_NAMESPACE = OUR_NAMESPACE.encode()


@dataclass(frozen=True)
class WrittenLandmark:
    """A landmark that was written into a packet, with its values as text."""

    slug: str
    name: str | None
    score: str | None
    model: str | None
    verdict: str | None


def added_values(packet: bytes | None) -> tuple[tuple[str, str], ...]:
    """The values that the packet records as ours: ("dc:subject", "Eiffel Tower")."""
    return added_in_properties(_properties(packet))


def names_our_namespace(packet: bytes | None) -> bool:
    """Whether the packet contains the name of our namespace in UTF-8; cheap, and almost always as `has_our_fields`."""
    return packet is not None and _OUR_NAMESPACE in packet


def has_our_fields(packet: bytes | None) -> bool:
    """Whether the packet has fields of our namespace; False if it cannot be read."""
    return any(name.startswith(f"{OUR_PREFIX}:") for name in _properties(packet))


def is_our_sidecar(packet: bytes) -> bool:
    """Whether the sidecar says that we created it; False if it cannot be read."""
    return SIDECAR in _properties(packet)


def written_landmarks(packet: bytes | None) -> tuple[WrittenLandmark, ...]:
    """The landmarks that were written into the packet."""
    entries = (
        {name: _text(value) for name, value in entry.items()} for entry in _structures_of(packet, LANDMARKS)
    )
    return tuple(
        WrittenLandmark(entry[SLUG] or "", *(entry.get(name) for name in (NAME, SCORE, MODEL, VERDICT)))
        for entry in entries
        if entry.get(SLUG)
    )


def added_in_properties(fields: dict[str, Value]) -> tuple[tuple[str, str], ...]:
    """As `added_values`, from a packet's properties."""
    pairs = (
        (_text(entry.get(FIELD)), _text(entry.get(ADDED_VALUE))) for entry in _structures(fields.get(ADDED))
    )
    return tuple((field, value) for field, value in pairs if field and value)


def empty_fields(fields: dict[str, Value]) -> frozenset[str]:
    """The fields that existed without a value before ours were added; a removal keeps them."""
    entries = fields.get(WAS_EMPTY)
    return (
        frozenset(name for name in entries if isinstance(name, str))
        if isinstance(entries, list)
        else frozenset()
    )


def _structures_of(packet: bytes | None, field: str) -> list[dict[str, Value]]:
    return _structures(_properties(packet).get(field))


def _properties(packet: bytes | None) -> dict[str, Value]:
    try:
        return properties(packet)
    except WriteRefused:
        return {}


def _structures(value: Value | None) -> list[dict[str, Value]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(value: Value | None) -> str | None:
    return value if isinstance(value, str) else None
