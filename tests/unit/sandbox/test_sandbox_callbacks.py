"""Callbacks: modes and formats, time limit and tries, and what becomes of each answer."""

import asyncio
import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from aiohttp import web
from boxes import CONFIG, NOON, Box, BoxMaker, Received, Shop, echo, xml_reply

from sandbox.callbacks import SYSTEM_LINE
from sandbox.crypto import aes_key_bytes, decrypt, encrypt, sign

KEY = aes_key_bytes(CONFIG["aes_key"])
TEXT = "<Content><![CDATA[收到]]></Content>"


def clear_fields(got: Received, mode: str, push_format: str) -> dict[str, Any]:
    """The fields of a callback, read as an account's server would: signatures checked, decrypted, parsed."""

    def parse(text: str) -> dict[str, Any]:
        if push_format == "json":
            return json.loads(text)
        return {child.tag: child.text for child in ET.fromstring(text)}

    query, fields = got.query, parse(got.text)
    assert query["signature"] == sign(CONFIG["token"], query["timestamp"], query["nonce"])
    if mode == "plain":
        assert not {"encrypt_type", "msg_signature"} & set(query)
        assert "Encrypt" not in fields
        return fields
    assert query["encrypt_type"] == "aes"
    assert query["msg_signature"] == sign(CONFIG["token"], query["timestamp"], query["nonce"], fields["Encrypt"])
    opened = parse(decrypt(fields["Encrypt"], KEY, CONFIG["appid"]).decode())
    if mode == "safe":
        assert set(fields) == {"ToUserName", "Encrypt"}
    else:
        assert {name: fields[name] for name in opened} == opened
    return opened


def sealed_reply(got: Received, clear: bytes, push_format: str = "xml", appid: str = CONFIG["appid"]) -> bytes:
    sealed = encrypt(clear, KEY, appid)
    signature = sign(CONFIG["token"], "1750132800", "77", sealed)
    if push_format == "json":
        parts = {"Encrypt": sealed, "MsgSignature": signature, "TimeStamp": 1750132800, "Nonce": "77"}
        return json.dumps(parts).encode()
    return (
        f"<xml><Encrypt><![CDATA[{sealed}]]></Encrypt><MsgSignature><![CDATA[{signature}]]></MsgSignature>"
        "<TimeStamp>1750132800</TimeStamp><Nonce><![CDATA[77]]></Nonce></xml>"
    ).encode()


@pytest.mark.parametrize("push_format", ["xml", "json"])
@pytest.mark.parametrize("mode", ["plain", "compatible", "safe"])
async def test_every_mode_and_format_makes_the_round_trip(box: Box, shop: Shop, mode: str, push_format: str) -> None:
    await box.account(url=shop.url, mode=mode, format=push_format)
    openid = await box.follower()
    clear = xml_reply(openid, TEXT)
    shop.answer = clear if mode == "plain" else (lambda got: sealed_reply(got, clear, push_format))
    result = await box.say(openid, "你好 & <再见> ]]>")
    assert result["answer"] == "passive"
    (got,) = shop.received
    fields = clear_fields(got, mode, push_format)
    assert fields["ToUserName"] == CONFIG["original_id"]
    assert fields["FromUserName"] == got.query["openid"] == openid
    assert fields["Content"] == "你好 & <再见> ]]>"
    assert int(fields["MsgId"]) == result["msgid"]
    assert int(fields["CreateTime"]) == int(got.query["timestamp"]) == int(NOON)
    assert got.headers["Content-Type"] == ("application/json" if push_format == "json" else "text/xml")
    (message,) = await box.inbox(openid)
    assert (message["via"], message["content"], message["msgid"]) == ("passive", "收到", result["msgid"])


