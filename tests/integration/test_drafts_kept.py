"""Drafts on a real MongoDB: kept with their conversation, and the day's tokens counted over all processes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chassis.llm import DailyTokens
from chassis.mongo import connect
from chassis.publisher import command
from chassis.settings import Settings
from contracts import orders
from contracts.envelope import Event, raw
from contracts.facts import Candidate, Handover
from services.agent.app import build
from services.agent.conversations import Conversations, Question
from services.agent.shown import view
from tests.integration.gateway_stage import start, stop

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture
async def database(mongo_url: str, mongo_db: str) -> AsyncIterator[Any]:
    client, database = connect(mongo_url, mongo_db, name="test")
    await Conversations(database).prepare()
    yield database
    client.close()


async def test_the_cap_of_a_day_holds_over_processes_that_ask_at_once(database: Any) -> None:
    processes = [DailyTokens(database, 1000) for _ in range(4)]
    got = await asyncio.gather(*(process.reserve("2026-05-04", 90) for process in processes for _ in range(5)))
    assert sum(got) == 11
    await processes[0].settle("2026-05-04", -90)
    assert await processes[1].reserve("2026-05-04", 90)
    assert not await processes[2].reserve("2026-05-04", 90)
    assert await processes[3].reserve("2026-05-05", 90)  # another day
    assert (await database.llm_usage.find_one({"_id": "2026-05-04"}))["tokens"] == 990
    assert not await DailyTokens(database, 0).reserve("2026-05-06", 1)


async def test_a_draft_stands_beside_its_question_until_a_later_one_takes_its_place(database: Any) -> None:
    conversations = Conversations(database)
    order = Handover(reason="no_rule", text="票", candidates=(Candidate("t", "门票", "200 元", 0.4),))
    name = (await conversations.ask(Question("demo", "oA", "demo|oA|1", NOW, order))).conversation["_id"]
    draft = {"text": "200 元。", "model": "small-1", "tokens": 120, "cause": "demo|oA|1", "at": NOW}
    kept = await conversations.keep_draft(name, "demo|oA|1", draft)
    assert kept is not None
    assert await conversations.keep_draft(name, "demo|oA|1", {**draft, "text": "again"}) is None
    assert await conversations.keep_draft(name, "demo|oA|unknown", draft) is None
    await conversations.draft_sent(name, "demo|oA|1")
    shown = view(await conversations.get(name) or {}).draft
    assert shown is not None
    assert (shown.text, shown.model, shown.tokens, shown.sent) == ("200 元。", "small-1", 120, True)
    await conversations.ask(Question("demo", "oA", "demo|oA|2", NOW, order))
    later = await conversations.keep_draft(name, "demo|oA|2", {**draft, "cause": "demo|oA|2"})
    assert later is not None
    assert "sent" not in later["draft"]
    await conversations.close(name, "lan", None, anybodys=True)
    assert await conversations.keep_draft(name, "demo|oA|1", draft) is None


async def test_a_question_handed_over_gets_a_draft_and_who_asked_is_told_to_nobody(
    amqp_url: str, mongo_url: str, mongo_db: str, database: Any
) -> None:
    bodies: list[str] = []

    async def complete(request: web.Request) -> web.Response:
        bodies.append(await request.text())
        message = {"role": "assistant", "content": "您好，成人票 200 元。"}
        return web.json_response({"model": "small-1", "choices": [{"message": message}], "usage": {"total_tokens": 90}})

    endpoint = web.Application()
    endpoint.router.add_post("/v1/chat/completions", complete)
    async with TestServer(endpoint) as server:
        settings = Settings(
            amqp_url=amqp_url,
            mongodb_url=mongo_url,
            mongodb_database=mongo_db,
            http_port=0,
            llm_url=str(server.make_url("/v1")),
            llm_model="small",
        )
        process = await build(settings)
        tasks = await start(process)
        await asyncio.wait_for(process.bus.wait_ready(), 30)
        asked = Event(
            id="demo|oA|1", source="/accounts/demo", type="wechat.message.text", subject="oA", time=NOW,
            account="demo", lane="question", data=raw({}),
        )  # fmt: skip
        order = Handover(reason="no_rule", text="大人的票咋卖", candidates=(Candidate("t", "门票", "200 元", 0.4),))
        await process.publisher.publish(command(orders.HANDOVER_KEY, orders.handover(asked, order)))
        async with asyncio.timeout(20):
            while not (stored := await database.conversations.find_one({"draft": {"$exists": True}})):
                await asyncio.sleep(0.02)
        await stop(process, tasks)
    assert stored["draft"]["text"] == "您好，成人票 200 元。"
    assert (stored["draft"]["model"], stored["draft"]["tokens"]) == ("small-1", 90)
    assert "sent" not in stored["draft"]
    (used,) = await database.llm_usage.find().to_list(None)
    assert used["tokens"] == 90
    (body,) = bodies
    assert "oA" not in body
