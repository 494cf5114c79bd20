"""IPTC datasets (IIM): reading them, and adding and removing our keywords.

Keywords are inserted after the existing ones, and no other byte changes. Knows nothing of the Photoshop
resource around the datasets, or of its digest.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tagger.metadata import (
    RefusalKind,
    TagFields,
    WriteRefused,
    keyword_key,
    only_removed,
)
from tagger.texts import undeclared_text

KEYWORDS = "IPTC:Keywords"

_HEAD = struct.Struct(">BBBH")
_MARKER = 0x1C
_EXTENDED = 0x8000
_KEYWORD = (2, 25)
_CHARACTERS = (1, 90)
_UTF8 = b"\x1b%G"
_KEYWORD_BYTES = 64


def add(
    datasets: bytes, tag_fields: TagFields
) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """Add the keywords that are missing and not too long; return them as (field, value), too.

    Raises:
        WriteRefused: the datasets are broken.
    """
    parsed = _parse(datasets)
    unicode = _is_unicode(parsed)
    existing = {
        keyword_key(_text(dataset.value, unicode=unicode))
        for dataset in parsed
        if dataset.number == _KEYWORD
    }
    keywords = []
    for keyword in map(str.strip, tag_fields.keywords):
        if (
            _is_portable(keyword, unicode=unicode)
            and keyword_key(keyword) not in existing
        ):
            existing.add(keyword_key(keyword))
            keywords.append(keyword)
    # They follow the last keyword; without keywords, the last dataset with a lower number.
    of_keywords = [dataset for dataset in parsed if dataset.number == _KEYWORD]
    at = _end(
        of_keywords or [dataset for dataset in parsed if dataset.number < _KEYWORD]
    )
    inserted = b"".join(_pack_keyword(keyword) for keyword in keywords)
    return datasets[:at] + inserted + datasets[at:], tuple(
        (KEYWORDS, keyword) for keyword in keywords
    )


def remove(datasets: bytes, added: Sequence[tuple[str, str]]) -> bytes:
    """Remove the `added` keywords that still exist.

    Raises:
        WriteRefused: the datasets are broken.
    """
    keywords = [value for field, value in added if field == KEYWORDS]
    if not keywords:
        return datasets
    parsed = _parse(datasets)
    padding = datasets[_end(parsed) :]
    # Ours come last, so of equal keywords the last is removed.
    for keyword in reversed(keywords):
        our_datasets = [
            at
            for at, dataset in enumerate(parsed)
            if dataset.whole == _pack_keyword(keyword)
        ]
        if our_datasets:
            del parsed[our_datasets[-1]]
    return b"".join(dataset.whole for dataset in parsed) + padding


def insertion_difference(
    before: bytes,
    after: bytes,
    added: Sequence[tuple[str, str]],
) -> str | None:
    """None if `after` is `before` with the `added` keywords inserted at one offset, else the difference."""
    inserted = b"".join(
        _pack_keyword(value) for field, value in added if field == KEYWORDS
    )
    if not inserted:
        return (
            None
            if before == after
            else "The IPTC data differs although none of it is ours."
        )
    try:
        parsed = _parse(before)
    except WriteRefused as refused:
        return refused.text
    for at in (0, *(dataset.end for dataset in parsed)):
        if (
            after[at : at + len(inserted)] == inserted
            and before[:at] + inserted + before[at:] == after
        ):
            return None
    return "The IPTC data differs in more than our keywords."


def removal_difference(
    before: bytes,
    after: bytes,
    added: Sequence[tuple[str, str]],
) -> str | None:
    """Return None if `after` is `before`, which others may have changed, less some of the `added` keywords.

    Otherwise the difference in words.
    """
    if before == after:
        return None
    our_datasets = {_pack_keyword(value) for field, value in added if field == KEYWORDS}
    parsed, remaining = _parse(before), _parse(after)
    is_removal = only_removed(
        [dataset.whole for dataset in parsed],
        [dataset.whole for dataset in remaining],
        our_datasets.__contains__,
    )
    if is_removal and before[_end(parsed) :] == after[_end(remaining) :]:
        return None
    return "The IPTC data differs in more than our keywords."


def read(datasets: bytes | None) -> dict[str, list[str]]:
    """The datasets' values by their names in exiftool, up to the first broken dataset."""
    parsed = list(_iterate(datasets or b""))
    unicode = _is_unicode(parsed)
    values: dict[str, list[str]] = {}
    for dataset in parsed:
        if (name := _NAMES.get(dataset.number)) and (
            text := _text(dataset.value, unicode=unicode)
        ):
            values.setdefault(f"IPTC:{name}", []).append(text)
    return values


@dataclass(frozen=True)
class _Dataset:
    # One dataset: its (record, number), its offset, and its bytes with the header.
    number: tuple[int, int]
    start: int
    whole: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.whole)

    @property
    def value(self) -> bytes:
        return self.whole[_HEAD.size :]


_NAMES = {
    (2, 5): "ObjectName",
    (2, 25): "Keywords",
    (2, 40): "SpecialInstructions",
    (2, 55): "DateCreated",
    (2, 60): "TimeCreated",
    (2, 80): "By-line",
    (2, 85): "By-lineTitle",
    (2, 90): "City",
    (2, 92): "Sub-location",
    (2, 95): "Province-State",
    (2, 100): "Country-PrimaryLocationCode",
    (2, 101): "Country-PrimaryLocationName",
    (2, 105): "Headline",
    (2, 110): "Credit",
    (2, 115): "Source",
    (2, 116): "CopyrightNotice",
    (2, 120): "Caption-Abstract",
    (2, 122): "Writer-Editor",
}


def _iterate(datasets: bytes) -> Iterator[_Dataset]:
    at = 0
    while at + _HEAD.size <= len(datasets):
        marker, record, number, size = _HEAD.unpack_from(datasets, at)
        end = at + _HEAD.size + size
        if marker != _MARKER or size >= _EXTENDED or end > len(datasets):
            return
        yield _Dataset((record, number), at, datasets[at:end])
        at = end


def _parse(datasets: bytes) -> list[_Dataset]:
    # All datasets; raises WriteRefused if more than padding with NULs follows them.
    parsed = list(_iterate(datasets))
    if datasets[_end(parsed) :].strip(b"\0"):
        raise WriteRefused(
            RefusalKind.STRUCTURE,
            "The photo's IPTC data is broken or has values over 32 KB. Save the photo with a photo program, "
            "or write the tags to a sidecar.",
        )
    return parsed


def _is_portable(keyword: str, *, unicode: bool) -> bool:
    # Whether every program reads this keyword correctly.
    # If the datasets do not declare UTF-8, programs differ in how they read non-ASCII text. Declaring UTF-8
    # would change how the owner's values are read.
    if not keyword.isprintable() or not (unicode or keyword.isascii()):
        return False
    return 0 < len(keyword.encode()) <= _KEYWORD_BYTES


def _is_unicode(parsed: Sequence[_Dataset]) -> bool:
    return {dataset.value for dataset in parsed if dataset.number == _CHARACTERS} == {
        _UTF8
    }


def _text(value: bytes, *, unicode: bool) -> str:
    text = value.decode(errors="replace") if unicode else undeclared_text(value)
    return text.strip(" \0")


def _end(parsed: Sequence[_Dataset]) -> int:
    return parsed[-1].end if parsed else 0


def _pack_keyword(keyword: str) -> bytes:
    value = keyword.encode()
    return _HEAD.pack(_MARKER, *_KEYWORD, len(value)) + value
