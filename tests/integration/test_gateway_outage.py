"""The gateway while RabbitMQ, MongoDB or the disk is away: WeChat gets its 200, and nothing of it is lost or doubled."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from contracts.keys import inbound_id, reply_id
from services.gateway.journal import Journal
from tests.integration.gateway_stage import ACCOUNT, OPENID, Gateway, Player, WeChat, event, put_account, text, until
from weir.local.mongo import MongoServer
from weir.local.rabbit import RabbitServer

LONGEST = 1.5
"""Seconds within which a callback is told 200 when the bus is away: a publish's time-out, and a sync of the disk."""


@asynccontextmanager
async def running(
    url: str, mongo_url: str, database: str, home: Path, **settings: Any
) -> AsyncIterator[tuple[Gateway, Player]]:
    await put_account(mongo_url, database)
    gateway = await Gateway.run(url, mongo_url, database, home, **settings)
    player = await Player.run(url)
    try:
        yield gateway, player
    finally:
        await player.close()
        await gateway.close(settle=False)


async def freeze(broker: RabbitServer) -> None:
    broker.pause()


async def thaw(broker: RabbitServer) -> None:
    broker.resume()


async def kill(broker: RabbitServer) -> None:
    await broker.kill()


async def start(broker: RabbitServer) -> None:
    await broker.start()


async def alarm(broker: RabbitServer) -> None:
    await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")


async def clear(broker: RabbitServer) -> None:
    await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")


Act = Callable[[RabbitServer], Awaitable[None]]


@pytest.mark.parametrize(
    ("fail", "mend"), [(freeze, thaw), (kill, start), (alarm, clear)], ids=["frozen", "killed", "alarm"]
)
async def test_without_the_bus_every_callback_gets_its_200_and_arrives_once_it_is_back(
    own_rabbit: RabbitServer, mongo_url: str, mongo_db: str, tmp_path: Path, fail: Act, mend: Act
) -> None:
    async with running(own_rabbit.url, mongo_url, mongo_db, tmp_path) as (gateway, player):
        wechat = WeChat(gateway)
        assert (await wechat.push(text("你好"))).text == "答：你好"
        await fail(own_rabbit)
        sent = [text(f"第 {number}") for number in range(40)] + [event("LOCATION", CreateTime=n) for n in range(1, 11)]
        try:
            answers = []
            for start_ in range(0, 50, 10):
                answers += await asyncio.gather(*(wechat.push(fields) for fields in sent[start_ : start_ + 10]))
            again = await wechat.push(sent[0])  # WeChat's second try, while the bus is away
        finally:
            await mend(own_rabbit)
        assert {(answer.status, answer.body) for answer in [*answers, again]} == {(200, b"success")}
        assert max(answer.seconds for answer in answers) < LONGEST
        async with gateway.http.get(f"{gateway.url}/readyz") as response:
            assert response.status == 200  # else a balancer would send WeChat away
        keys = {inbound_id("demo", OPENID, fields) for fields in sent}
        await until(lambda: keys <= player.stored("wechat.").keys(), 60, "everything arrives")
        # What was asked while nobody could answer in time is answered through the courier, once by its id.
        orders = {reply_id(inbound_id("demo", OPENID, fields)) for fields in sent[:40]}
        await until(lambda: orders <= {one.id for one in player.sends}, 30, "answers through the courier")
        assert {one.id for one in player.sends} == orders
        await until(lambda: not list(gateway.journal.glob("*.journal")), 20, "the journal is empty again")
        # And a question is answered on its connection again.
        async with asyncio.timeout(30):
            while (await wechat.push(text("又好了"))).text != "答：又好了":
                await asyncio.sleep(0.2)


async def test_a_lost_reply_queue_is_asked_again(
    own_rabbit: RabbitServer, mongo_url: str, mongo_db: str, tmp_path: Path
) -> None:
    """The bus dies while callbacks wait: their events are safe, the answers' queue is not."""
    async with running(own_rabbit.url, mongo_url, mongo_db, tmp_path, reply_deadline=1.0) as (gateway, player):
        await asyncio.sleep(1.5)  # 3.10 does not survive a kill in the first second of a quorum queue
        sent = [text(f"慢{number}") for number in range(5)]
        waiting = [asyncio.create_task(WeChat(gateway).push(fields)) for fields in sent]
        await until(lambda: len(player.asked) == 5)
        await own_rabbit.kill()
        assert {(await one).body for one in waiting} == {b"success"}
        await own_rabbit.start()
        player.slow.set()
        orders = {reply_id(inbound_id("demo", OPENID, fields)) for fields in sent}
        await until(lambda: orders <= {one.id for one in player.sends}, 60, "each gets its answer through the courier")


