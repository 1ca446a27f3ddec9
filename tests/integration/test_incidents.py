"""An incident from the wrong answer to the last correction, on real servers, with a courier and the sandbox's phones."""

import asyncio
import csv
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from courier_stage import ROOT, TOKEN, Stage, answers, courier, stage, until

from chassis.mongo import connect
from chassis.publisher import fact
from contracts import facts, keys, wechat
from contracts.content import Text
from contracts.envelope import Event, raw
from services.history.corrections import send_id
from services.history.followers import Followers
from services.history.incidents import Incidents
from services.history.store import Store
from weir.local.keep import free_port
from weir.local.process import Process as Child

WRONG = "Sign-up closed yesterday."
RIGHT = "更正：报名今天才开始。"


class History:
    """A history process, to ask and to kill."""

    def __init__(self, standing: Stage, directory: Path, name: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._standing = standing
        settings = standing.settings
        env = {
            **os.environ,
            "WEIR_AMQP_URL": settings.amqp_url,
            "WEIR_MONGODB_URL": settings.mongodb_url,
            "WEIR_MONGODB_DATABASE": settings.mongodb_database,
            "WEIR_ADMIN_TOKEN": TOKEN,
            "WEIR_HTTP_PORT": str(port),
        }
        self.child = Child([sys.executable, "-m", "services.history"], env, directory / f"{name}.log", ROOT)

    async def ask(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self._standing.http.request(
            method, f"{self.url}/api/incidents{path}", json=body, headers=headers
        ) as response:
            answer = await response.read()
            assert response.status == status, answer
            return msgspec.json.decode(answer) if response.content_type == "application/json" else answer

    async def phase(self, name: str, *phases: str) -> dict[str, Any]:
        async def reached() -> bool:
            shown = await self.ask("GET", f"/{name}")
            progress = dict(shown["recipients"])
            assert progress.pop("total") == sum(progress.values())
            return shown["phase"] in phases

        await until(reached)
        return dict(await self.ask("GET", f"/{name}"))


@asynccontextmanager
async def history(standing: Stage, directory: Path, name: str) -> AsyncIterator[History]:
    running = History(standing, directory, name)
    try:
        await until(lambda: answers(standing.http, f"{running.url}/readyz"))
        yield running
    finally:
        await running.child.kill()


def came(openid: str, number: int, *, at: datetime, **fields: str) -> Event:
    """What the follower did."""
    what = {"MsgType": "text", "Content": "报名", "MsgId": str(23_000_000 + number), **fields}
    told = {"ToUserName": "gh_123456789abc", "FromUserName": openid, "CreateTime": int(at.timestamp()), **what}
    name = keys.inbound_id("demo", openid, told)
    kind = wechat.event_type(told)
    return Event(
        id=name,
        source="/accounts/demo",
        type=kind,
        subject=openid,
        time=at,
        account="demo",
        lane="question",
        data=raw(told),
    )


def answered(cause: Event, *, rule: str = "signup", version: str = "7", unknown: bool = False) -> Event:
    because, content = facts.Because(rule=rule, rules_version=version), Text(WRONG)
    name = keys.reply_id(cause.id)
    data: Any = facts.ReplySent(content, because)
    kind = facts.REPLY_SENT
    if unknown:
        data, kind = facts.SendOutcome(name, content, because), facts.SEND_UNKNOWN
        name = keys.outcome_id(name, "unknown")
    at = cause.time + timedelta(seconds=1)
    return Event(
        id=name,
        source=cause.source,
        type=kind,
        subject=cause.subject,
        time=at,
        account="demo",
        lane="question",
        cause=cause.id,
        data=raw(data),
    )


@pytest.fixture
async def standing(tmp_path: Path, amqp_url: str, mongo_url: str, mongo_db: str) -> AsyncIterator[Stage]:
    async with stage(tmp_path, amqp_url, mongo_url, mongo_db) as made:
        yield made


async def wronged(standing: Stage) -> dict[str, list[str]]:
    """Sixty followers who got the wrong answer, and others who got another one."""
    now = datetime.now(UTC) - timedelta(minutes=5)
    writing = await standing.sandbox.writing(52)
    clicked = await standing.sandbox.followers(4)
    people = {
        "reached": writing[:47],
        "gone": writing[47:49],
        "doubtful": writing[49:51],
        "other": writing[51:],
        "clicked": clicked,
    }
    people["old"] = await standing.sandbox.followers(5)
    events: list[Event] = []
    number = 0
    for group, openids in people.items():
        for openid in openids:
            number += 1
            click = {"MsgType": "event", "Event": "CLICK", "EventKey": "signup"} if group == "clicked" else {}
            at = now - timedelta(hours=50) if group == "old" else now
            act = came(openid, number, at=at, **click)
            events += [act, answered(act, version="6" if group == "other" else "7", unknown=group == "doubtful")]
    for openid in people["gone"]:
        events.append(came(openid, 0, at=now + timedelta(minutes=1), MsgType="event", Event="unsubscribe", EventKey=""))
    # One of them met it twice.
    again = came(people["reached"][0], 1000, at=now + timedelta(seconds=30))
    events += [again, answered(again)]
    await asyncio.gather(*(standing.publisher.publish(fact(event)) for event in events))

    async def stored() -> bool:
        return int(await standing.database.messages.count_documents({})) == len(events)

    await until(stored)
    return people


async def opened(running: History) -> str:
    start = (datetime.now(UTC) - timedelta(hours=60)).isoformat()
    asked = {"account": "demo", "rule": "signup", "rules_version": "7", "from": start}
    incident = await running.ask("POST", "", asked, 201)
    await running.phase(incident["id"], "open")
    return str(incident["id"])


async def corrections(standing: Stage) -> Counter[str]:
    """How many corrections each phone shows."""
    return Counter(one["openid"] for one in await standing.sandbox.inboxes() if RIGHT in str(one))


async def test_everybody_is_found_and_corrected_once_though_the_history_dies(standing: Stage, tmp_path: Path) -> None:
    async with history(standing, tmp_path, "first") as first:
        people = await wronged(standing)
        name = await opened(first)
        shown = await first.ask("GET", f"/{name}")
        assert shown["recipients"]["total"] == shown["recipients"]["pending"] == 60
        assert (shown["received"], shown["received_unknown"], shown["messages"]) == (58, 2, 61)
        # Two in doubt wrote lately too.
        assert shown["roads"] == {"custom": 49, "mass": 9, "none": 2}
        listed = (await first.ask("GET", f"/{name}/recipients?limit=500"))["recipients"]
        assert {one["openid"] for one in listed} == {
            openid for group, some in people.items() if group != "other" for openid in some
        }
        by_openid = {one["openid"]: one for one in listed}
        assert [got["text"] for got in by_openid[people["reached"][0]]["got"]] == [WRONG, WRONG]
        assert "clicked" in by_openid[people["clicked"][0]]["road_reason"]
        assert "no longer follow" in by_openid[people["gone"][0]]["road_reason"]
        await first.ask("POST", f"/{name}/correction", {"content": {"type": "text", "content": RIGHT}}, 202)
        async with courier(standing):

            async def some() -> bool:
                return len(await corrections(standing)) >= 5

            await until(some)
            await first.child.kill()
    async with history(standing, tmp_path, "second") as second, courier(standing):
        done = await second.phase(name, "done")
        assert done["recipients"] == {
            "total": 60, "pending": 0, "released": 0, "sent": 47, "failed": 0, "unknown": 0, "skipped": 13,
        }  # fmt: skip
        assert await corrections(standing) == Counter(people["reached"])
        skipped = (await second.ask("GET", f"/{name}/recipients?state=skipped&limit=500"))["recipients"]
        assert {one["openid"] for one in skipped} == {
            *people["gone"],
            *people["doubtful"],
            *people["clicked"],
            *people["old"],
        }
        assert all(one["reason"] for one in skipped)
        await second.ask("POST", f"/{name}/correction", {"content": {"type": "text", "content": RIGHT}}, 409)
        table = (await second.ask("GET", f"/{name}/export?format=csv")).decode()
        assert table.startswith("\ufeffopenid,")
        assert len(list(csv.reader(table.splitlines()))) >= 61
        lines = (await second.ask("GET", f"/{name}/export")).splitlines()
        assert Counter(msgspec.json.decode(line)["state"] for line in lines) == {"sent": 47, "skipped": 13}


async def test_a_pause_holds_and_a_cancellation_ends(standing: Stage, tmp_path: Path) -> None:
    async with history(standing, tmp_path, "history") as running:
        people = await wronged(standing)
        name = await opened(running)
        await refused(running, name)
        await running.ask("POST", f"/{name}/pause", status=409)
        # Nothing is done about it while it is paused: no recipient is released but by a correction that runs.
        await standing.database.incidents.update_one(
            {"_id": name},
            {"$set": {"phase": "paused", "active": True, "content": {"type": "text", "content": RIGHT}}},
        )
        client, database = connect(standing.settings.mongodb_url, standing.settings.mongodb_database, name="test")
        lease = await database.history_leases.find_one({"_id": "#incidents"})

        async def stepped() -> bool:
            now = await database.history_leases.find_one({"_id": "#incidents"})
            return bool(now["until"] > lease["until"] + timedelta(seconds=1.5))

        await until(stepped)
        shown = await running.ask("GET", f"/{name}")
        assert (shown["recipients"]["pending"], shown["recipients"]["released"]) == (60, 0)
        await running.ask("POST", f"/{name}/cancel")
        shown = await running.phase(name, "cancelled")
        assert (shown["recipients"]["skipped"], shown["recipients"]["total"]) == (60, 60)
        await running.ask("POST", f"/{name}/resume", status=409)
        store = Store(database)
        incidents = Incidents(store, Followers(database), lambda: datetime.now(UTC))
        theirs = people["reached"][0]
        await incidents.forget("demo", theirs, "erased-1")
        left = await database.incident_recipients.find({"incident": name}).to_list(None)
        assert len(left) == 60
        assert theirs not in str(left)
        client.close()


def test_there_is_one_send_for_an_incident_and_a_follower() -> None:
    assert send_id("demo", "o1", "i") == "demo|o1|incident|i#c"


BAD: tuple[tuple[object, int], ...] = (
    ({}, 422),
    ({"account": "demo", "rule": "signup"}, 422),
    ({"account": "demo", "rule": "signup", "from": "yesterday"}, 400),
    ({"account": "demo", "rule": "signup", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, 422),
    ({"message": "nothing"}, 404),
    ({"rule": 1}, 422),
)


async def refused(running: History, name: str) -> None:
    """What is odd about a request is named, and nothing comes of it."""
    for asked, status in BAD:
        assert b'"code"' in await running.ask("POST", "", asked, status)
    for content in ({"type": "text", "content": " "}, {"type": "text", "content": "报" * 683}, {"type": "nothing"}):
        await running.ask("POST", f"/{name}/correction", {"content": content}, 422)
    await running.ask("GET", "/nothing", status=404)
    await running.ask("GET", f"/{name}/recipients?state=odd", status=400)
    await running.ask("GET", f"/{name}/export?format=odd", status=400)
