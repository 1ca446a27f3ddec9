"""The gateway on a real RabbitMQ and MongoDB: from a callback to its answer, whatever goes wrong in between."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from chassis import metrics
from chassis.mongo import connect
from contracts.keys import inbound_id, reply_id
from services.gateway.ledger import claim_passive
from tests.integration.gateway_stage import (
    ACCOUNT,
    OPENID,
    Gateway,
    Player,
    WeChat,
    event,
    put_account,
    text,
    until,
)


@pytest.fixture
async def gateway(amqp_url: str, mongo_url: str, mongo_db: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    await put_account(mongo_url, mongo_db)
    made = await Gateway.run(amqp_url, mongo_url, mongo_db, tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def player(amqp_url: str, gateway: Gateway) -> AsyncIterator[Player]:
    made = await Player.run(amqp_url)
    yield made
    await made.close()


@pytest.fixture
def wechat(gateway: Gateway) -> WeChat:
    return WeChat(gateway)


# -- the quiet day -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("json_push", [False, True], ids=["xml", "json"])
@pytest.mark.parametrize("mode", ["plain", "compatible", "safe"])
async def test_a_question_is_answered_in_every_mode_and_format(
    gateway: Gateway, player: Player, mongo_url: str, mongo_db: str, mode: str, json_push: bool
) -> None:
    account = msgspec.structs.replace(ACCOUNT, name=f"{mode}-account", mode=mode)
    await put_account(mongo_url, mongo_db, account)
    answer = await WeChat(gateway, account, json_push).push(text("你好"))
    assert (answer.status, answer.text) == (200, "答：你好")
    assert answer.seconds < 1
    await until(lambda: len(player.history) == 2)
    assert player.said("weir.reply.sent") == ["答：你好"]
    (sent,) = [item for item in player.history if item.type == "weir.reply.sent"]
    (asked,) = player.asked
    assert sent.cause == asked.id
    assert asked.lane == "question"


async def test_wechats_check_of_the_url(wechat: WeChat) -> None:
    answer = await wechat.raw(b"", wechat.query(echostr="5817 <b>&"), "GET")
    assert (answer.status, answer.body, answer.type) == (200, b"5817 <b>&", "text/plain")
    assert (await wechat.raw(b"", wechat.query(), "GET")).status == 400
    assert (await wechat.raw(b"", wechat.query(echostr="1", signature="0" * 40), "GET")).status == 403


async def test_silence_is_an_empty_answer_at_once(wechat: WeChat, player: Player) -> None:
    answer = await wechat.push(text("静"))
    assert (answer.status, answer.body) == (200, b"success")
    assert answer.seconds < 1
    await until(lambda: len(player.history) == 1)
    assert player.sends == []


async def test_a_signal_waits_for_nobody(wechat: WeChat, player: Player) -> None:
    answer = await wechat.push(event("LOCATION", Latitude="23.1", Longitude="113.3", Precision="40"))
    assert (answer.status, answer.body) == (200, b"success")
    assert answer.seconds < 1
    await until(lambda: player.history)
    assert player.history[0].lane == "signal"
    assert player.asked == []


async def test_unknown_kinds_are_accepted_and_kept_whole(wechat: WeChat, player: Player) -> None:
    await wechat.push(event("debug_demo", debug_str="hello world"))
    await wechat.push({**text("x"), "MsgType": "hologram", "Depth": "9"})
    await wechat.push(event("键" * 64, Something="1"))
    await until(lambda: len(player.stored("wechat.")) == 3)
    kept = [msgspec.json.decode(item.data) for item in player.history if item.type.startswith("wechat.")]
    assert {"hello world"} <= {fields.get("debug_str") for fields in kept}
    assert {"9"} <= {fields.get("Depth") for fields in kept}
    assert {"键" * 64} <= {fields.get("Event") for fields in kept}


async def test_numbers_where_text_is_expected_are_no_bug(gateway: Gateway, player: Player) -> None:
    wechat = WeChat(gateway, json_push=True)
    assert (await wechat.push({**text(""), "Content": 12345})).status == 200
    await until(lambda: player.history)


# -- once ----------------------------------------------------------------------------------------------------------


async def test_three_copies_at_once_are_one_message_and_one_reply(wechat: WeChat, player: Player) -> None:
    for _ in range(20):
        fields = text("在吗")
        answers = await asyncio.gather(*(wechat.push(fields) for _ in range(3)))
        assert [answer.status for answer in answers] == [200] * 3
        assert sorted(answer.text for answer in answers) == ["", "", "答：在吗"]
    await until(lambda: len(player.stored("wechat.")) == 20 and len(player.stored("weir.reply.sent")) == 20)
    assert set(player.stored().values()) == {1}
    assert len(player.asked) == 20


async def test_the_copy_that_comes_last_gets_the_answer(wechat: WeChat, player: Player) -> None:
    fields = text("慢")
    first = asyncio.create_task(wechat.push(fields))
    await until(lambda: player.asked)
    second = asyncio.create_task(wechat.push(fields))
    await asyncio.sleep(0.2)
    player.slow.set()
    assert (await second).text == "答：慢"
    assert (await first).text == ""
    assert len(player.asked) == 1


async def test_a_copy_after_the_answer_is_told_success(wechat: WeChat, player: Player) -> None:
    fields = text("你好")
    assert (await wechat.push(fields)).text == "答：你好"
    assert (await wechat.push(fields)).body == b"success"
    assert len(player.asked) == 1


async def test_a_connection_cut_before_the_answer_gets_it_on_the_next_try(wechat: WeChat, player: Player) -> None:
    fields = text("慢")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wechat.push(fields), 0.5)
    player.slow.set()
    await until(lambda: player.said("weir.reply.sent"))
    answer = await wechat.push(fields)
    assert answer.text == "答：慢"
    assert all(item.lane == "question" for item in player.asked)
    await until(lambda: player.stored("wechat."))
    assert len(player.stored("wechat.")) == 1
    assert len(player.stored("weir.reply.sent")) == 1
    assert player.sends == []


async def test_an_old_callback_is_answered_only_with_the_claim(
    wechat: WeChat, player: Player, mongo_url: str, mongo_db: str
) -> None:
    """WeChat's retry may reach another gateway than the first try did: the ledger decides who answers."""
    client, database = connect(mongo_url, mongo_db, name="test")
    try:
        fields = text("你好", age=4)
        assert (await wechat.push(fields)).text == "答：你好"
        row = await database["sends"].find_one({"_id": reply_id(inbound_id("demo", OPENID, fields))})
        assert row["state"] == "passive"
        # The courier has the answer to this one already.
        other = text("你好", age=4)
        key = reply_id(inbound_id("demo", OPENID, other))
        await database["sends"].insert_one({"_id": key, "state": "sent", "account": "demo", "openid": OPENID})
        assert (await wechat.push(other)).body == b"success"
        assert not await claim_passive(database, key, "demo", OPENID)
        assert player.said("weir.reply.sent") == ["答：你好"]
    finally:
        client.close()


