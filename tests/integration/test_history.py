"""The history service on a real RabbitMQ and a real MongoDB: everything is kept, once, whatever dies meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote as percent

import aio_pika
import aiohttp
import msgspec
import pytest
import yarl

from chassis.amqp import Bus
from chassis.http import serve
from chassis.lifecycle import Process
from chassis.mongo import connect
from chassis.publisher import Publisher, fact
from chassis.settings import Settings
from contracts import facts, keys, wechat
from contracts.content import Text
from contracts.envelope import Event, data_as, decode, raw
from services.history import searching
from services.history.app import build
from services.history.erasure import Pseudonyms
from services.history.followers import Followers
from services.history.following import ERASE_AFTER
from services.history.incidents import Incidents
from services.history.index import Index
from services.history.store import ACCOUNT_INDEX, Store
from services.history.sweep import Sweep
from weir.export import main as export
from weir.local.mongo import MongoServer

TOKEN = "t" * 24
START = datetime(2026, 1, 5, 12, tzinfo=UTC)
OPENID = "oABCDEFGHIJKLMNOPQRSTUVWXYZ1"


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not await true():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


def message(number: int, *, account: str = "demo", openid: str = OPENID, at: datetime = START, text: str = "") -> Event:
    fields = {
        "ToUserName": "gh_123456789abc",
        "FromUserName": openid,
        "CreateTime": int(at.timestamp()),
        "MsgType": "text",
        "Content": text or f"message {number}",
        "MsgId": str(23_000_000_000_000_000 + number),
    }
    return Event(
        id=keys.inbound_id(account, openid, fields),
        source=f"/accounts/{account}",
        type=wechat.event_type(fields),
        subject=openid,
        time=at,
        account=account,
        lane="question",
        data=raw(fields),
    )


def happening(event: str, *, at: datetime = START, openid: str = OPENID, **more: str) -> Event:
    fields = {
        "ToUserName": "gh_123456789abc",
        "FromUserName": openid,
        "CreateTime": int(at.timestamp()),
        "MsgType": "event",
        "Event": event,
        **more,
    }
    return Event(
        id=keys.inbound_id("demo", openid, fields),
        source="/accounts/demo",
        type=wechat.event_type(fields),
        subject=wechat.subject(fields),
        time=at,
        account="demo",
        lane="question",
        data=raw(fields),
    )


def of(cause: Event, event_type: str, data: Any, *, name: str = "", after: float = 0.2) -> Event:
    return Event(
        id=name or keys.reply_id(cause.id),
        source=cause.source,
        type=event_type,
        subject=cause.subject,
        time=cause.time + timedelta(seconds=after),
        account=cause.account,
        lane=cause.lane,
        cause=cause.id,
        deadline=cause.time + timedelta(seconds=4.5),
        data=raw(data),
    )


def reply(cause: Event, *, after: float = 0.2) -> Event:
    because = facts.Because(rule="hello", rules_version="1")
    return of(cause, facts.REPLY_SENT, facts.ReplySent(Text("an answer"), because), after=after)


def outcome(cause: Event, event_type: str, **more: Any) -> Event:
    send = keys.reply_id(cause.id)
    told = facts.SendOutcome(send, Text("an answer"), facts.Because(rule="hello"), **more)
    return of(cause, event_type, told, name=keys.outcome_id(send, event_type.rpartition(".")[2]))


def orphan(cause: Event, content: Text | None = Text("an answer")) -> Event:  # noqa: B008  # frozen
    send = keys.reply_id(cause.id)
    decision = facts.Decision(
        send,
        cause.id,
        cause.account,
        cause.subject,
        facts.Because(rule="hello"),
        content,
        facts.Window("message", cause.time),
    )
    return of(cause, facts.REPLY_ORPHANED, decision, name=f"{send}~orphan")


def quote(name: str) -> str:
    return percent(name, safe="")


class Running:
    """The service in this loop, with a publisher and a database handle of the test's own."""

    def __init__(self, process: Process, publisher: Publisher, database: Any, url: str, http: aiohttp.ClientSession):
        self.process = process
        self.publisher = publisher
        self.database = database
        self.url = url
        self.http = http

    async def publish(self, *events: Event) -> None:
        await asyncio.gather(*(self.publisher.publish(fact(event)) for event in events))

    async def get(self, path: str, status: int = 200, **parameters: str) -> Any:
        url = yarl.URL(f"{self.url}/api/{path}", encoded=True).update_query(parameters)
        async with self.http.get(url) as response:
            body = await response.read()
            assert response.status == status, body
            return msgspec.json.decode(body)

    async def status_of(self, name: str) -> str | None:
        document = await self.database.messages.find_one({"_id": name})
        return document and document["status"]

    async def stored(self, count: int, collection: str = "messages", seconds: float = 30.0) -> None:
        async def there() -> bool:
            return int(await self.database[collection].count_documents({})) >= count

        await until(there, seconds)


