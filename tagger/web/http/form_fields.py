"""Validation of text fields: names of landmarks, models, schedules and people."""

import unicodedata

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def _check_one_line(text: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise PydanticCustomError("control_character", "should hold no line break or other control character")
    return text


ONE_LINE = AfterValidator(_check_one_line)
"""For `Annotated`, after the field's other constraints."""
