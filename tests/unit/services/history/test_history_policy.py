from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from contracts import facts, topology
from contracts.content import Text
from contracts.envelope import Event, raw
from contracts.errors import Reject
from services.history.erasure import Pseudonyms
from services.history.following import change
from services.history.orphans import another_round, decision_of, is_due
from services.history.outcomes import merge
from services.history.query import in_order

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
OPENID = "oT5kWx0m3QbRz8LhYc2NfVu7EaJg"
DECISION = facts.Decision(
    "d|o|1|2#r0", "d|o|1|2", "demo", OPENID, facts.Because(rule="r"), Text("hi"), facts.Window("message", AT)
)


def answer(via, status, *, seconds=0, reason=""):
    document = {
        "_id": "a#r0",
        "account": "demo",
        "openid": OPENID,
        "direction": "out",
        "kind": "text",
        "at": AT + timedelta(seconds=seconds),
        "text": "hi",
        "content": {"type": "text", "content": "hi"},
        "cause": "a",
        "because": {"rule": "r"},
        "via": via,
        "status": status,
    }
    return {**document, "reason": reason} if reason else document


def merged(documents):
    whole = documents[0]
    for document in documents[1:]:
        whole = merge(whole, document)
    return whole


# Outcomes


def test_sent_beats_unknown_beats_failed_in_any_order():
    told = [answer("custom", "failed", reason="busy"), answer("custom", "unknown"), answer("custom", "sent", seconds=9)]
    for order in permutations(told):
        assert merged(order) == told[2]
    for order in permutations(told[:2]):
        assert merged(order) == told[1]


def test_the_same_told_again_changes_nothing():
    document = answer("custom", "failed", reason="busy")
    assert merge(document, answer("custom", "failed", reason="busy", seconds=5)) == document


def test_two_ways_for_one_answer_are_both_kept_and_marked():
    told = [answer("passive", "sent"), answer("custom", "unknown"), answer("custom", "sent", seconds=3)]
    for order in permutations(told):
        document = merged(order)
        assert document["conflict"] is True
        assert (document["via"], document["at"]) == ("passive", AT)
        assert [(o["via"], o["status"], o["at"]) for o in document["others"]] == [
            ("custom", "sent", AT + timedelta(seconds=3))
        ]
        assert merge(document, told[0]) == document


# Orphans


def orphan(**more):
    values = {"deadline": AT + timedelta(seconds=4.5), "data": raw(DECISION), **more}
    return Event(
        id="o",
        source="/accounts/demo",
        type=facts.REPLY_ORPHANED,
        subject=OPENID,
        time=AT,
        account="demo",
        lane="question",
        **values,
    )


def test_an_orphan_waits_for_its_gateway_and_at_least_one_round():
    late = AT + timedelta(seconds=60)
    assert not is_due(orphan(), late)
    waited = another_round(orphan(), AT)
    assert not is_due(waited, AT + timedelta(seconds=9.4))
    assert is_due(waited, AT + timedelta(seconds=9.5))
    assert another_round(waited, late) == waited


def test_a_round_comes_back_to_this_queue():
    assert topology.HISTORY.retry(topology.RUNGS[0][0]) == "history.retry.5s"


def test_an_orphan_carries_its_decision():
    assert decision_of(orphan()) == DECISION


def test_an_orphan_that_is_no_decision_is_refused():
    with pytest.raises(Reject, match="data of weir"):
        decision_of(orphan(data=raw({"id": 1})))


# Following


def happened(event, **fields):
    return Event(
        id="e",
        source="/accounts/demo",
        type=f"wechat.event.{event}",
        subject=OPENID,
        time=AT,
        account="demo",
        data=raw(fields),
    )


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ("subscribe", "subscribed_at"),
        ("unsubscribe", "unsubscribed_at"),
        ("user_authorization_revoke", "revoked_at"),
        ("user_authorization_cancellation", "revoked_at"),
    ],
)
def test_what_changes_following(event, field):
    assert change(happened(event)) == ("demo", OPENID, field, AT, "")


def test_other_events_change_nothing():
    assert change(happened("click", EventKey="K")) is None


@pytest.mark.parametrize(("key", "scene"), [("qrscene_42", "42"), ("", ""), (None, "")])
def test_the_scene_of_a_qr_code(key, scene):
    assert change(happened("subscribe", EventKey=key)).scene == scene


# Erasure


def test_nothing_personal_is_left_of_a_message():
    pseudonyms = Pseudonyms(b"k" * 32)
    name = f"demo|{OPENID}|1|2"
    inbound = {
        "_id": name,
        "account": "demo",
        "openid": OPENID,
        "direction": "in",
        "kind": "text",
        "at": AT,
        "lane": "question",
        "text": "my secret",
        "fields": {"ToUserName": "gh_1"},
        "raw": "my secret",
    }
    because = {"rule": "r", "note": "my secret"}
    outbound = merge(
        {**answer("custom", "failed", reason="my secret"), "_id": f"{name}#r0", "cause": name, "because": because},
        {**answer("passive", "sent"), "_id": f"{name}#r0", "cause": name, "because": because},
    )
    came, went = pseudonyms.message(inbound), pseudonyms.message(outbound)
    for erased in (came, went):
        for personal in (OPENID, "my secret", "'hi'", "gh_1"):
            assert personal not in repr(erased)
        assert (erased["account"], erased["at"], erased["kind"], erased["erased"]) == ("demo", AT, "text", True)
    assert went["cause"] == came["_id"]
    assert went["_id"] == came["_id"] + "#r0"
    assert went["openid"] == came["openid"] == pseudonyms.of("demo", OPENID)
    assert went["because"] == {"rule": "r"}
    assert pseudonyms.message(inbound) == came


def test_another_key_or_account_gives_another_pseudonym():
    names = {Pseudonyms(key).of(account, OPENID) for key in (b"a" * 32, b"b" * 32) for account in ("demo", "shop")}
    assert len(names) == 4


# Order


def test_a_cause_comes_before_its_answer_though_the_clocks_differ():
    cause = {"_id": "a", "at": AT}
    early = {"_id": "a#r0", "at": AT - timedelta(milliseconds=300), "cause": "a"}
    later = {"_id": "b", "at": AT + timedelta(seconds=1)}
    elsewhere = {"_id": "z#r0", "at": AT - timedelta(seconds=1), "cause": "z"}
    page = sorted([cause, early, later, elsewhere], key=lambda d: (d["at"], d["_id"]), reverse=True)
    assert [document["_id"] for document in in_order(page)] == ["b", "a#r0", "a", "z#r0"]