async def test_two_gateways_with_one_retry_answer_the_same(
    wechat: WeChat, player: Player, amqp_url: str, mongo_url: str, mongo_db: str, tmp_path: Path
) -> None:
    other = await Gateway.run(amqp_url, mongo_url, mongo_db, tmp_path, journal_dir=tmp_path / "other")
    try:
        fields = text("你好", age=4)
        answers = await asyncio.gather(wechat.push(fields), WeChat(other).push(fields))
        assert {answer.text for answer in answers} == {"答：你好"}
        await until(lambda: len(player.stored("weir.reply.sent")) == 1)
        assert len(player.stored("wechat.")) == 1  # one id, though it was published twice
        assert player.sends == []
    finally:
        await other.close()


# -- too late ------------------------------------------------------------------------------------------------------


async def test_an_answer_that_is_late_goes_through_the_courier(
    amqp_url: str, mongo_url: str, mongo_db: str, tmp_path: Path
) -> None:
    await put_account(mongo_url, mongo_db)
    gateway = await Gateway.run(amqp_url, mongo_url, mongo_db, tmp_path, reply_deadline=0.5)
    player = await Player.run(amqp_url)
    try:
        fields = text("慢")
        answer = await WeChat(gateway).push(fields)
        assert answer.body == b"success"
        assert 0.4 < answer.seconds < 1.5
        player.slow.set()
        await until(lambda: player.sends)
        (order,) = player.sends
        assert order.id == reply_id(inbound_id("demo", OPENID, fields))
        assert order.subject == OPENID
        assert player.said("weir.reply.sent") == []
        assert (await WeChat(gateway).push(fields)).body == b"success"
    finally:
        await player.close()
        await gateway.close()


