"""Subjects: what a provider calls a person, for ever. Each belongs to one person at most."""

from sqlalchemy import Connection, select

from tagger.database.tables import users
from tagger.errors import TaggerError

MAX_LENGTH = 255
"""As in the specification of OpenID Connect."""


class SubjectInvalid(TaggerError):
    """{subject} cannot be a subject. Copy it from the page that refused the sign-in, from `tagger audit`, or from the provider."""


class SubjectTaken(TaggerError):
    """The subject {subject} is linked to {name} already. Run `tagger user unlink {name}` first if that is wrong."""


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
