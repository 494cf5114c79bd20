"""Photoshop's image resources, among which a JPEG file keeps its IPTC datasets, and a digest of them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from tagger.metadata.formats.refusing import ambiguous, broken

IPTC, IPTC_DIGEST = 0x0404, 0x0425
_SIGNATURES = {b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa"}
_RESOURCE_LIMIT = 4096
_NEW_HEAD = b"8BIM" + IPTC.to_bytes(2, "big") + b"\0\0"


@dataclass(frozen=True)
class Resource:
    """One resource: `raw` is all of it, padding included; `head` its signature, number and name; `value` what it holds."""

    number: int
    raw: bytes
    head: bytes
    value: bytes

    def holding(self, value: bytes) -> bytes:
        """All of it with another value: whose signature it has, and how it is called, stays."""
        return _packed(self.head, value)


def iptc_in(payload: bytes) -> list[bytes]:
    """The IPTC datasets of each resource that holds some, as far as the resources can be read."""
    return [resource.value for resource in _read(payload, strict=False) if resource.number == IPTC]


def with_iptc(payload: bytes, iptc: bytes | None) -> bytes:
    """The resources with other datasets; all others stay as they are.

    The digest of the datasets follows them where it was right before. One that was not says that somebody changed IPTC
    and not XMP, which decides which of the two programs believe: so it has to stay wrong.
    """
    resources = list(_read(payload, strict=True))
    if sum(resource.number == IPTC for resource in resources) > 1:
        raise ambiguous("It has IPTC datasets twice")
    before = next(
        (_digest(resource.value) for resource in resources if resource.number == IPTC), _digest(b"")
    )
    kept: list[bytes] = []
    for resource in resources:
        if resource.number == IPTC:
            kept += [resource.holding(iptc)] if iptc is not None else []
        elif resource.number == IPTC_DIGEST:
            was_right = resource.value == before
            kept += [resource.holding(_digest(iptc or b""))] if was_right else [resource.raw]
        else:
            kept.append(resource.raw)
    if iptc is not None and all(resource.number != IPTC for resource in resources):
        kept.append(_packed(_NEW_HEAD, iptc))
    behind = payload[sum(len(resource.raw) for resource in resources) :]
    return b"".join((*kept, behind))


def _read(payload: bytes, *, strict: bool) -> Iterator[Resource]:
    at = 0
    for _ in range(_RESOURCE_LIMIT):
        if not payload[at:].strip(b"\0"):
            return
        name_bytes = payload[at + 6] + 1 if at + 12 <= len(payload) else 0
        head = at + 6 + name_bytes + name_bytes % 2
        size = int.from_bytes(payload[head : head + 4], "big")
        if payload[at : at + 4] not in _SIGNATURES or head + 4 + size > len(payload):
            break
        end = head + 4 + size + size % 2
        number = int.from_bytes(payload[at + 4 : at + 6], "big")
        # The last one may lack its padding; what comes to stand behind it needs it.
        raw = payload[at:end] + b"\0" * (end - len(payload))
        yield Resource(number, raw, payload[at:head], payload[head + 4 : head + 4 + size])
        at = end
    if strict:
        raise broken("the Photoshop resources, which IPTC is among, cannot be read")


def _packed(head: bytes, value: bytes) -> bytes:
    return head + len(value).to_bytes(4, "big") + value + b"\0" * (len(value) % 2)


def _digest(iptc: bytes) -> bytes:
    return hashlib.md5(iptc, usedforsecurity=False).digest()