async def test_on_the_way_down_those_who_wait_are_answered(
    amqp_url: str, mongo_url: str, mongo_db: str, tmp_path: Path
) -> None:
    await put_account(mongo_url, mongo_db)
    gateway = await Gateway.run(amqp_url, mongo_url, mongo_db, tmp_path)
    player = await Player.run(amqp_url)
    try:
        waiting = [asyncio.create_task(WeChat(gateway).push(text(f"慢{n}"))) for n in range(10)]
        await until(lambda: len(player.asked) == 10)
        started = time.monotonic()
        settling = asyncio.gather(*(step() for step in gateway.process.settle))
        await asyncio.sleep(0.1)
        player.slow.set()
        await settling
        assert [(await one).text for one in waiting] == [f"答：慢{n}" for n in range(10)]
        assert time.monotonic() - started < 3
    finally:
        await player.close()
        await gateway.close()


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture, player: Player) -> pytest.LogCaptureFixture:
    caplog.clear()
    return caplog


def nothing_happened(player: Player, logged: pytest.LogCaptureFixture) -> None:
    assert player.history == player.asked == player.sends == []
    assert "Traceback" not in logged.text
    assert "met a bug" not in logged.text


async def refused(wechat: WeChat, body: bytes, query: dict[str, str], status: int, **headers: str) -> str:
    """Send, expect the status and a problem without a trace; its code."""
    before = await wechat.gateway.counted()
    answer = await wechat.raw(body, query, **headers)
    assert answer.status == status, answer.body
    assert answer.type == "application/problem+json"
    assert b"Traceback" not in answer.body
    assert answer.seconds < 1
    code = str(msgspec.json.decode(answer.body)["code"])
    assert await wechat.gateway.counted() == before + 1
    assert await wechat.gateway.counted(outcome=code) >= 1
    return code


async def test_whoever_is_not_wechat_is_refused(
    wechat: WeChat, player: Player, quiet: pytest.LogCaptureFixture
) -> None:
    body = wechat.body(text("x"))
    good = wechat.query()
    for query in (
        {**good, "signature": "0" * 40},
        {**good, "signature": ""},
        {**good, "nonce": good["nonce"] + "1"},
        {name: value for name, value in good.items() if name != "signature"},
        {**good, "signature": "é" * 20},
    ):
        assert await refused(wechat, body, query, 403) == "bad_signature"
    for stamp in (int(time.time()) - 400, int(time.time()) + 400, "soon", "", "9" * 30):
        assert await refused(wechat, body, wechat.query(timestamp=str(stamp)), 403) == "stale"
    assert await refused(wechat, body, {}, 403) == "stale"
    nothing_happened(player, quiet)


