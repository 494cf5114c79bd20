"""Download one large file over HTTP: continue an interrupted download, and retry failures of the network.

Received bytes are in FILE.partial. FILE.partial.json identifies the content on the server, so that a file that changed there is
downloaded from the start.
"""

import http.client
import json
import logging
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
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


def download(
    url: str,
    file: Path,
    *,
    check_space: Callable[[int], None] = lambda _bytes: None,
    waits_s: tuple[float, ...] = WAITS_S,
) -> None:
    """Download `url` to `file`, continuing an earlier attempt.

    `check_space` is called with the number of bytes that remain.

    Raises:
        DownloadFailed: there is no such file, or the network or the server failed repeatedly.
        OutputUnwritable, or what `check_space` raises.
    """
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadFailed(url=url, reason="it is not an http or https URL", remedy=_OTHER_URL)
    partial = _PartialFile(url, file)
    failures = 0
    while True:
        size_before = partial.size
        try:
            partial.receive(check_space)
        except (OSError, http.client.HTTPException) as error:
            reason = _transient_reason(url, error)
            failures = 0 if partial.size > size_before else failures + 1
            if failures > len(waits_s):
                raise DownloadFailed(url=url, reason=reason, remedy=_RESUMABLE) from error
            log.info("%s; retrying", reason)
            time.sleep(waits_s[max(failures - 1, 0)] if waits_s else 0)
        else:
            partial.complete()
            return


class _PartialFile:
    """A partially downloaded file."""

    def __init__(self, url: str, file: Path) -> None:
        self._url = url
        self._file = file
        self._partial = file.with_name(file.name + ".partial")
        self._note = file.with_name(file.name + ".partial.json")

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self._partial.stat().st_size if self._partial.exists() else 0

    def receive(self, check_space: Callable[[int], None]) -> None:
        """Send one request and receive its response, up to the end of the file."""
        request = urllib.request.Request(self._url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - http only
        offset, validator = self.size, self._validator()
        if offset and validator:
            request.add_header("Range", f"bytes={offset}-")
            request.add_header("If-Range", validator)
        try:
            response = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # it has another size now
                self._note.unlink(missing_ok=True)
            raise
        with response:
            if response.status != http.client.PARTIAL_CONTENT:
                offset = 0
            length = int(response.headers.get("Content-Length") or 0)
            check_space(length)
            with writing_to(self._file):
                self._note.write_text(json.dumps([self._url, _validator_of(response)]), encoding="utf-8")
            self._append(response, offset, length)

    def complete(self) -> None:
        """Give the file its name."""
        with writing_to(self._file):
            self._partial.replace(self._file)
            self._note.unlink(missing_ok=True)

    def _append(self, response: http.client.HTTPResponse, offset: int, length: int) -> None:
        total = offset + length if length else None
        with writing_to(self._file):
            out = self._partial.open("ab" if offset else "wb")
        with out, byte_progress("downloading", total, offset) as advance:
            while part := response.read(PART_BYTES):
                with writing_to(self._file):
                    out.write(part)
                advance(len(part))
        if total is not None and self.size < total:
            raise ConnectionError(f"the connection ended after {self.size} of {total} bytes")

    def _validator(self) -> str | None:
        """What identified the content of an earlier attempt, if the server can send the rest of it."""
        try:
            url, validator = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return None
        return validator if url == self._url else None


def _validator_of(response: http.client.HTTPResponse) -> str | None:
    """The header that identifies the content of the file. A weak ETag does not identify its bytes."""
    tag: str | None = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _transient_reason(url: str, error: Exception) -> str:
    """Why the request failed.

    Raises:
        DownloadFailed: a retry cannot help.
    """
    if isinstance(error, urllib.error.HTTPError):
        status = f"the server returned {error.code} {error.reason}".strip()
        error.close()
        if error.code not in {*_TRANSIENT, http.client.REQUESTED_RANGE_NOT_SATISFIABLE}:
            raise DownloadFailed(url=url, reason=status, remedy=_OTHER_URL) from error
        return status
    inner = getattr(error, "reason", None)
    cause = inner if isinstance(inner, Exception) else error
    return f"the connection failed ({getattr(cause, 'strerror', None) or str(cause) or type(cause).__name__})"