async def test_with_bus_and_disk_away_no_connection_is_told_200(
    own_rabbit: RabbitServer, mongo_url: str, mongo_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(own_rabbit.url, mongo_url, mongo_db, tmp_path) as (gateway, player):
        wechat = WeChat(gateway)
        own_rabbit.pause()

        def full(_journal: Journal, _data: bytes) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(Journal, "_write", full)
            fields = text("你好")
            # Three copies at once: the first tries to keep it, the others wait for what becomes of that.
            copies = await asyncio.gather(*(wechat.push(fields) for _ in range(3)), return_exceptions=True)
            assert all(isinstance(copy, aiohttp.ClientError) for copy in copies), copies
            lost = await asyncio.gather(wechat.push(event("LOCATION")), return_exceptions=True)
            assert isinstance(lost[0], aiohttp.ClientError)
            # The bus is back, the disk is not: callbacks must find out by themselves.
            own_rabbit.resume()
            async with asyncio.timeout(60):
                for number in itertools.count():
                    try:
                        if (await wechat.push(text(f"在吗 {number}"))).text == f"答：在吗 {number}":
                            break
                    except aiohttp.ClientError:
                        await asyncio.sleep(0.2)
        # WeChat tries the lost one again and gets its answer, in its own lane.
        answer = await wechat.push(fields)
        assert answer.text == "答：你好"
        await until(lambda: player.stored("wechat.")[inbound_id("demo", OPENID, fields)])
        assert {one.lane for one in player.asked} == {"question"}


async def test_what_is_in_the_journal_survives_the_process(
    own_rabbit: RabbitServer, mongo_url: str, mongo_db: str, tmp_path: Path
) -> None:
    await put_account(mongo_url, mongo_db)
    first = await Gateway.run(own_rabbit.url, mongo_url, mongo_db, tmp_path)
    await own_rabbit.kill()
    sent = [text(f"第 {number}") for number in range(10)]
    for fields in sent:
        assert (await WeChat(first).push(fields)).status == 200
    await first.close(settle=False)
    await own_rabbit.start()
    second = await Gateway.run(own_rabbit.url, mongo_url, mongo_db, tmp_path)
    player = await Player.run(own_rabbit.url)
    try:
        keys = {inbound_id("demo", OPENID, fields) for fields in sent}
        await until(lambda: keys <= player.stored("wechat.").keys(), 30)
    finally:
        await player.close()
        await second.close(settle=False)


async def test_without_mongodb_callbacks_are_answered_as_ever(
    amqp_url: str, own_mongod: MongoServer, mongo_db: str, tmp_path: Path
) -> None:
    async with running(amqp_url, own_mongod.url, mongo_db, tmp_path) as (gateway, player):
        wechat = WeChat(gateway)
        await own_mongod.kill()
        for number in range(5):
            answer = await wechat.push(text(f"第 {number}"))
            assert answer.text == f"答：第 {number}"
            assert answer.seconds < 0.5
        # Without the ledger nobody can tell whether another gateway answers: the courier will.
        old = text("旧的", age=4)
        answer = await wechat.push(old)
        assert answer.body == b"success"
        assert answer.seconds < 4.9
        await until(lambda: player.sends)
        assert [one.id for one in player.sends] == [reply_id(inbound_id("demo", OPENID, old))]


async def test_a_gateway_that_never_saw_the_accounts_answers_nothing(
    amqp_url: str, own_mongod: MongoServer, mongo_db: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """404 would tell WeChat, and whoever reads it, that the account does not exist."""
    await put_account(own_mongod.url, mongo_db)
    own_mongod.pause()
    gateway = await Gateway.run(amqp_url, own_mongod.url, mongo_db, tmp_path, ready=False)
    try:
        calls = await asyncio.gather(*(WeChat(gateway).push(text("静")) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(call, aiohttp.ClientError) for call in calls), calls
        assert "met a bug" not in caplog.text
        own_mongod.resume()
        async with asyncio.timeout(30):
            while True:
                try:
                    answer = await WeChat(gateway).push(event("LOCATION"))
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        assert answer.status == 200
    finally:
        own_mongod.resume()
        await gateway.close(settle=False)


async def test_the_first_callbacks_after_a_start_find_their_account(
    amqp_url: str, mongo_url: str, mongo_db: str, tmp_path: Path
) -> None:
    await put_account(mongo_url, mongo_db)
    for _ in range(3):
        gateway = await Gateway.run(amqp_url, mongo_url, mongo_db, tmp_path, ready=False)
        try:
            calls = await asyncio.gather(*(WeChat(gateway).push(event("LOCATION", CreateTime=n)) for n in range(1, 20)))
            assert {call.status for call in calls} == {200}
        finally:
            await gateway.close(settle=False)


async def test_an_account_added_a_moment_ago_is_found(
    amqp_url: str, mongo_url: str, mongo_db: str, tmp_path: Path
) -> None:
    gateway = await Gateway.run(amqp_url, mongo_url, mongo_db, tmp_path)
    try:
        assert (await WeChat(gateway).push(event("LOCATION"))).status == 404
        await put_account(mongo_url, mongo_db)
        started = time.monotonic()
        while (await WeChat(gateway).push(event("LOCATION"))).status != 200:
            assert time.monotonic() - started < 3
            await asyncio.sleep(0.1)
    finally:
        await gateway.close(settle=False)


async def test_an_account_spoilt_by_hand_does_not_take_the_others_along(
    amqp_url: str, mongo_url: str, mongo_db: str, tmp_path: Path
) -> None:
    from chassis.mongo import connect

    await put_account(mongo_url, mongo_db)
    client, database = connect(mongo_url, mongo_db, name="test")
    await database["accounts"].insert_one({"_id": "broken", "appid": 7})
    client.close()
    gateway = await Gateway.run(amqp_url, mongo_url, mongo_db, tmp_path)
    try:
        assert (await WeChat(gateway, ACCOUNT).push(event("LOCATION"))).status == 200
        assert not gateway.tasks[0].done()
    finally:
        await gateway.close(settle=False)
