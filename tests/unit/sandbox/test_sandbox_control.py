"""The control API: accounts, followers, inboxes, crowds, and what a wrong request is told."""

import asyncio
import json
from typing import Any

import pytest
from boxes import CONFIG, Box, BoxMaker, Shop, echo


async def test_an_accounts_secrets_are_never_shown(box: Box) -> None:
    await box.account(mode="safe")
    for path in ("/sandbox/accounts", "/sandbox/accounts/demo"):
        text = json.dumps(await box.ok("GET", path))
        assert CONFIG["secret"] not in text
        assert CONFIG["aes_key"] not in text
        assert '"AAAAA"' not in text


async def test_changing_an_account_keeps_its_followers_and_other_settings(box: Box, shop: Shop) -> None:
    openid = await box.follower()
    await box.ok("PUT", "/sandbox/accounts/demo", {"format": "json"})
    state = await box.state()
    assert (state["format"], state["url"], state["followers"]) == ("json", shop.url, 1)
    await box.say(openid)
    assert json.loads(shop.received[0].body)["Content"] == "你好"


MENU = [{"name": "a", "type": "click", "key": "A"}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, "colour"),
        ({"mode": "secret"}, "mode"),
        ({"appid": "x"}, "appid"),
        ({"appid": 5}, "appid"),
        ({"secret": ""}, "secret"),
        ({"original_id": "wx"}, "original_id"),
        ({"token": "no-dash"}, "token"),
        ({"token": "ab"}, "token"),
        ({"mode": "safe", "aes_key": None}, "aes_key"),
        ({"aes_key": "short"}, "aes_key"),
        ({"url": "ftp://x"}, "url"),
        ({"quotas": {"nope": {"daily": 1}}}, "nope"),
        ({"quotas": {"custom/send": {"daily": -1}}}, "daily"),
        ({"ip_allow_list": ["localhost"]}, "ip_allow_list"),
        ({"menu": MENU * 4}, "menu"),
        ({"menu": [{"name": "a", "sub_button": MENU * 6}]}, "menu"),
        ({"menu": [{"name": "a", "sub_button": []}]}, "menu"),
        ({"menu": [{"name": "a", "type": "click"}]}, "menu"),
        ({"menu": [{"type": "click", "key": "k"}]}, "menu"),
        ({"menu": [{"name": "a", "type": "view", "key": "k"}]}, "url"),
    ],
)
async def test_a_wrong_setting_is_named_and_changes_nothing(box: Box, change: dict[str, Any], words: str) -> None:
    before = await box.state()
    status, answer = await box.call("PUT", "/sandbox/accounts/demo", change)
    assert status == 400
    assert words in answer["error"]
    assert await box.state() == before


async def test_a_new_account_needs_its_settings(open_box: BoxMaker) -> None:
    box = await open_box()
    status, answer = await box.call("PUT", "/sandbox/accounts/demo", {"appid": "wx0123"})
    assert status == 400
    assert "secret" in answer["error"]
    status, answer = await box.call("PUT", "/sandbox/accounts/bad%20name", CONFIG)
    assert status == 400


@pytest.mark.parametrize("shared", ["appid", "original_id"])
async def test_two_accounts_do_not_share_an_id(box: Box, shop: Shop, shared: str) -> None:
    other = {**CONFIG, "url": shop.url, "appid": "wx1111111111111111", "original_id": "gh_other"}
    status, answer = await box.call("PUT", "/sandbox/accounts/other", {**other, shared: CONFIG[shared]})
    assert status == 409
    assert shared in answer["error"]


