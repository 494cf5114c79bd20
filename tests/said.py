"""What a command left behind that a test typed in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from json import loads
from typing import Any


@dataclass(frozen=True)
class Said:
    """Its exit code, stdout as bytes, stderr as text."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        return loads(self.out)


Typed = Callable[..., Said]