async def test_a_sealed_callback_with_anything_wrong_is_refused(
    gateway: Gateway, player: Player, mongo_url: str, mongo_db: str, quiet: pytest.LogCaptureFixture
) -> None:
    account = msgspec.structs.replace(ACCOUNT, mode="safe", name="safe")
    await put_account(mongo_url, mongo_db, account)
    wechat = WeChat(gateway, account)
    stranger = WeChat(gateway, msgspec.structs.replace(account, appid="wx" + "f" * 16))
    other_key = WeChat(gateway, msgspec.structs.replace(account, aes_key="0" * 42 + "A"))
    plain = wechat.body(text("x"))
    body, query = stranger.sealed(plain, wechat.query())
    assert await refused(wechat, body, query, 403) == "bad_appid"
    body, query = other_key.sealed(plain, wechat.query())
    assert await refused(wechat, body, query, 403) == "bad_ciphertext"
    body, query = wechat.sealed(plain, wechat.query())
    assert await refused(wechat, body, {**query, "msg_signature": "0" * 40}, 403) == "bad_signature"
    assert await refused(wechat, plain, wechat.query(), 403) == "bad_signature"  # plain under safe mode
    assert await refused(wechat, plain, query, 400) == "encrypt"
    inner_bad, query = wechat.sealed(b"<xml><a></xml>", wechat.query())
    assert await refused(wechat, inner_bad, query, 400) == "malformed"
    nothing_happened(player, quiet)


BAD_BODIES = [
    (b"", "empty"),
    (b"<xml><a>", "malformed"),
    (b"hello", "format"),
    (b'{"a":', "malformed"),
    (b'<!DOCTYPE x [<!ENTITY a "b">]><xml><FromUserName>&a;</FromUserName></xml>', "doctype"),
    (b"<xml><FromUserName><a>b</a></FromUserName></xml>", "nested"),
    (b"<xml><FromUserName>a</FromUserName><FromUserName>b</FromUserName></xml>", "repeated"),
    (b'{"FromUserName": {"$ne": null}}', "name"),
    (b'{"FromUserName": {"ne": null}}', "nested"),
    (b'{"FromUserName": "a", "FromUserName": "b"}', "repeated"),
    (b"{" + b'"a":{' * 5000, "too_deep"),
    (b"<xml>" + b"<a>" * 20000, "too_deep"),
    (b"\xff\xfe<\x00x\x00", "format"),
    (b"<xml><Content>\xff</Content></xml>", "malformed"),
    (b"[]", "format"),
]


@pytest.mark.parametrize(("body", "code"), BAD_BODIES, ids=[f"{n}-{code}" for n, (_, code) in enumerate(BAD_BODIES)])
async def test_a_malformed_body_is_a_4xx_at_once(
    wechat: WeChat, player: Player, quiet: pytest.LogCaptureFixture, body: bytes, code: str
) -> None:
    got = await refused(wechat, body, wechat.query(), 400)
    assert got == code or {got, code} <= {"malformed", "too_deep", "encoding", "format"}
    nothing_happened(player, quiet)


@pytest.mark.parametrize("created", [0, -1, 2**52, 10**18, "tomorrow", ""])
async def test_an_absurd_time_is_refused(
    wechat: WeChat, player: Player, quiet: pytest.LogCaptureFixture, created: object
) -> None:
    assert await refused(wechat, wechat.body({**text("x"), "CreateTime": created}), wechat.query(), 400) == "time"
    nothing_happened(player, quiet)


async def test_a_body_of_64_kib_passes_and_one_byte_more_does_not(
    wechat: WeChat, player: Player, quiet: pytest.LogCaptureFixture
) -> None:
    empty = len(wechat.body(text("")))
    fields = text("")
    room = 64 * 1024 - len(wechat.body(fields))
    assert empty == len(wechat.body(fields))
    over = wechat.body({**fields, "Content": "x" * (room + 1)})
    assert await refused(wechat, over, wechat.query(), 413) == "too_large"
    assert player.history == []
    assert (await wechat.raw(wechat.body({**fields, "Content": "静" + "x" * (room - 3)}), wechat.query())).status == 200
    assert "met a bug" not in quiet.text


async def test_a_compressed_body_is_refused(wechat: WeChat, player: Player, quiet: pytest.LogCaptureFixture) -> None:
    headers = {"Content-Encoding": "gzip"}
    answer = await wechat.raw(b"\x1f\x8b", wechat.query(), **headers)
    assert answer.status == 415
    nothing_happened(player, quiet)


