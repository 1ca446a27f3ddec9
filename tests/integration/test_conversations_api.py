"""Conversations over HTTP, with the agent service on a real MongoDB and RabbitMQ, and two people who both want one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from chassis.amqp import Bus
from chassis.consumer import Consumer, Result
from chassis.identity import digest
from chassis.mongo import connect
from chassis.publisher import Publisher
from chassis.settings import Settings
from contracts import topology
from contracts.content import Text
from contracts.envelope import Event, data_as
from contracts.facts import Candidate, Handover, Send
from services.agent.app import build
from services.agent.conversations import Conversations, Question
from tests.integration.gateway_stage import start, stop, until

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
TOKEN = "t" * 24


class Desk:
    """The agent service, and what it puts on the bus."""

    def __init__(self, url: str, http: aiohttp.ClientSession, database: Any) -> None:
        self.url, self.http, self.database = url, http, database
        self.conversations = Conversations(database)
        self.events: list[Event] = []

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str = TOKEN, **query: str
    ) -> tuple[int, Any]:
        address = f"{self.url}/api/conversations{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.request(method, address, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def token(self, name: str, *permissions: str, account: str = "demo") -> str:
        """A program's token; it stands for a colleague here."""
        secret = f"weir_{name}"
        await self.database.api_tokens.insert_one(
            {
                "_id": digest(secret),
                "name": name,
                "permissions": list(permissions),
                "accounts": [account],
            }
        )
        return secret

    async def asks(self, text: str, openid: str = "oA", *, account: str = "demo", after: float = 0, **more: Any) -> str:
        order = Handover(**{"reason": "no_rule", "text": text, **more})
        at = NOW + timedelta(seconds=after)
        opened = await self.conversations.ask(Question(account, openid, f"{account}|{openid}|{text}", at, order))
        return str(opened.conversation["_id"])

    def told(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.type == kind]


@pytest.fixture
async def desk(amqp_url: str, mongo_url: str, mongo_db: str) -> AsyncIterator[Desk]:
    settings = Settings(
        amqp_url=amqp_url, mongodb_url=mongo_url, mongodb_database=mongo_db, http_port=0, admin_token=TOKEN
    )
    process = await build(settings)
    tasks = await start(process)
    client, database = connect(mongo_url, mongo_db, name="test")
    bus = Bus(amqp_url, "test")
    async with aiohttp.ClientSession() as http:
        made = Desk(f"http://127.0.0.1:{process.runner.addresses[0][1]}", http, database)

        async def note(events: list[Event]) -> list[Result]:
            made.events += events
            return [[] for _ in events]

        consumers = [
            Consumer(bus, Publisher(bus), queue, note) for queue in (topology.HISTORY, topology.COURIER_URGENT)
        ]
        await bus.start()
        for consumer in consumers:
            await consumer.start()
        await asyncio.gather(*(asyncio.wait_for(one.wait_ready(), 30) for one in (bus, process.bus)))
        yield made
        await bus.stop_consuming()
        await asyncio.gather(*(consumer.drain() for consumer in consumers))
        await bus.close()
    client.close()
    await stop(process, tasks)


async def test_from_the_queue_to_an_answer_and_the_end(desk: Desk) -> None:
    near = Candidate("tickets", "在哪取票", "南门取票", 0.41)
    name = await desk.asks("票在哪里取", skill="票务", candidates=(near,))
    urgent = await desk.asks("退款", "oB", priority=5, after=9)
    status, page = await desk.call("GET", "", limit="1")
    assert (status, [one["id"] for one in page["conversations"]]) == (200, [urgent])
    status, page = await desk.call("GET", "", limit="1", cursor=page["next"])
    assert (page["next"], [one["id"] for one in page["conversations"]]) == (None, [name])
    shown = (await desk.call("GET", f"/{name}"))[1]
    assert shown == page["conversations"][0]
    assert (shown["openid"], shown["state"], shown["since"]) == ("oA", "waiting", "2026-05-04T12:00:00Z")
    assert shown["questions"][0]["candidates"] == [
        {"faq": "tickets", "question": "在哪取票", "answer": "南门取票", "score": 0.41}
    ]
    status, taken = await desk.call("POST", f"/{name}/take", {"revision": shown["revision"]})
    assert (status, taken["state"], taken["agent"], taken.get("unread", 0)) == (
        200,
        "assigned",
        "admin-token",
        0,
    )
    answers = [await desk.call("POST", f"/{name}/messages", {"id": "m1", "text": "南门"}) for _ in range(2)]
    assert answers == [(202, {"send": f"{name}#m1"})] * 2
    assert (await desk.call("POST", f"/{name}/close", {}))[1]["state"] == "closed"
    assert (await desk.call("POST", f"/{name}/messages", {"id": "m2", "text": "还有"}))[0] == 409
    await until(lambda: desk.told("weir.send") and desk.told("weir.conversation.closed"))
    send = desk.told("weir.send")[0]
    order = data_as(send, Send)
    assert (order.content, order.because.agent) == (Text("南门"), "admin-token")
    assert order.window is not None
    assert (order.window.kind, order.window.opened_at) == ("message", NOW)
    assert (send.subject, send.cause) == ("oA", "demo|oA|票在哪里取")
    assert {event.id for event in desk.told("weir.send")} == {f"{name}#m1"}
    assert [event.id for event in desk.told("weir.conversation.assigned")] == [f"{name}!assigned.2"]
    audited = await desk.database.audit.find().sort("at").to_list(None)
    assert [(one["what"], one["about"], one["account"]) for one in audited] == [
        ("conversation.taken", name, "demo"),
        ("conversation.closed", name, "demo"),
    ]


