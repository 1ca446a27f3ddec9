"""Weir's own API, for the commands that use it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec

from weir.reach import NotReachable, connections, home

DEFAULT_URL = "http://localhost:8000"


class Refused(Exception):
    """The API said no; the text says why and what to do, ``problem`` is all that it said."""

    def __init__(self, detail: str, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.problem = problem or {}


def local_url() -> str:
    try:
        return connections().get("address") or DEFAULT_URL
    except NotReachable:
        return DEFAULT_URL


def token() -> str:
    if token := os.environ.get("WEIR_TOKEN") or os.environ.get("WEIR_ADMIN_TOKEN"):
        return token
    path = home() / "admin-token"
    try:
        return path.read_text().strip()
    except OSError as error:
        raise Refused(
            f"no token: {path} cannot be read ({error.strerror}); set WEIR_TOKEN or WEIR_ADMIN_TOKEN"
        ) from None


def _sent(body: object) -> dict[str, Any]:
    """Bytes go as they are, anything else as JSON."""
    return {"data": body} if isinstance(body, bytes) else {"json": body}


class Client:
    """The API under a path. Every call raises ``Refused`` when it is not done.

    Without an address: the Weir that `weir up` runs here. The token is WEIR_TOKEN, WEIR_ADMIN_TOKEN or that Weir's.
    """

    def __init__(self, url: str, under: str) -> None:
        self._url = url or local_url()
        self._under = under
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        self._session = aiohttp.ClientSession(
            timeout=timeout, headers={"Authorization": f"Bearer {token()}"}, read_bufsize=1024 * 1024
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None) -> Any:
        """One call; its answer."""
        return msgspec.json.decode(await self._call(method, path, query, body))

    async def send(self, method: str, path: str) -> None:
        """One call that answers nothing."""
        await self._call(method, path, None, None)

    async def save(self, path: str, query: Mapping[str, str], target: Path) -> None:
        """Write an answer into a file that only its owner may read."""
        answer = await self._call("GET", path, query, None)
        try:
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as sink:
                sink.write(answer)
        except OSError as error:
            raise Refused(f"cannot write {target}: {error.strerror}") from None

    async def lines(self, method: str, path: str, body: object, each_line: Callable[[Any], None]) -> None:
        """One call whose answer comes line by line."""
        await self._call(method, path, None, body, each_line)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        each_line: Callable[[Any], None] | None = None,
    ) -> bytes:
        address = f"{self._url.rstrip('/')}{self._under}{quote(path)}"
        try:
            async with self._session.request(method, address, params=query, **_sent(body)) as response:
                if each_line is None or response.status >= 300:
                    answer = await response.read()
                else:
                    answer = b""
                    async for line in response.content:
                        each_line(msgspec.json.decode(line))
                status = response.status
        except aiohttp.InvalidURL:
            raise Refused(f"--url: {self._url!r} is no address; try {DEFAULT_URL}") from None
        except (aiohttp.ClientError, TimeoutError):
            raise Refused(f"Weir does not answer at {self._url}: start it with `weir up`, or give --url") from None
        if status == 401:
            raise Refused("the token is not known: set WEIR_TOKEN or WEIR_ADMIN_TOKEN to one that is")
        if status >= 300:
            try:
                problem = msgspec.json.decode(answer, type=dict[str, Any])
                detail = str(problem["detail"])
            except (msgspec.DecodeError, KeyError):
                raise Refused(f"the answer was {status}; is this the address of Weir?") from None
            raise Refused(detail, problem)
        return answer
