"""A small S3 server for benchmarks: lists and serves the files of a folder, each answer after a delay.

Fast servers for tests are rare: moto takes several milliseconds of CPU time per request, more than reading a photo. This one
knows ListObjectsV2, GET and HEAD of one bucket, with ETags. It checks no signature and writes nothing.
"""

import asyncio
import json
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import md5
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Protocol
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

BUCKET = "bench"
PAGE = 1000
_DATE = "Mon, 05 Jan 2026 10:00:00 GMT"
_STAMP = "2026-01-05T10:00:00.000Z"


class Objects(Protocol):
    """What is in the bucket: keys in order, and the content of each."""

    def keys_after(self, key: str, count: int) -> Sequence[str]: ...
    def size_of(self, key: str) -> int: ...
    def content(self, key: str) -> bytes | None: ...


class Folder:
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._files = {file.name: file for file in folder.iterdir()}
        self._keys = sorted(self._files)

    def keys_after(self, key: str, count: int) -> Sequence[str]:
        first = bisect_right(self._keys, key)
        return self._keys[first : first + count]

    def size_of(self, key: str) -> int:
        return self._files[key].stat().st_size

    def content(self, key: str) -> bytes | None:
        file = self._files.get(key)
        return file.read_bytes() if file else None


class Numbered:
    """A number of objects with keys like `2019/000000042.jpg`, which can be listed and not read."""

    def __init__(self, count: int) -> None:
        self._count = count

    def keys_after(self, key: str, count: int) -> Sequence[str]:
        digits = key.rpartition("/")[2].partition(".")[0]
        first = int(digits) + 1 if digits.isdecimal() else 0
        return [
            f"{2000 + number // 50_000:04}/{number:09}.jpg"
            for number in range(first, min(first + count, self._count))
        ]

    def size_of(self, key: str) -> int:
        return 1000 + len(key)

    def content(self, key: str) -> bytes | None:  # noqa: ARG002 - the protocol's
        return None


@contextmanager
def serving(source: Path | int, delays_ms: Sequence[float]) -> Iterator[tuple[Mapping[float, str], int]]:
    """Run a server process over a folder, or over so many numbered keys; yields its endpoint for each delay, and its id."""
    command = [sys.executable, "-m", "bench.object_server", str(source), *map(str, delays_ms)]
    with Popen(command, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        try:
            yield (
                {
                    delay_ms: f"http://127.0.0.1:{port}"
                    for delay_ms, port in zip(delays_ms, ports, strict=True)
                },
                process.pid,
            )
        finally:
            process.kill()


def main() -> None:
    """Serve until killed. Prints the ports, one for each delay."""
    name, *delays_ms = sys.argv[1:]
    objects: Objects = Numbered(int(name)) if name.isdecimal() else Folder(Path(name))
    asyncio.run(_serve(objects, [float(delay_ms) / 1000 for delay_ms in delays_ms]))


async def _serve(objects: Objects, delays_s: Sequence[float]) -> None:
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(partial(_Connection, objects, delay_s), "127.0.0.1", 0)
        for delay_s in delays_s
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


class _Connection(asyncio.Protocol):
    """One connection, which is kept open. Its requests have no body and follow each other."""

    def __init__(self, objects: Objects, delay_s: float) -> None:
        self._objects = objects
        self._delay_s = delay_s
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
            self._after_delay(partial(self._answer, method, target))

    def _after_delay(self, answer: Callable[[], None]) -> None:
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, answer)
        else:
            answer()

    def _answer(self, method: str, target: str) -> None:
        path, _, query = target.partition("?")
        parameters = dict(parse_qsl(query))
        body, headers = (
            (_listing(self._objects, parameters), "Content-Type: application/xml\r\n")
            if "list-type" in parameters
            else self._object(unquote(path).removeprefix(f"/{BUCKET}/"))
        )
        status = "404 Not Found" if body is None else "200 OK"
        content = body or b""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{headers}\r\n".encode()
        self._transport.write(head)
        if method != "HEAD":
            self._transport.write(content)

    def _object(self, key: str) -> tuple[bytes | None, str]:
        return self._objects.content(key), f"Last-Modified: {_DATE}\r\nETag: {_etag(key)}\r\n"


def _listing(objects: Objects, parameters: Mapping[str, str]) -> bytes:
    """The answer to ListObjectsV2 without a delimiter. The last key of a page is the token of the next."""
    prefix = parameters.get("prefix", "")
    after = parameters.get("continuation-token") or parameters.get("start-after", "")
    count = min(PAGE, int(parameters.get("max-keys", PAGE)))
    is_url = parameters.get("encoding-type") == "url"
    found = objects.keys_after(max(after, prefix[:-1]), count + 1)
    keys = [key for key in found[:count] if key.startswith(prefix)]
    is_truncated = len(found) > count and len(keys) == count
    entries = "".join(
        f"<Contents><Key>{quote(key) if is_url else escape(key)}</Key><LastModified>{_STAMP}</LastModified>"
        f"<ETag>{escape(_etag(key))}</ETag><Size>{objects.size_of(key)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key in keys
    )
    token = (
        f"<NextContinuationToken>{escape(keys[-1])}</NextContinuationToken>" if keys and is_truncated else ""
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix>'
        f"<KeyCount>{len(keys)}</KeyCount><MaxKeys>{count}</MaxKeys><IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
        f"{'<EncodingType>url</EncodingType>' if is_url else ''}{token}{entries}</ListBucketResult>"
    ).encode()


def _etag(key: str) -> str:
    return f'"{md5(key.encode(), usedforsecurity=False).hexdigest()}"'


if __name__ == "__main__":
    main()