@asynccontextmanager
async def serving(amqp_url: str, mongo_url: str, mongo_db: str) -> AsyncIterator[Running]:
    settings = Settings(amqp_url=amqp_url, mongodb_url=mongo_url, mongodb_database=mongo_db, admin_token=TOKEN)
    process = await build(settings)
    site = await serve(process.runner, "127.0.0.1", 0)
    for prepare in process.before:
        await prepare()
    await process.bus.start()
    for consumer in process.consumers:
        await consumer.start()
    await process.bus.wait_ready()
    jobs = [asyncio.ensure_future(job()) for job in process.background]
    bus = Bus(amqp_url, "test")
    await bus.start()
    await bus.wait_ready()
    client, database = connect(mongo_url, mongo_db, name="test")
    port = site.port
    try:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
            yield Running(process, Publisher(bus, 5.0), database, f"http://127.0.0.1:{port}", http)
    finally:
        for job in jobs:
            job.cancel()
        await process.bus.stop_consuming()
        await asyncio.gather(*(consumer.drain() for consumer in process.consumers))
        for close in process.closers:
            await close()
        await process.bus.close()
        await process.runner.cleanup()
        await bus.close()
        client.close()


@pytest.fixture
async def history(amqp_url: str, mongo_url: str, mongo_db: str) -> AsyncIterator[Running]:
    async with serving(amqp_url, mongo_url, mongo_db) as running:
        yield running


async def test_every_message_and_answer_is_stored_once_however_often_it_comes(history: Running) -> None:
    inbound = [message(n) for n in range(300)]
    answers = [reply(event) for event in inbound]
    await history.publish(*inbound, *answers, *inbound[:50], *answers[:50])
    await history.publish(*inbound)
    await history.publish(message(300))
    await history.stored(601)
    assert await history.database.messages.count_documents({}) == 601
    document = await history.database.messages.find_one({"_id": answers[7].id})
    assert document["cause"] == inbound[7].id
    assert document["because"] == {"rule": "hello", "rules_version": "1"}
    assert (document["via"], document["status"], document["text"]) == ("passive", "sent", "an answer")


async def test_a_cut_connection_in_the_middle_stores_nothing_twice_and_loses_nothing(history: Running) -> None:
    events = [message(n) for n in range(2000)]
    publishing = asyncio.create_task(history.publish(*events))
    for share in (200, 900):
        await history.stored(share)
        history.process.bus._consuming.break_()
    await publishing
    await history.stored(2000)
    assert not any(consumer.failed for consumer in history.process.consumers)
    assert await history.database.messages.count_documents({}) == 2000


async def test_a_killed_mongod_loses_nothing(amqp_url: str, own_mongod: MongoServer) -> None:
    async with serving(amqp_url, own_mongod.url, "weir") as history:
        events = [message(n) for n in range(3000)]
        await history.publish(*events[:1000])
        await history.stored(200)
        await own_mongod.kill()
        await history.publish(*events[1000:2000], *(reply(event) for event in events[:1000]))

        async def says(ready: int) -> bool:
            async with history.http.get(f"{history.url}/readyz") as response:
                return response.status == ready

        await until(lambda: says(503))
        assert (await history.get("messages", 503))["code"] == "store_unavailable"
        await own_mongod.start()
        await history.publish(*events[2000:])
        await history.stored(4000, seconds=60)
        assert await history.database.messages.count_documents({}) == 4000
        await until(lambda: says(200))


