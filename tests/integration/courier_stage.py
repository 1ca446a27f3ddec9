"""A stage for the courier's tests: the sandbox as WeChat, couriers in this loop or as processes, commands and facts."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aio_pika
import aiohttp
import msgspec
import yarl
from aiohttp import web

from chassis.amqp import Bus
from chassis.http import serve
from chassis.lifecycle import Process
from chassis.mongo import connect
from chassis.publisher import Publisher, command
from chassis.settings import Settings
from contracts import orders, topology
from contracts.content import Content, Text
from contracts.envelope import Event, decode, raw
from contracts.facts import Because, Send, Window
from services.gateway.accounts import Account, AccountRepository
from services.gateway.courier.app import build
from weir.local.keep import free_port
from weir.local.process import Process as Child

TOKEN = "t" * 24
ROOT = Path(__file__).parents[2]
APPID = "wx0123456789abcdef"
SECRET = "5ecre7" * 5 + "xx"


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not await true():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.05)


class Sandbox:
    """WeChat, as far as these tests go, with one account called demo."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def call(self, method: str, path: str, body: object = None) -> Any:
        async with self._http.request(method, f"{self.url}/sandbox/{path}", json=body) as response:
            text = await response.text()
            assert response.status < 300, text
            return msgspec.json.decode(text)

    async def followers(self, count: int) -> list[str]:
        """So many people who follow and have not written yet."""
        made = await self.call("POST", "accounts/demo/followers", {"count": count})
        return list(made["openids"])

    async def writing(self, count: int) -> list[str]:
        """So many people who have just written: five sends each."""
        openids = await self.followers(count)
        for openid in openids:
            await self.act(openid, {"type": "text", "content": "hello"})
        return openids

    async def act(self, openid: str, act: dict[str, str]) -> None:
        await self.call("POST", f"followers/{openid}/messages?wait=0", act)

    async def inbox(self, openid: str) -> list[dict[str, Any]]:
        shown = await self.call("GET", f"followers/{openid}/inbox")
        return list(shown["messages"])

    async def inboxes(self) -> list[dict[str, Any]]:
        """What all phones show: one entry a message, with its openid."""
        async with self._http.get(f"{self.url}/sandbox/inboxes?account=demo") as response:
            return [msgspec.json.decode(line) for line in (await response.read()).splitlines()]

    async def faults(self, **faults: Any) -> None:
        await self.call("DELETE", "faults")
        if faults:
            await self.call("PUT", "faults", faults)

    async def counters(self) -> dict[str, Any]:
        return dict((await self.call("GET", "accounts/demo"))["counters"])

    async def calls(self, api: str = "custom/send") -> int:
        return int((await self.counters())["api_calls"].get(api, 0))

    async def errors(self) -> dict[str, int]:
        return dict((await self.counters())["api_errors"])


