"""Photoshop's resources: a list of numbered blocks in a JPEG or PNG, one of which holds IPTC."""

from collections.abc import Iterator
from dataclasses import dataclass

IPTC = 0x0404
_SIGNATURES = {b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa"}
_RESOURCE_LIMIT = 4096


def iptc_in(payload: bytes) -> bytes | None:
    """The first IPTC datasets in Photoshop's resources."""
    return next((resource.value for resource in resources_in(payload) if resource.number == IPTC), None)


@dataclass(frozen=True)
class Resource:
    """One resource. `raw` is all of it, padding included; `head` is its signature, number and name."""

    number: int
    raw: bytes
    head: bytes
    value: bytes


def resources_in(payload: bytes) -> Iterator[Resource]:
    """Yield the resources up to zeros, the end, or what cannot be read."""
    at = 0
    for _ in range(_RESOURCE_LIMIT):
        name_bytes = payload[at + 6] + 1 if at + 12 <= len(payload) else 0
        head = at + 6 + name_bytes + name_bytes % 2
        size = int.from_bytes(payload[head : head + 4], "big")
        if payload[at : at + 4] not in _SIGNATURES or head + 4 + size > len(payload):
            return
        end = head + 4 + size + size % 2
        number = int.from_bytes(payload[at + 4 : at + 6], "big")
        # The last resource may lack its padding, which is needed once another one follows.
        raw = payload[at:end] + b"\0" * (end - len(payload))
        yield Resource(number, raw, payload[at:head], payload[head + 4 : head + 4 + size])
        at = end
