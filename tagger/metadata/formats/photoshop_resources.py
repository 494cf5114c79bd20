"""Photoshop's image resources, which hold a JPEG file's IPTC datasets and a digest of them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from tagger.metadata.formats.refusals import ambiguous_blocks, broken_structure

IPTC, IPTC_DIGEST = 0x0404, 0x0425
_SIGNATURES = {b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa"}
_RESOURCE_LIMIT = 4096
_NEW_HEAD = b"8BIM" + IPTC.to_bytes(2, "big") + b"\0\0"


@dataclass(frozen=True)
class Resource:
    """One resource. `raw` is all of it, padding included; `head` is its signature, number and name."""

    number: int
    raw: bytes
    head: bytes
    value: bytes

    def with_value(self, value: bytes) -> bytes:
        """The packed resource with another value; signature and name stay."""
        return _pack(self.head, value)


def iptc_values(payload: bytes) -> list[bytes]:
    """The IPTC datasets in the resources, as far as these can be read."""
    return [resource.value for resource in _read(payload, strict=False) if resource.number == IPTC]


def replace_iptc(payload: bytes, iptc: bytes | None) -> bytes:
    """Return the resources with these IPTC datasets; all other resources stay unchanged.

    A digest that was correct is updated. A wrong digest means that a program changed IPTC but not XMP, and readers use it
    to decide which of the two to trust, so it stays wrong.

    Raises:
        WriteRefused: the resources cannot be read, or hold IPTC twice.
    """
    resources = list(_read(payload, strict=True))
    if sum(resource.number == IPTC for resource in resources) > 1:
        raise ambiguous_blocks("It has IPTC datasets twice")
    digest_before = next(
        (_digest(resource.value) for resource in resources if resource.number == IPTC), _digest(b"")
    )
    packed: list[bytes] = []
    for resource in resources:
        if resource.number == IPTC:
            packed += [resource.with_value(iptc)] if iptc is not None else []
        elif resource.number == IPTC_DIGEST:
            was_correct = resource.value == digest_before
            packed += [resource.with_value(_digest(iptc or b""))] if was_correct else [resource.raw]
        else:
            packed.append(resource.raw)
    if iptc is not None and all(resource.number != IPTC for resource in resources):
        packed.append(_pack(_NEW_HEAD, iptc))
    rest = payload[sum(len(resource.raw) for resource in resources) :]
    return b"".join((*packed, rest))


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
        # The last resource may lack its padding, which is needed once another one follows.
        raw = payload[at:end] + b"\0" * (end - len(payload))
        yield Resource(number, raw, payload[at:head], payload[head + 4 : head + 4 + size])
        at = end
    if strict:
        raise broken_structure("the Photoshop resources, which hold IPTC, cannot be read")


def _pack(head: bytes, value: bytes) -> bytes:
    return head + len(value).to_bytes(4, "big") + value + b"\0" * (len(value) % 2)


def _digest(iptc: bytes) -> bytes:
    return hashlib.md5(iptc, usedforsecurity=False).digest()
