"""The sandbox driven over HTTP, and a callback server of the tests' own."""

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox.world import World

BoxMaker = Callable[..., Any]  # starts a sandbox with the given settings

NOON = 1_750_132_800.0  # 2025-06-17 12:00 in Shanghai

CONFIG = {
    "appid": "wxba5fad812f8e6fb9",
    "secret": "0123456789abcdef0123456789abcdef",
    "original_id": "gh_97417a04a28d",
    "token": "AAAAA",
    "aes_key": "A" * 43,
}


class Received:
    """One callback as the test's server got it."""

    def __init__(self, request: web.Request, body: bytes, at: float) -> None:
        self.method = request.method
        self.query = dict(request.query)
        self.headers = dict(request.headers)
        self.body = body
        self.at = at
        self.port = request.transport.get_extra_info("peername")[1]

    @property
    def text(self) -> str:
        return self.body.decode()


class Shop:
    """The test's callback server. `answer` (a value, or a function of what was received) is what it says."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Any = b"success"
        self.server: TestServer | None = None
        self.changed = asyncio.Event()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/hook", self._handle)
        self.server = TestServer(app)
        await self.server.start_server()

    @property
    def url(self) -> str:
        return str(self.server.make_url("/hook"))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        got = Received(request, await request.read(), asyncio.get_running_loop().time())
        self.received.append(got)
        self.changed.set()
        answer = self.answer(got) if callable(self.answer) else self.answer
        if inspect.isawaitable(answer):
            answer = await answer
        if answer == "cut":
            request.transport.abort()
            return web.Response()
        return answer if isinstance(answer, web.StreamResponse) else web.Response(body=answer)

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.received) < count:
                self.changed.clear()
                await self.changed.wait()


class Box:
    """The sandbox, driven over HTTP as everybody else drives it."""

    def __init__(self, server: TestServer, http: aiohttp.ClientSession, world: World) -> None:
        self.server, self.http, self.world = server, http, world
        self.wall = NOON

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self.http.request(method, self.server.make_url(path), data=data, params=query) as response:
            return response.status, await response.json()

    async def ok(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        status, answer = await self.call(method, path, body, **query)
        assert status in {200, 201, 202}, (status, answer)
        return answer

    async def account(self, name: str = "demo", **settings: Any) -> dict[str, Any]:
        return await self.ok("PUT", f"/sandbox/accounts/{name}", {**CONFIG, **settings})

    async def follower(self, account: str = "demo", **body: Any) -> str:
        return (await self.ok("POST", f"/sandbox/accounts/{account}/followers", body))["openid"]

    async def send(self, openid: str, **message: Any) -> dict[str, Any]:
        return await self.ok("POST", f"/sandbox/followers/{openid}/messages", message)

    async def say(self, openid: str, content: str = "你好", **more: Any) -> dict[str, Any]:
        return await self.send(openid, type="text", content=content, **more)

    async def inbox(self, openid: str, **query: Any) -> list[dict[str, Any]]:
        return (await self.ok("GET", f"/sandbox/followers/{openid}/inbox", **query))["messages"]

    async def token(self, config: dict[str, Any] = CONFIG) -> str:
        query = {"grant_type": "client_credential", "appid": config["appid"], "secret": config["secret"]}
        return (await self.ok("GET", "/cgi-bin/token", **query))["access_token"]

    async def stable(self, **more: Any) -> dict[str, Any]:
        body = {"grant_type": "client_credential", "appid": CONFIG["appid"], "secret": CONFIG["secret"], **more}
        return await self.ok("POST", "/cgi-bin/stable_token", body)

    async def custom(self, token: str, openid: str, kind: str = "text", **part: Any) -> int:
        """Send a customer-service message; gives the errcode."""
        part = part or {"content": "您好"}
        body = {"touser": openid, "msgtype": kind, kind: part}
        answer = await self.ok("POST", "/cgi-bin/message/custom/send", body, access_token=token)
        return answer["errcode"]

    async def advance(self, seconds: float) -> None:
        await self.ok("POST", "/sandbox/clock", {"advance": seconds})

    async def state(self, account: str = "demo") -> dict[str, Any]:
        return await self.ok("GET", f"/sandbox/accounts/{account}")

    async def faults(self, **faults: Any) -> None:
        await self.ok("PUT", "/sandbox/faults", faults)


def xml_reply(openid: str, body: str, *, kind: str = "text", sender: str = CONFIG["original_id"]) -> bytes:
    """A passive reply written by hand, so that no writer of ours is trusted here."""
    return (
        f"<xml><ToUserName><![CDATA[{openid}]]></ToUserName><FromUserName><![CDATA[{sender}]]></FromUserName>"
        f"<CreateTime>1750132800</CreateTime><MsgType><![CDATA[{kind}]]></MsgType>{body}</xml>"
    ).encode()


def echo(got: Received) -> bytes:
    """Answer every callback with a text."""
    return xml_reply(got.query["openid"], "<Content><![CDATA[收到]]></Content>")
