"""Language tags, and the choice of a name by language."""

from collections.abc import Mapping

LANGUAGE_PATTERN = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"
"""A language tag, like `de` or `zh-Hant` (BCP 47)."""


def name_in_language(name: str, names: Mapping[str, str], language: str | None) -> str:
    """The name in a language: for `de-AT` that of `de-AT`, else of `de`, else `name`."""
    while language:
        if language in names:
            return names[language]
        language = language.rpartition("-")[0]
    return name