async def test_what_bson_cannot_hold_is_kept_as_text_and_harms_nothing_else(history: Running) -> None:
    odd = message(1)
    fields = msgspec.json.decode(odd.data)
    odd = msgspec.structs.replace(odd, data=raw({**fields, "Big": 2**64 - 1, "nul\0name": 1}))
    deep: Any = "x"
    for _ in range(250):
        deep = {"d": deep}
    too_deep = message(2)
    too_deep = msgspec.structs.replace(too_deep, data=raw({**msgspec.json.decode(too_deep.data), "Deep": deep}))
    await history.publish(message(0), odd, too_deep, message(3))
    await history.stored(4)
    kept = await history.get(f"messages/{quote(odd.id)}")
    assert msgspec.json.decode(kept["message"]["raw"])["Big"] == 2**64 - 1
    kept = await history.get(f"messages/{quote(too_deep.id)}")
    assert '{"d":{"d":' in kept["message"]["raw"]


async def test_an_answer_is_one_document_whatever_is_told_of_it(history: Running) -> None:
    first, second, third = (message(n) for n in range(3))
    name = keys.reply_id
    await history.publish(outcome(first, facts.SEND_UNKNOWN), outcome(third, facts.SEND_FAILED, errcode=45015))
    await history.stored(2)
    await history.publish(outcome(first, facts.SEND_ACCEPTED))
    await until(lambda: is_(history.status_of(name(first.id)), "sent"))
    await history.publish(outcome(first, facts.SEND_UNKNOWN), outcome(first, facts.SEND_FAILED), reply(second))
    await history.stored(3)
    await history.publish(outcome(second, facts.SEND_ACCEPTED))

    async def disagreed() -> bool:
        return bool(await history.database.messages.find_one({"conflict": True}))

    await until(disagreed)
    assert await history.database.messages.count_documents({}) == 3
    assert await history.status_of(name(first.id)) == "sent"
    shown = (await history.get(f"messages/{quote(name(second.id))}"))["message"]
    assert (shown["via"], shown["conflict"], shown["others"][0]["via"]) == ("passive", True, "custom")
    failed = (await history.get(f"messages/{quote(name(third.id))}"))["message"]
    assert (failed["status"], failed["errcode"]) == ("failed", 45015)


async def test_an_orphan_is_sent_unless_its_gateway_answered_after_all(history: Running, amqp_url: str) -> None:
    answered, lost, silent = (message(n) for n in range(3))
    await history.publish(orphan(answered), orphan(lost), orphan(lost), orphan(silent, None))
    await history.publish(reply(answered), *(message(n) for n in range(3)))
    await history.stored(4)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue("courier.reply", ensure=False)

        async def settled() -> bool:
            declared = await channel.declare_queue("history.retry.5s", passive=True)
            work = await channel.declare_queue("history", passive=True)
            counts = [declared.declaration_result.message_count, work.declaration_result.message_count]
            return not any(counts) and all(consumer.idle for consumer in history.process.consumers)

        sends: list[Event] = []
        deadline = time.monotonic() + 20
        while len(sends) < 2:
            assert time.monotonic() < deadline
            got = await queue.get(fail=False, no_ack=True)
            if got:
                sends += decode(got.body)
            else:
                await asyncio.sleep(0.05)
        await until(settled)
        assert await queue.get(fail=False) is None
    assert [send.id for send in sends] == [keys.reply_id(lost.id)] * 2
    assert sends[0].cause == lost.id
    assert data_as(sends[0], facts.Send).content == Text("an answer")


