"""A crowd that writes to an account, and the check afterwards: what was accepted is kept once and answered once.

Each follower of a crowd writes once, so whatever else their phone shows, two answers on it are one too many. The words
are Jepsen's: *accepted* was told 200; what is accepted and not there is *lost*; what is there twice is *doubled*.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import aio_pika
import aiohttp
import msgspec
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from running import PROCESSES, RunningWeir
from wechat import Client

from contracts import topology

ANSWERS = ("passive", "custom")


@dataclass(frozen=True)
class Callback:
    """One callback, as the platform saw it: `answer` is passive, success, or failed after three tries."""

    openid: str
    msgid: int
    answer: str
    tries: int
    began: float
    seconds: float

    @property
    def accepted(self) -> bool:
        return self.answer != "failed"


@dataclass
class Crowd:
    """Followers of an account who write one message each. `done` grows while they do."""

    client: Client
    account: str
    done: list[Callback] = field(default_factory=list)

    async def write(self, count: int, at_a_time: int, text: str = "你好") -> None:
        """`count` messages, so many under way at a time."""
        waiting = iter(await self.client.followers(self.account, count))

        async def some() -> None:
            for openid in waiting:
                await self._one(openid, text)

        await asyncio.gather(*(some() for _ in range(min(at_a_time, count))))

    async def write_steadily(self, per_second: int, seconds: float, text: str = "你好") -> None:
        """So many messages a second, whether the ones before are answered or not."""
        openids = await self.client.followers(self.account, int(per_second * seconds))
        started = time.monotonic()
        tasks = []
        for number, openid in enumerate(openids):
            await asyncio.sleep(max(0.0, started + number / per_second - time.monotonic()))
            tasks.append(asyncio.create_task(self._one(openid, text)))
        await asyncio.gather(*tasks)

    async def reached(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many callbacks have ended."""
        async with asyncio.timeout(seconds):
            while len(self.done) < count:
                await asyncio.sleep(0.005)

    async def _one(self, openid: str, text: str) -> None:
        began = time.monotonic()
        ended = await self.client.say(openid, text)
        seconds = ended["took_ms"] / 1000
        self.done.append(Callback(openid, ended["msgid"], ended["answer"], ended["tries"], began, seconds))


@dataclass(frozen=True)
class Verdict:
    """What the check found, in callbacks; everything below the line must be 0."""

    sent: int
    accepted: int
    passive: int
    custom: int
    unknown: int
    """Answers whose outcome only WeChat knows: listed, and not repeated."""
    # --
    lost: int
    stored_twice: int
    unanswered: int
    answered_twice: int
    unrecorded: int
    """Accepted, and not exactly one answer stored."""
    without_cause: int
    left_over: int
    """Events in queues and dead letters, and bytes in the journal."""

    @property
    def wrong(self) -> dict[str, int]:
        names = (*("lost", "stored_twice", "unanswered", "answered_twice"), "unrecorded", "without_cause", "left_over")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def row(self, what: str) -> str:
        return f"{what:<34}" + "".join(f" {name}={count}" for name, count in asdict(self).items())


class Checker:
    """Looks past every program of Weir: into MongoDB, at the phones, at the queues."""

    def __init__(self, weir: RunningWeir) -> None:
        self._weir = weir

    async def drained(self, crowd: Crowd, seconds: float = 90.0) -> bool:
        """Wait until everything accepted is stored and answered and nothing is under way; whether it came to that."""
        accepted = [callback.openid for callback in crowd.done if callback.accepted]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                counts = Counter(document["direction"] for document in await self._stored(accepted))
                enough = min(counts["in"], counts["out"]) >= len(accepted)
                if enough and not await self.left_over() and not self._weir.journal():
                    return True
            except (PyMongoError, OSError, aio_pika.exceptions.AMQPError):
                pass  # it is just being restarted
            await asyncio.sleep(0.3)
        return False

    async def check(self, crowd: Crowd) -> Verdict:
        """Compare what the platform was told with what is there."""
        openids = {callback.openid for callback in crowd.done}
        accepted = {callback.openid for callback in crowd.done if callback.accepted}
        documents = await self._stored(openids)
        inbound = Counter((one["openid"], str(one["fields"]["MsgId"])) for one in documents if one["direction"] == "in")
        recorded = Counter(one["openid"] for one in documents if one["direction"] == "out")
        ids = {one["_id"] for one in documents if one["direction"] == "in"}
        unknown = {one["openid"] for one in documents if one.get("status") == "unknown"}
        phones = await self._phones(crowd)
        shown = Counter(openid for openid, via in phones if via in ANSWERS and openid in openids)
        return Verdict(
            sent=len(openids),
            accepted=len(accepted),
            passive=sum(via == "passive" and openid in openids for openid, via in phones),
            custom=sum(via == "custom" and openid in openids for openid, via in phones),
            unknown=len(unknown),
            lost=sum(not inbound[one.openid, str(one.msgid)] for one in crowd.done if one.accepted),
            stored_twice=sum(count > 1 for count in inbound.values()),
            unanswered=sum(not shown[openid] for openid in accepted - unknown),
            answered_twice=sum(count > 1 for count in shown.values()),
            unrecorded=sum(recorded[openid] != 1 for openid in accepted),
            without_cause=sum(one["direction"] == "out" and one.get("cause") not in ids for one in documents),
            left_over=await self.left_over() + self._weir.journal(),
        )

    async def left_over(self) -> int:
        """Messages that wait in any work queue, retry queue or parking queue."""
        connection = await aio_pika.connect(self._weir.connections["amqp_url"], timeout=5)
        async with connection:
            channel = await connection.channel()
            total = 0
            for queue in topology.QUEUES:
                for name in (queue.name, *(queue.retry(rung) for rung, _ in topology.RUNGS), queue.dead):
                    declared = await channel.declare_queue(name, passive=True, timeout=5)
                    total += declared.declaration_result.message_count or 0
            return total

    async def _stored(self, openids: Iterable[str]) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._find, list(openids))

    def _find(self, openids: list[str]) -> list[dict[str, Any]]:
        where = self._weir.connections
        client: MongoClient[dict[str, Any]]
        with MongoClient(where["mongodb_url"], serverSelectionTimeoutMS=3000) as client:
            wanted = {"direction": 1, "openid": 1, "cause": 1, "status": 1, "fields.MsgId": 1}
            return list(client[where["mongodb_database"]]["messages"].find({"openid": {"$in": openids}}, wanted))

    async def _phones(self, crowd: Crowd) -> list[tuple[str, str]]:
        """(openid, way) of everything that the phones of the account show."""
        url = f"{crowd.client.sandbox}/sandbox/inboxes"
        answer = await crowd.client.ask("GET", url, params={"account": crowd.account})
        return [(line["openid"], line["via"]) for line in map(msgspec.json.decode, answer.body.splitlines())]


async def all_ready(client: Client, seconds: float = 60.0) -> None:
    """Wait until every process says that it is ready."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answers = [await client.http.get(f"{client.weir.url(name)}/readyz") for name in PROCESSES]
            if all(answer.status == 200 for answer in answers):
                return
        except aiohttp.ClientError:
            pass  # one is just being restarted
        assert time.monotonic() < deadline, "not everything is ready again"
        await asyncio.sleep(0.1)


Fault = Callable[[Client, Crowd], Awaitable[None]]
