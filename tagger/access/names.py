"""Names of people and tokens, given one after the other.

Who gets a name that somebody had before is recorded with a number, like `ada#2`: the audit log, verdicts, jobs and shares keep the
names of those who are gone. No name can have the sign `#`.
"""

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tagger.database.tables import access_names


def give_name(connection: Connection, name: str) -> int:
    """Count one more person or token with this name; returns its number. Another transaction that gives it waits for this one."""
    dialect = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    statement = dialect(access_names).values(name=name, given=1)
    counted = statement.on_conflict_do_update(
        index_elements=[access_names.c.name], set_={"given": access_names.c.given + 1}
    )
    return int(connection.execute(counted.returning(access_names.c.given)).scalar_one())


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
