"""The platform as the tests use it: the sandbox's control API, Weir's own API, and callbacks made by hand."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from running import RunningWeir, metric

from sandbox.crypto import sign

T = TypeVar("T")


async def until(
    look: Callable[[], Awaitable[T]], good: Callable[[T], bool], seconds: float = 20.0, every: float = 0.1
) -> T:
    """Look again and again until what is seen is good; it fails with what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        seen = await look()
        if good(seen):
            return seen
        assert time.monotonic() < deadline, f"not so within {seconds} s; the last thing seen: {seen!r}"[:4000]
        await asyncio.sleep(every)


@dataclass
class Answer:
    """An HTTP answer, read."""

    status: int
    body: bytes
    seconds: float


@dataclass(frozen=True, repr=False)
class Client:
    """Everything that is asked over HTTP. The sandbox is reached past the gateway, which may be dead just now."""

    weir: RunningWeir
    http: aiohttp.ClientSession
    sandbox: str

    async def ask(self, method: str, url: str, **given: Any) -> Answer:
        """One request; the bodies of errors are kept for the test of what leaks."""
        started = time.monotonic()
        async with self.http.request(method, url, **given) as response:
            body = await response.read()
            if response.status >= 400:
                self.weir.error_bodies.append(body.decode(errors="replace"))
            return Answer(response.status, body, time.monotonic() - started)

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """A request to the sandbox's control API; what it answers."""
        async with self.http.request(method, f"{self.sandbox}/sandbox/{path}", json=body) as response:
            assert response.status < 300, f"{method} {path}: {response.status} {await response.text()}"
            return await response.json()

    async def follower(self, account: str = "demo", **given: Any) -> str:
        openid: str = (await self.control("POST", f"accounts/{account}/followers", given))["openid"]
        self.weir.openids.add(openid)
        return openid

    async def followers(self, account: str, count: int) -> list[str]:
        openids: list[str] = (await self.control("POST", f"accounts/{account}/followers", {"count": count}))["openids"]
        self.weir.openids.update(openids)
        return openids

    async def act(self, openid: str, **message: Any) -> dict[str, Any]:
        """The follower acts; how the callback ended."""
        done: dict[str, Any] = await self.control("POST", f"followers/{openid}/messages", message)
        return done

    async def say(self, openid: str, text: str) -> dict[str, Any]:
        return await self.act(openid, type="text", content=text)

    async def click(self, openid: str, key: str) -> dict[str, Any]:
        return await self.act(openid, type="event", event="CLICK", key=key)

    async def inbox(self, openid: str) -> list[dict[str, Any]]:
        """What the follower's phone shows, oldest first, the follower's own words left out."""
        shown: list[dict[str, Any]] = (await self.control("GET", f"followers/{openid}/inbox"))["messages"]
        return shown

    async def shown(self, openid: str, count: int, seconds: float = 20.0) -> list[dict[str, Any]]:
        """The inbox, as soon as it holds so many entries."""
        return await until(lambda: self.inbox(openid), lambda inbox: len(inbox) >= count, seconds)

    async def api(self, path: str, **query: str) -> Any:
        """What Weir's own API answers."""
        headers = {"Authorization": f"Bearer {self.weir.admin_token}"}
        async with self.http.get(f"{self.weir.address}/api/{path}", params=query, headers=headers) as response:
            assert response.status == 200, f"/api/{path}: {response.status} {await response.text()}"
            return await response.json()

    async def messages(self, openid: str, **query: str) -> list[dict[str, Any]]:
        """The stored messages from and to a follower, newest first."""
        found: list[dict[str, Any]] = (await self.api("messages", openid=openid, **query))["messages"]
        return found

    async def stored(self, openid: str, count: int, seconds: float = 20.0) -> list[dict[str, Any]]:
        """The stored messages, as soon as there are so many."""
        return await until(lambda: self.messages(openid), lambda found: len(found) >= count, seconds)

    async def metrics(self, process: str = "edge") -> str:
        return (await self.ask("GET", f"{self.weir.url(process)}/metrics")).body.decode()

    async def counted(self, name: str, process: str = "edge", **labels: str) -> float:
        return metric(await self.metrics(process), name, **labels)

    async def push(self, account: str, query: Mapping[str, str], body: bytes) -> Answer:
        """A callback by hand."""
        return await self.ask("POST", f"{self.weir.address}/wechat/{account}", params=query, data=body)


def signed(token: str, *, timestamp: int | None = None, nonce: str = "1320562132", **more: str) -> dict[str, str]:
    """The query of a callback in plain mode."""
    stamp = str(int(time.time()) if timestamp is None else timestamp)
    return {"signature": sign(token, stamp, nonce), "timestamp": stamp, "nonce": nonce, **more}


def text_xml(openid: str, text: str, msgid: int, created: int | None = None) -> bytes:
    """A text message as the platform writes it."""
    return (
        f"<xml><ToUserName><![CDATA[gh_plain0000000]]></ToUserName><FromUserName><![CDATA[{openid}]]></FromUserName>"
        f"<CreateTime>{int(time.time()) if created is None else created}</CreateTime><MsgType><![CDATA[text]]></MsgType>"
        f"<Content><![CDATA[{text}]]></Content><MsgId>{msgid}</MsgId></xml>"
    ).encode()
