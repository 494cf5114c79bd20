"""The values that a person may give a landmark: names, slugs, positions, languages. Knows nothing of stored landmarks."""

import re
import unicodedata
from typing import get_args

from tagger.errors import LandmarkInvalid
from tagger.model.artifact import Extent
from tagger.system.languages import LANGUAGE_PATTERN
from tagger.system.slugs import INVISIBLE, SLUG_PATTERN, digest_slug, slug_of_name

MAX_TEXT = 200
"""Characters of a name, country, region or city."""
MAX_SLUG = 100
MAX_ALIASES = 100
EXTENTS: tuple[str, ...] = get_args(Extent)

_CONTROLS = {"Cc", "Zl", "Zp"}


def clean_text(text: str, field: str) -> str:
    """The text in Unicode's composed form, without marks that nobody sees and with single spaces. It may be empty.

    Raises:
        LandmarkInvalid: it has a line break or another control character, is not Unicode, or is too long.
    """
    if any(unicodedata.category(character) in _CONTROLS for character in text):
        raise LandmarkInvalid(reason=f"{field}: it has a line break or another control character")
    if not _is_unicode(text):
        raise LandmarkInvalid(reason=f"{field}: it is not UTF-8")
    if len(text) > MAX_TEXT:
        raise LandmarkInvalid(reason=f"{field}: it has {len(text)} characters, more than {MAX_TEXT}")
    return " ".join(unicodedata.normalize("NFC", INVISIBLE.sub("", text)).split())


def clean_name(text: str, field: str = "name") -> str:
    """A text with at least one letter, digit or symbol.

    Raises:
        LandmarkInvalid: as `clean_text`, or it has none.
    """
    name = clean_text(text, field)
    if not any(unicodedata.category(character)[0] in "LNS" for character in name):
        raise LandmarkInvalid(reason=f"{field}: it has no letter, digit or symbol")
    return name


def check_slug(slug: str) -> str:
    """Raises:
    LandmarkInvalid: the text is no slug; the message proposes one.
    """
    if not re.fullmatch(SLUG_PATTERN, slug) or len(slug) > MAX_SLUG:
        proposal = (slug_of_name(slug) or "old-town-hall")[:MAX_SLUG].strip("-")
        reason = f"slug: it must be lower-case letters from a to z, digits and single hyphens, at most {MAX_SLUG}, like {proposal}"
        raise LandmarkInvalid(reason=reason)
    return slug


def derive_slug(name: str) -> str:
    """The slug for a clean name."""
    slug = slug_of_name(name) or digest_slug("landmark", name)
    return slug[:MAX_SLUG].strip("-")


def check_position(position: tuple[float, float]) -> tuple[float, float]:
    """Raises:
    LandmarkInvalid: latitude or longitude is out of range, or no number.
    """
    latitude, longitude = position
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        reason = (
            f"position: {latitude:g},{longitude:g} is not latitude and longitude in degrees, like 48.86,2.29"
        )
        raise LandmarkInvalid(reason=reason)
    return latitude, longitude


def check_extent(extent: str) -> str:
    """Raises:
    LandmarkInvalid: there is no such extent.
    """
    if extent not in EXTENTS:
        raise LandmarkInvalid(reason=f"extent: use one of {', '.join(EXTENTS)}")
    return extent


def check_language(language: str) -> str:
    """Raises:
    LandmarkInvalid: it is no language tag.
    """
    if not re.fullmatch(LANGUAGE_PATTERN, language):
        raise LandmarkInvalid(reason=f"language: {language[:40]!r} is no language tag, like de or zh-Hant")
    return language


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