async def test_other_methods_and_accounts(wechat: WeChat, player: Player, quiet: pytest.LogCaptureFixture) -> None:
    assert (await wechat.raw(b"", wechat.query(), "PUT")).status == 405
    url = f"{wechat.gateway.url}/wechat/{ACCOUNT.name}"
    async with wechat.gateway.http.delete(url) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, POST")
    stranger = WeChat(wechat.gateway, msgspec.structs.replace(ACCOUNT, name="nobody"))
    assert await refused(stranger, stranger.body(text("x")), stranger.query(), 404) == "unknown_account"
    for path in ("/wechat/", "/wechat/../demo", "/wechat/demo/more", "/wechat/%00", "/nowhere"):
        async with wechat.gateway.http.get(wechat.gateway.url + path) as response:
            assert response.status == 404
    nothing_happened(player, quiet)


async def _spoken(gateway: Gateway, *parts: bytes, pause: float = 0.0) -> bytes:
    """Write bytes to the gateway's socket; all that comes back until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def _head(wechat: WeChat, *headers: str) -> bytes:
    query = "&".join(f"{name}={value}" for name, value in wechat.query().items())
    lines = [f"POST /wechat/demo?{query} HTTP/1.1", "Host: x", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_a_body_that_never_ends_is_cut_off(
    wechat: WeChat, player: Player, quiet: pytest.LogCaptureFixture
) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    answer = await _spoken(wechat.gateway, _head(wechat, "Transfer-Encoding: chunked"), chunk * 20)
    assert answer.startswith(b"HTTP/1.1 413 ")
    nothing_happened(player, quiet)


async def test_a_slow_body_is_given_two_seconds(
    wechat: WeChat, player: Player, quiet: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    answer = await _spoken(wechat.gateway, _head(wechat, "Content-Length: 500"), b"<xml>")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 1.5 < time.monotonic() - started < 4
    nothing_happened(player, quiet)


async def test_a_body_framed_wrongly_is_a_4xx(wechat: WeChat, player: Player, quiet: pytest.LogCaptureFixture) -> None:
    answer = await _spoken(
        wechat.gateway, _head(wechat, "Transfer-Encoding: chunked"), b"zz\r\nhello\r\n\r\n", pause=0.1
    )
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"Traceback" not in answer
    nothing_happened(player, quiet)


async def test_one_that_hangs_up_in_the_middle_is_no_bug(
    wechat: WeChat, player: Player, quiet: pytest.LogCaptureFixture
) -> None:
    before = await wechat.gateway.counted(outcome="body")
    _, writer = await asyncio.open_connection("127.0.0.1", int(wechat.gateway.url.rpartition(":")[2]))
    writer.write(_head(wechat, "Content-Length: 500") + b"<xml>")
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.transport.abort()
    async with asyncio.timeout(5):
        while await wechat.gateway.counted(outcome="body") == before:
            await asyncio.sleep(0.05)
    nothing_happened(player, quiet)


async def test_a_clock_that_differs_from_wechats_is_shown(wechat: WeChat, player: Player) -> None:
    early = str(int(time.time()) - 1000)
    assert await refused(wechat, wechat.body(text("x")), wechat.query(timestamp=early), 403) == "stale"
    # The gauge is the process's: an earlier test may have left another gateway's value in it.
    await until(lambda: metrics.clock_skew._value.get() > 900)
    assert 990 < await wechat.gateway.metric("weir_gateway_clock_skew_seconds") < 1010


async def test_hostile_labels_do_not_multiply_the_metrics(wechat: WeChat, player: Player) -> None:
    for number in range(30):
        await wechat.push({**text("静"), "MsgType": f"kind{number}"})
    async with wechat.gateway.http.get(wechat.gateway.url + "/metrics") as response:
        assert "kind7" not in await response.text()
    assert await wechat.gateway.counted(kind="other") >= 30
