"""Download one large file over HTTP."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from trainer.errors import DownloadFailed, writing_to
from trainer.progress import byte_progress

TIMEOUT_S = 30.0
PART_BYTES = 1 << 18
_AGAIN = "Run the same command again."
_OTHER_URL = "Check the URL, or name another one with --url."


def download(url: str, file: Path, *, check_space: Callable[[int], None] = lambda _bytes: None) -> None:
    """Download `url` to `file`. What is received until then is in FILE.partial, which a failure removes.

    `check_space` is called with the number of bytes before anything is written.

    Raises:
        DownloadFailed: there is no such file, or the network or the server failed.
        OutputUnwritable, or what `check_space` raises.
    """
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadFailed(url=url, reason="it is not an http or https URL", remedy=_OTHER_URL)
    partial = file.with_name(file.name + ".partial")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310 - http only
            total = int(response.headers.get("Content-Length") or 0)
            check_space(total)
            _receive(response, partial, total)
        with writing_to(file):
            partial.replace(file)
    except urllib.error.HTTPError as error:
        status = f"the server returned {error.code} {error.reason}".strip()
        error.close()
        is_transient = error.code in {408, 425, 429} or error.code >= 500
        raise DownloadFailed(url=url, reason=status, remedy=_AGAIN if is_transient else _OTHER_URL) from error
    except (OSError, http.client.HTTPException) as error:
        inner = getattr(error, "reason", None)
        cause = inner if isinstance(inner, Exception) else error
        text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise DownloadFailed(url=url, reason=f"the connection failed ({text})", remedy=_AGAIN) from error
    finally:
        partial.unlink(missing_ok=True)


def _receive(response: http.client.HTTPResponse, partial: Path, total: int) -> None:
    size = 0
    with writing_to(partial):
        out = partial.open("wb")
    with out, byte_progress("downloading", total or None) as advance:
        while part := response.read(PART_BYTES):
            with writing_to(partial):
                out.write(part)
            size += len(part)
            advance(len(part))
    if size < total:
        raise ConnectionError(f"the connection ended after {size} of {total} bytes")
