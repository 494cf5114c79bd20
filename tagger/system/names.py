"""Names of landmarks: language tags, the choice of a name by language, and slugs."""

import re
import unicodedata
from collections.abc import Mapping

from blake3 import blake3

LANGUAGE_PATTERN = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"
"""A language tag, like `de` or `zh-Hant` (BCP 47)."""


def name_in_language(name: str, names: Mapping[str, str], language: str | None) -> str:
    """The name in a language: for `de-AT` that of `de-AT`, else of `de`, else `name`."""
    while language:
        if language in names:
            return names[language]
        language = language.rpartition("-")[0]
    return name


SLUG_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_UNDECOMPOSED = str.maketrans(
    {
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
    }
)
"""Latin letters that Unicode does not decompose into one of a to z and an accent."""


INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
"""Marks of direction and breaking, which come with copied texts: a name with them looks like one without.

The joiners of emoji and of Persian and Indian scripts are not among them.
"""


def without_accents(text: str) -> str:
    """The text in letters without accents, and without invisible marks."""
    decomposed = unicodedata.normalize("NFKD", INVISIBLE.sub("", text))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def slug_of_name(name: str) -> str | None:
    """The slug of a name: `Cimetière du Père-Lachaise` → `cimetiere-du-pere-lachaise`. None for a name of another script."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(_UNDECOMPOSED))
    slug = "-".join(re.findall(r"[a-z0-9]+", plain.encode("ascii", "ignore").decode().lower()))
    has_lost_letters = any(letter.isalpha() and not letter.isascii() for letter in plain)
    if has_lost_letters and not re.search("[a-z]", slug):  # `Храм 2` is not `2`
        return None
    return slug or None


def digest_slug(prefix: str, text: str) -> str:
    """A slug for a text of another script, always the same for the same text: `landmark-1f0c9a3e`."""
    return f"{prefix}-{blake3(text.encode(errors='surrogateescape')).hexdigest()[:8]}"
