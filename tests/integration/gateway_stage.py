"""A gateway in the test's own process on real servers, a WeChat that calls it, and a player of the services behind it."""

import asyncio
import hashlib
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp

from chassis.amqp import Bus
from chassis.consumer import Consumer, Result
from chassis.lifecycle import Process
from chassis.mongo import connect
from chassis.publisher import Publication, Publisher, command, direct
from chassis.settings import Settings
from chassis.wechat.crypto import Cipher
from contracts import facts, orders, topology
from contracts.content import Text
from contracts.envelope import Event, data_as, raw
from contracts.facts import Because, Decision, Part, Window
from contracts.keys import reply_id
from services.gateway.accounts import Account, AccountRepository
from services.gateway.app import build

ACCOUNT = Account(
    name="demo",
    appid="wx0123456789abcdef",
    secret="0123456789abcdef0123456789abcdef",
    token="callbacktoken123",
    original_id="gh_123456789abc",
    mode="plain",
    aes_key="abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
    api_base="http://127.0.0.1:9",
)
OPENID = "oT5kWx0m3QbRz8LhYc2NfVu7EaJg"


async def until(condition: Callable[[], Any], seconds: float = 15.0, what: str = "") -> None:
    """Wait for a condition of this process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(0.01)


async def start(process: Process) -> list[asyncio.Task[Any]]:
    """Start the parts of a process as its lifecycle does; the tasks to be cancelled in the end."""
    from chassis.http import serve

    await serve(process.runner, "127.0.0.1", 0)
    for prepare in process.before:
        await prepare()
    await process.bus.start()
    for consumer in process.consumers:
        await consumer.start()
    return [asyncio.ensure_future(job()) for job in process.background]


async def stop(process: Process, tasks: list[asyncio.Task[Any]], *, settle: bool = True) -> None:
    if settle:
        await asyncio.gather(*(step() for step in process.settle))
    await process.bus.stop_consuming()
    await asyncio.gather(*(consumer.drain() for consumer in process.consumers))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for close in process.closers:
        await close()
    await process.bus.close()
    await process.runner.cleanup()


@dataclass
class Gateway:
    """One running gateway."""

    process: Process
    tasks: list[asyncio.Task[Any]]
    http: aiohttp.ClientSession

    @classmethod
    async def run(
        cls, amqp_url: str, mongo_url: str, database: str, home: Path, *, ready: bool = True, **settings: Any
    ) -> "Gateway":
        made = Settings(
            amqp_url=amqp_url,
            mongodb_url=mongo_url,
            mongodb_database=database,
            journal_dir=settings.pop("journal_dir", home / "journal"),
            triage_file=home / "triage.yaml",
            **settings,
        )
        process = await build(made)
        gateway = cls(process, await start(process), aiohttp.ClientSession())
        if ready:
            await until(lambda: all(process.health.states().values()), 40, "the gateway is ready")
        return gateway

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.runner.addresses[0][1]}"

    @property
    def journal(self) -> Path:
        return self.process.settings.journal_dir

    async def close(self, *, settle: bool = True) -> None:
        await self.http.close()
        await stop(self.process, self.tasks, settle=settle)

    async def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        async with self.http.get(f"{self.url}/metrics") as response:
            text = await response.text()
        return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])

    async def counted(self, **labels: str) -> float:
        """The callbacks counted so far with these labels."""
        async with self.http.get(f"{self.url}/metrics") as response:
            text = await response.text()
        total = 0.0
        for line in text.splitlines():
            if line.startswith("weir_gateway_callbacks_total{") and all(
                f'{k}="{v}"' in line for k, v in labels.items()
            ):
                total += float(line.rpartition(" ")[2])
        return total


def signature(*parts: str) -> str:
    return hashlib.sha1("".join(sorted(parts)).encode()).hexdigest()


@dataclass
class Answer:
    status: int
    body: bytes
    type: str
    seconds: float

    @property
    def text(self) -> str:
        """What the follower is shown; empty for `success`."""
        if self.body in (b"success", b""):
            return ""
        return ET.fromstring(self.body).findtext("Content") or ""


@dataclass
class WeChat:
    """The platform's side of the callback."""

    gateway: Gateway
    account: Account = ACCOUNT
    json_push: bool = False

    def query(self, **changes: str) -> dict[str, str]:
        values = {"timestamp": str(int(time.time())), "nonce": uuid.uuid4().hex[:10]} | changes
        signed = signature(self.account.token, values["timestamp"], values["nonce"])
        return {"signature": signed, "openid": OPENID} | values

    def body(self, fields: dict[str, Any]) -> bytes:
        if self.json_push:
            return json.dumps(fields, ensure_ascii=False).encode()
        inner = "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in fields.items())
        return f"<xml>{inner}</xml>".encode()

    def sealed(self, body: bytes, query: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        cipher = Cipher(self.account.token, self.account.appid, self.account.aes_keys)
        made = cipher.encrypt_reply(body.decode(), query["timestamp"], query["nonce"], as_json=True)
        envelope = json.loads(made)
        query = query | {"encrypt_type": "aes", "msg_signature": envelope["MsgSignature"]}
        outer = {"ToUserName": self.account.original_id, "Encrypt": envelope["Encrypt"]}
        return self.body(outer), query

    async def push(self, fields: dict[str, Any], **changes: str) -> Answer:
        """A callback, as this account's mode has it."""
        body, query = self.body(fields), self.query(**changes)
        if self.account.mode != "plain":
            body, query = self.sealed(body, query)
        answer = await self.raw(body, query)
        if self.account.mode != "plain" and answer.status == 200 and answer.body != b"success":
            answer.body = self.opened(answer.body)
        return answer

    async def raw(self, body: bytes, query: dict[str, str], method: str = "POST", **headers: str) -> Answer:
        started = time.monotonic()
        async with self.gateway.http.request(
            method, f"{self.gateway.url}/wechat/{self.account.name}", params=query, data=body, headers=headers
        ) as response:
            content = await response.read()
            return Answer(response.status, content, response.content_type, time.monotonic() - started)

    def opened(self, body: bytes) -> bytes:
        if self.json_push:
            outer = {name: str(value) for name, value in json.loads(body).items()}
        else:
            outer = {element.tag: element.text or "" for element in ET.fromstring(body)}
        cipher = Cipher(self.account.token, self.account.appid, self.account.aes_keys)
        plain, _ = cipher.decrypt(outer["Encrypt"], outer["MsgSignature"], outer["TimeStamp"], outer["Nonce"])
        return plain


def text(content: str, *, age: float = 0, openid: str = OPENID, **changes: Any) -> dict[str, Any]:
    return {
        "ToUserName": ACCOUNT.original_id,
        "FromUserName": openid,
        "CreateTime": int(time.time() - age),
        "MsgType": "text",
        "Content": content,
        "MsgId": uuid.uuid4().int % 10**15,
    } | changes


def event(name: str, **more: Any) -> dict[str, Any]:
    return {
        "ToUserName": ACCOUNT.original_id,
        "FromUserName": OPENID,
        "CreateTime": int(time.time()),
        "MsgType": "event",
        "Event": name,
    } | more


@dataclass
class Player:
    """Plays autoreply, history and the courier, and remembers all that reached them.

    It answers a text by the text itself: ``静`` with silence, ``慢`` only when ``slow`` is set, anything else at once;
    ``三`` with two answers more.
    """

    bus: Bus
    consumers: list[Consumer] = field(default_factory=list)
    asked: list[Event] = field(default_factory=list)
    history: list[Event] = field(default_factory=list)
    sends: list[Event] = field(default_factory=list)
    slow: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    async def run(cls, amqp_url: str) -> "Player":
        player = cls(Bus(amqp_url, "player"))
        publisher = Publisher(player.bus, timeout=5.0)
        for queue, handler in (
            (topology.AUTOREPLY_QUESTION, player.answer),
            (topology.AUTOREPLY_ENTRY, player.answer),
            (topology.HISTORY, player.remember),
            (topology.COURIER_REPLY, player.send),
        ):
            player.consumers.append(Consumer(player.bus, publisher, queue, handler, prefetch=64, workers=16))
        await player.bus.start()
        for consumer in player.consumers:
            await consumer.start()
        await asyncio.wait_for(player.bus.wait_ready(), 30)
        return player

    async def close(self) -> None:
        self.slow.set()
        await self.bus.stop_consuming()
        await asyncio.gather(*(consumer.drain() for consumer in self.consumers))
        await self.bus.close()

    async def answer(self, events: list[Event]) -> list[Result]:
        return list(await asyncio.gather(*(self._answer(one) for one in events)))

    async def _answer(self, asked: Event) -> list[Publication]:
        self.asked.append(asked)
        content = json.loads(bytes(asked.data)).get("Content", "")
        if "慢" in content:
            await self.slow.wait()
        because = Because(rule="player", rules_version="1")
        said = None if "静" in content else Text(f"答：{content}")
        more = tuple(Part(Text(f"第{n}条"), because) for n in "二三") if "三" in content else ()
        window = Window("message", asked.time)
        decision = Decision(
            reply_id(asked.id), asked.id, asked.account, asked.subject, because, said, window, more=more
        )
        if not asked.replyto:
            return [command(orders.REPLY, orders.send_decision(decision, datetime.now(UTC)))] if said else []
        answer = Event(
            id=decision.id,
            source=asked.source,
            type=facts.REPLY_DECIDED,
            subject=asked.subject,
            time=datetime.now(UTC),
            account=asked.account,
            lane="signal",
            cause=asked.id,
            data=raw(decision),
        )
        return [direct(asked.replyto, answer)]

    async def remember(self, events: list[Event]) -> list[Result]:
        self.history += events
        return [[] for _ in events]

    async def send(self, events: list[Event]) -> list[Result]:
        self.sends += events
        return [[] for _ in events]

    def stored(self, event_type: str = "") -> Counter[str]:
        """How often each id of a type reached history."""
        return Counter(item.id for item in self.history if item.type.startswith(event_type))

    def said(self, event_type: str) -> list[str]:
        return [data_as(item, facts.ReplySent).content.content for item in self.history if item.type == event_type]


async def put_account(mongo_url: str, database: str, account: Account = ACCOUNT) -> None:
    client, db = connect(mongo_url, database, name="test")
    try:
        await AccountRepository(db).put(account)
    finally:
        client.close()


def port_of(url: str) -> int:
    found = re.search(r":(\d+)$", url)
    assert found
    return int(found.group(1))
