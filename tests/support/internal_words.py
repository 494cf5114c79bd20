"""Words for internals, and names of classes and libraries: no message to a user has them."""

import builtins
import inspect
import re

import trainer.errors
from tagger import errors

INTERNAL = re.compile(
    r"\b(chunks?|sweeps?|sweeper|pydantic|psycopg|sqlalchemy|kombu|traceback)\b", re.IGNORECASE
)
CLASSES = {
    name
    for module in (errors, trainer.errors, builtins)
    for name, each in inspect.getmembers(module, inspect.isclass)
    if issubclass(each, BaseException)
}


def internal_words(text: str) -> set[str]:
    return {*INTERNAL.findall(text), *(CLASSES & set(re.findall(r"\w+", text)))}