class Stage:
    """Everything but the couriers."""

    def __init__(
        self, settings: Settings, sandbox: Sandbox, publisher: Publisher, database: Any, http: aiohttp.ClientSession
    ) -> None:
        self.settings = settings
        self.sandbox = sandbox
        self.publisher = publisher
        self.database = database
        self.http = http
        self.facts: list[Event] = []

    async def order(self, kind: str, *events: Event) -> None:
        await asyncio.gather(*(self.publisher.publish(command(f"send.{kind}", event)) for event in events))

    async def states(self) -> dict[str, int]:
        """How many rows of the ledger are in each state."""
        groups = await self.database.sends.aggregate([{"$group": {"_id": "$state", "count": {"$sum": 1}}}]).to_list(20)
        return {group["_id"]: group["count"] for group in groups}

    async def settled(self, count: int, seconds: float = 30.0) -> dict[str, int]:
        """Wait until so many sends are over; how many in each state."""

        async def over() -> bool:
            states = await self.states()
            return sum(states.get(state, 0) for state in ("sent", "failed", "unknown")) >= count

        await until(over, seconds)
        return await self.states()

    async def row(self, key: str) -> dict[str, Any]:
        return await self.database.sends.find_one({"_id": key}) or {}

    def facts_of(self, key: str) -> list[Event]:
        return [fact for fact in self.facts if fact.id.startswith(f"{key}!")]

    async def told(self, count: int, seconds: float = 30.0) -> set[str]:
        """Wait until so many different facts are out; their ids."""

        async def out() -> bool:
            return len({fact.id for fact in self.facts}) >= count

        await until(out, seconds)
        return {fact.id for fact in self.facts}

    async def get(self, url: str, path: str, status: int = 200, **parameters: str) -> Any:
        address = yarl.URL(f"{url}{path}", encoded=True).update_query(parameters)
        async with self.http.get(address, headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            body = await response.read()
            assert response.status == status, body
            return msgspec.json.decode(body)


def send(
    openid: str,
    key: str,
    *,
    text: str = "",
    content: Content | None = None,
    window: Window | bool | None = True,
    account: str = "demo",
    expires: datetime | None = None,
) -> Event:
    """A command. Its window is a message of right now unless told otherwise; its text is its key."""
    if isinstance(window, bool):
        window = Window("message", datetime.now(UTC)) if window else None
    order = Send(content or Text(text or key), Because(rule="hello", rules_version="1"), window, expires)
    return Event(
        id=key,
        source=f"/accounts/{account}",
        type=orders.SEND,
        subject=openid,
        time=datetime.now(UTC),
        account=account,
        lane="signal",
        cause=f"cause of {key}",
        data=raw(order),
    )


def quoted(key: str) -> str:
    return quote(key, safe="")


@asynccontextmanager
async def callbacks() -> AsyncIterator[str]:
    """Somebody who takes WeChat's callbacks: they are not what these tests are about."""

    async def success(_request: web.Request) -> web.Response:
        return web.Response(text="success")

    app = web.Application()
    app.add_routes([web.post("/", success)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sandbox(directory: Path, http: aiohttp.ClientSession, callbacks: str) -> AsyncIterator[Sandbox]:
    port = free_port()
    argv = [sys.executable, "-m", "sandbox", "--port", str(port)]
    child = Child(argv, os.environ, directory / "sandbox.log", ROOT)
    try:
        wechat = Sandbox(f"http://127.0.0.1:{port}", http)
        await until(lambda: answers(http, f"{wechat.url}/livez"))
        await wechat.call(
            "PUT",
            "accounts/demo",
            {
                "appid": APPID,
                "secret": SECRET,
                "original_id": "gh_123456789abc",
                "token": "token123",
                "url": callbacks,
            },
        )
        yield wechat
    finally:
        await child.kill()


async def answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


@asynccontextmanager
async def stage(directory: Path, amqp_url: str, mongo_url: str, mongo_db: str, **more: Any) -> AsyncIterator[Stage]:
    """The sandbox, the account, a publisher, and every outcome fact that is published."""
    nobody = f"http://127.0.0.1:{free_port()}"
    settings = Settings(
        **{
            "amqp_url": amqp_url,
            "mongodb_url": mongo_url,
            "mongodb_database": mongo_db,
            "admin_token": TOKEN,
            "history_url": nobody,
            **more,
        }
    )
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        taken = await stack.enter_async_context(callbacks())
        wechat = await stack.enter_async_context(sandbox(directory, http, taken))
        client, database = connect(mongo_url, mongo_db, name="test")
        stack.callback(client.close)
        bus = Bus(amqp_url, "test")
        await bus.start()
        stack.push_async_callback(bus.close)
        await bus.wait_ready()
        standing = Stage(settings, wechat, Publisher(bus, 5.0), database, http)
        await put_account(standing)
        connection = await stack.enter_async_context(await aio_pika.connect_robust(amqp_url))
        channel = await connection.channel()
        queue = await channel.declare_queue("test.facts", durable=True)
        await queue.bind(topology.EVENTS, "signal.weir.send.#")

        async def note(message: Any) -> None:
            standing.facts += decode(message.body)
            await message.ack()

        await queue.consume(note)
        yield standing


async def put_account(standing: Stage, speed: float = 100.0) -> None:
    await AccountRepository(standing.database).put(
        Account(
            name="demo",
            appid=APPID,
            secret=SECRET,
            token="token123",
            original_id="gh_123456789abc",
            mode="plain",
            api_base=standing.sandbox.url,
            sends_per_second=speed,
        )
    )


class Running:
    """A courier in this loop."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url


@asynccontextmanager
async def courier(standing: Stage) -> AsyncIterator[Running]:
    process = await build(standing.settings)
    site = await serve(process.runner, "127.0.0.1", 0)
    for prepare in process.before:
        await prepare()
    await process.bus.start()
    for consumer in process.consumers:
        await consumer.start()
    await process.bus.wait_ready()
    jobs = [asyncio.ensure_future(job()) for job in process.background]
    port = site.port
    try:
        yield Running(process, f"http://127.0.0.1:{port}")
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await process.bus.stop_consuming()
        await asyncio.gather(*(consumer.drain() for consumer in process.consumers))
        await process.publisher.drain()
        for close in process.closers:
            await close()
        await process.bus.close()
        await process.runner.cleanup()


class CourierChild:
    """A courier as a process of its own, to kill."""

    def __init__(self, standing: Stage, directory: Path, name: str) -> None:
        settings = standing.settings
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.log = directory / f"{name}.log"
        env = {
            **os.environ,
            "WEIR_AMQP_URL": settings.amqp_url,
            "WEIR_MONGODB_URL": settings.mongodb_url,
            "WEIR_MONGODB_DATABASE": settings.mongodb_database,
            "WEIR_ADMIN_TOKEN": TOKEN,
            "WEIR_HISTORY_URL": settings.history_url,
            "WEIR_HTTP_PORT": str(port),
        }
        self._http = standing.http
        self.child = Child([sys.executable, "-m", "services.gateway.courier"], env, self.log, ROOT)

    async def ready(self) -> None:
        await until(lambda: answers(self._http, f"{self.url}/readyz"))
