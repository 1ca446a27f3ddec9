"""The envelope: what goes in comes out, one bad event does not take the rest along, and others can read it."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from chassis.wechat.parser import parse
from contracts import facts, orders, wechat
from contracts.content import Text
from contracts.envelope import (
    MAX_BYTES,
    MAX_EVENTS,
    Event,
    data_as,
    decode,
    decode_lenient,
    encode,
    join,
    raw,
)
from contracts.facts import Because, Decision, ReplySent, Send, SendOutcome, Window
from contracts.keys import inbound_id, outcome_id, reply_id

NOW = datetime(2026, 9, 1, 12, 0, 0, 250_000, tzinfo=UTC)
SAMPLES = sorted(
    path for path in (Path(__file__).parents[2] / "samples" / "wechat").iterdir() if path.suffix in (".xml", ".json")
)


def event(**changes: object) -> Event:
    values: dict[str, object] = {
        "id": "demo|oABC|1|1714037059",
        "source": "/accounts/demo",
        "type": "wechat.message.text",
        "subject": "oABC",
        "time": NOW,
        "account": "demo",
        "lane": "question",
        "data": raw({"Content": "你好"}),
    }
    return Event(**(values | changes))


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
moments = st.integers(0, 2**37).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
events = st.builds(
    Event,
    id=texts.filter(bool),
    source=texts.filter(bool),
    type=texts.filter(bool),
    subject=texts,
    time=moments,
    account=texts,
    lane=texts,
    deadline=st.none() | moments,
    cause=texts,
    replyto=texts,
    attempt=st.integers(0, 100),
    firstfailed=texts,
    data=st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts, st.lists).map(raw),
)


def plain(item: Event) -> dict[str, object]:
    """All attributes, with the data as a value: the bytes of equal JSON may differ."""
    return msgspec.structs.asdict(item) | {"data": json.loads(bytes(item.data))}


@given(st.lists(events, max_size=5))
def test_a_batch_comes_back_as_it_went(batch: list[Event]) -> None:
    body = join([encode(item) for item in batch])
    assert [plain(item) for item in decode(body)] == [plain(item) for item in batch]
    good, bad = decode_lenient(body)
    assert [plain(item) for item in good] == [plain(item) for item in batch]
    assert bad == []


def test_attributes_at_their_defaults_cost_nothing_on_the_wire() -> None:
    assert set(json.loads(encode(event()))) == {
        "specversion", "id", "source", "type", "subject", "time", "account", "lane", "data",
    }  # fmt: skip


@pytest.mark.parametrize(
    "broken",
    [
        b'{"specversion":"1.0","id":"x"}',
        b'{"specversion":"0.3","id":"x","source":"s","type":"t","time":"2026-09-01T12:00:00Z","account":"a"}',
        b'{"specversion":"1.0","id":7,"source":"s","type":"t","time":"2026-09-01T12:00:00Z","account":"a"}',
        b'{"specversion":"1.0","id":"x","source":"s","type":"t","time":"yesterday","account":"a"}',
        b"null",
        b"[]",
        b'"text"',
    ],
)
def test_one_bad_event_leaves_the_others_readable(broken: bytes) -> None:
    first, last = encode(event(id="first")), encode(event(id="last"))
    good, bad = decode_lenient(join([first, broken, last]))
    assert [item.id for item in good] == ["first", "last"]
    assert [item for item, _ in bad] == [broken]
    assert all(reason for _, reason in bad)


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b"{}", b"[{]", b"\xff\xfe", encode(event())])
def test_a_body_that_is_no_batch_is_bad_as_a_whole(body: bytes) -> None:
    good, bad = decode_lenient(body)
    assert good == []
    assert [item for item, _ in bad] == [body]
    with pytest.raises(msgspec.DecodeError):
        decode(body)


@given(st.binary(max_size=200))
def test_no_body_makes_the_lenient_reading_fail(body: bytes) -> None:
    decode_lenient(body)


def test_typed_data_is_read_and_wrong_data_is_told() -> None:
    sent = event(data=raw(ReplySent(Text("好"), Because(rule="hello", rules_version="v1"))))
    assert data_as(sent, ReplySent).content == Text("好")
    with pytest.raises(msgspec.ValidationError):
        data_as(event(), Decision)


# -- CloudEvents ---------------------------------------------------------------------------------------------------


def inbound_events() -> list[Event]:
    made = []
    for path in SAMPLES:
        fields = parse(path.read_bytes())
        openid = wechat.subject(fields)
        kind = wechat.event_type(fields)
        moment = datetime.fromtimestamp(fields["CreateTime"], UTC)
        made.append(
            event(
                id=inbound_id("demo", openid, fields),
                type=kind,
                subject=openid,
                time=moment,
                data=raw(fields),
                replyto="gateway.reply.host.1.abcd",
                deadline=NOW + timedelta(seconds=4.5),
            )
        )
    return made


def facts_and_commands() -> list[Event]:
    cause = "demo|oABC|1|1714037059"
    because = Because(rule="hello", rules_version="abc")
    window = Window("message", NOW)
    decision = Decision(reply_id(cause), cause, "demo", "oABC", because, Text("好"), window)
    outcome = SendOutcome(decision.id, Text("好"), because, errcode=45015, reason="window over")
    made = [
        event(id=decision.id, type=facts.REPLY_DECIDED, cause=cause, data=raw(decision)),
        event(id=outcome_id(decision.id, "orphaned"), type=facts.REPLY_ORPHANED, cause=cause, data=raw(decision)),
        event(id=decision.id, type=facts.REPLY_SENT, cause=cause, data=raw(ReplySent(Text("好"), because))),
        orders.send_decision(decision, NOW),
        event(
            id="urgent",
            type=orders.SEND,
            data=raw(Send(Text("好"), because, window, NOW)),
            attempt=3,
            firstfailed="2026-09-01T12:00:00+00:00",
        ),
    ]
    outcomes = (facts.SEND_ACCEPTED, facts.SEND_FAILED, facts.SEND_UNKNOWN)
    return made + [
        event(id=outcome_id(decision.id, kind), type=kind, cause=cause, data=raw(outcome)) for kind in outcomes
    ]


@pytest.mark.parametrize(
    "item", inbound_events() + facts_and_commands(), ids=lambda item: f"{item.type}-{item.id[:40]}"
)
def test_every_event_is_a_cloudevent(item: Event) -> None:
    read = JSONFormat().read(CloudEvent, encode(item))
    assert read.get_id() == item.id
    assert read.get_type() == item.type
    assert read.get_source() == item.source
    assert read.get_subject() == item.subject
    assert read.get_time() == item.time
    assert read.get_data() == json.loads(bytes(item.data))
    assert read.get_extension("account") == item.account


def test_a_batch_is_a_cloudevents_batch() -> None:
    batch = inbound_events() + facts_and_commands()
    read: list[BaseCloudEvent] = [
        JSONFormat().read(CloudEvent, json.dumps(item)) for item in json.loads(join([encode(item) for item in batch]))
    ]
    assert [item.get_id() for item in read] == [item.id for item in batch]


def test_attribute_names_are_legal() -> None:
    # CloudEvents 1.0, "Naming conventions": lower-case letters and digits, at most 20 of them.
    for name in Event.__struct_fields__:
        assert re.fullmatch(r"[a-z0-9]{1,20}", name)


def test_times_carry_their_offset() -> None:
    beijing = timezone(timedelta(hours=8))
    written = json.loads(encode(event(time=NOW.astimezone(beijing))))["time"]
    assert datetime.fromisoformat(written) == NOW
    assert written.endswith("+08:00")


def test_a_batch_fits_the_brokers_largest_message() -> None:
    # RabbitMQ is told 1 MiB; a single event larger than a batch still leaves, alone.
    assert MAX_BYTES <= 256 * 1024
    assert MAX_EVENTS == 128
