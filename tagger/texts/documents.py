"""JSON documents of commands and the API: dataclasses whose fields are the keys.

Commands and the API write documents unchanged; the API's OpenAPI document is generated from the dataclasses.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Document = TypeVar("Document", bound="DataclassInstance")


def document_of(kind: type[Document], source: object, /, **values: Any) -> Document:
    """A document of this kind: fields from `values`, and all others from attributes of `source`."""
    missing = (name for name in _names(kind) if name not in values)
    return kind(**{name: getattr(source, name) for name in missing}, **values)


@cache
def _names(kind: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.init)


def json_bytes(document: object, indent: int | None = None) -> bytes:
    """The document as JSON. Letters stay; invisible characters are escaped, as terminals obey some."""
    text = json.dumps(document, indent=indent, default=json_default, ensure_ascii=False)
    if not text.replace("\n", "").isprintable():
        text = "".join(
            each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text
        )
    return text.encode()


def json_default(value: object) -> object:
    """A value without a JSON type: dataclasses as objects, others as text; for `json.dumps(default=…)`."""
    if isinstance(value, datetime):
        return value.isoformat()
    return vars(value) if is_dataclass(value) else str(value)