async def test_json_accounts_may_answer_in_json(box: Box, shop: Shop) -> None:
    await box.account(url=shop.url, mode="plain", format="json")
    openid = await box.follower()
    reply = {"ToUserName": openid, "FromUserName": CONFIG["original_id"], "CreateTime": 1, "MsgType": "text"}
    shop.answer = json.dumps({**reply, "Content": "好"}).encode()
    assert (await box.say(openid))["answer"] == "passive"


async def test_the_query_of_the_url_itself_is_kept(box: Box, shop: Shop) -> None:
    await box.account(url=f"{shop.url}?shop=1")
    await box.say(await box.follower())
    assert shop.received[0].query["shop"] == "1"


@pytest.mark.parametrize("answer", [b"", b"success"])
async def test_an_empty_answer_shows_nothing(box: Box, shop: Shop, answer: bytes) -> None:
    shop.answer = answer
    openid = await box.follower()
    result = await box.say(openid)
    assert (result["answer"], result["tries"]) == ("success", 1)
    assert await box.inbox(openid) == []


PART = {
    "image": "<Image><MediaId>m</MediaId></Image>",
    "voice": "<Voice><MediaId>m</MediaId></Voice>",
    "video": "<Video><MediaId>m</MediaId><Title>片</Title><Description>d</Description></Video>",
    "music": "<Music><Title>歌</Title><MusicUrl>u</MusicUrl><HQMusicUrl>h</HQMusicUrl>"
    "<ThumbMediaId>m</ThumbMediaId></Music>",
    "news": "<ArticleCount>1</ArticleCount><Articles><item><Title>文</Title><Description>d</Description>"
    "<PicUrl>p</PicUrl><Url>u</Url></item></Articles>",
    "transfer_customer_service": "<TransInfo><KfAccount>kf1@gh</KfAccount></TransInfo>",
}
SHOWN: dict[str, dict[str, Any]] = {
    "image": {"media_id": "m"},
    "voice": {"media_id": "m"},
    "video": {"media_id": "m", "title": "片", "description": "d"},
    "music": {"title": "歌", "musicurl": "u", "hqmusicurl": "h", "thumb_media_id": "m"},
    "news": {"articles": [{"title": "文", "description": "d", "picurl": "p", "url": "u"}], "content": "[图文] 文"},
    "transfer_customer_service": {"kf_account": "kf1@gh"},
}


@pytest.mark.parametrize("kind", PART)
async def test_each_passive_type_is_shown(box: Box, shop: Shop, kind: str) -> None:
    await box.ok("POST", "/sandbox/accounts/demo/media", {"type": "image", "media_id": "m"})
    openid = await box.follower()
    shop.answer = xml_reply(openid, PART[kind], kind=kind)
    await box.say(openid)
    (message,) = await box.inbox(openid)
    assert (message["via"], message["type"]) == ("passive", kind)
    assert SHOWN[kind].items() <= message.items()


TWO_ARTICLES = (
    "<ArticleCount>2</ArticleCount><Articles><item><Title>1</Title></item><item><Title>2</Title></item></Articles>"
)


async def test_an_event_may_be_answered_with_several_articles(box: Box, shop: Shop) -> None:
    openid = await box.follower()
    shop.answer = xml_reply(openid, TWO_ARTICLES, kind="news")
    await box.send(openid, type="event", event="CLICK", key="NEWS")
    (message,) = await box.inbox(openid)
    assert [article["title"] for article in message["articles"]] == ["1", "2"]
    assert (message["event"], message["msgid"]) == ("CLICK", None)


