"""Drafts on a real MongoDB: kept with their conversation, and the day's tokens counted over all processes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.llm import DailyTokens
from chassis.mongo import connect
from contracts.facts import Candidate, Handover
from services.agent.conversations import Conversations, Question
from services.agent.conversations_api import view

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
