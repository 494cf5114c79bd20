"""What identifies people and tokens: their names here, and the subjects by which a provider knows people.

A name can be given to several people or tokens, one after the other. All but the first are recorded with a number, like `ada#2`, because
the audit log, verdicts, jobs and shares keep the names of those who are gone. No name contains the sign `#`. A subject never changes, and
belongs to one person at most.
"""

import re
from collections.abc import Iterable

from sqlalchemy import Connection, case, select

from tagger.database.statements import upsert
from tagger.database.tables import access_names, users
from tagger.errors import TaggerError

_AUTHOR = re.compile(r"web ([A-Za-z0-9][A-Za-z0-9._@+-]{0,127})(?:#([1-9][0-9]{0,5}))?")
"""Matches the author of a verdict that was given on the page. The number is limited, so that an import cannot use up the numbers of a
name."""
MAX_LENGTH = 255
"""The longest subject, as in the specification of OpenID Connect."""


def give_name(connection: Connection, name: str) -> int:
    """Count one more person or token with this name, and return its number. Other transactions that give the same name wait for this one."""
    counted = (
        upsert(connection, access_names)
        .values(name=name, given=1)
        .on_conflict_do_update(index_elements=[access_names.c.name], set_={"given": access_names.c.given + 1})
    )
    return int(connection.execute(counted.returning(access_names.c.given)).scalar_one())


def count_name(connection: Connection, name: str, number: int) -> None:
    """Record that a person or token has this number, so that the next one with this name gets a larger number."""
    statement = upsert(connection, access_names).values(name=name, given=number)
    given = statement.excluded.given
    larger = case((given > access_names.c.given, given), else_=access_names.c.given)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[access_names.c.name], set_={"given": larger})
    )


def count_authors(connection: Connection, authors: Iterable[str | None]) -> None:
    """Record the numbers of the authors of verdicts from another database, like `web ada#2`. Other authors, such as users of commands,
    have none.
    """
    found = [match for author in authors if author and (match := _AUTHOR.fullmatch(author))]
    for name, number in sorted({(match[1], int(match[2] or 1)) for match in found}):
        count_name(connection, name, number)


def recorded_name(name: str, number: int) -> str:
    """The name in records: `ada` for the first person or token of this name, then `ada#2`."""
    return name if number == 1 else full_name(name, number)


def full_name(name: str, number: int) -> str:
    """The name that belongs to one person or token permanently: `ada#1`."""
    return f"{name}#{number}"


def parse_name(text: str) -> tuple[str, int | None]:
    """The name and the number of `ada#2`. The number is None without a sign `#`, and 0 if it is invalid."""
    name, sign, number = text.partition("#")
    if not sign:
        return name, None
    return name, int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 0


class SubjectInvalid(TaggerError):
    """{subject} cannot be a subject. Copy it from the page that refused the sign-in, from `tagger people audit`, or from the provider."""


class SubjectTaken(TaggerError):
    """The subject {subject} is linked to {name} already. Run `tagger people user unlink {name}` first if that is wrong."""


def is_subject(text: str) -> bool:
    """Whether the text can be a subject: printable characters of ASCII, not too many."""
    return 0 < len(text) <= MAX_LENGTH and text.isascii() and text.isprintable()


def check_subject(connection: Connection, issuer: str, subject: str, user_id: int | None = None) -> None:
    """Check that the subject can be linked to somebody new, or to the person with this number.

    Raises:
        SubjectInvalid, SubjectTaken: it cannot.
    """
    if not is_subject(subject):
        raise SubjectInvalid(subject=repr(subject))
    query = select(users.c.id, users.c.name).where(users.c.issuer == issuer, users.c.subject == subject)
    row = connection.execute(query).one_or_none()
    if row is not None and row.id != user_id:
        raise SubjectTaken(subject=subject, name=row.name)