async def test_followers(box: Box) -> None:
    openid = await box.follower(nickname="小明", openid="oChosen")
    assert openid == "oChosen"
    many = (await box.ok("POST", "/sandbox/accounts/demo/followers", {"count": 5}))["openids"]
    assert len(set(many)) == 5
    assert all(len(made) == 28 and made.startswith("o") for made in many)
    listed = (await box.ok("GET", "/sandbox/accounts/demo/followers"))["followers"]
    assert {follower["openid"] for follower in listed} == {"oChosen", *many}
    assert listed[0]["nickname"] == "小明"
    newest = await box.ok("GET", "/sandbox/accounts/demo/followers", limit=2)
    assert ([follower["openid"] for follower in newest["followers"]], newest["total"]) == (many[-2:], 6)
    for body, status in [
        ({"openid": "oChosen"}, 409),
        ({"count": 0}, 400),
        ({"count": 5, "openid": "oX"}, 400),
        ({"subscribe": "yes"}, 400),
        ({"who": "me"}, 400),
    ]:
        assert (await box.call("POST", "/sandbox/accounts/demo/followers", body))[0] == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sandbox/accounts/ghost"),
        ("POST", "/sandbox/accounts/ghost/followers"),
        ("GET", "/sandbox/followers/oGhost/inbox"),
        ("POST", "/sandbox/followers/oGhost/messages"),
        ("GET", "/sandbox/inboxes"),
        ("GET", "/sandbox/nowhere"),
    ],
)
async def test_what_does_not_exist_is_404_in_json(box: Box, method: str, path: str) -> None:
    status, answer = await box.call(method, path)
    assert status == 404
    assert answer["error"]


async def test_bodies_that_are_not_json(box: Box) -> None:
    openid = await box.follower()
    for body in (b"{", b"[]", b"\xff", b'{"\x80": 1}', b'{"a":' + b"[" * 100_000):
        status, answer = await box.call("POST", f"/sandbox/followers/{openid}/messages", body)
        assert status == 400
        assert answer["error"]


async def test_the_inbox_is_in_order_and_can_be_read_from_a_place(box: Box, shop: Shop) -> None:
    shop.answer = echo
    openid = await box.follower()
    for number in range(3):
        await box.say(openid, str(number))
    everything = await box.inbox(openid)
    assert [message["seq"] for message in everything] == [2, 4, 6]
    assert await box.inbox(openid, after=4) == everything[2:]
    assert await box.inbox(openid, after=6) == []
    timeline = (await box.ok("GET", f"/sandbox/followers/{openid}/timeline"))["messages"]
    assert [message["via"] for message in timeline] == ["self", "passive"] * 3
    assert timeline[0]["answer"] == "passive"
    assert timeline[1]["msgid"] == timeline[0]["msgid"]
    assert (await box.call("GET", f"/sandbox/followers/{openid}/inbox?after=x"))[0] == 400


async def test_a_long_poll_answers_when_something_comes(box: Box, shop: Shop) -> None:
    shop.answer = echo
    openid = await box.follower()
    waiting = asyncio.create_task(box.inbox(openid, wait=25))
    await box.say(openid)
    async with asyncio.timeout(5):
        assert [message["content"] for message in await waiting] == ["收到"]


async def test_a_long_poll_gives_up_in_time(box: Box) -> None:
    openid = await box.follower()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await box.inbox(openid, wait=0.2) == []
    assert 0.2 <= loop.time() - began < 5


async def test_several_copies_and_not_waiting(box: Box, shop: Shop) -> None:
    openid = await box.follower()
    results = (await box.say(openid, count=5))["results"]
    assert len({result["msgid"] for result in results}) == 5
    answer = await box.ok(
        "POST", f"/sandbox/followers/{openid}/messages", {"type": "text", "content": "a", "count": 3}, wait=0
    )
    assert answer == {"accepted": 3}
    await shop.wait_for(8)


async def test_all_inboxes_as_json_lines(box: Box, shop: Shop) -> None:
    shop.answer = echo
    openids = (await box.ok("POST", "/sandbox/accounts/demo/followers", {"count": 20}))["openids"]
    await asyncio.gather(*(box.say(openid) for openid in openids[:10]))
    async with box.http.get(box.server.make_url("/sandbox/inboxes"), params={"account": "demo"}) as response:
        lines = [json.loads(line) for line in (await response.text()).splitlines()]
    assert sorted(line["openid"] for line in lines) == sorted(openids[:10])
    assert {line["content"] for line in lines} == {"收到"}


async def test_counters_tell_what_happened(box: Box, shop: Shop) -> None:
    openid = await box.follower()
    await box.say(openid)
    shop.answer = echo
    await box.say(openid)
    shop.answer = b"nonsense"
    await box.say(openid)
    await box.custom(await box.token(), openid)
    await box.custom(await box.token(), "oNobody")
    counters = (await box.state())["counters"]
    assert (counters["callbacks"], counters["tries"]) == (3, 3)
    assert (counters["success"], counters["passive"], counters["failed"]) == (1, 1, 1)
    assert counters["api_calls"] == {"token": 2, "custom/send": 2}
    assert counters["api_errors"] == {"custom/send 40003": 1}
    assert counters["token_fetches"] == 2


