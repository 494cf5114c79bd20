"""Passwords of people. They are hashed with argon2id, which takes time and 64 MB on purpose: stolen hashes are slow to guess."""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from tagger.errors import ExtraMissing, TaggerError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_LENGTH = 10
MAX_LENGTH = 200


class PasswordRefused(TaggerError):
    """The password cannot be used: {reason}. Choose another one."""


def check_password(password: str, name: str) -> None:
    """Raises:
    PasswordRefused: it is too short or long, or consists of the person's name.
    """
    if len(password) < MIN_LENGTH:
        raise PasswordRefused(reason=f"it has fewer than {MIN_LENGTH} characters")
    if len(password) > MAX_LENGTH:
        raise PasswordRefused(reason=f"it has more than {MAX_LENGTH} characters")
    if len(set(password)) < MIN_LENGTH // 2 or password.casefold().strip("0123456789") == name:
        raise PasswordRefused(reason="it is easy to guess")


def generate_password() -> str:
    """A random password of 120 bits."""
    return secrets.token_urlsafe(15)


def hash_password(password: str) -> str:
    return _hasher().hash(_bytes(password))


def is_right(password: str, stored: str | None) -> bool:
    """Whether the password has this hash. With None the work is the same, so that its time does not tell who has an account."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    nobody = _hash_of_nobody()  # also for a known name: the first of all calls takes the time to make it
    try:
        return _hasher().verify(stored or nobody, _bytes(password)) and stored is not None
    except (Argon2Error, InvalidHashError):
        return False


def is_outdated(stored: str) -> bool:
    """Whether the hash was made with other parameters than those of this version."""
    return _hasher().check_needs_rehash(stored)


@cache
def _hasher() -> PasswordHasher:
    try:
        from argon2 import PasswordHasher
    except ImportError as error:
        raise ExtraMissing(feature="Passwords", missing=error.name, extra="web") from error
    return PasswordHasher()


@cache
def _hash_of_nobody() -> str:
    return hash_password(generate_password())


def _bytes(password: str) -> bytes:
    """The same for each way in which keyboards compose a character."""
    return unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")
