"""Conversations on a real MongoDB and RabbitMQ: one for each follower, whatever comes at once, twice, or after a kill."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis import metrics
from chassis.conversing import Conversing
from chassis.lifecycle import Process
from chassis.mongo import connect
from chassis.publisher import Publisher, command
from chassis.settings import Settings
from contracts import orders, topology
from contracts.envelope import Event, raw
from contracts.errors import PublishFailed
from contracts.facts import Handover
from services.agent.app import build
from services.agent.conversations import Conversations, Question, Stale
from services.autoreply.memory import Memory
from services.autoreply.turn import Turn
from services.autoreply.verdict import Verdict
from services.history.followers import Followers
from services.history.following import ERASE_AFTER, Change
from services.history.incidents import Incidents
from services.history.index import Index
from services.history.store import Store
from services.history.sweep import Sweep
from tests.integration.gateway_stage import start, stop, until

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture
async def database(mongo_url: str, mongo_db: str) -> AsyncIterator[Any]:
    client, database = connect(mongo_url, mongo_db, name="test")
    await Conversations(database).prepare()
    yield database
    client.close()


def question(text: str, openid: str = "oA", cause: str = "", at: datetime = NOW, **more: Any) -> Question:
    order = Handover(**{"reason": "no_rule", "text": text, **more})
    return Question("demo", openid, cause or f"demo|{openid}|{text}", at, order)


async def test_a_second_question_joins_the_first_and_the_same_one_comes_once(database: Any) -> None:
    conversations = Conversations(database)
    first = await conversations.ask(question("票在哪里取", skill="票务"))
    second = await conversations.ask(question("在吗", at=NOW + timedelta(seconds=9), priority=3))
    again = await conversations.ask(question("票在哪里取"))
    assert (first.new, second.new, again.new) == (True, False, True)
    assert first.conversation["_id"] == second.conversation["_id"] == again.conversation["_id"]
    (stored,) = await database.conversations.find().to_list(None)
    assert [asked["text"] for asked in stored["questions"]] == ["票在哪里取", "在吗"]
    assert (stored["state"], stored["skill"], stored["priority"], stored["unread"]) == ("waiting", "票务", 3, 2)
    assert (stored["since"], stored["last_message_at"]) == (NOW, NOW + timedelta(seconds=9))
    assert "oA" not in stored["_id"]


async def test_of_many_at_once_one_opens_and_the_others_join(database: Any) -> None:
    conversations = Conversations(database)
    opened = await asyncio.gather(*(conversations.ask(question(f"第{n}问")) for n in range(20)))
    assert sum(one.new for one in opened) == 1
    (stored,) = await database.conversations.find().to_list(None)
    assert len(stored["questions"]) == stored["unread"] == 20


async def test_a_question_of_a_closed_conversation_opens_no_new_one_when_it_comes_again(database: Any) -> None:
    conversations = Conversations(database)
    opened = await conversations.ask(question("一"))
    await conversations.ask(question("二"))
    await conversations.close(opened.conversation["_id"], "lan", None, anybodys=False)
    await conversations.ask(question("二"))
    await conversations.ask(question("一"))
    assert await database.conversations.count_documents({}) == 1
    assert (await conversations.ask(question("三"))).new
    assert await database.conversations.count_documents({"open": True}) == 1


async def test_of_two_who_take_one_gets_it_and_the_other_is_told_who_has_it(database: Any) -> None:
    conversations = Conversations(database)
    name = (await conversations.ask(question("一"))).conversation["_id"]
    taken = await asyncio.gather(
        conversations.take(name, "lan", 1), conversations.take(name, "bo", 1), return_exceptions=True
    )
    (loser,) = [one for one in taken if isinstance(one, Stale)]
    (winner,) = [one for one in taken if isinstance(one, dict)]
    assert loser.found is not None
    assert loser.found["agent"] == winner["agent"]
    assert winner["revision"] == 2
    # To take again what one has is no error: the answer to the first try may have been lost.
    assert (await conversations.take(name, winner["agent"], 1))["revision"] == 2
    other = ({"lan", "bo"} - {winner["agent"]}).pop()
    for step in (conversations.release, conversations.close):
        with pytest.raises(Stale):
            await step(name, other, None, anybodys=False)
    assert (await conversations.release(name, other, None, anybodys=True))["state"] == "waiting"
    with pytest.raises(Stale):
        await conversations.close(name, "lan", 1, anybodys=False)


async def test_the_list_is_by_priority_then_by_age_and_goes_on_where_it_ended(database: Any) -> None:
    conversations = Conversations(database)
    for number, priority in enumerate([0, 5, 0, 5, 0]):
        at = NOW + timedelta(seconds=number)
        await conversations.ask(question("问", openid=f"o{number}", at=at, priority=priority))
    page = await conversations.newest(["demo"], "waiting", None, 3)
    last = page[-1]
    page += await conversations.newest(["demo"], "waiting", (last["priority"], last["since"], last["_id"]), 3)
    assert [one["openid"] for one in page] == ["o1", "o3", "o0", "o2", "o4"]
    assert await conversations.newest(["other"], "waiting", None, 3) == []


async def test_who_talks_with_whom_is_known_to_those_who_only_look(database: Any) -> None:
    conversations, conversing = Conversations(database), Conversing(database)
    await conversing.refresh()
    assert conversing.position("demo", "oA") == 1
    conversing.expect("demo", "oA")
    conversing.expect("demo", "oB")
    assert [conversing.position("demo", openid) for openid in ("oA", "oB", "oC")] == [1, 2, 3]
    assert conversing.waiting("demo", "oB")
    name = (await conversations.ask(question("一"))).conversation["_id"]
    await conversations.ask(question("急", openid="oC", priority=9))
    await conversing.refresh()
    # oB is expected still; the one with the higher priority stands before the one who waits longer.
    assert [conversing.position("demo", openid) for openid in ("oC", "oA", "oB", "oD")] == [1, 2, 3, 4]
    await conversations.take(name, "lan", None)
    assert not conversing.assigned("demo", "oA")
    assert await conversing.taken([("demo", "oA"), ("demo", "oC")]) == {("demo", "oA")}
    await conversing.refresh()
    assert conversing.assigned("demo", "oA")
    assert not conversing.waiting("demo", "oA")
    await conversations.close(name, "lan", None, anybodys=False)
    await conversing.refresh()
    assert not conversing.assigned("demo", "oA")
    fresh = Conversing(database)
    await fresh.refresh()
    assert [fresh.position("demo", openid) for openid in ("oC", "oA")] == [1, 2]


@dataclass
class Agent:
    process: Process
    tasks: list[asyncio.Task[Any]]


async def run(amqp_url: str, mongo_url: str, mongo_db: str) -> Agent:
    process = await build(Settings(amqp_url=amqp_url, mongodb_url=mongo_url, mongodb_database=mongo_db, http_port=0))
    agent = Agent(process, await start(process))
    await asyncio.wait_for(process.bus.wait_ready(), 30)
    return agent


def handover(text: str, openid: str = "oA") -> Event:
    asked = Event(
        id=f"demo|{openid}|{text}", source="/accounts/demo", type="wechat.message.text", subject=openid, time=NOW,
        account="demo", lane="question", data=raw({}),
    )  # fmt: skip
    return orders.handover(asked, Handover(reason="no_rule", text=text))


def acked() -> float:
    """Handovers that were handled to their end in this process."""
    return metrics.consumed.labels(topology.AGENT_HANDOVER.name, "ack")._value.get()


async def test_killed_between_the_conversation_and_the_ack_it_opens_none_twice(
    amqp_url: str, mongo_url: str, mongo_db: str, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await run(amqp_url, mongo_url, mongo_db)
    publisher = Publisher(agent.process.bus, 5.0)
    dead = asyncio.Event()
    before = acked()

    async def died(self: Conversations, asked: Question) -> Any:
        await asking(self, asked)
        dead.set()
        await asyncio.Event().wait()  # nothing of this process happens any more

    asking = Conversations.ask
    with monkeypatch.context() as patched:
        patched.setattr(Conversations, "ask", died)
        await publisher.publish(command(orders.HANDOVER_KEY, handover("票在哪里取")))
        await asyncio.wait_for(dead.wait(), 15)
        for task in [*agent.tasks, *(task for consumer in agent.process.consumers for task in consumer._tasks)]:
            task.cancel()
        await agent.process.bus.close()
    other = await run(amqp_url, mongo_url, mongo_db)
    await until(lambda: acked() == before + 1, 20, "the handover is acked")
    (stored,) = await database.conversations.find().to_list(None)
    assert [asked["text"] for asked in stored["questions"]] == ["票在哪里取"]
    await agent.process.runner.cleanup()
    await stop(other.process, other.tasks)


def sweep(store: Store, followers: Followers, tell: Any) -> Sweep:
    """The sweep, on the day on which who left may be forgotten."""

    def clock() -> datetime:
        return NOW + ERASE_AFTER

    return Sweep(store, followers, Index(store, clock), Incidents(store, followers, clock), clock, tell)


async def test_whoever_must_be_forgotten_is(amqp_url: str, mongo_url: str, mongo_db: str, database: Any) -> None:
    agent = await run(amqp_url, mongo_url, mongo_db)
    conversations, memory = Conversations(database), Memory(database)
    await conversations.ask(question("票在哪里取"))
    await conversations.ask(question("在吗", openid="oB"))
    turns = [Turn(("demo", openid)).left_unanswered("e1", NOW) for openid in ("oA", "oB")]
    await memory.write([turn.decide("e1", NOW, Verdict("default")) for turn in turns])
    store, followers = Store(database), Followers(database)
    left = Change("demo", "oA", "unsubscribed_at", NOW, "")
    await followers.apply([left])
    publisher = Publisher(agent.process.bus, 5.0)

    async def tell(account: str, openid: str) -> None:
        await publisher.publish(command(orders.FORGET_KEY, orders.forget(account, openid, NOW)))

    assert await sweep(store, followers, tell).run() == 1
    async with asyncio.timeout(15):
        while await database.conversations.count_documents({"openid": "oA"}):
            await asyncio.sleep(0.02)
    assert await memory.forget(orders.forget("demo", "oA", NOW)) == []
    assert [one["openid"] for one in await database.turns.find().to_list(None)] == ["oB"]
    assert [one["openid"] for one in await database.conversations.find().to_list(None)] == ["oB"]
    await stop(agent.process, agent.tasks)


async def test_who_cannot_be_told_to_forget_leaves_the_follower_due(database: Any) -> None:
    followers = Followers(database)
    await followers.apply([Change("demo", "oA", "unsubscribed_at", NOW, "")])

    async def tell(account: str, openid: str) -> None:
        raise PublishFailed("the bus is away")

    with pytest.raises(PublishFailed):
        await sweep(Store(database), followers, tell).run()
    assert await followers.get("demo", "oA") is not None
