"""A TLS proxy in front of a server whose build has no TLS, with certificates of an authority that only tests trust."""

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import trustme

_TLS_REQUEST_BYTES = 8
"""PostgreSQL's clients ask for TLS before they start it. Redis' start it at once."""


T = TypeVar("T")


class TlsProxy:
    """Accepts TLS on `port` of "localhost", and forwards what it decrypts to a TCP port or a Unix socket of PostgreSQL.

    The certificate that clients have to trust is written to `authority`.
    """

    def __init__(self, server: int | Path, authority: Path) -> None:
        self._server = server
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(authority))
        self.authority = authority
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert("localhost").configure_cert(self._context)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._streams: list[asyncio.StreamWriter] = []
        self._connections: list[asyncio.Task[None]] = []
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._listener = self._run(asyncio.start_server(self._accept, "127.0.0.1"))
        self.port = int(self._listener.sockets[0].getsockname()[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _close(self) -> None:
        self._listener.close()
        for stream in self._streams:
            stream.close()
        await asyncio.gather(*self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.append(writer)
        self._connections.append(self._loop.create_task(self._forward_both_ways(reader, writer)))

    async def _forward_both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):  # refused certificates, and connections that end
            if isinstance(self._server, Path):
                await reader.readexactly(_TLS_REQUEST_BYTES)
                writer.write(b"S")
                await writer.drain()
            await writer.start_tls(self._context)
            from_server, to_server = await self._connect()
            self._streams.append(to_server)
            await asyncio.gather(_forward(reader, to_server), _forward(from_server, writer))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._server, Path):
            return await asyncio.open_unix_connection(self._server)
        return await asyncio.open_connection("127.0.0.1", self._server)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
