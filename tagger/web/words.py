"""Words that people send: the name of a landmark, a model or a schedule, and whose word it is."""

import unicodedata

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def _one_line(words: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in words):
        raise PydanticCustomError("control_character", "should hold no line break or other control character")
    return words


ONE_LINE = AfterValidator(_one_line)
"""In an `Annotated`, after what else is asked of the text. No database need keep what nobody can type into an address."""