def bad_answers() -> dict[str, Any]:
    def text(got: Received, body: str = TEXT, **more: str) -> bytes:
        return xml_reply(got.query["openid"], body, **more)

    return {
        "not XML": b"hello",
        "quoted success": b'"success"',
        "success with a newline": b"success\n",
        "another root": b"<html></html>",
        "cut short": lambda got: text(got)[:-9],
        "DOCTYPE": lambda got: b'<!DOCTYPE xml [<!ENTITY a "b">]>' + text(got),
        "To and From not swapped": lambda got: xml_reply(CONFIG["original_id"], TEXT, sender=got.query["openid"]),
        "another follower": lambda _: xml_reply("oSomebodyElse", TEXT),
        "another account": lambda got: text(got, sender="gh_other"),
        "unknown type": lambda got: text(got, kind="poem"),
        "empty text": lambda got: text(got, "<Content></Content>"),
        "no text": lambda got: text(got, ""),
        "text too long": lambda got: text(got, f"<Content>{'好' * 683}</Content>"),
        "field twice": lambda got: text(got, TEXT * 2),
        "no CreateTime": lambda got: text(got).replace(b"<CreateTime>1750132800</CreateTime>", b""),
        "unknown media": lambda got: text(got, PART["image"], kind="image"),
        "no media": lambda got: text(got, "", kind="image"),
        "two articles to a message": lambda got: text(got, TWO_ARTICLES, kind="news"),
        "wrong count": lambda got: text(got, TWO_ARTICLES.replace("Count>2", "Count>1"), kind="news"),
        "no articles": lambda got: text(got, "<ArticleCount>0</ArticleCount><Articles></Articles>", kind="news"),
        "encrypted in plain mode": lambda got: sealed_reply(got, text(got)),
        "too long": b"x" * 300_000,
    }


@pytest.mark.parametrize("name", bad_answers())
async def test_a_bad_answer_shows_the_system_line_and_is_not_tried_again(box: Box, shop: Shop, name: str) -> None:
    shop.answer = bad_answers()[name]
    openid = await box.follower()
    result = await box.say(openid)
    assert (result["answer"], result["tries"]) == ("failed", 1)
    assert result["reason"].startswith("malformed: ")
    (message,) = await box.inbox(openid)
    assert (message["via"], message["type"], message["content"]) == ("system", "system", SYSTEM_LINE)
    assert (await box.state())["counters"]["failures"] == {"malformed": 1}


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("plain in safe mode", lambda got: xml_reply(got.query["openid"], TEXT)),
        ("appid", lambda got: sealed_reply(got, xml_reply(got.query["openid"], TEXT), appid="wx2222222222222222")),
        ("signature", lambda got: sealed_reply(got, xml_reply(got.query["openid"], TEXT)).replace(b"77", b"78")),
        ("ciphertext", lambda got: sealed_reply(got, b"").replace(b"Encrypt><![CDATA[", b"Encrypt><![CDATA[AA")),
    ],
)
async def test_a_badly_encrypted_answer_shows_the_system_line(box: Box, shop: Shop, name: str, answer: Any) -> None:
    await box.account(url=shop.url, mode="safe")
    shop.answer = answer
    assert (await box.say(await box.follower()))["answer"] == "failed", name


async def test_compatible_mode_takes_a_plain_answer_too(box: Box, shop: Shop) -> None:
    await box.account(url=shop.url, mode="compatible")
    shop.answer = echo
    assert (await box.say(await box.follower()))["answer"] == "passive"


async def test_silence_is_tried_three_times_with_the_same_body(open_box: BoxMaker, shop: Shop) -> None:
    box = await open_box(reply_limit=0.2)
    await box.account(url=shop.url, mode="safe")
    never = asyncio.Event()
    shop.answer = lambda _: never.wait()
    openid = await box.follower()
    result = await box.say(openid)
    assert (result["answer"], result["tries"], result["reason"]) == ("failed", 3, "timeout")
    assert 600 <= result["took_ms"] < 5000
    assert len(shop.received) == 3
    assert len({got.body for got in shop.received}) == 1
    assert len({got.query["nonce"] for got in shop.received}) == 3
    assert [message["via"] for message in await box.inbox(openid)] == ["system"]
    never.set()


