"""Taking in a callback's body: bounded in size and time."""

from __future__ import annotations

import asyncio

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from services.gateway.refusal import Refused

MAX_BODY = 64 * 1024
BODY_SECONDS = 2.0


async def read_body(request: web.BaseRequest) -> bytes:
    """The body: at most 64 KiB, uncompressed, within 2 s. Raises ``Refused``."""
    if "Content-Encoding" in request.headers:
        raise Refused(415, "encoding", "a callback is not compressed")
    if (request.content_length or 0) > MAX_BODY:
        raise Refused(413, "too_large", f"a callback has at most {MAX_BODY} bytes")
    content = request.content
    chunks: list[bytes] = []
    size = 0
    try:
        if content.is_eof():  # it came with the headers, as nearly all do
            return content.read_nowait(-1)
        async with asyncio.timeout(BODY_SECONDS):
            while chunk := await content.readany():
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY:
                    raise Refused(413, "too_large", f"a callback has at most {MAX_BODY} bytes")
    except TimeoutError:
        raise Refused(408, "slow_body", f"the body did not come within {BODY_SECONDS:.0f} s") from None
    except (HttpProcessingError, ClientError, ConnectionError, web.RequestPayloadError):
        raise Refused(400, "body", "the body broke off, or is not framed as its headers say") from None
    return b"".join(chunks)
