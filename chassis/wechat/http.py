"""HTTP calls to WeChat: the only aiohttp client of the project.

A call never raises for what the network or the other side does. It returns an ``Answer`` that tells three things apart,
because a message to a follower has no way to be taken back or asked after: the request never left, an answer came, or
nobody knows.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import msgspec

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_JSON: Final = "application/json; charset=utf-8"


class Reach(enum.StrEnum):
    """How far a call got."""

    NOT_SENT = "not_sent"
    """No byte of the request left: it is safe to call again."""
    UNSURE = "unsure"
    """The request may have arrived, and no whole answer came back."""
    ANSWERED = "answered"


class Answer(msgspec.Struct, frozen=True):
    """What came of one call. ``trouble`` is one fixed word, empty when answered; it never quotes the URL."""

    reach: Reach
    status: int = 0
    body: bytes = b""
    trouble: str = ""
    seconds: float = 0.0


class Part(msgspec.Struct, frozen=True):
    """One field of a multipart form; ``filename`` makes it a file."""

    name: str
    content: bytes | str
    filename: str | None = None
    content_type: str | None = None


class HttpClient:
    """A pool of connections with time-outs. Make one for each process, inside the running loop, and close it.

    ``connect_seconds`` covers waiting for a free connection, DNS, TCP and TLS; ``total_seconds`` covers the whole call.
    """

    def __init__(
        self,
        *,
        connect_seconds: float = 3.0,
        total_seconds: float = 10.0,
        connections: int = 100,
        proxy: str | None = None,
    ) -> None:
        trace = aiohttp.TraceConfig()
        # aiohttp calls this just before the first byte is written: until then the request has certainly not left.
        trace.on_request_headers_sent.append(_mark_left)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=total_seconds, connect=connect_seconds),
            # Idle connections are given up early: a request written to one that WeChat has just closed is of unknown
            # outcome, and each of those costs a message.
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=10.0, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace],
            proxy=proxy,
        )

    async def close(self) -> None:
        """Close every connection; calls still under way end as unsure."""
        await self._session.close()

    async def call(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        form: Sequence[Part] | None = None,
    ) -> Answer:
        """Make one call. ``body`` is JSON; ``form`` is a multipart form instead. Redirects are not followed."""
        progress = SimpleNamespace(left=False)
        begun = time.monotonic()

        def missed(trouble: str) -> Answer:
            reach = Reach.UNSURE if progress.left else Reach.NOT_SENT
            return Answer(reach, trouble=trouble, seconds=time.monotonic() - begun)

        try:
            async with self._session.request(
                method,
                url,
                params=params,
                data=body if form is None else _multipart(form),
                headers={"Content-Type": _JSON} if body is not None else None,
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as response:
                content = await _read(response)
        except TimeoutError:
            return missed("timeout" if progress.left else "connect timeout")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return missed(_word(error))
        if content is None:
            return missed("answer too large")
        return Answer(Reach.ANSWERED, response.status, content, seconds=time.monotonic() - begun)


async def _mark_left(_session: object, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.left = True


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _multipart(parts: Sequence[Part]) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    for part in parts:
        form.add_field(part.name, part.content, filename=part.filename, content_type=part.content_type)
    return form


_WORDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "name not found"),
    (aiohttp.ClientSSLError, "TLS failed"),
    (aiohttp.ClientProxyConnectionError, "proxy refused"),
    (aiohttp.ClientHttpProxyError, "proxy refused"),
    (aiohttp.ClientConnectorError, "connection refused"),
    (aiohttp.ServerDisconnectedError, "connection cut"),
    (aiohttp.ClientPayloadError, "answer cut"),
    (aiohttp.ClientResponseError, "answer malformed"),
    (aiohttp.InvalidURL, "address malformed"),
    (aiohttp.ClientOSError, "connection cut"),
)


def _word(error: Exception) -> str:
    """Name an error without quoting it: aiohttp's texts can hold the URL, and the URL holds the token."""
    return next((word for kind, word in _WORDS if isinstance(error, kind)), "call failed")


def encode(document: Any) -> bytes:
    """Return a document as the JSON that WeChat accepts: UTF-8 as it is, because escapes are refused (40033)."""
    return msgspec.json.encode(document)
