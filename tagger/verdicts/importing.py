"""Import of verdicts from another database: images match by digest, and the newer verdict wins.

The file is a JSON list, or has one document on each line. It is checked, then read again and stored in pages:
other entries are refused with their numbers, and the same import continues one that ended early.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, Field, ValidationError, model_validator
from sqlalchemy import Connection

from tagger.database import VerdictKind
from tagger.database.connection import (
    AuditAction,
    Database,
    record_action,
    update_details,
)
from tagger.database.statements import insert_missing, pages
from tagger.database.tables import contents
from tagger.errors import ImportRefused
from tagger.landmarks import landmarks_by_slug
from tagger.tags import lock_contents, lock_contents_shared
from tagger.tags.causes import (
    NewDismissal,
    NewVerdict,
    SightName,
    confirmed_contents,
    hold_landmarks,
    write_dismissals,
    write_verdicts,
)
from tagger.texts import text_blocks
from tagger.things import PREFIX, all_things
from tagger.verdicts import (
    NOT_A_LANDMARK,
    SIGHT_PREFIX,
    stored_dismissals,
    stored_verdicts,
)

_REMEDY = "correct the file, or create it again with `tagger review export`"


class VerdictEntry(BaseModel):
    """A verdict about an image, by digest, and a landmark, by slug. `path` is a photo of it elsewhere.

    With its prefix, a thing or a sight stands in place of the landmark. Without any, the image is not a
    landmark.
    """

    digest: Annotated[str, Field(pattern=r"^[0-9]+-[0-9a-f]{64}$")]
    landmark: Annotated[str, Field(min_length=1)] | None = None
    verdict: Literal["confirmed", "rejected", "not-a-landmark"]
    by: str | None = None
    at: AwareDatetime
    path: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.landmark is None) != (self.verdict == NOT_A_LANDMARK):
            raise ValueError(f"{NOT_A_LANDMARK} alone is a verdict without a landmark")
        return self


_BLANKS = re.compile(r"[ \t\r\n]*")
_COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
_LIST_END = re.compile(r"[ \t\r\n]*\][ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # numbers of any length
_LONGEST_ELEMENT = 1 << 20  # letters: a path has a few thousand
_SPOOL_BYTES = 1 << 22


def read_entries(source: IO[bytes], name: str) -> Iterator[VerdictEntry]:
    """Yield the verdicts in a file, in flat memory. `name` is its name in error messages.

    All are checked before the first one, so that nothing of a file with an error is stored.

    Raises:
        ImportRefused: it is no JSON, or an entry is not a verdict.
    """
    with ExitStack() as stack:
        if not source.seekable():  # a pipe can be read only once
            pipe = source
            source = stack.enter_context(SpooledTemporaryFile(_SPOOL_BYTES))
            copyfileobj(pipe, source)
            source.seek(0)
        start = source.tell()
        for _ in _checked_entries(source, name):
            pass
        source.seek(start)
        yield from _checked_entries(source, name)


def _checked_entries(source: IO[bytes], name: str) -> Iterator[VerdictEntry]:
    count = 0
    try:
        for element in _json_elements(source):
            yield VerdictEntry.model_validate_json(element, strict=True)
            count += 1
    except UnicodeDecodeError as error:
        raise ImportRefused(
            file=name, reason="it is not text in UTF-8 or UTF-16", remedy=_REMEDY
        ) from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = "".join(f"{field_name}: " for field_name in problem["loc"])
        what = problem["msg"].removeprefix("Value error, ").lower()
        reason = f"entry {count + 1}: {where}{what}"
        raise ImportRefused(file=name, reason=reason, remedy=_REMEDY) from error
    except ValueError as error:
        raise ImportRefused(file=name, reason=str(error), remedy=_REMEDY) from error


_NOT_JSON = "it is not JSON, or ends early ({} at line {})"


def _json_elements(source: IO[bytes]) -> Iterator[str]:
    # Yield the JSON of each element of a list, or of each of the documents that follow one another.
    blocks = text_blocks(source)
    text = next(blocks, "")
    is_list = text.startswith("[")
    end = _LIST_END if is_list else _BLANKS
    before = _BLANKS
    position = int(is_list)
    line = 1
    is_last_block = False
    while True:
        if is_last_block and end.fullmatch(text, position):
            return
        try:
            start, stop = _element_bounds(text, position, before)
        except json.JSONDecodeError as error:
            if is_last_block or len(text) - position > _LONGEST_ELEMENT:
                problem = error.msg.lower().removesuffix(" starting at")
                line += text.count("\n", 0, error.pos)
                raise ValueError(_NOT_JSON.format(problem, line)) from error
        except RecursionError as error:
            line += text.count("\n", 0, position)
            raise ValueError(_NOT_JSON.format("too many levels", line)) from error
        else:
            if is_last_block or stop < len(text):
                yield text[start:stop]
                position = stop
                before = _COMMA if is_list else _BLANKS
                continue
        # The element may go on in the next block.
        line += text.count("\n", 0, position)
        block = next(blocks, "")
        is_last_block = not block
        text = text[position:] + block
        position = 0


def _element_bounds(
    text: str, position: int, before: re.Pattern[str]
) -> tuple[int, int]:
    # Start and end of the next element, after what has to be before it.
    gap = before.match(text, position)
    if not gap:
        raise json.JSONDecodeError(
            "expected a comma or the end of the list", text, position
        )
    _, stop = _DECODER.raw_decode(text, gap.end())
    return gap.end(), stop


_KindAndTime = tuple[VerdictKind | None, datetime]
# Paths that are reported for images that are not in this database.
MOST_PATHS = 20


@dataclass
class ImportedVerdicts:
    """How many verdicts were added, replaced an older one, were stored already, or are older.

    `unknown_landmarks` counts ignored verdicts by slug: no model here has the landmark. `unknown_images`
    counts verdicts on images without a photo here, which apply once such a photo is added; `unknown_paths`
    are paths of some of them in the other database.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    older: int = 0
    unknown_landmarks: Counter[str] = field(default_factory=Counter)
    unknown_images: int = 0
    unknown_paths: list[str] = field(default_factory=list)

    def count(self, new: _KindAndTime, stored: _KindAndTime | None) -> bool:
        """Count a verdict by what it does to the stored one. Returns whether it changes that."""
        if stored is None:
            self.added += 1
            return True
        if stored[1] < new[1]:
            self.replaced += 1
            return True
        if stored == new:
            self.unchanged += 1
        else:
            self.older += 1
        return False


