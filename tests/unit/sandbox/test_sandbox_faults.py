"""Faults: each does what it says, only where it was told to, and repeatably."""

import asyncio
from typing import Any

import aiohttp
import pytest
from boxes import Box, BoxMaker, Received, Shop, echo


async def test_injected_errcodes_do_nothing_and_can_be_a_share(box: Box) -> None:
    openid = await box.follower()
    await box.say(openid)
    token = await box.token()
    await box.faults(errcodes={"custom/send": {"code": -1}})
    assert await box.custom(token, openid) == -1
    assert await box.inbox(openid) == []
    await box.faults(errcodes={"user/info": {"code": 45009, "share": 0.5}}, seed=1)

    async def codes() -> list[int]:
        answers = [await box.ok("GET", "/cgi-bin/user/info", access_token=token, openid=openid) for _ in range(40)]
        return [answer.get("errcode", 0) for answer in answers]

    first = await codes()
    assert 10 < first.count(45009) < 30
    await box.faults(errcodes={"user/info": {"code": 45009, "share": 0.5}}, seed=1)
    assert await codes() == first


@pytest.mark.parametrize(("when", "arrived"), [("before_apply", 0), ("after_apply", 1)])
async def test_a_cut_connection_before_or_after_the_send(box: Box, when: str, arrived: int) -> None:
    openid = await box.follower()
    await box.say(openid)
    token = await box.token()
    await box.faults(cut={when: 1.0})
    with pytest.raises(aiohttp.ClientError):
        await box.custom(token, openid)
    assert len(await box.inbox(openid)) == arrived
    assert await box.token()  # other APIs are not cut


async def test_latency_slows_the_api(box: Box) -> None:
    await box.faults(latency_ms=[150, 200])
    loop = asyncio.get_running_loop()
    began = loop.time()
    await box.token()
    assert 0.14 < loop.time() - began < 5


async def test_a_fault_for_one_account_leaves_the_others(box: Box, shop: Shop) -> None:
    other = {"appid": "wx1111111111111111", "original_id": "gh_other", "secret": "x"}
    await box.account("other", url=shop.url, **other)
    await box.faults(account="other", errcodes={"*": {"code": -1}})
    assert await box.token()
    query = {"grant_type": "client_credential", "appid": other["appid"], "secret": "x"}
    assert (await box.ok("GET", "/cgi-bin/token", **query))["errcode"] == -1
    await box.ok("DELETE", "/sandbox/faults", account="other")
    assert "access_token" in await box.ok("GET", "/cgi-bin/token", **query)


async def test_a_duplicate_goes_out_beside_the_first_and_a_doubled_reply_is_seen(box: Box, shop: Shop) -> None:
    both = asyncio.Event()

    async def answer_when_both_came(got: Received) -> bytes:
        if len(shop.received) == 2:
            both.set()
        await both.wait()
        return echo(got)

    shop.answer = answer_when_both_came
    await box.faults(callback_duplicate=1.0)
    openid = await box.follower()
    await box.say(openid)
    first, second = shop.received
    assert (first.body, first.query) == (second.body, second.query)
    assert first.port != second.port
    assert [message["via"] for message in await box.inbox(openid)] == ["passive", "passive"]
    assert (await box.state())["counters"]["duplicates"] == 1


async def test_a_duplicate_answered_with_nothing_shows_one_reply(box: Box, shop: Shop) -> None:
    shop.answer = lambda got: echo(got) if len(shop.received) == 1 else b""
    await box.faults(callback_duplicate=1.0)
    openid = await box.follower()
    await box.say(openid)
    assert len(await box.inbox(openid)) == 1


async def test_delayed_callbacks(box: Box, shop: Shop) -> None:
    await box.faults(callback_delay_ms=200)
    result = await box.say(await box.follower())
    assert 200 <= result["took_ms"] < 5000


async def test_out_of_order_callbacks_are_overtaken(box: Box, shop: Shop) -> None:
    openid = await box.follower()
    await box.faults(callback_out_of_order=1.0)
    late = asyncio.create_task(box.say(openid, "一"))
    assert (await box.ok("GET", f"/sandbox/followers/{openid}/timeline", wait=5))["messages"]
    await box.ok("DELETE", "/sandbox/faults")
    await box.say(openid, "二")
    await late
    assert ["二" in got.text for got in shop.received] == [True, False]


async def test_mark_fail_pauses_pushes_for_a_minute(box: Box, shop: Shop) -> None:
    openid = await box.follower()
    await box.account(url="http://127.0.0.1:1/")
    await box.faults(mark_fail=True)
    for _ in range(10):
        await box.say(openid)
    state = (await box.state())["mark_fail"]
    assert state["enabled"] is True
    assert state["paused_until"] == box.world.clock.now() + 60
    await box.account(url=shop.url)
    result = await box.say(openid)
    assert (result["answer"], result["tries"], result["reason"]) == ("failed", 0, "mark_fail")
    assert shop.received == []
    await box.advance(60)
    assert (await box.say(openid))["answer"] == "success"
    assert (await box.state())["mark_fail"]["paused_until"] is None


async def test_without_mark_fail_nothing_pauses(box: Box, shop: Shop) -> None:
    openid = await box.follower()
    shop.answer = b"nonsense"
    for _ in range(15):
        await box.say(openid)
    assert len(shop.received) == 15


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"latency": 5}, "latency"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"latency_ms": [5, 1]}, "latency_ms"),
        ({"callback_duplicate": 1.5}, "callback_duplicate"),
        ({"cut": {"before": 1}}, "before"),
        ({"cut": {"apis": ["nope"]}}, "nope"),
        ({"errcodes": {"nope": {"code": 1}}}, "nope"),
        ({"errcodes": {"custom/send": {}}}, "code"),
        ({"mark_fail": "yes"}, "mark_fail"),
    ],
)
async def test_a_wrong_fault_is_named(box: Box, faults: dict[str, Any], words: str) -> None:
    status, answer = await box.call("PUT", "/sandbox/faults", faults)
    assert status == 400
    assert words in answer["error"]
    assert (await box.ok("GET", "/sandbox/faults"))["faults"] == []


async def test_faults_for_an_account_that_does_not_exist(open_box: BoxMaker) -> None:
    box = await open_box()
    status, answer = await box.call("PUT", "/sandbox/faults", {"account": "ghost"})
    assert status == 404
    assert "ghost" in answer["error"]
