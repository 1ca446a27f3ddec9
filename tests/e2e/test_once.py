"""Once, as the follower sees it: callbacks doubled, late and out of order, answers too late, an API that fails."""

import asyncio
import signal
import time

import pytest
from conftest import Registry
from crowd import Checker, Crowd, all_ready
from running import RunningWeir
from wechat import Client, signed, text_xml, until

FOLLOWERS = 60
LATE = ("late", "cut", "busy")
"""Accounts whose late answers meet: nothing, a connection cut after the send took effect, errcode -1 for a while."""


@pytest.fixture
async def crowd(client: Client, registry: Registry) -> Crowd:
    await registry.add(client, "plain", "plain")
    return Crowd(client, "plain")


FAULTS = {
    "each pushed twice": {"callback_duplicate": 1.0},
    "out of order": {"callback_out_of_order": 0.5, "seed": 1},
    "delayed, doubled, out of order": {
        "callback_delay_ms": [0, 1500],
        "callback_duplicate": 0.5,
        "callback_out_of_order": 0.3,
        "seed": 2,
    },
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_callbacks_as_the_platform_may_push_them(
    weir: RunningWeir, client: Client, crowd: Crowd, fault: str
) -> None:
    await client.control("PUT", "faults", {"account": "plain", **FAULTS[fault]})
    await crowd.write(FOLLOWERS, 20)
    checker = Checker(weir)
    drained = await checker.drained(crowd, 30)
    found = await checker.check(crowd)
    assert not found.wrong, found.row(fault)
    assert drained
    # Of a doubled callback either connection may bring the answer; it is shown all the same, and once.
    assert (found.accepted, found.passive, found.custom) == (FOLLOWERS, FOLLOWERS, 0)


@pytest.mark.parametrize("together", [True, False], ids=["at the same time", "one after the other"])
async def test_the_same_callback_three_times(client: Client, registry: Registry, together: bool) -> None:
    account = await registry.add(client, "plain", "plain")
    openid = await client.follower("plain")
    body, query = text_xml(openid, "你好", 23_456_789_012_345_678), signed(account.token)
    if together:
        answers = await asyncio.gather(*(client.push("plain", query, body) for _ in range(3)))
    else:
        answers = [await client.push("plain", query, body) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    replies = [answer.body for answer in answers if answer.body != b"success"]
    assert len(replies) == 1
    assert "你好，这里是plain".encode() in replies[0]
    outbound, inbound = await client.stored(openid, 2)
    assert (inbound["direction"], outbound["direction"], outbound["cause"]) == ("in", "out", inbound["id"])
    # A fourth, long after: whatever it is told, nothing new is stored.
    await client.push("plain", query, body)
    await client.stored(await somebody_answered_now(client), 2)
    assert len(await client.messages(openid)) == 2


async def somebody_answered_now(client: Client) -> str:
    """A follower who has written and was answered now: what went onto the bus before them is stored when they are."""
    openid = await client.follower("plain")
    await client.say(openid, "你好")
    return openid


async def test_answers_that_come_too_late(weir: RunningWeir, client: Client, registry: Registry) -> None:
    """The rules' process hangs for 6 s: WeChat is told `success`, the answers go through the API, each once."""
    for name in LATE:
        await registry.add(client, name, "plain")
    await client.control("PUT", "faults", {"account": "cut", "cut": {"after_apply": 1.0}})
    await client.control("PUT", "faults", {"account": "busy", "errcodes": {"custom/send": {"code": -1}}})
    openids = {name: [await client.follower(name) for _ in range(5)] for name in LATE}
    weir.signal("autoreply", signal.SIGSTOP)
    began = time.monotonic()
    try:
        everyone = [openid for some in openids.values() for openid in some]
        ended = await asyncio.gather(*(client.say(openid, "你好") for openid in everyone))
        assert {(done["answer"], done["tries"]) for done in ended} == {("success", 1)}
        assert all(4000 < done["took_ms"] < 5000 for done in ended)
        await asyncio.sleep(began + 6 - time.monotonic())
    finally:
        weir.signal("autoreply", signal.SIGCONT)

    for openid in openids["late"]:
        (bubble,) = await client.shown(openid, 1, 10)
        assert (bubble["via"], bubble["content"]) == ("custom", "你好，这里是late")
        answer, message = await client.stored(openid, 2)
        assert (answer["via"], answer["status"], answer["cause"]) == ("custom", "sent", message["id"])
        assert answer["because"]["rule"] == "hello"

    # The send took effect and its answer was cut off: nobody knows, so it is listed and never repeated.
    await until(
        lambda: client.api("sends", state="unknown", account="cut"), lambda listed: bool(listed["count"] == 5), 20
    )
    for openid in openids["cut"]:
        assert [bubble["via"] for bubble in await client.inbox(openid)] == ["custom"]
        answer, _ = await client.stored(openid, 2)
        assert (answer["status"], answer["via"]) == ("unknown", "custom")

    # WeChat was busy: the first rung of the ladder is 5 s.
    async def tried() -> int:
        counters = (await client.control("GET", "accounts/busy"))["counters"]
        return sum(counters["api_errors"].values())

    await until(tried, lambda count: count >= 5, 10)
    assert [await client.inbox(openid) for openid in openids["busy"]] == [[]] * 5
    await client.control("DELETE", "faults")
    for openid in openids["busy"]:
        (bubble,) = await client.shown(openid, 1, 30)
        assert (bubble["via"], bubble["content"]) == ("custom", "你好，这里是busy")
    await until(Checker(weir).left_over, lambda left: left == 0, 10)
    for openid in everyone:
        assert len(await client.inbox(openid)) == 1
        assert len(await client.messages(openid)) == 2
    await all_ready(client)