def import_verdicts(
    database: Database, entries: Iterable[VerdictEntry], *, dry_run: bool = False
) -> ImportedVerdicts:
    """Store the verdicts, one transaction per page. Importing the same verdicts again changes nothing."""
    report = ImportedVerdicts()
    if dry_run:
        for page in pages(entries):
            with database.read() as connection:
                _count_page(connection, page, report, add=False)
        return report
    audit_entry: int | None = None
    for page in pages(entries):
        with database.write() as connection:
            known = lock_contents_shared(connection, {entry.digest for entry in page})
            lock_contents(connection, known.values())
            hold_landmarks(connection)
            changed = _count_page(connection, page, report, add=True)
            write_verdicts(connection, changed[0], newer_only=True)
            write_dismissals(connection, changed[1])
            if audit_entry is None:
                audit_entry = record_action(connection, AuditAction.VERDICTS_IMPORT)
            update_details(
                connection, audit_entry, added=report.added, replaced=report.replaced
            )
    return report


def _count_page(
    connection: Connection,
    page: Sequence[VerdictEntry],
    report: ImportedVerdicts,
    *,
    add: bool,
) -> tuple[list[NewVerdict], list[NewDismissal]]:
    # Count what a page changes, and return those rows. With `add`, unknown images get rows.
    landmarks = landmarks_by_slug(
        connection, {entry.landmark for entry in page if entry.landmark}
    )
    sights = {
        entry.landmark: SightName(entry.landmark.removeprefix(SIGHT_PREFIX))
        for entry in page
        if entry.landmark and entry.landmark.startswith(SIGHT_PREFIX)
    }
    known = {*landmarks, *sights, None}
    if any(entry.landmark and entry.landmark.startswith(PREFIX) for entry in page):
        known |= {PREFIX + slug for slug in all_things(connection)}
    usable = [entry for entry in page if entry.landmark in known]
    report.unknown_landmarks.update(
        entry.landmark
        for entry in page
        if entry.landmark and entry.landmark not in known
    )
    content_ids = _content_ids(connection, usable, report, add=add)
    new_verdicts, new_dismissals = list[NewVerdict](), list[NewDismissal]()
    for entry in usable:
        content_id, given = content_ids.get(entry.digest, 0), (entry.by, entry.at)
        if entry.landmark is None:
            new_dismissals.append(NewDismissal(content_id, *given))
        else:
            landmark = landmarks.get(entry.landmark)
            slug = entry.landmark.removeprefix(PREFIX)
            subject = landmark.id if landmark else sights.get(entry.landmark, slug)
            new_verdicts.append(
                NewVerdict(content_id, subject, VerdictKind(entry.verdict), *given)
            )
    stored = stored_verdicts(connection, {verdict.key for verdict in new_verdicts})
    changed_verdicts = [
        verdict
        for verdict in new_verdicts
        if report.count((verdict.verdict, verdict.given_at), stored.get(verdict.key))
    ]
    # A confirmed landmark outranks a dismissal, which then counts as older.
    away_ids = {dismissal.content_id for dismissal in new_dismissals}
    confirmed = confirmed_contents(connection, away_ids) | {
        each.content_id
        for each in changed_verdicts
        if isinstance(each.subject, int) and each.verdict is VerdictKind.CONFIRMED
    }
    dismissed = stored_dismissals(connection, away_ids)
    changed_dismissals = []
    for dismissal in new_dismissals:
        at = dismissed.get(dismissal.content_id)
        if dismissal.content_id and dismissal.content_id in confirmed:
            report.older += 1
        elif report.count(
            (None, dismissal.given_at), None if at is None else (None, at)
        ):
            changed_dismissals.append(dismissal)
    return changed_verdicts, changed_dismissals


def _content_ids(
    connection: Connection,
    page: Sequence[VerdictEntry],
    report: ImportedVerdicts,
    *,
    add: bool,
) -> dict[str, int]:
    # Ids of the images of a page, by digest; unknown images are counted, and get rows with `add`.
    digests = {entry.digest for entry in page}
    content_ids = lock_contents_shared(connection, digests)
    missing = digests - content_ids.keys()
    unknown = [entry.path or entry.digest for entry in page if entry.digest in missing]
    report.unknown_images += len(unknown)
    report.unknown_paths = (report.unknown_paths + unknown)[:MOST_PATHS]
    if not (add and missing):
        return content_ids
    insert_missing(
        connection, contents, [{"digest": digest} for digest in sorted(missing)]
    )
    return lock_contents_shared(connection, digests)
