"""The gateway and people: who talks with a person, and what comes after a passive answer."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from chassis.mongo import connect
from contracts.envelope import data_as, decode
from contracts.facts import Handover, Send
from services.agent.conversations import Conversations, Question
from services.gateway.replies import NET
from tests.integration.gateway_stage import OPENID, Gateway, Player, WeChat, event, put_account, text, until


@pytest.fixture
async def wechat(amqp_url: str, mongo_url: str, mongo_db: str, tmp_path: Path) -> AsyncIterator[WeChat]:
    await put_account(mongo_url, mongo_db)
    gateway = await Gateway.run(amqp_url, mongo_url, mongo_db, tmp_path)
    yield WeChat(gateway)
    await gateway.close()


@pytest.fixture
async def player(amqp_url: str) -> AsyncIterator[Player]:
    player = await Player.run(amqp_url)
    yield player
    await player.close()


@pytest.fixture
async def conversations(mongo_url: str, mongo_db: str) -> AsyncIterator[Conversations]:
    client, database = connect(mongo_url, mongo_db, name="test")
    made = Conversations(database)
    await made.prepare()
    yield made
    client.close()


async def test_in_a_conversation_nobody_is_kept_waiting_and_the_message_is_the_persons(
    wechat: WeChat, player: Player, conversations: Conversations
) -> None:
    asked = Question("demo", OPENID, "cause", datetime.now(UTC), Handover(text="问"))
    name = (await conversations.ask(asked)).conversation["_id"]
    assert (await wechat.push(text("在吗"))).text == "答：在吗"  # who waits is answered by the machine still
    await conversations.take(name, "lan", None)

    async def silent() -> bool:
        return (await wechat.push(text("还在吗"))).body == b"success"

    await turns_to(silent)
    player.history.clear()
    player.asked.clear()
    answers = [await wechat.push(fields) for fields in (text("好的"), event("CLICK", EventKey="HOURS"), event("VIEW"))]
    assert [answer.body for answer in answers] == [b"success"] * 3
    assert max(answer.seconds for answer in answers) < 1
    assert (await wechat.push(text("另一位", openid="oOther"))).text == "答：另一位"
    await until(lambda: len([one for one in player.history if one.type.startswith("wechat.")]) == 4)
    lanes = {(one.subject, one.type): one.lane for one in player.history if one.type.startswith("wechat.")}
    assert lanes[OPENID, "wechat.message.text"] == lanes[OPENID, "wechat.event.click"] == "desk"
    assert lanes[OPENID, "wechat.event.view"] == "signal"
    assert [one.subject for one in player.asked] == ["oOther"]
    await conversations.close(name, "lan", None, anybodys=False)

    async def answered() -> bool:
        return (await wechat.push(text("回来了"))).text == "答：回来了"

    await turns_to(answered)


async def test_after_a_passive_answer_the_courier_gets_the_rest_and_a_kill_does_not_lose_it(
    wechat: WeChat, player: Player, amqp_url: str
) -> None:
    assert (await wechat.push(text("三条"))).text == "答：三条"
    await until(lambda: player.sends, what="the order for the rest")
    (order,) = player.sends
    send = data_as(order, Send)
    assert order.id == f"{order.cause}#r1"
    assert [send.content.content, *(part.content.content for part in send.more)] == ["第二条", "第三条"]  # type: ignore[union-attr]
    assert send.window is not None
    # The same order lies where the courier finds it in five seconds: with the gateway gone nobody else would give it.
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        queue = await (await connection.channel()).get_queue(NET, ensure=False)
        message = await queue.get(timeout=10)
        assert message is not None
        assert [kept.id for kept in decode(message.body)] == [order.id]
        await message.ack()


async def test_what_comes_too_late_for_a_passive_answer_leaves_whole_through_the_courier(
    amqp_url: str, mongo_url: str, mongo_db: str, tmp_path: Path, player: Player
) -> None:
    await put_account(mongo_url, mongo_db)
    gateway = await Gateway.run(amqp_url, mongo_url, mongo_db, tmp_path, reply_deadline=0.3)
    assert (await WeChat(gateway).push(text("慢，三条"))).body == b"success"
    player.slow.set()
    await until(lambda: player.sends, what="the order for all of it")
    send = data_as(player.sends[0], Send)
    assert player.sends[0].id.endswith("#r0")
    assert len(send.more) == 2
    await gateway.close()


async def turns_to(condition: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)
