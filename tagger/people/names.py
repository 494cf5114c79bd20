"""Names of people and tokens, given one after the other.

Who gets a name that somebody had before is recorded with a number, like `ada#2`: the audit log, verdicts, jobs and shares keep the
names of those who are gone. No name can have the sign `#`.
"""

import re
from collections.abc import Iterable

from sqlalchemy import Connection, case

from tagger.database.statements import upsert
from tagger.database.tables import access_names

_AUTHOR = re.compile(r"web ([A-Za-z0-9][A-Za-z0-9._@+-]{0,127})(?:#([1-9][0-9]{0,5}))?")
"""The author of a verdict that was given on the page. A larger number than anybody has must not use up the numbers of a name."""


def give_name(connection: Connection, name: str) -> int:
    """Count one more person or token with this name; returns its number. Another transaction that gives it waits for this one."""
    counted = (
        upsert(connection, access_names)
        .values(name=name, given=1)
        .on_conflict_do_update(index_elements=[access_names.c.name], set_={"given": access_names.c.given + 1})
    )
    return int(connection.execute(counted.returning(access_names.c.given)).scalar_one())


def count_name(connection: Connection, name: str, number: int) -> None:
    """Count the person or token that has this number, if nobody did: the next one with this name gets a larger number."""
    statement = upsert(connection, access_names).values(name=name, given=number)
    given = statement.excluded.given
    larger = case((given > access_names.c.given, given), else_=access_names.c.given)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[access_names.c.name], set_={"given": larger})
    )


def count_authors(connection: Connection, authors: Iterable[str | None]) -> None:
    """Count those who gave verdicts in another database, like `web ada#2`. Other authors, such as users of commands, have no numbers."""
    found = [match for author in authors if author and (match := _AUTHOR.fullmatch(author))]
    for name, number in sorted({(match[1], int(match[2] or 1)) for match in found}):
        count_name(connection, name, number)


def recorded_name(name: str, number: int) -> str:
    """The name as it is recorded: `ada` for the first one, then `ada#2`."""
    return name if number == 1 else full_name(name, number)


def full_name(name: str, number: int) -> str:
    """What names one person or token for ever: `ada#1`."""
    return f"{name}#{number}"


def parse_name(text: str) -> tuple[str, int | None]:
    """The name and the number of `ada#2`. None: without a number, or with one that nobody has."""
    name, sign, number = text.partition("#")
    if not sign:
        return name, None
    return name, int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 0
