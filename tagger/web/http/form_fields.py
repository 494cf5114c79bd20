"""Fields of forms: texts of one line, and numbers of photos."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError


def _check_one_line(text: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise PydanticCustomError("control_character", "should hold no line break or other control character")
    return text


ONE_LINE = AfterValidator(_check_one_line)
"""For `Annotated`, after the field's other constraints."""


def _split(values: object) -> object:
    texts = values if isinstance(values, list) else [values]
    return [part for text in texts for part in (text.split(",") if isinstance(text, str) else [text])]


MOST_PHOTOS = 10_000
PhotoNumbers = Annotated[
    list[Annotated[int, Field(ge=1, lt=2**63)]],
    Field(min_length=1, max_length=MOST_PHOTOS),
    BeforeValidator(_split),
]
"""Photos of a form: numbers with commas between them, since the number of a form's fields is limited."""
