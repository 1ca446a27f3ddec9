"""Rule files of version 1: which rule answers what."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import wechat
from contracts.envelope import raw
from contracts.text import normalise
from services.autoreply.engine import Known, decide
from services.autoreply.rulefile import read

RULES = read(
    """\
version: 1
rules:
  - {id: hello, when: {text: {exact: ["你好", "Hello", "ＡＢＣ"]}}, reply: {type: text, content: hello}}
  - {id: parking, when: {text: {contains: ["停车", "Parking"]}}, reply: {type: text, content: parking}}
  - {id: late, when: {text: {exact: ["停车场在哪"]}}, reply: {type: text, content: exact}}
  - {id: toll, when: {text: {contains: ["费用"]}}, reply: {type: text, content: toll}}
  - {id: hours, when: {click: ["HOURS"]}, reply: {type: text, content: hours}}
  - {id: welcome, when: {subscribe: true}, reply: {type: text, content: welcome}}
default: {reply: {type: text, content: default}}
"""
)
SILENT = read("version: 1\n")
KNOWN = Known(now=datetime(2026, 11, 24, 12, tzinfo=UTC))


def inbound(msg_type: str, **fields: object) -> wechat.Inbound:
    whole = {"ToUserName": "gh_1", "FromUserName": "oA", "CreateTime": 1, "MsgType": msg_type, **fields}
    return wechat.view(wechat.event_type(whole), raw(whole))


def rule_for(msg_type: str, **fields: object) -> str | None:
    outcome = decide(RULES, inbound(msg_type, **fields), KNOWN)
    return outcome.answers[0].rule if outcome.answers else None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("你好", "hello"),
        (" 你好　", "hello"),
        ("HELLO", "hello"),
        ("ｈｅｌｌｏ", "hello"),
        ("abc", "hello"),
        ("你好吗", "default"),
        ("这里能停车吗", "parking"),
        ("PARKING lot?", "parking"),
        ("Ｐarking", "parking"),
        ("停车场在哪", "late"),  # exact goes before contains, wherever it stands in the file
        ("停车费用", "parking"),  # else the order of the file decides
        ("费用", "toll"),
        ("", "default"),
        ("   ", "default"),
        ("完全不相干", "default"),
    ],
)
def test_texts(text: str, rule: str) -> None:
    assert rule_for("text", Content=text) == rule


def test_a_voice_is_matched_by_what_was_recognised() -> None:
    assert rule_for("voice", MediaId="m", Recognition="停车") == "parking"
    assert rule_for("voice", MediaId="m", Recognition="") == "default"
    assert rule_for("voice", MediaId="m") == "default"


def test_clicks_and_follows() -> None:
    assert rule_for("event", Event="CLICK", EventKey="HOURS") == "hours"
    assert rule_for("event", Event="CLICK", EventKey="hours") is None
    assert rule_for("event", Event="CLICK", EventKey=None) is None
    assert rule_for("event", Event="subscribe", EventKey="qrscene_1") == "welcome"


@pytest.mark.parametrize("name", ["VIEW", "LOCATION", "unsubscribe", "SCAN", "new_in_2030", "scancode_push"])
def test_other_events_get_no_default(name: str) -> None:
    assert rule_for("event", Event=name, EventKey="HOURS") is None


@pytest.mark.parametrize("kind", ["image", "video", "link", "hologram"])
def test_other_messages_get_the_default(kind: str) -> None:
    assert rule_for(kind) == "default"


def test_a_message_that_does_not_fit_its_struct_is_a_message_all_the_same() -> None:
    assert rule_for("location", Location_X="north", Location_Y="?") == "default"
    assert rule_for("text", Content=10086) == "default"


def test_without_a_default_there_is_silence() -> None:
    outcome = decide(SILENT, inbound("text", Content="你好"), KNOWN)
    assert (outcome.matcher, outcome.answers) == ("none", ())


@given(st.text(max_size=50))
def test_outer_space_does_not_count(text: str) -> None:
    assert normalise(text) == normalise(f"  {text} ")
