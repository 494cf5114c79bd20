"""One large file over HTTP: resumed where it stopped, tried again when the network fails, checked for its size.

What has come so far lies in FILE.partial, and FILE.partial.json says of which file it is the beginning: a file that
has changed on the server since is fetched anew. Knows nothing of what is in the file.
"""

import http.client
import json
import logging
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.errors import DownloadFailed, writing_to
from trainer.progress import byte_progress

log = logging.getLogger("trainer")

TIMEOUT_S = 30.0
PART_BYTES = 1 << 18
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""How long is waited before each further attempt; bytes that come begin it anew."""
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_KEPT = "What has come is kept: run the same command again to go on."
_ELSEWHERE = "Check the address, or name another one with --url."


@dataclass(frozen=True)
class Source:
    """Which file it is: its address, how the server knows its content, and its size, where that is said."""

    url: str
    validator: str | None
    size_bytes: int | None


def download(
    url: str,
    file: Path,
    *,
    check_room: Callable[[int], None] = lambda _bytes: None,
    waits_s: tuple[float, ...] = WAITS_S,
) -> Source:
    """Fetch `url` into `file`, going on where an earlier attempt stopped.

    `check_room` is called with the bytes still to come, before they do.

    Raises:
        DownloadFailed: it is not there, or the network or the server failed again and again.
        OutputUnwritable, or what `check_room` raises.
    """
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadFailed(url=url, reason="it is no http or https address", remedy=_ELSEWHERE)
    fetching = _Fetching(url, file, check_room)
    failures = 0
    while True:
        before = fetching.size
        try:
            source = fetching.go_on()
        except _Passing as failed:
            failures = 0 if fetching.size > before else failures + 1
            if failures > len(waits_s):
                raise DownloadFailed(url=url, reason=str(failed), remedy=_KEPT) from failed
            log.info("%s; trying again", failed)
            time.sleep(waits_s[max(failures - 1, 0)] if waits_s else 0)
        else:
            return source


class _Passing(Exception):
    """A failure that may be gone the next time."""


class _Fetching:
    """The file as far as it has come."""

    def __init__(self, url: str, file: Path, check_room: Callable[[int], None]) -> None:
        self._url = url
        self._file = file
        self._partial = file.with_name(file.name + ".partial")
        self._note = file.with_name(file.name + ".partial.json")
        self._check_room = check_room

    @property
    def size(self) -> int:
        return self._partial.stat().st_size if self._partial.exists() else 0

    def go_on(self) -> Source:
        """One request and its answer, to the end of the file."""
        known = self._known()
        begun = self.size if known else 0
        try:
            with self._open(known, begun) as response:
                source, begun = self._source_of(response, known, begun)
                if source.size_bytes is not None:
                    self._check_room(source.size_bytes - begun)
                self._receive(response, source, begun)
        except urllib.error.HTTPError as error:
            with error:
                return self._refused(error, known, begun)
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(f"the connection failed ({_reason(error)})") from error
        return self._finish(source)

    def _known(self) -> Source | None:
        """The file that the partial one is the beginning of, if the server can be asked for the rest of the same."""
        try:
            known = Source(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return known if known.url == self._url and known.validator and self.size else None

    def _open(self, known: Source | None, begun: int) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - http only
        if known and known.validator:
            request.add_header("Range", f"bytes={begun}-")
            request.add_header("If-Range", known.validator)
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
        return response

    def _source_of(
        self, response: http.client.HTTPResponse, known: Source | None, begun: int
    ) -> tuple[Source, int]:
        """What is coming, and after how many bytes that are here it goes on."""
        length = _number(response.headers.get("Content-Length"))
        if response.status == http.client.PARTIAL_CONTENT and known:
            first, total = _range_of(response.headers.get("Content-Range"))
            unchanged = _validator(response) in {None, known.validator}
            if unchanged and first == begun and total == (known.size_bytes or total):
                return known, begun
            self._forget()
            raise _Passing("the server sent another part of the file than was asked for")
        if begun:
            log.info("the file has changed on the server, or cannot be resumed there; it is fetched anew")
        return Source(self._url, _validator(response), length), 0

    def _receive(self, response: http.client.HTTPResponse, source: Source, begun: int) -> None:
        with writing_to(self._file):
            self._note.write_text(json.dumps(asdict(source)), encoding="utf-8")
            out = self._partial.open("ab" if begun else "wb")
        with out, byte_progress("fetching", source.size_bytes, begun) as advance:
            while part := response.read(PART_BYTES):
                with writing_to(self._file):
                    out.write(part)
                advance(len(part))

    def _finish(self, source: Source) -> Source:
        if source.size_bytes is not None and self.size < source.size_bytes:
            raise _Passing(f"the connection ended after {self.size} of {source.size_bytes} bytes")
        if source.size_bytes is not None and self.size > source.size_bytes:
            self._forget()
            raise _Passing("more came than the server had announced")
        with writing_to(self._file):
            self._partial.replace(self._file)
            self._note.unlink(missing_ok=True)
        return source

    def _refused(self, error: urllib.error.HTTPError, known: Source | None, begun: int) -> Source:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and known:
            _, total = _range_of(error.headers.get("Content-Range"))
            if total == begun == known.size_bytes:
                return self._finish(known)
            self._forget()
            raise _Passing("the file on the server is not the one that was begun; it is fetched anew")
        said = f"the server said {error.code} {error.reason}".strip()
        if error.code in _PASSING:
            raise _Passing(said) from error
        raise DownloadFailed(url=self._url, reason=said, remedy=_ELSEWHERE) from error

    def _forget(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _validator(response: http.client.HTTPResponse) -> str | None:
    """What tells the server whether its file is still the same; a weak ETag does not say so byte for byte."""
    tag: str | None = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _range_of(header: str | None) -> tuple[int | None, int | None]:
    """The first byte and the whole size that a Content-Range names."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", header or "")
    return (_number(found[1]), _number(found[2])) if found else (None, None)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None)
    cause = inner if isinstance(inner, Exception) else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
