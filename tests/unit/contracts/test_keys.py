"""Keys: the same happening has the same key wherever it is seen, two happenings have two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.keys import MAX_KEY, action_id, inbound_id, next_reply_id, outcome_id, reply_id

openids = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=20, max_size=40)
seconds = st.integers(1, 2**40)
printable = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=600)


def message(**changes: object) -> dict[str, object]:
    return {"MsgType": "text", "CreateTime": 1714037059, "MsgId": "24530001", "Content": "你好"} | changes


def happened(**changes: object) -> dict[str, object]:
    return {"MsgType": "event", "CreateTime": 1714037059, "Event": "CLICK", "EventKey": "HOURS"} | changes


def test_the_keys_have_the_documented_shape() -> None:
    assert inbound_id("demo", "oA", message()) == "demo|oA|24530001|1714037059"
    assert inbound_id("demo", "oA", happened()) == "demo|oA|1714037059|CLICK|HOURS"
    finished = happened(Event="TEMPLATESENDJOBFINISH", MsgID="77", EventKey=None)
    assert inbound_id("demo", "oA", finished) == "demo|TEMPLATESENDJOBFINISH|77"


def test_two_followers_with_one_msgid_are_two_messages() -> None:
    assert inbound_id("demo", "oA", message()) != inbound_id("demo", "oB", message())


def test_xml_and_json_give_one_key() -> None:
    assert inbound_id("demo", "oA", message(MsgId=24530001)) == inbound_id("demo", "oA", message(MsgId="24530001"))


def test_the_text_of_a_message_with_msgid_is_no_part_of_its_key() -> None:
    assert inbound_id("demo", "oA", message(Content="a")) == inbound_id("demo", "oA", message(Content="b"))


def test_messages_without_msgid_do_not_share_a_key() -> None:
    one = {"MsgType": "text", "CreateTime": 1, "Content": "a"}
    assert inbound_id("demo", "oA", one) == inbound_id("demo", "oA", dict(reversed(one.items())))
    assert inbound_id("demo", "oA", one) != inbound_id("demo", "oA", one | {"Content": "b"})


@pytest.mark.parametrize("changes", [{"CreateTime": 1714037060}, {"Event": "VIEW"}, {"EventKey": "ADDRESS"}])
def test_different_events_have_different_keys(changes: dict[str, object]) -> None:
    assert inbound_id("demo", "oA", happened()) != inbound_id("demo", "oA", happened(**changes))


def test_only_a_job_is_known_by_its_msgid_alone() -> None:
    # An event of a kind yet unknown may carry the MsgID of a mass message, the same for all who got it.
    one = inbound_id("demo", "oA", happened(Event="mass_message_read", MsgID="77", EventKey=""))
    assert one != inbound_id("demo", "oB", happened(Event="mass_message_read", MsgID="77", EventKey=""))
    finished = happened(Event="MASSSENDJOBFINISH", MsgID="77")
    assert inbound_id("demo", "oA", finished) == inbound_id("demo", "oB", finished | {"CreateTime": 1714099999})


def test_an_event_without_a_key_of_its_own_keeps_its_empty_place() -> None:
    empty = [happened(EventKey=""), happened(EventKey=None), {k: v for k, v in happened().items() if k != "EventKey"}]
    assert {inbound_id("demo", "oA", fields) for fields in empty} == {"demo|oA|1714037059|CLICK|"}


@given(openids, seconds, st.integers(1, 2**63 - 1))
def test_a_message_has_one_key_in_every_process(openid: str, created: int, number: int) -> None:
    fields = message(CreateTime=created, MsgId=number)
    assert inbound_id("demo", openid, fields) == inbound_id("demo", openid, dict(reversed(fields.items())))


@given(st.lists(st.tuples(openids, st.integers(1, 2**63 - 1), seconds), unique=True, max_size=20))
def test_messages_that_differ_have_keys_that_differ(those: list[tuple[str, int, int]]) -> None:
    keys = {inbound_id("demo", openid, message(MsgId=number, CreateTime=at)) for openid, number, at in those}
    assert len(keys) == len(those)


@given(printable, printable)
def test_long_keys_are_bounded_and_stay_different(one: str, other: str) -> None:
    prefix = "https://example.org/" + "x" * 600
    keys = [inbound_id("demo", "oA", happened(Event="VIEW", EventKey=prefix + tail)) for tail in (one, other)]
    assert all(len(key.encode()) <= MAX_KEY for key in keys)
    assert (keys[0] == keys[1]) == (one == other)


def test_answers_and_outcomes_are_known_by_what_led_to_them() -> None:
    assert reply_id("k") == "k#r0"
    assert reply_id("k", 1) != reply_id("k")
    assert outcome_id("k#r0", "accepted") != outcome_id("k#r0", "unknown")


def test_answers_to_one_event_are_counted() -> None:
    assert next_reply_id(reply_id("k#r3", 9)) == "k#r3#r10"
    for odd in ("k", "k#r", "k#rx", "k#r-1"):
        with pytest.raises(ValueError, match="counted"):
            next_reply_id(odd)
    assert action_id("k", "handover") == "k#handover"