async def test_the_limit_is_five_seconds_as_delivered(open_box: BoxMaker, shop: Shop) -> None:
    box = await open_box()
    await box.account(url=shop.url, mode="plain")
    release = asyncio.Event()

    async def slow_then_quick(got: Received) -> bytes:
        if len(shop.received) == 1:
            await release.wait()
        return echo(got)

    shop.answer = slow_then_quick
    openid = await box.follower()
    result = await box.say(openid)
    release.set()
    assert (result["answer"], result["tries"]) == ("passive", 2)
    assert 4.9 < shop.received[1].at - shop.received[0].at < 9
    assert [message["content"] for message in await box.inbox(openid)] == ["收到"]


async def test_a_second_try_that_succeeds_shows_one_reply(box: Box, shop: Shop) -> None:
    shop.answer = lambda got: "cut" if len(shop.received) == 1 else echo(got)
    openid = await box.follower()
    assert (await box.say(openid))["tries"] == 2
    assert [message["via"] for message in await box.inbox(openid)] == ["passive"]


async def test_statuses_other_than_200_are_tried_again(box: Box, shop: Shop) -> None:
    shop.answer = lambda _: web.Response(status=503)
    result = await box.say(await box.follower())
    assert (result["answer"], result["tries"], result["reason"]) == ("failed", 3, "status 503")


async def test_a_server_that_is_not_there(box: Box) -> None:
    await box.account(url="http://127.0.0.1:1/hook")
    result = await box.say(await box.follower())
    assert (result["answer"], result["tries"], result["reason"]) == ("failed", 3, "connection")


async def test_msgids_grow_and_do_not_fit_into_a_float(box: Box) -> None:
    openid = await box.follower()
    ids = [(await box.say(openid))["msgid"] for _ in range(20)]
    assert ids == sorted(set(ids))
    assert 2**53 < ids[0] < 2**63


async def test_signatures_stay_fresh_on_an_aged_clock(box: Box, shop: Shop) -> None:
    await box.advance(100_000)
    openid = await box.follower()
    assert (await box.say(openid))["create_time"] == int(NOON) + 100_000
    assert shop.received[0].query["timestamp"] == str(int(NOON))


async def test_connections_are_used_again(box: Box, shop: Shop) -> None:
    openid = await box.follower()
    for _ in range(10):
        await box.say(openid)
    assert len({got.port for got in shop.received}) == 1


async def test_five_hundred_followers_at_once(box: Box, shop: Shop) -> None:
    everybody_is_here = asyncio.Event()

    async def wait_for_all(got: Received) -> bytes:
        if len(shop.received) == 500:
            everybody_is_here.set()
        await everybody_is_here.wait()
        return echo(got)

    shop.answer = wait_for_all
    openids = (await box.ok("POST", "/sandbox/accounts/demo/followers", {"count": 500}))["openids"]
    results = await asyncio.gather(*(box.say(openid) for openid in openids))
    assert {(result["answer"], result["tries"]) for result in results} == {("passive", 1)}
    assert len({result["msgid"] for result in results}) == 500


async def test_verify_says_in_words_how_it_went(box: Box, shop: Shop) -> None:
    def honest(got: Received) -> bytes:
        assert got.method == "GET"
        assert got.query["signature"] == sign(CONFIG["token"], got.query["timestamp"], got.query["nonce"])
        return got.query["echostr"].encode()

    async def verify(answer: Any) -> dict[str, Any]:
        shop.answer = answer
        return await box.ok("POST", "/sandbox/accounts/demo/verify")

    assert (await verify(honest))["ok"] is True
    assert "token" in (await verify(lambda _: web.Response(status=403)))["detail"]
    assert "path" in (await verify(lambda _: web.Response(status=404)))["detail"]
    assert "500" in (await verify(lambda _: web.Response(status=500)))["detail"]
    assert "not the echostr" in (await verify(b"success"))["detail"]
    await box.account(url="http://127.0.0.1:1/hook")
    assert "cannot be reached" in (await box.ok("POST", "/sandbox/accounts/demo/verify"))["detail"]
