"""Whatever a server answers, reading it either gives something to show or says what is wrong."""

import msgspec
import pytest
from boxes import CONFIG, NOON, xml_reply
from hypothesis import given
from hypothesis import strategies as st

from sandbox.accounts import Account
from sandbox.clock import Clock
from sandbox.reply import BadReplyError, read_reply
from sandbox.world import World

REPLY = xml_reply("oPerson", "<Content><![CDATA[收到]]></Content>")
JSON = '{"ToUserName":"oPerson","FromUserName":"gh_97417a04a28d","CreateTime":1,"MsgType":"text","Content":"收到"}'.encode()


def account(**settings: str) -> Account:
    world = World(Clock(lambda: NOON))
    return world.put_account("demo", {**CONFIG, "url": "http://127.0.0.1:1/", **settings})


ACCOUNTS = [account(), account(format="json"), account(mode="safe"), account(mode="safe", format="json")]


def read(body: bytes) -> None:
    for one in ACCOUNTS:
        try:
            shown = read_reply(one, body, "oPerson", NOON, to_message=True)
        except BadReplyError:
            continue
        msgspec.json.encode(shown)  # what is shown can be stored and sent on


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    read(body)


@given(st.sampled_from([REPLY, JSON]), st.integers(0, 400), st.binary(max_size=6), st.integers(0, 5))
def test_a_good_reply_with_a_piece_changed(reply: bytes, place: int, piece: bytes, cut: int) -> None:
    read(reply[:place] + piece + reply[place + cut :])


@pytest.mark.parametrize(
    "body",
    [
        b'<?xml version="1.0" encoding="foo"?><xml/>',
        b'<?xml version="1.0" encoding="utf-32"?><xml/>',
        b"<xml>" + b"<a>" * 20_000 + b"</a>" * 20_000 + b"</xml>",
        b'{"a":' + b"[" * 100_000,
        JSON.replace("收到".encode(), rb"\ud800"),
        JSON.replace("收到".encode(), rb"\ud800x\udc00"),
        JSON.replace(b'"Content"', b'"Content":{"a":1},"Other"'),
    ],
)
def test_known_traps(body: bytes) -> None:
    for one in ACCOUNTS:
        with pytest.raises(BadReplyError):
            read_reply(one, body, "oPerson", NOON, to_message=True)


def test_the_unchanged_replies_are_good() -> None:
    assert read_reply(ACCOUNTS[0], REPLY, "oPerson", NOON, to_message=True) == {"type": "text", "content": "收到"}
    assert read_reply(ACCOUNTS[1], JSON, "oPerson", NOON, to_message=True) == {"type": "text", "content": "收到"}