async def test_other_facts_are_kept(history: Running) -> None:
    published = of(message(1), "weir.rules.published", {"version": "9"}, name="demo|rules|9")
    await history.publish(published, published)
    await history.stored(1, "facts")
    document = await history.database.facts.find_one({})
    assert (document["_id"], document["type"], document["data"]) == (published.id, published.type, {"version": "9"})
    assert await history.database.messages.count_documents({}) == 0


async def test_lists_show_what_was_asked_for(history: Running) -> None:
    other = "oZZZZZZZZZZZZZZZZZZZZZZZZZZZ"
    hello, click = message(1, text="你好 (a+b)"), happening("CLICK", at=START + timedelta(seconds=5), EventKey="HOURS")
    shop = message(2, account="shop", openid=other, at=START + timedelta(days=1))
    await history.publish(hello, reply(hello), click, shop)
    await history.stored(4)

    async def ids(**parameters: str) -> list[str]:
        return [shown["id"] for shown in (await history.get("messages", **parameters))["messages"]]

    everything = [shop.id, click.id, reply(hello).id, hello.id]
    assert await ids() == everything
    assert await ids(account="demo") == everything[1:]
    assert await ids(openid=OPENID) == everything[1:]
    assert await ids(openid=OPENID, account="shop") == []
    assert await ids(direction="out") == [reply(hello).id]
    assert await ids(kind="event.click") == [click.id]
    assert await ids(text="(A+") == [hello.id]
    assert await ids(text="hours", account="demo") == [click.id]
    assert await ids(**{"from": "2026-01-05T20:00:05+08:00", "to": "2026-01-06T00:00:00Z"}) == [click.id]
    assert await ids(to=str(int(START.timestamp()))) == []
    shown = (await history.get("messages", direction="out"))["messages"][0]
    assert shown == {
        "id": reply(hello).id,
        "account": "demo",
        "openid": OPENID,
        "direction": "out",
        "kind": "text",
        "at": "2026-01-05T12:00:00.200Z",
        "text": "an answer",
        "content": {"type": "text", "content": "an answer"},
        "cause": hello.id,
        "because": {"rule": "hello", "rules_version": "1"},
        "via": "passive",
        "status": "sent",
    }
    one = await history.get(f"messages/{quote(hello.id)}")
    assert (one["message"]["text"], one["message"]["fields"]["ToUserName"]) == ("你好 (a+b)", "gh_123456789abc")
    assert [answer["id"] for answer in one["answers"]] == [reply(hello).id]


async def test_what_is_asked_wrongly_is_told_so(history: Running) -> None:
    assert "direction" in (await history.get("messages", 400, direction="up"))["detail"]
    assert "colour" in (await history.get("messages", 400, colour="red"))["detail"]
    assert "cursor" in (await history.get("messages", 400, cursor="!!"))["detail"]
    assert "after" in (await history.get("messages/export", 400, after="nothing"))["detail"]
    assert (await history.get("messages/nothing", 404))["code"] == "not_found"
    assert (await history.get("followers/demo/nobody", 404))["code"] == "not_found"
    async with aiohttp.request("GET", f"{history.url}/api/messages") as response:
        assert response.status == 401


