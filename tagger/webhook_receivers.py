"""Receivers of webhooks as the settings name them: where they are, what signs their messages, and which events they get."""

import re
from base64 import b64decode
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tagger.events import Event

MAX_RECEIVERS = 16
"""Each has a thread in every worker."""
MIN_SECRET, MAX_SECRET = 24, 64
"""Bytes of a secret, as the specification of Standard Webhooks has it."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_URL = re.compile(r"https?://([^\s@/?#]+@)?([A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?(/[^\s#]*)?")


def is_receiver_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def _name(text: str) -> str:
    if not is_receiver_name(text):
        raise ValueError("names of receivers are like chat: 1 to 32 small letters, digits and hyphens")
    return text


def _url(url: str) -> str:
    if not _URL.fullmatch(url):
        raise ValueError("it must be like https://HOST/PATH")
    return url


def _secret(secret: str) -> str:
    try:
        size = len(b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        size = 0
    if not secret.startswith("whsec_") or not MIN_SECRET <= size <= MAX_SECRET:
        raise ValueError(
            "it must be whsec_ and 24 to 64 bytes in Base64: echo whsec_$(openssl rand -base64 32)"
        )
    return secret


ReceiverName = Annotated[str, AfterValidator(_name)]


class ReceiverSettings(BaseModel):
    """One receiver. Without `events`, it gets all."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_url)] = Field(repr=False)
    secret: Annotated[str, AfterValidator(_secret)] = Field(repr=False)
    events: Annotated[frozenset[Event], Field(min_length=1)] = frozenset(Event)