async def test_of_two_who_take_the_second_is_told_who_has_it(desk: Desk) -> None:
    lan, bo = [await desk.token(name, "conversations.read", "conversations.act") for name in ("lan", "bo")]
    name = await desk.asks("在吗")
    status, _ = await desk.call("POST", f"/{name}/take", {"revision": 1}, token=lan, account="demo")
    assert status == 200
    status, problem = await desk.call("POST", f"/{name}/take", {"revision": 1}, token=bo, account="demo")
    assert (status, problem["code"]) == (409, "stale")
    assert "with lan" in problem["detail"]
    for step, body in (("close", {}), ("release", {}), ("messages", {"id": "x", "text": "好"})):
        assert (await desk.call("POST", f"/{name}/{step}", body, token=bo, account="demo"))[0] == 409
    # Doing again what is done is no error, and neither does a supervisor need the agent for it.
    assert (await desk.call("POST", f"/{name}/take", {"revision": 1}, token=lan, account="demo"))[0] == 200
    assert (await desk.call("POST", f"/{name}/release", {}))[1]["state"] == "waiting"
    assert (await desk.call("POST", f"/{name}/take", {"revision": 2}, token=bo, account="demo"))[0] == 409


async def test_one_account_is_not_shown_to_who_belongs_to_another(desk: Desk) -> None:
    other = await desk.token("other", "conversations.read", "conversations.act", account="other")
    reads = await desk.token("reads", "conversations.read")
    name = await desk.asks("在吗")
    assert (await desk.call("GET", "", token=other))[0] == 403
    assert (await desk.call("GET", "", token=other, account="demo"))[0] == 403
    assert (await desk.call("GET", "", token=other, account="other"))[1]["conversations"] == []
    for path, token, account, expected in (
        (f"/{name}", other, "other", 404),
        (f"/{name}", other, "demo", 403),
        (f"/{name}", reads, "demo", 200),
    ):
        assert (await desk.call("GET", path, token=token, account=account))[0] == expected
    assert (await desk.call("POST", f"/{name}/take", {}, token=other, account="other"))[0] == 404
    assert (await desk.call("POST", f"/{name}/take", {}, token=reads, account="demo"))[0] == 403
    assert (await desk.call("GET", f"/{name}", token="nobody"))[0] == 401


BAD: list[tuple[str, Any, dict[str, str], tuple[int, str]]] = [
    ("", None, {"cursor": "x"}, (400, "bad_parameter")),
    ("", None, {"cursor": f"0.999999999999999.{'a' * 24}"}, (400, "bad_parameter")),
    ("", None, {"state": "lost"}, (400, "bad_parameter")),
    ("", None, {"limit": "0"}, (400, "bad_parameter")),
    ("/none", None, {}, (404, "not_found")),
    ("/none/take", {}, {}, (404, "not_found")),
    ("/none/take", {"revision": "1"}, {}, (422, "bad_body")),
    ("/none/messages", {"id": "a b", "text": "x"}, {}, (422, "bad_body")),
    ("/none/messages", {"id": "a", "text": ""}, {}, (422, "bad_body")),
    ("/none/messages", {"id": "a", "text": " \n"}, {}, (422, "bad_body")),
    ("/none/messages", {"id": "a", "text": "长" * 683}, {}, (422, "bad_body")),
    ("/none/messages", {"id": "a", "text": "\ud800"}, {}, (400, "not_json")),
]


async def test_bad_input_is_a_problem_with_a_code(desk: Desk) -> None:
    for path, body, query, expected in BAD:
        status, problem = await desk.call("POST" if body is not None else "GET", path, body, **query)
        assert (status, problem["code"]) == expected, (path, body, query)