async def test_paging_gives_every_message_once_while_new_ones_come(history: Running) -> None:
    # Many share a second, over two accounts: time alone does not tell them apart.
    old = [message(n, account=("demo", "shop")[n % 2], at=START + timedelta(seconds=n // 60)) for n in range(400)]
    await history.publish(*old, *(reply(event) for event in old[:100]))
    await history.stored(500)
    for parameters in ({}, {"account": "demo"}, {"openid": OPENID}):
        seen: list[str] = []
        page = await history.get("messages", limit="37", **parameters)
        new = 1000
        while True:
            seen += [shown["id"] for shown in page["messages"]]
            if not page["next"]:
                break
            new += 10
            await history.publish(*(message(n, at=START + timedelta(days=1)) for n in range(new, new + 10)))
            page = await history.get("messages", limit="37", cursor=page["next"], **parameters)
        expected = {e.id for e in old if e.account in parameters.get("account", e.account)}
        expected |= {keys.reply_id(e.id) for e in old[:100] if e.id in expected}
        assert len(seen) == len(set(seen))
        assert {name for name in seen if name in expected} == expected
        await history.database.messages.delete_many({"at": {"$gte": START + timedelta(hours=1)}})


async def test_lists_are_read_in_order_from_an_index(history: Running) -> None:
    await history.publish(message(1), message(2, account="shop"))
    await history.stored(2)
    find = {
        "find": "messages",
        "filter": {"account": {"$in": ["demo", "shop"]}, "at": {"$lt": START + timedelta(days=1)}},
        "sort": {"at": -1, "_id": -1},
        "hint": ACCOUNT_INDEX,
    }
    plan = str((await history.database.command("explain", find))["queryPlanner"]["winningPlan"])
    assert "'SORT_MERGE'" in plan
    assert "'SORT'" not in plan


async def test_a_question_that_takes_too_long_says_how_to_narrow_it(
    history: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [{"_id": str(n), "account": "demo", "openid": "o", "at": START, "text": "x" * 500} for n in range(30_000)]
    await history.database.messages.insert_many(many, ordered=False)
    monkeypatch.setattr(searching, "MAX_SECONDS", 0.001)
    problem = await history.get("messages", 422, account="demo", text="needle")
    assert problem["code"] == "too_broad"
    assert "openid" in problem["detail"]


# Followers and erasure


async def test_a_follower_is_what_events_and_messages_tell(history: Running) -> None:
    hour = timedelta(hours=1)
    # Out of order on purpose: the later time wins, not the later arrival.
    await history.publish(happening("subscribe", at=START + 2 * hour, EventKey="qrscene_7"))
    await history.publish(happening("unsubscribe", at=START + hour), happening("subscribe", at=START, EventKey=""))
    click = happening("CLICK", at=START + 4 * hour, EventKey="K")
    await history.publish(message(1, at=START + 3 * hour), reply(message(1, at=START + 3 * hour)), click)
    await history.stored(6)

    async def known() -> bool:
        return (await history.get(f"followers/demo/{OPENID}"))["unsubscribed_at"] is not None

    await until(known)
    assert await history.get(f"followers/demo/{OPENID}") == {
        "account": "demo",
        "openid": OPENID,
        "subscribed": True,
        "subscribed_at": "2026-01-05T14:00:00.000Z",
        "unsubscribed_at": "2026-01-05T13:00:00.000Z",
        "tags": [],
        "scene": "7",
        "first_seen": "2026-01-05T12:00:00.000Z",
        "last_seen": "2026-01-05T16:00:00.000Z",
        "last_message_at": "2026-01-05T15:00:00.000Z",
        "last_interaction_at": "2026-01-05T16:00:00.000Z",
        "messages_in": 1,
        "messages_in_capped": False,
        "messages_out": 1,
        "messages_out_capped": False,
        "erased": False,
        "erase_after": None,
    }


async def test_who_wrote_but_never_followed_is_known_by_their_messages(history: Running) -> None:
    await history.publish(message(1))
    await history.stored(1)
    shown = await history.get(f"followers/demo/{OPENID}")
    assert (shown["subscribed"], shown["messages_in"]) == (None, 1)


async def test_who_left_is_erased_after_thirty_days_and_not_before(history: Running) -> None:
    stays = "oSTAYSSTAYSSTAYSSTAYSSTAYSST"
    came = [message(n, text="my secret") for n in range(1100)]
    other = message(5000, openid=stays)
    fact_of = of(came[0], "weir.conversation.opened", {"said": "my secret"}, name=f"{came[0].id}!opened")
    await history.publish(*came, *(reply(event) for event in came[:100]), other, fact_of)
    await history.publish(happening("unsubscribe", at=START), happening("unsubscribe", at=START, openid=stays))
    await history.publish(happening("subscribe", at=START + timedelta(days=1), openid=stays))
    await history.stored(1204)
    await history.stored(1, "facts")
    store, followers = Store(history.database), Followers(history.database)
    now = START + ERASE_AFTER - timedelta(seconds=1)

    def clock() -> datetime:
        return now

    sweep = Sweep(store, followers, Index(store, clock), Incidents(store, followers, clock), clock)

    async def both_known() -> bool:
        return int(await history.database.followers.count_documents({"unsubscribed_at": {"$ne": None}})) == 2

    await until(both_known)
    assert await sweep.run() == 0
    # Killed half-way: some are written anew and not yet gone, some are gone.
    pseudonyms: Pseudonyms = await sweep.pseudonyms()
    first = [await history.database.messages.find_one({"_id": event.id}) for event in came[:40]]
    await history.database.messages.insert_many([pseudonyms.message(document) for document in first])
    await history.database.messages.delete_many({"_id": {"$in": [document["_id"] for document in first[:20]]}})

    now = START + ERASE_AFTER
    assert await sweep.run() == 1
    assert await sweep.run() == 0
    documents = await history.database.messages.find({"openid": {"$ne": stays}}).to_list(None)
    assert len(documents) == 1201
    everything = repr(documents) + repr(await history.database.facts.find().to_list(None))
    everything += repr(await history.database.followers.find({"openid": {"$ne": stays}}).to_list(None))
    for personal in (OPENID, "my secret", "an answer", "gh_123456789abc"):
        assert personal not in everything
    answers = [document for document in documents if document["direction"] == "out"]
    causes = {document["_id"] for document in documents}
    assert len(answers) == 100
    assert all(answer["cause"] in causes and answer["status"] == "sent" for answer in answers)
    shown = await history.get(f"followers/demo/{OPENID}")
    assert (shown["erased"], shown["messages_in"], shown["first_seen"]) == (True, 0, None)
    assert (await history.get(f"followers/demo/{stays}"))["erased"] is False
    assert (await history.get(f"messages/{quote(other.id)}"))["message"]["text"] == "message 5000"


# Export


async def test_export_writes_every_message_once_oldest_first(
    history: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    came = [message(n, at=START + timedelta(seconds=n // 100)) for n in range(1300)]
    await history.publish(*came, message(9, account="shop"))
    await history.stored(1301)
    monkeypatch.setenv("WEIR_ADMIN_TOKEN", TOKEN)

    async def run(*options: str) -> int:
        return await asyncio.to_thread(export, ["--url", history.url, *options])

    def lines(name: str) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in (tmp_path / name).read_bytes().splitlines()]

    assert await run("--output", str(tmp_path / "all")) == 0
    everything = lines("all")
    assert {line["id"] for line in everything} == {event.id for event in came} | {message(9, account="shop").id}
    assert len(everything) == 1301
    assert [(line["at"], line["id"]) for line in everything] == sorted((line["at"], line["id"]) for line in everything)
    assert (tmp_path / "all").stat().st_mode & 0o777 == 0o600
    assert await run("--account", "shop", "--output", str(tmp_path / "shop")) == 0
    assert [line["account"] for line in lines("shop")] == ["shop"]
    rest = ["--after", everything[1000]["id"], "--output", str(tmp_path / "rest")]
    assert await run(*rest) == 0
    assert lines("rest") == everything[1001:]
    assert (
        await run("--from", "2026-01-05T12:00:03Z", "--to", "2026-01-05T12:00:04Z", "--output", str(tmp_path / "t"))
        == 0
    )
    assert len(lines("t")) == 100
    assert await run("--from", "never", "--output", str(tmp_path / "no")) == 1
    assert "from: must be a time" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    monkeypatch.setenv("WEIR_ADMIN_TOKEN", "x" * 24)
    assert await run("--output", str(tmp_path / "all")) == 1
    assert "token is not the right one" in capsys.readouterr().err
    assert len(lines("all")) == 1301


async def is_(got: Awaitable[Any], wanted: object) -> bool:
    return bool(await got == wanted)
