"""IPTC datasets (IIM): our keywords put in and taken out again, and what they say.

Keywords are inserted among the others and nothing else changes by a byte. Knows nothing of the Photoshop resource around
the datasets, nor of its digest.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tagger.metadata.additions import Additions
from tagger.metadata.refusals import RefusalKind, WriteRefused

KEYWORDS = "IPTC:Keywords"

_HEAD = struct.Struct(">BBBH")
_MARKER = 0x1C
_EXTENDED = 0x8000
_KEYWORD = (2, 25)
_CHARACTERS = (1, 90)
_UTF8 = b"\x1b%G"
_KEYWORD_BYTES = 64


def add(datasets: bytes, additions: Additions) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """Add the keywords that are not there yet and that fit whole, and say which as (field, value).

    Raises:
        WriteRefused: the datasets do not hold together.
    """
    there = _parted(datasets)
    keywords = _new_keywords(there, additions.keywords)
    at = _place(there)
    put = b"".join(_dataset(keyword) for keyword in keywords)
    return datasets[:at] + put + datasets[at:], tuple((KEYWORDS, keyword) for keyword in keywords)


def remove(datasets: bytes, added: Sequence[tuple[str, str]]) -> bytes:
    """Take out the `added` keywords that are still there.

    Raises:
        WriteRefused: the datasets do not hold together.
    """
    keywords = [value for field, value in added if field == KEYWORDS]
    if not keywords:
        return datasets
    there = _parted(datasets)
    padding = datasets[_end(there) :]
    # Ours stand last, so of equal ones the last goes.
    for keyword in reversed(keywords):
        ours = [at for at, dataset in enumerate(there) if dataset.whole == _dataset(keyword)]
        if ours:
            del there[ours[-1]]
    return b"".join(dataset.whole for dataset in there) + padding


def only_ours_differs(before: bytes, after: bytes, added: Sequence[tuple[str, str]]) -> str | None:
    """Compare two rows of datasets: None if the `added` keywords are all that `after` has more, in one place.

    Otherwise the difference in words.
    """
    put = b"".join(_dataset(value) for field, value in added if field == KEYWORDS)
    if not put:
        return None if before == after else "The IPTC data differs though nothing of it is ours."
    try:
        there = _parted(before)
    except WriteRefused as refused:
        return refused.text
    for at in (0, *(dataset.end for dataset in there)):
        if after[at : at + len(put)] == put and before[:at] + put + before[at:] == after:
            return None
    return "In the IPTC data something else than our keywords differs."


def only_ours_went(before: bytes, after: bytes, added: Sequence[tuple[str, str]]) -> str | None:
    """Compare datasets that others may have changed with what is left of them: None if only `added` keywords went.

    Otherwise the difference in words.
    """
    if before == after:
        return None
    ours = {_dataset(value) for field, value in added if field == KEYWORDS}
    try:
        there, left = _parted(before), _parted(after)
    except WriteRefused as refused:
        return refused.text
    at = 0
    for dataset in there:
        if at < len(left) and left[at].whole == dataset.whole:
            at += 1
        elif dataset.whole not in ours:
            break
    else:
        if at == len(left) and before[_end(there) :] == after[_end(left) :]:
            return None
    return "In the IPTC data something else than our keywords differs."


def read(datasets: bytes) -> dict[str, list[str]]:
    """What the datasets say, by the names that exiftool has, as far as they hold together."""
    there = list(_walk(datasets))
    unicode = _is_unicode(there)
    said: dict[str, list[str]] = {}
    for dataset in there:
        if (name := _NAMES.get(dataset.number)) and (text := _text(dataset.value, unicode=unicode)):
            said.setdefault(f"IPTC:{name}", []).append(text)
    return said


@dataclass(frozen=True)
class _Dataset:
    """One value: its (record, number), where it starts, and its bytes with those in front of it."""

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


def _walk(datasets: bytes) -> Iterator[_Dataset]:
    """Yield the datasets up to the first that is cut off or not one."""
    at = 0
    while at + _HEAD.size <= len(datasets):
        marker, record, number, size = _HEAD.unpack_from(datasets, at)
        end = at + _HEAD.size + size
        if marker != _MARKER or size >= _EXTENDED or end > len(datasets):
            return
        yield _Dataset((record, number), at, datasets[at:end])
        at = end


def _parted(datasets: bytes) -> list[_Dataset]:
    """All datasets; behind them are at most NULs, with which some programs pad."""
    there = list(_walk(datasets))
    if datasets[_end(there) :].strip(b"\0"):
        raise WriteRefused(
            RefusalKind.STRUCTURE,
            "The IPTC data of this photo is broken or has values over 32 KB; save the photo anew in a photo program, "
            "or have the tags written into a sidecar.",
        )
    return there


def _new_keywords(there: Sequence[_Dataset], keywords: Sequence[str]) -> list[str]:
    unicode = _is_unicode(there)
    known = {
        _text(dataset.value, unicode=unicode).casefold() for dataset in there if dataset.number == _KEYWORD
    }
    added = []
    for keyword in (keyword.strip() for keyword in keywords):
        if _fits(keyword, unicode=unicode) and keyword.casefold() not in known:
            known.add(keyword.casefold())
            added.append(keyword)
    return added


def _fits(keyword: str, *, unicode: bool) -> bool:
    """Whether every program reads this keyword as it is.

    Where the datasets do not declare UTF-8, programs disagree on whatever is not ASCII. To declare it for our sake
    would change how the owner's own values are read.
    """
    if not keyword.isprintable() or not (unicode or keyword.isascii()):
        return False
    return 0 < len(keyword.encode()) <= _KEYWORD_BYTES


def _is_unicode(there: Sequence[_Dataset]) -> bool:
    return {dataset.value for dataset in there if dataset.number == _CHARACTERS} == {_UTF8}


def _text(value: bytes, *, unicode: bool) -> str:
    """Undeclared texts that are UTF-8 are hardly ever anything else; the others are Western."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode(errors="replace") if unicode else value.decode("latin-1")
    return text.strip(" \0")


def _place(there: Sequence[_Dataset]) -> int:
    """After the last keyword; without any, after the last dataset that belongs in front of keywords."""
    in_front = [dataset for dataset in there if dataset.number == _KEYWORD] or [
        dataset for dataset in there if dataset.number < _KEYWORD
    ]
    return _end(in_front)


def _end(there: Sequence[_Dataset]) -> int:
    return there[-1].end if there else 0


def _dataset(keyword: str) -> bytes:
    value = keyword.encode()
    return _HEAD.pack(_MARKER, *_KEYWORD, len(value)) + value
