"""What bad input gets: a 4xx at once, counted, without a stack trace, and nothing of it is stored or published."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import pytest
from conftest import Registered, Registry
from crowd import Checker
from running import RunningWeir
from wechat import Answer, Client, signed, text_xml, until

from sandbox.crypto import aes_key_bytes, encrypt, sign

CALLBACKS = "weir_gateway_callbacks_total"
LIMIT = 64 * 1024


@dataclass
class Border:
    """The gateway's border with one account in plain and one in safe mode, and a stranger who knocks."""

    client: Client
    plain: Registered
    safe: Registered
    openid: str

    async def push(self, body: bytes, query: dict[str, str] | None = None, account: str = "plain") -> Answer:
        return await self.client.push(account, signed(self.plain.token) if query is None else query, body)

    async def push_sealed(self, xml: bytes, *, appid: str, msg_signature: str = "") -> Answer:
        """A callback in safe mode, encrypted for this appid."""
        sealed = encrypt(xml, aes_key_bytes(self.safe.aes_key), appid)
        query = signed(self.safe.token, encrypt_type="aes")
        right = sign(self.safe.token, query["timestamp"], query["nonce"], sealed)
        body = f"<xml><ToUserName>gh_safe0001</ToUserName><Encrypt>{escape(sealed)}</Encrypt></xml>".encode()
        return await self.client.push("safe", {**query, "msg_signature": msg_signature or right}, body)

    async def counted(self, outcome: str = "") -> float:
        return await self.client.counted(CALLBACKS, **({"outcome": outcome} if outcome else {}))

    def text(self, msgid: int = 1, **given: Any) -> bytes:
        return text_xml(self.openid, "你好", msgid, **given)


@pytest.fixture
async def border(weir: RunningWeir, client: Client, registry: Registry) -> AsyncIterator[Border]:
    """Afterwards nothing of the stranger is stored, and nothing waits anywhere."""
    plain, safe = await registry.add(client, "plain", "plain"), await registry.add(client, "safe", "safe")
    await client.control("PUT", "accounts/safe", {"aes_key": safe.aes_key})
    made = Border(client, plain, safe, await client.follower("plain"))
    before = await made.counted()
    yield made
    assert await made.counted() > before, "it was not counted"
    await until(Checker(weir).left_over, lambda left: left == 0, 5)
    assert await client.messages(made.openid) == []
    assert "Traceback" not in weir.log("edge")