async def crowd_end(box: Box) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (view := await box.ok("GET", "/sandbox/crowd"))["state"] == "running":
            await asyncio.sleep(0.02)
    return view


async def test_a_crowd_writes_and_counts(box: Box, shop: Shop) -> None:
    shop.answer = echo
    assert await box.ok("GET", "/sandbox/crowd") == {"state": "none"}
    plan = {
        "account": "demo",
        "followers": 30,
        "messages": 300,
        "concurrency": 20,
        "texts": {"一": 3, "二": 1},
        "seed": 1,
    }
    await box.ok("POST", "/sandbox/crowd", plan)
    view = await crowd_end(box)
    assert (view["state"], view["sent"], view["answers"]) == ("done", 300, {"passive": 300, "success": 0, "failed": 0})
    assert 0 < view["p50_ms"] <= view["p99_ms"]
    assert len({got.query["openid"] for got in shop.received}) == 30
    assert 180 < sum("一" in got.text for got in shop.received) < 270
    await box.ok("POST", "/sandbox/crowd", {**plan, "messages": 10})
    await crowd_end(box)
    assert (await box.state())["followers"] == 30  # the same people come again


async def test_a_crowd_can_be_stopped_and_is_alone(box: Box, shop: Shop) -> None:
    never = asyncio.Event()
    shop.answer = lambda _: never.wait()
    await box.ok("POST", "/sandbox/crowd", {"account": "demo", "followers": 2, "messages": 100, "concurrency": 2})
    status, answer = await box.call("POST", "/sandbox/crowd", {"account": "demo"})
    assert status == 409
    assert "DELETE" in answer["error"]
    await shop.wait_for(2)
    assert (await box.ok("DELETE", "/sandbox/crowd"))["state"] == "stopped"
    never.set()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({}, "account"),
        ({"account": "demo", "followers": 0}, "followers"),
        ({"account": "demo", "concurrency": 5000}, "concurrency"),
        ({"account": "demo", "texts": []}, "texts"),
        ({"account": "demo", "texts": {"a": -1}}, "texts"),
        ({"account": "demo", "speed": 1}, "speed"),
    ],
)
async def test_a_wrong_crowd_is_named(box: Box, plan: dict[str, Any], words: str) -> None:
    status, answer = await box.call("POST", "/sandbox/crowd", plan)
    assert status == 400
    assert words in answer["error"]


async def test_the_clock_only_moves_forward(box: Box) -> None:
    before = (await box.ok("GET", "/sandbox/clock"))["now"]
    assert (await box.ok("POST", "/sandbox/clock", {"advance": 10}))["now"] == before + 10
    for bad in ({"advance": -1}, {"advance": "1"}, {"advance": True}, {}, {"advance": 1e300}, {"back": 1}):
        assert (await box.call("POST", "/sandbox/clock", bad))[0] == 400


@pytest.mark.parametrize(
    ("method", "headers", "allowed"),
    [
        ("POST", {"Sec-Fetch-Site": "cross-site"}, False),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
        ("POST", {"Sec-Fetch-Site": "same-origin"}, True),
    ],
)
async def test_other_web_sites_cannot_steer_it(box: Box, method: str, headers: dict[str, str], allowed: bool) -> None:
    path = "/sandbox/accounts/demo/followers"
    async with box.http.request(method, box.server.make_url(path), headers=headers) as response:
        assert (response.status < 300) is allowed


async def test_the_page_and_its_files(box: Box) -> None:
    for path, kind in [("", "text/html"), ("phone.js", "text/javascript"), ("phone.css", "text/css")]:
        async with box.http.get(box.server.make_url(f"/sandbox/{path}")) as response:
            assert (response.status, response.content_type) == (200, kind)
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
    async with box.http.get(box.server.make_url("/sandbox"), allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/sandbox/")
    async with box.http.get(box.server.make_url("/sandbox/picture.png")) as response:
        assert (await response.read()).startswith(b"\x89PNG")
    async with box.http.get(box.server.make_url("/livez")) as response:
        assert response.status == 200
