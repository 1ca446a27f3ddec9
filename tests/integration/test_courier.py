"""The courier on a real RabbitMQ and a real MongoDB, with the sandbox as WeChat: what is sent, once, and what is told."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from courier_stage import APPID, SECRET, Stage, courier, put_account, quoted, send, stage, until

from chassis.http import serve
from contracts import facts, topology
from contracts.content import MenuItem, MsgMenu
from contracts.envelope import data_as
from contracts.facts import SendOutcome, Window
from services.gateway.courier import budget
from services.gateway.ledger import claim_passive
from tests.conftest import manage
from weir.local.rabbit import RabbitServer


@pytest.fixture
async def on(tmp_path: Path, amqp_url: str, mongo_url: str, mongo_db: str) -> AsyncIterator[Stage]:
    async with stage(tmp_path, amqp_url, mongo_url, mongo_db) as standing:
        yield standing


async def test_a_command_that_comes_five_times_is_sent_once(on: Stage) -> None:
    (openid,) = await on.sandbox.writing(1)
    key = f"demo|{openid}|1|https://example.com/a#r0"
    async with courier(on) as one, courier(on):
        await asyncio.gather(*(on.order("reply", send(openid, key, text="hi")) for _ in range(5)))
        await on.settled(1)
        # Those that came while it was under way wait 5 s on the bus, then find it sent and tell so again.
        await until(lambda: _told(on, key, 2))
        inbox = await on.sandbox.inbox(openid)
        assert [(entry["via"], entry["content"]) for entry in inbox] == [("custom", "hi")]
        assert await on.sandbox.calls() == 1

        fact = on.facts_of(key)[0]
        assert {other.id for other in on.facts_of(key)} == {f"{key}!accepted"}
        assert (fact.type, fact.account, fact.subject) == (facts.SEND_ACCEPTED, "demo", openid)
        assert (fact.lane, fact.cause) == ("signal", f"cause of {key}")
        told = data_as(fact, SendOutcome)
        assert (told.send, told.via, told.errcode, told.because.rule) == (key, "custom", 0, "hello")

        shown = (await on.get(one.url, f"/api/sends/{quoted(key)}"))["send"]
        assert (shown["id"], shown["state"], shown["class"], shown["attempts"]) == (key, "sent", "reply", 1)
        assert set(shown["at"]) == {"new", "claimed", "sending", "sent"}
        assert "content" not in await on.row(key)


async def _told(on: Stage, key: str, times: int) -> bool:
    return len(on.facts_of(key)) >= times


async def test_the_ledger_is_shown_to_those_with_the_token(on: Stage) -> None:
    (openid,) = await on.sandbox.writing(1)
    async with courier(on) as one:
        await on.order("reply", *(send(openid, f"k{n}") for n in range(8)))
        assert await on.settled(8) == {"sent": 5, "failed": 3}
        async with on.http.get(f"{one.url}/api/sends") as response:
            assert response.status == 401
        none = await on.get(one.url, "/api/sends")
        assert none == {"sends": [], "count": 0, "count_capped": False, "next": None}
        first = await on.get(one.url, "/api/sends", account="demo", state="sent", limit="3")
        rest = await on.get(one.url, "/api/sends", account="demo", state="sent", limit="3", cursor=first["next"])
        assert (first["count"], rest["next"]) == (5, None)
        assert len({row["id"] for row in first["sends"] + rest["sends"]}) == 5
        assert (await on.get(one.url, "/api/sends", state="failed", account="other"))["count"] == 0
        for wrong in ({"state": "lost"}, {"limit": "0"}, {"cursor": "x"}, {"acount": "demo"}):
            assert (await on.get(one.url, "/api/sends", 400, **wrong))["detail"].startswith(next(iter(wrong)))
        assert (await on.get(one.url, "/api/sends/nothing", 404))["code"] == "not_found"


async def test_two_couriers_keep_the_follower_s_allowance(on: Stage) -> None:
    wrote, clicked = await on.sandbox.writing(2)
    (clicked,) = await on.sandbox.followers(1)
    await on.sandbox.act(clicked, {"type": "event", "event": "CLICK", "key": "MENU"})
    click = Window("interaction", datetime.now(UTC))
    async with courier(on), courier(on):
        orders = [send(wrote, f"w{n}") for n in range(12)] + [send(clicked, f"c{n}", window=click) for n in range(6)]
        await asyncio.gather(*(on.order("urgent", order) for order in orders))
        assert await on.settled(18) == {"sent": 8, "failed": 10}
        await on.told(18)
    assert len(await on.sandbox.inbox(wrote)) == 5
    assert len(await on.sandbox.inbox(clicked)) == 3
    assert await on.sandbox.calls() == 8  # WeChat was not even asked for the others
    failed = [data_as(fact, SendOutcome) for fact in on.facts if fact.type == facts.SEND_FAILED]
    assert sum("All 5 sends" in fact.reason for fact in failed) == 7
    assert sum("All 3 sends" in fact.reason for fact in failed) == 3


async def test_two_couriers_keep_the_account_s_speed(on: Stage) -> None:
    await put_account(on, speed=40)
    openids = await on.sandbox.writing(100)
    async with courier(on), courier(on):
        await on.order("bulk", *(send(openid, f"b{n}") for n, openid in enumerate(openids)))
        assert await on.settled(100, 30) == {"sent": 100}
    times = sorted(entry["at"] for entry in await on.sandbox.inboxes())
    speed, burst = 40 * budget.SHARES["bulk"], 40 * budget.SHARES["bulk"] * budget.BURST_SECONDS
    for first, start in enumerate(times):
        within = sum(1 for at in times[first:] if at < start + 1)
        # What was permitted just before a second began may reach WeChat within it.
        assert within <= speed + 2 * burst
    assert (times[-1] - times[0]) * speed + burst + 1 >= 100
    assert times[-1] - times[0] < 2 * 100 / speed


async def test_a_campaign_does_not_delay_an_agent(on: Stage) -> None:
    await put_account(on, speed=40)
    await on.sandbox.faults(latency_ms=100)
    openids = await on.sandbox.writing(300)
    async with courier(on):
        await on.order("bulk", *(send(openid, f"b{n}") for n, openid in enumerate(openids)))
        await on.settled(20)
        for number, openid in enumerate(openids[:5]):
            started = time.monotonic()
            await on.order("urgent", send(openid, f"u{number}"))
            await until(lambda number=number: _sent(on, f"u{number}"))  # type: ignore[misc]
            assert time.monotonic() - started < 1.0
        assert (await on.states()).get("sent", 0) < 250  # the campaign was still under way


async def _sent(on: Stage, key: str) -> bool:
    return (await on.row(key)).get("state") == "sent"


async def test_a_used_up_day_stops_every_courier_within_a_second(on: Stage, rabbit: RabbitServer) -> None:
    openids = await on.sandbox.writing(60)
    async with courier(on), courier(on):
        await on.order("reply", *(send(openid, f"a{n}") for n, openid in enumerate(openids[:5])))
        await on.settled(5)
        await on.sandbox.faults(errcodes={"custom/send": {"code": 45009}})
        before = await on.sandbox.calls()
        ordering = asyncio.create_task(_trickle(on, openids[5:]))
        await until(lambda: _called(on, before + 1))
        await asyncio.sleep(1.0)  # the promise is about this second
        after_a_second = await on.sandbox.calls()
        await ordering
        await until(lambda: _new(on, 55))
        assert await on.sandbox.calls() == after_a_second
        pause = (await on.database.budgets.find_one({"_id": "demo"}))["pause"]
        assert pause["reason"] == "quota"
        assert pause["until"] == pytest.approx(budget.midnight(time.time()), abs=1)
        vhost = on.settings.amqp_url.rpartition("/")[2].partition("?")[0]
        waiting = topology.COURIER_REPLY.retry("10m")
        await until(lambda: _holds(rabbit, vhost, waiting, 55))
        assert await on.states() == {"sent": 5, "new": 55}
        # The share of the allowance went back: nothing has reached these followers.
        allowance = await on.database.allowances.find_one({"_id": f"demo|{openids[-1]}"})
        assert allowance["windows"]["message"].get("used", []) == []


async def _trickle(on: Stage, openids: list[str]) -> None:
    for number, openid in enumerate(openids):
        await on.order("reply", send(openid, f"q{number}"))
        await asyncio.sleep(0.04)


async def _called(on: Stage, times: int) -> bool:
    return await on.sandbox.calls() >= times


async def _new(on: Stage, count: int) -> bool:
    return (await on.states()).get("new", 0) == count


async def _holds(rabbit: RabbitServer, vhost: str, queue: str, count: int) -> bool:
    found = await asyncio.to_thread(manage, rabbit, "GET", f"/api/queues/{vhost}/{queue}")
    return bool(found.get("messages", 0) == count)


async def test_a_token_refused_for_ever_costs_two_fetches_and_a_pause(on: Stage) -> None:
    openids = await on.sandbox.writing(30)
    await on.sandbox.faults(errcodes={"custom/send": {"code": 40001}})
    async with courier(on), courier(on):
        await on.order("reply", *(send(openid, f"t{n}") for n, openid in enumerate(openids)))
        await until(lambda: _new(on, 30))
        pause = (await on.database.budgets.find_one({"_id": "demo"}))["pause"]
        assert pause["reason"] == "token"
        assert 50 < pause["until"] - time.time() <= 61
        calls = await on.sandbox.calls()
        await on.order("reply", send(openids[0], "late"))
        await until(lambda: _new(on, 31))
        assert await on.sandbox.calls() == calls
        assert (await on.sandbox.counters())["token_fetches"] <= 2


async def test_one_token_for_any_number_of_couriers(on: Stage) -> None:
    openids = await on.sandbox.writing(40)
    async with courier(on), courier(on), courier(on):
        await asyncio.gather(*(on.order("reply", send(openid, f"t{n}")) for n, openid in enumerate(openids)))
        assert await on.settled(40) == {"sent": 40}
    assert (await on.sandbox.counters())["token_fetches"] == 1
    stored = await on.database.tokens.find_one({"_id": APPID})
    assert stored["version"] == 1


async def test_the_passive_claim_and_the_command_exclude_each_other(on: Stage) -> None:
    first, second = await on.sandbox.writing(2)
    async with courier(on):
        assert await claim_passive(on.database, "first", "demo", first)
        assert await claim_passive(on.database, "first", "demo", first)  # another replica, the same answer
        await on.order("reply", send(first, "first"), send(second, "second"))
        await on.told(1)
        assert not await claim_passive(on.database, "second", "demo", second)
        # A third command behind them shows that the first has been dealt with.
        await on.order("reply", send(second, "third"))
        await on.told(2)
    assert await on.sandbox.inbox(first) == []
    assert len(await on.sandbox.inbox(second)) == 2
    assert on.facts_of("first") == []
    assert (await on.row("first"))["state"] == "passive"


async def test_a_send_that_waits_for_a_retry_may_still_be_answered_passively(on: Stage) -> None:
    (openid,) = await on.sandbox.writing(1)
    await on.sandbox.faults(errcodes={"custom/send": {"code": -1}})
    async with courier(on):
        await on.order("reply", send(openid, "waits"))
        await until(lambda: _new(on, 1))
        await on.sandbox.faults()
        assert await claim_passive(on.database, "waits", "demo", openid)
        # The ladder brings the command back after 5 s, behind it another one.
        await on.order("reply", send(openid, "mark"))
        await until(lambda: _called(on, 2))
        await asyncio.sleep(6)  # longer than the first rung
        assert (await on.row("waits"))["state"] == "passive"
    assert [entry["content"] for entry in await on.sandbox.inbox(openid)] == ["mark"]


async def test_what_was_not_sent_comes_again_and_keeps_its_allowance(on: Stage) -> None:
    (openid,) = await on.sandbox.writing(1)
    await on.sandbox.faults(errcodes={"custom/send": {"code": -1}})
    async with courier(on):
        await on.order("reply", *(send(openid, f"k{n}") for n in range(5)))
        await until(lambda: _new(on, 5))
        await on.sandbox.faults()
        assert await on.settled(5) == {"sent": 5}
        assert (await on.row("k0"))["attempts"] == 2
    assert len(await on.sandbox.inbox(openid)) == 5


async def test_after_the_last_try_the_failure_is_told(on: Stage) -> None:
    (openid,) = await on.sandbox.writing(1)
    await on.sandbox.faults(errcodes={"custom/send": {"code": -1}})
    last = msgspec.structs.replace(send(openid, "last"), attempt=topology.MAX_ATTEMPTS - 1)
    async with courier(on):
        await on.order("reply", last)
        assert await on.settled(1) == {"failed": 1}
        await on.told(1)
    told = data_as(on.facts[0], SendOutcome)
    assert told.errcode == -1
    assert "4 tries" in told.reason


async def test_silence_after_the_request_is_unknown_and_never_repeated(on: Stage) -> None:
    (openid,) = await on.sandbox.writing(1)
    await on.sandbox.faults(cut={"after_apply": 1.0, "apis": ["custom/send"]})
    async with courier(on) as one:
        await on.order("reply", send(openid, "cut"))
        assert await on.settled(1) == {"unknown": 1}
        await on.sandbox.faults()
        await on.order("reply", send(openid, "cut"))
        await until(lambda: _told(on, "cut", 2))
        listed = await on.get(one.url, "/api/sends", account="demo")
        assert [(row["id"], row["openid"]) for row in listed["sends"]] == [("cut", openid)]
        assert listed["count"] == 1
        assert "may have arrived" in listed["sends"][0]["reason"]
    assert {fact.id for fact in on.facts} == {"cut!unknown"}
    assert len(await on.sandbox.inbox(openid)) == 1
    assert await on.sandbox.calls() == 1


async def test_refusals_are_told_in_words_and_without_asking_wechat_when_known(on: Stage) -> None:
    wrote, stranger = await on.sandbox.writing(2)
    old = Window("message", datetime.now(UTC) - timedelta(hours=49))
    (silent,) = await on.sandbox.followers(1)
    async with courier(on):
        await on.order(
            "urgent",
            send(wrote, "expired", expires=datetime.now(UTC) - timedelta(seconds=1)),
            send(stranger, "old", window=old),
            send(silent, "closed"),  # we think that they wrote; WeChat knows better
            send("oNobodyAtAll_1234567890123456", "nobody"),
            send(wrote, "long", text="长" * 1000),
        )
        assert await on.settled(5) == {"failed": 5}
        calls = await on.sandbox.calls()
        assert calls == 3
        # Once WeChat has said so, it is not asked again.
        await on.order("urgent", send(silent, "closed2", window=False))
        await on.settled(6)
        await on.told(6)
        assert await on.sandbox.calls() == calls
    told = {fact.id.partition("!")[0]: data_as(fact, SendOutcome) for fact in on.facts}
    assert told["expired"].reason.startswith("expired")
    assert "48 h window is over" in told["old"].reason
    assert told["old"].errcode is None
    assert told["closed"].errcode == 45015
    assert told["nobody"].errcode == 40003
    assert told["long"].errcode == 45002
    assert "too long" in told["long"].reason
    assert "WeChat said" in told["closed2"].reason


async def test_history_is_asked_for_a_newer_act(tmp_path: Path, amqp_url: str, mongo_url: str, mongo_db: str) -> None:
    asked: list[tuple[str, str]] = []

    async def follower(request: web.Request) -> web.Response:
        asked.append((request.match_info["openid"], request.headers["Authorization"]))
        return web.json_response({"last_message_at": datetime.now(UTC).isoformat(), "last_interaction_at": None})

    app = web.Application()
    app.add_routes([web.get("/api/followers/demo/{openid}", follower)])
    runner = web.AppRunner(app)
    site = await serve(runner, "127.0.0.1", 0)
    port = site.port
    try:
        history = f"http://127.0.0.1:{port}"
        async with stage(tmp_path, amqp_url, mongo_url, mongo_db, history_url=history) as on, courier(on):
            (openid,) = await on.sandbox.writing(1)
            old = Window("message", datetime.now(UTC) - timedelta(hours=49))
            await on.order("urgent", send(openid, "k", window=old))
            assert await on.settled(1) == {"sent": 1}
            assert asked == [(openid, f"Bearer {on.settings.admin_token}")]
    finally:
        await runner.cleanup()


async def test_every_kind_of_content_that_only_the_api_can_send_arrives(on: Stage) -> None:
    (openid,) = await on.sandbox.writing(1)
    async with courier(on):
        menu = MsgMenu((MenuItem("1", "yes"), MenuItem("2", "no")), head="Happy?")
        await on.order("reply", send(openid, "menu", content=menu))
        assert await on.settled(1) == {"sent": 1}
        await on.told(1)
    assert (await on.sandbox.inbox(openid))[0]["type"] == "msgmenu"
    assert data_as(on.facts[0], SendOutcome).content == menu


async def test_what_makes_no_sense_is_a_dead_letter_with_its_reason(on: Stage, rabbit: RabbitServer) -> None:
    (openid,) = await on.sandbox.writing(1)
    bad = msgspec.structs.replace(send(openid, "bad"), data=msgspec.Raw(b'{"content":{"type":"song"}}'))
    other = msgspec.structs.replace(send(openid, "other"), type="weir.dance")
    async with courier(on):
        await on.order("urgent", send(openid, "k", account="nobody"), bad, other, send(openid, "good"))
        assert await on.settled(1) == {"sent": 1}
        vhost = on.settings.amqp_url.rpartition("/")[2].partition("?")[0]
        dead = topology.COURIER_URGENT.dead
        await until(lambda: _holds(rabbit, vhost, dead, 3))
        letters = manage(
            rabbit,
            "POST",
            f"/api/queues/{vhost}/{dead}/get",
            {"count": 3, "ackmode": "ack_requeue_true", "encoding": "auto"},
        )
    reasons = sorted(letter["properties"]["headers"]["weir-reason"] for letter in letters)
    assert reasons == ["bad_command", "bad_command", "unknown_account"]
    assert await on.states() == {"sent": 1}


async def test_an_account_added_a_moment_ago_is_known(on: Stage) -> None:
    (openid,) = await on.sandbox.writing(1)
    await on.database.accounts.delete_many({})
    async with courier(on):
        await put_account(on)
        await on.order("urgent", send(openid, "k"))
        assert await on.settled(1) == {"sent": 1}


async def test_a_wrong_secret_pauses_the_account_and_is_said_in_words(
    on: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    (openid,) = await on.sandbox.writing(1)
    await on.sandbox.call("PUT", "accounts/demo", {"secret": "another" * 4 + "1234"})
    async with courier(on):
        await on.order("urgent", send(openid, "k"))
        await until(lambda: _new(on, 1))
        pause = (await on.database.budgets.find_one({"_id": "demo"}))["pause"]
        assert pause["reason"] == "token"
    said = "".join(capsys.readouterr())
    assert "The AppSecret is wrong" in said
    assert SECRET not in said
