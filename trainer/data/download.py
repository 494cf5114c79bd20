"""Download one large file over HTTP: resume interrupted downloads, retry network failures, and check the size.

Received bytes are in FILE.partial; FILE.partial.json identifies the remote file, so that a file that changed on the server is
downloaded from the start.
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

TIMEOUT_S = 30.0
PART_BYTES = 1 << 18
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""The wait before each retry. Received bytes reset the number of retries."""
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_RESUMABLE = "Received data is kept; to continue, run the same command again."
_OTHER_URL = "Check the URL, or name another one with --url."

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server: its URL, the server's validator of its content, and its size, if known."""

    url: str
    validator: str | None
    size_bytes: int | None


def download(
    url: str,
    file: Path,
    *,
    check_space: Callable[[int], None] = lambda _bytes: None,
    waits_s: tuple[float, ...] = WAITS_S,
) -> RemoteFile:
    """Download `url` to `file`, continuing an earlier attempt.

    `check_space` is called with the number of bytes that remain.

    Raises:
        DownloadFailed: there is no such file, or the network or the server failed repeatedly.
        OutputUnwritable, or what `check_space` raises.
    """
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadFailed(url=url, reason="it is not an http or https URL", remedy=_OTHER_URL)
    attempt = _Download(url, file, check_space)
    failures = 0
    while True:
        size_before = attempt.size
        try:
            remote = attempt.run()
        except _TransientFailure as error:
            failures = 0 if attempt.size > size_before else failures + 1
            if failures > len(waits_s):
                raise DownloadFailed(url=url, reason=str(error), remedy=_RESUMABLE) from error
            log.info("%s; retrying", error)
            time.sleep(waits_s[max(failures - 1, 0)] if waits_s else 0)
        else:
            return remote


class _TransientFailure(Exception):
    """A failure that a retry may resolve."""


class _Download:
    """A partially downloaded file."""

    def __init__(self, url: str, file: Path, check_space: Callable[[int], None]) -> None:
        self._url = url
        self._file = file
        self._partial = file.with_name(file.name + ".partial")
        self._note = file.with_name(file.name + ".partial.json")
        self._check_space = check_space

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self._partial.stat().st_size if self._partial.exists() else 0

    def run(self) -> RemoteFile:
        """Send one request and receive its response, up to the end of the file."""
        previous = self._previous()
        offset = self.size if previous else 0
        try:
            with self._open(previous, offset) as response:
                remote, offset = self._remote_file(response, previous, offset)
                if remote.size_bytes is not None:
                    self._check_space(remote.size_bytes - offset)
                self._receive(response, remote, offset)
        except urllib.error.HTTPError as error:
            with error:
                return self._handle_status(error, previous, offset)
        except (OSError, http.client.HTTPException) as error:
            raise _TransientFailure(f"the connection failed ({_reason(error)})") from error
        return self._finish(remote)

    def _previous(self) -> RemoteFile | None:
        """The remote file of an earlier attempt, if the server can send the rest of it."""
        try:
            previous = RemoteFile(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return previous if previous.url == self._url and previous.validator and self.size else None

    def _open(self, previous: RemoteFile | None, offset: int) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - http only
        if previous and previous.validator:
            request.add_header("Range", f"bytes={offset}-")
            request.add_header("If-Range", previous.validator)
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
        return response

    def _remote_file(
        self, response: http.client.HTTPResponse, previous: RemoteFile | None, offset: int
    ) -> tuple[RemoteFile, int]:
        """The file in the response, and the offset at which the response starts."""
        length = _number(response.headers.get("Content-Length"))
        if response.status == http.client.PARTIAL_CONTENT and previous:
            first, total = _parse_range(response.headers.get("Content-Range"))
            unchanged = _validator(response) in {None, previous.validator}
            if unchanged and first == offset and total == (previous.size_bytes or total):
                return previous, offset
            self._reset()
            raise _TransientFailure("the server sent another part of the file than requested")
        if offset:
            log.info("the file changed on the server or cannot be resumed; downloading it from the start")
        return RemoteFile(self._url, _validator(response), length), 0

    def _receive(self, response: http.client.HTTPResponse, remote: RemoteFile, offset: int) -> None:
        with writing_to(self._file):
            self._note.write_text(json.dumps(asdict(remote)), encoding="utf-8")
            out = self._partial.open("ab" if offset else "wb")
        with out, byte_progress("downloading", remote.size_bytes, offset) as advance:
            while part := response.read(PART_BYTES):
                with writing_to(self._file):
                    out.write(part)
                advance(len(part))

    def _finish(self, remote: RemoteFile) -> RemoteFile:
        if remote.size_bytes is not None and self.size < remote.size_bytes:
            raise _TransientFailure(f"the connection ended after {self.size} of {remote.size_bytes} bytes")
        if remote.size_bytes is not None and self.size > remote.size_bytes:
            self._reset()
            raise _TransientFailure("the server sent more bytes than announced")
        with writing_to(self._file):
            self._partial.replace(self._file)
            self._note.unlink(missing_ok=True)
        return remote

    def _handle_status(
        self, error: urllib.error.HTTPError, previous: RemoteFile | None, offset: int
    ) -> RemoteFile:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and previous:
            _, total = _parse_range(error.headers.get("Content-Range"))
            if total == offset == previous.size_bytes:
                return self._finish(previous)
            self._reset()
            raise _TransientFailure("the file changed on the server; downloading it from the start")
        status = f"the server returned {error.code} {error.reason}".strip()
        if error.code in _TRANSIENT:
            raise _TransientFailure(status) from error
        raise DownloadFailed(url=self._url, reason=status, remedy=_OTHER_URL) from error

    def _reset(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _validator(response: http.client.HTTPResponse) -> str | None:
    """The header that identifies the content of the file. A weak ETag does not identify its bytes."""
    tag: str | None = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _parse_range(header: str | None) -> tuple[int | None, int | None]:
    """The first byte and the total size in a Content-Range header."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", header or "")
    return (_number(match[1]), _number(match[2])) if match else (None, None)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None)
    cause = inner if isinstance(inner, Exception) else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
