"""The little HTTP the runner itself speaks: is a child ready, and give the sandbox its account."""

import asyncio
import http.client
import json
from urllib.parse import urlsplit


async def call(method: str, url: str, body: object = None, seconds: float = 5.0) -> tuple[int, str]:
    """Send one request with an optional JSON body; status and text of the answer. OSError when nobody answers."""
    return await asyncio.to_thread(_call, method, url, body, seconds)


def _call(method: str, url: str, body: object, seconds: float) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=seconds)
    try:
        payload = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, parts.path or "/", payload, headers)
        response = connection.getresponse()
        return response.status, response.read(65536).decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error
    finally:
        connection.close()


async def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        status, _ = await call("GET", url, seconds=2.0)
    except OSError:
        return False
    return status < 300
