import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.wechat.parser import parse
from contracts import facts, keys, wechat
from contracts.content import Article, News, Text
from contracts.envelope import Event, raw
from contracts.errors import Reject
from services.history.documents import fact, inbound, of_follower, original, outbound, plain, stored_id

SAMPLES = sorted(Path(__file__).parents[3].joinpath("samples/wechat").glob("*.[xj]*"))
OPENID = "oT5kWx0m3QbRz8LhYc2NfVu7EaJg"
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
CREATED = int(AT.timestamp())


def event_of(fields, **more):
    openid = wechat.subject(fields)
    values = {
        "id": keys.inbound_id("demo", openid, fields),
        "type": wechat.event_type(fields),
        "subject": openid,
        "time": datetime.fromtimestamp(fields["CreateTime"], UTC),
        "data": raw(fields),
        **more,
    }
    return Event(source="/accounts/demo", account="demo", lane="question", **values)


def told(event_type, data, **more):
    values = {
        "id": f"demo|{OPENID}|1|2#r0",
        "cause": f"demo|{OPENID}|1|2",
        "subject": OPENID,
        "account": "demo",
        "time": AT,
        **more,
    }
    return Event(source="/accounts/demo", type=event_type, data=raw(data), **values)


def message(**more):
    return {
        "ToUserName": "gh_1",
        "FromUserName": OPENID,
        "CreateTime": CREATED,
        "MsgType": "text",
        "MsgId": "1",
        **more,
    }


def test_the_samples_are_there():
    assert len(SAMPLES) >= 80


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_the_platforms_fields_can_be_rebuilt_exactly(path):
    fields = parse(path.read_bytes())
    document = inbound(event_of(fields))
    assert original(document) == fields
    assert original(plain(document)) == fields
    group, name = path.name.split(".")[:2]
    assert document["kind"] == (name if group == "message" else f"event.{name.lower()}")
    assert document["openid"] == wechat.subject(fields)
    assert document["at"].timestamp() == fields["CreateTime"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(["text", "voice", "location", "link", "strange", "event"]),
    st.dictionaries(
        st.sampled_from(["Content", "Recognition", "Label", "Title", "EventKey", "Event", "MsgId", "Odd"]),
        json_values,
        max_size=6,
    ),
)
def test_odd_fields_are_rebuilt_too(kind, odd):
    fields = {**message(MsgType=kind), **odd}
    if kind == "event":
        fields["Event"] = "CLICK"
    document = inbound(event_of(fields, id="x"))
    assert original(document) == fields
    assert isinstance(document["text"], str)


@pytest.mark.parametrize(
    ("kind", "field", "more"),
    [
        ("text", "Content", {}),
        ("voice", "Recognition", {"MediaId": "m"}),
        ("location", "Label", {"Location_X": "1.5"}),
        ("link", "Title", {"Url": "u"}),
        ("file", "Title", {"FileKey": "k"}),
        ("event", "EventKey", {"Event": "CLICK"}),
    ],
)
def test_text_is_what_a_person_would_search_for(kind, field, more):
    document = inbound(event_of({**message(MsgType=kind, **more), field: "营业时间"}))
    assert document["text"] == "营业时间"
    assert field not in document["fields"]


def test_fields_that_stand_elsewhere_are_not_stored_twice():
    document = inbound(event_of(message(Content="hi")))
    assert document["fields"] == {"ToUserName": "gh_1", "MsgId": "1"}
    assert "attempt" not in document
    assert inbound(event_of(message(Content="hi"), attempt=2))["attempt"] == 2


def test_an_authorization_event_is_the_persons_not_the_senders():
    fields = {**message(MsgType="event", Event="user_authorization_revoke"), "OpenID": "oPerson"}
    document = inbound(event_of(fields))
    assert document["openid"] == "oPerson"
    assert original(document) == fields


def test_data_that_is_no_object_is_refused():
    with pytest.raises(Reject, match=r"wechat\.message\.text"):
        inbound(event_of(message(), data=raw([1])))


def test_a_passive_answer():
    because = facts.Because(rule="hours", rules_version="7")
    document = outbound(told(facts.REPLY_SENT, facts.ReplySent(Text("9 to 5"), because)))
    assert document == {
        "_id": f"demo|{OPENID}|1|2#r0",
        "account": "demo",
        "openid": OPENID,
        "direction": "out",
        "kind": "text",
        "at": AT,
        "text": "9 to 5",
        "content": {"type": "text", "content": "9 to 5"},
        "cause": f"demo|{OPENID}|1|2",
        "because": {"rule": "hours", "rules_version": "7"},
        "via": "passive",
        "status": "sent",
    }


@pytest.mark.parametrize(
    ("event_type", "status"),
    [(facts.SEND_ACCEPTED, "sent"), (facts.SEND_FAILED, "failed"), (facts.SEND_UNKNOWN, "unknown")],
)
def test_an_outcome_is_the_document_of_its_command(event_type, status):
    content = News((Article("one", "u"), Article("two", "u")))
    outcome = facts.SendOutcome("cmd", content, facts.Because(agent="li"), errcode=45015, reason="too late")
    document = outbound(told(event_type, outcome, id=keys.outcome_id("cmd", status)))
    # An id that does not begin with its follower gets the follower in front: one range holds all of a follower's.
    assert (document["_id"], document["status"], document["via"]) == (f"demo|{OPENID}|cmd", status, "custom")
    assert (document["text"], document["kind"], document["because"]) == ("one two", "news", {"agent": "li"})
    assert (document["errcode"], document["reason"]) == (45015, "too late")


def test_the_range_of_a_follower_holds_all_ids_of_theirs_and_nobody_else_s():
    low, high = of_follower("demo", OPENID)["_id"]["$gte"], of_follower("demo", OPENID)["_id"]["$lt"]
    mine = [stored_id("demo", OPENID, name) for name in (f"demo|{OPENID}|1|2#r0", "demo|MASSSENDJOBFINISH|9", "\uffff")]
    others = [stored_id("demo", OPENID[:-1], "1"), stored_id("demo", OPENID + "a", "1"), stored_id("dem", OPENID, "1")]
    assert all(low <= name < high for name in mine)
    assert not any(low <= name < high for name in others)


def test_a_content_of_the_future_is_kept_as_it_is():
    document = outbound(told(facts.REPLY_SENT, {"content": {"type": "hologram", "x": 1}, "because": {"rule": "r"}}))
    assert (document["kind"], document["text"], document["content"]) == ("hologram", "", {"type": "hologram", "x": 1})


def test_an_outcome_without_content_is_refused():
    with pytest.raises(Reject, match="content"):
        outbound(told(facts.REPLY_SENT, {"because": {}}))


def test_any_other_fact_keeps_its_data():
    document = fact(told("weir.rules.published", {"version": "9"}, id="f", subject="", cause=""))
    assert document == {
        "_id": "f",
        "type": "weir.rules.published",
        "account": "demo",
        "at": AT,
        "data": {"version": "9"},
    }


def test_plain_holds_the_same_as_text():
    document = inbound(event_of(message(Content="hi", Big=2**70)))
    assert json.loads(plain(document)["raw"])["Big"] == document["fields"]["Big"]
    assert "fields" not in plain(document)