def refused(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer.body
    assert f'"code":"{code}"'.encode() in answer.body
    assert b"Traceback" not in answer.body
    assert answer.seconds < 1


FORGED = {
    "bad_signature": lambda query: {**query, "signature": "0" * 40},
    "no_signature": lambda query: {name: value for name, value in query.items() if name != "signature"},
    "empty_query": lambda _query: {},
    "not_hexadecimal": lambda query: {**query, "signature": "签名"},
    "other_nonce": lambda query: {**query, "nonce": query["nonce"] + "1"},
}


@pytest.mark.parametrize("how", FORGED)
async def test_a_forged_query(border: Border, how: str) -> None:
    code = "stale" if how == "empty_query" else "bad_signature"
    before = await border.counted(code)
    query = FORGED[how](signed(border.plain.token))
    refused(await border.push(border.text(), query), 403, code)
    assert await border.counted(code) == before + 1


@pytest.mark.parametrize("off", [-86_400, 86_400])
async def test_a_stale_timestamp(border: Border, off: int) -> None:
    before = await border.counted("stale")
    query = signed(border.plain.token, timestamp=int(time.time()) + off)
    refused(await border.push(border.text(), query), 403, "stale")
    assert await border.counted("stale") == before + 1


async def test_safe_mode_believes_the_msg_signature_alone(border: Border) -> None:
    refused(await border.push_sealed(border.text(), appid="wx0000000000000000"), 403, "bad_appid")
    assert await border.counted("bad_appid") == 1
    wrong = await border.push_sealed(border.text(), appid=border.safe.appid, msg_signature="1" * 40)
    refused(wrong, 403, "bad_signature")
    # A callback in plain text with a good plain signature does not get in either.
    refused(await border.push(border.text(), signed(border.safe.token), "safe"), 403, "bad_signature")


NESTED = b"<a>" * 200 + b"</a>" * 200
MALFORMED = {
    "doctype": b'<!DOCTYPE xml [<!ENTITY a "aaaa">]><xml><MsgType>&a;</MsgType></xml>',
    "external_entity": b'<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><MsgType>&a;</MsgType></xml>',
    "nested": b"<xml><MsgType>text</MsgType>" + NESTED + b"</xml>",
    "repeated": b"<xml><MsgType>text</MsgType><MsgType>image</MsgType></xml>",
    "cut_off": b"<xml><MsgType>text",
    "empty": b"",
    "no_xml": b"hello",
    "bytes": base64.b64decode("/////w=="),
    "json_array": b"[1, 2]",
    "json_cut_off": b'{"MsgType": "text"',
    "json_repeated": b'{"MsgType": "text", "MsgType": "image"}',
    "json_nested": b'{"MsgType": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "without_a_type": b"<xml><FromUserName>o1</FromUserName><CreateTime>1</CreateTime></xml>",
    "time_in_words": b"<xml><MsgType>text</MsgType><FromUserName>o1</FromUserName><CreateTime>now</CreateTime></xml>",
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_body(border: Border, what: str) -> None:
    answer = await border.push(MALFORMED[what])
    assert answer.status == 400, answer.body
    assert answer.seconds < 1


async def test_an_unknown_account(border: Border) -> None:
    before = await border.counted("unknown_account")
    refused(await border.push(border.text(), account="nobody"), 404, "unknown_account")
    assert await border.counted("unknown_account") == before + 1


async def test_the_largest_body_and_one_byte_more(border: Border) -> None:
    bare = len(text_xml(border.openid, "", 1))
    too_long = text_xml(border.openid, "x" * (LIMIT + 1 - bare), 1)
    assert len(too_long) == LIMIT + 1
    refused(await border.push(too_long), 413, "too_large")

    async def in_pieces() -> AsyncIterator[bytes]:  # without a Content-Length
        yield too_long[:1000]
        yield too_long[1000:]

    query = signed(border.plain.token)
    url = f"{border.client.weir.address}/wechat/plain"
    refused(await border.client.ask("POST", url, params=query, data=in_pieces()), 413, "too_large")
    other = await border.client.follower("plain")
    just = await border.push(text_xml(other, "x" * (LIMIT - bare), 2))
    assert (just.status, just.body) == (200, b"success")
    await border.client.stored(other, 1)


async def test_a_slow_body(border: Border) -> None:
    before = await border.counted("slow_body")
    query = "&".join(f"{name}={value}" for name, value in signed(border.plain.token).items())
    reader, writer = await asyncio.open_connection("127.0.0.1", border.client.weir.port)
    writer.write(f"POST /wechat/plain?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n<xml>".encode())
    began = time.monotonic()
    status = await asyncio.wait_for(reader.readline(), 5)
    assert b" 408 " in status
    assert 1.5 < time.monotonic() - began < 3.5
    assert await asyncio.wait_for(reader.read(), 2) != b""  # and the connection is closed
    writer.close()
    assert await border.counted("slow_body") == before + 1


async def test_compressed_bodies_and_other_methods(border: Border) -> None:
    url, query = f"{border.client.weir.address}/wechat/plain", signed(border.plain.token)
    headers = {"Content-Encoding": "gzip"}
    zipped = await border.client.ask("POST", url, params=query, data=b"\x1f\x8b", headers=headers)
    assert 400 <= zipped.status < 500
    assert (await border.client.ask("PUT", url, params=query, data=b"")).status == 405
    assert (await border.client.ask("GET", url, params=query)).status == 400  # a check without an echostr


async def test_the_api_without_its_token(client: Client) -> None:
    for path in ("messages", "messages/export", "followers/demo/x", "sends"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": client.weir.admin_token[:-1]}):
            answer = await client.ask("GET", f"{client.weir.address}/api/{path}", headers=headers)
            assert answer.status == 401, path


async def test_parameters_that_are_wrong_name_themselves(client: Client) -> None:
    headers = {"Authorization": f"Bearer {client.weir.admin_token}"}
    for query in ("limit=0", "direction=up", "from=yesterday", "cursor=x", "colour=red"):
        answer = await client.ask("GET", f"{client.weir.address}/api/messages?{query}", headers=headers)
        assert answer.status == 400, query
        assert query.partition("=")[0].encode() in answer.body
    assert (await client.ask("GET", f"{client.weir.address}/nothing/here")).status == 404
