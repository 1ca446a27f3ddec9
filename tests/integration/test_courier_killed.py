"""Couriers and MongoDB that die in the middle: nobody gets anything twice, and nothing is forgotten."""

import asyncio
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from courier_stage import SECRET, TOKEN, CourierChild, Stage, courier, put_account, send, stage, until

from contracts import facts
from contracts.envelope import Event, data_as
from contracts.facts import Send, SendOutcome
from services.gateway.ledger import Claim, Ledger
from weir.local.mongo import MongoServer
from weir.local.rabbit import RabbitServer

SENDS = 300


async def _arrived(on: Stage, count: int) -> bool:
    return len(await on.sandbox.inboxes()) >= count


def _orders(openids: list[str]) -> list[Event]:
    """One command for each, under keys as they are in life."""
    return [send(openid, f"demo|{openid}|{n}|1779300000#r0") for n, openid in enumerate(openids)]


async def _check(on: Stage, url: str, keys: set[str]) -> dict[str, int]:
    """Nothing doubled, everything sent or listed as unknown, and everybody told."""
    states = await on.settled(len(keys), 100)
    inboxes = await on.sandbox.inboxes()
    shown = [entry["content"] for entry in inboxes]
    assert len(shown) == len(set(shown)), "a follower got something twice"
    listed: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        page = await on.get(url, "/api/sends", state="unknown", limit="100", **({"cursor": cursor} if cursor else {}))
        listed, cursor = listed + page["sends"], page["next"]
    unknown = {row["id"] for row in listed}
    assert len(unknown) == states.get("unknown", 0)
    rows = await on.database.sends.find({}).to_list(None)
    sent = {row["_id"] for row in rows if row["state"] == "sent"}
    assert sent | unknown == keys
    assert sent <= set(shown)
    told = await on.told(len(keys))
    assert told >= {f"{key}!accepted" for key in sent} | {f"{key}!unknown" for key in unknown}
    return states


def _discreet(log: Path, openids: list[str]) -> None:
    text = log.read_text()
    assert SECRET not in text
    assert TOKEN not in text
    assert "access_token=" not in text.replace("access_token=***", "")
    assert not any(openid in text for openid in openids)


@pytest.mark.timeout(200)
async def test_kill_9_in_the_middle_of_300_sends(tmp_path: Path, amqp_url: str, mongo_url: str, mongo_db: str) -> None:
    async with stage(tmp_path, amqp_url, mongo_url, mongo_db) as on:
        openids = await on.sandbox.writing(SENDS)
        orders = _orders(openids)
        await on.sandbox.faults(latency_ms=100, cut={"after_apply": 0.01, "apis": ["custom/send"]}, seed=7)
        first, second = CourierChild(on, tmp_path, "first"), None
        try:
            await first.ready()
            await on.order("reply", *orders)
            await until(lambda: _arrived(on, 100))
            await first.child.kill()
            second = CourierChild(on, tmp_path, "second")
            await second.ready()
            states = await _check(on, second.url, {order.id for order in orders})
        finally:
            await first.child.kill()
            if second:
                await second.child.kill()
        print(f"after kill -9: {states}")
        # At most what was under way at the kill, and 1 % of cuts.
        assert 1 <= states.get("unknown", 0) <= 32 + 10
        for one in (first, second):
            _discreet(one.log, openids)


@pytest.mark.timeout(150)
async def test_a_rolling_restart_leaves_nothing_unknown(
    tmp_path: Path, amqp_url: str, mongo_url: str, mongo_db: str
) -> None:
    async with stage(tmp_path, amqp_url, mongo_url, mongo_db) as on:
        openids = await on.sandbox.writing(SENDS)
        orders = _orders(openids)
        await put_account(on, speed=50)  # so that most of them wait in the couriers when one is told to stop
        await on.sandbox.faults(latency_ms=200)
        first, second = CourierChild(on, tmp_path, "first"), CourierChild(on, tmp_path, "second")
        try:
            await first.ready()
            await second.ready()
            await on.order("reply", *orders)
            await until(lambda: _arrived(on, 60))
            began = time.monotonic()
            first.child.signal(signal.SIGTERM)
            assert await first.child.wait(12)
            assert time.monotonic() - began < 5
            assert "stopped" in first.log.read_text()
            assert first.child.returncode == 0
            states = await _check(on, second.url, {order.id for order in orders})
            assert states == {"sent": SENDS}
        finally:
            await first.child.kill()
            await second.child.kill()


async def test_a_row_whose_courier_died_is_swept_and_told(
    tmp_path: Path, amqp_url: str, mongo_url: str, mongo_db: str
) -> None:
    async with stage(tmp_path, amqp_url, mongo_url, mongo_db) as on:
        (openid,) = await on.sandbox.writing(1)
        dead = Ledger(on.database, lambda: datetime.now(UTC), "dead", sending=timedelta(seconds=-1))
        order = send(openid, "lost", text="did it arrive?")
        claim = await dead.claim(order, data_as(order, Send), "urgent")
        assert isinstance(claim, Claim)
        assert await dead.sending(claim)
        async with courier(on), courier(on):
            await on.told(1)
            await until(lambda: _forgotten(on, "lost"))
        assert {fact.id for fact in on.facts} == {"lost!unknown"}
        told = data_as(on.facts[0], SendOutcome)
        assert told.content == data_as(order, Send).content
        assert on.facts[0].type == facts.SEND_UNKNOWN
        assert (await on.row("lost"))["state"] == "unknown"
        assert await on.sandbox.calls() == 0


async def _forgotten(on: Stage, key: str) -> bool:
    """The row holds no content and no lease any more: everybody was told."""
    row = await on.row(key)
    return "content" not in row and "lease" not in row


@pytest.mark.timeout(150)
async def test_without_mongodb_an_answer_that_came_is_not_forgotten(
    tmp_path: Path, amqp_url: str, own_mongod: MongoServer
) -> None:
    async with stage(tmp_path, amqp_url, own_mongod.url, "weir") as on:
        orders = _orders(await on.sandbox.writing(20))
        await on.sandbox.faults(latency_ms=1500)
        async with courier(on):
            await on.order("urgent", *orders)
            await until(lambda: _sending(on, 20))
            await own_mongod.kill()
            await until(lambda: _arrived(on, 20))
            await asyncio.sleep(2)  # WeChat's answers come, and nobody takes them
            await own_mongod.start()
            assert await on.settled(20) == {"sent": 20}
            await on.told(20)
        assert len(await on.sandbox.inboxes()) == 20


async def _sending(on: Stage, count: int) -> bool:
    return (await on.states()).get("sending", 0) == count


@pytest.mark.timeout(150)
async def test_a_killed_broker_doubles_nothing_and_loses_nothing(
    tmp_path: Path, own_rabbit: RabbitServer, mongo_url: str, mongo_db: str
) -> None:
    async with stage(tmp_path, own_rabbit.url, mongo_url, mongo_db) as on:
        orders = _orders(await on.sandbox.writing(SENDS))
        await on.sandbox.faults(latency_ms=100)
        async with courier(on) as one:
            await on.order("reply", *orders)
            await until(lambda: _arrived(on, 60))
            await own_rabbit.kill()
            await asyncio.sleep(0.5)  # calls under way end without a bus to tell it on
            await own_rabbit.start()
            states = await _check(on, one.url, {order.id for order in orders})
        assert states == {"sent": SENDS}
