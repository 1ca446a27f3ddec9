"""From an event to the decision about it, and where the decision goes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chassis.publisher import Publication
from contracts import facts, orders, wechat
from contracts.content import Text
from contracts.envelope import Event, data_as, raw
from contracts.facts import Decision, Send
from services.autoreply.handlers import LATE_SECONDS, AutoReply
from services.autoreply.store import RuleStore

RULES = """\
version: 1
rules:
  - {id: hello, when: {text: {exact: ["你好"]}}, reply: {type: text, content: 好}}
  - {id: hours, when: {click: ["HOURS"]}, reply: {type: text, content: 九点}}
  - {id: welcome, when: {subscribe: true}, reply: {type: text, content: 欢迎}}
"""
NOW = datetime.now(UTC)


@pytest.fixture
def autoreply(tmp_path: Path) -> AutoReply:
    (tmp_path / "demo.yaml").write_text(RULES, encoding="utf-8")
    store = RuleStore(tmp_path)
    store.refresh()
    return AutoReply(store)


def asked(msg_type: str = "text", *, replyto: str = "gateway.reply.x", wait: float = 4.0, **fields: Any) -> Event:
    whole = {"ToUserName": "gh_1", "FromUserName": "oA", "CreateTime": 1, "MsgType": msg_type, **fields}
    return Event(
        id="cause",
        source="/accounts/demo",
        type=wechat.event_type(whole),
        subject="oA",
        time=NOW,
        account="demo",
        lane="question",
        deadline=datetime.now(UTC) + timedelta(seconds=wait) if replyto else None,
        replyto=replyto,
        data=raw(whole),
    )


async def only(autoreply: AutoReply, event: Event) -> list[Publication]:
    (result,) = await autoreply.handle([event])
    assert not isinstance(result, Exception)
    return list(result)


async def test_an_answer_goes_to_the_gateway_that_waits(autoreply: AutoReply) -> None:
    (publication,) = await only(autoreply, asked(Content="你好"))
    assert (publication.exchange, publication.key) == ("", "gateway.reply.x")
    assert publication.event.type == facts.REPLY_DECIDED
    decision = data_as(publication.event, Decision)
    assert (decision.id, decision.cause, decision.openid) == ("cause#r0", "cause", "oA")
    assert decision.content == Text("好")
    assert decision.because.rule == "hello"
    assert decision.because.rules_version
    assert publication.otherwise is not None
    orphaned = publication.otherwise()
    assert (orphaned.exchange, orphaned.key) == ("weir.events", "signal.weir.reply.orphaned")
    assert orphaned.event.id != publication.event.id


async def test_silence_is_told_to_the_gateway_too_with_its_reason(autoreply: AutoReply) -> None:
    (publication,) = await only(autoreply, asked(Content="什么"))
    decision = data_as(publication.event, Decision)
    assert decision.content is None
    assert decision.because.note == "no rule matched"
    assert publication.otherwise is None
    event = asked(Content="你好")
    event.account = "other"
    (publication,) = await only(autoreply, event)
    assert data_as(publication.event, Decision).because.note == "the account has no rules"


async def test_when_nobody_waits_it_goes_to_the_courier(autoreply: AutoReply) -> None:
    (publication,) = await only(autoreply, asked(Content="你好", replyto=""))
    assert (publication.exchange, publication.key) == ("weir.commands", orders.REPLY)
    assert publication.event.id == "cause#r0"
    assert data_as(publication.event, Send).because.rule == "hello"
    assert await only(autoreply, asked(Content="什么", replyto="")) == []


async def test_long_past_the_deadline_it_goes_to_history(autoreply: AutoReply) -> None:
    (publication,) = await only(autoreply, asked(Content="你好", wait=-LATE_SECONDS - 0.1))
    assert publication.event.type == facts.REPLY_ORPHANED
    assert await only(autoreply, asked(Content="什么", wait=-LATE_SECONDS - 0.1)) == []
    (publication,) = await only(autoreply, asked(Content="你好", wait=-LATE_SECONDS / 2))
    assert publication.event.type == facts.REPLY_DECIDED  # the gateway may hold it still


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (asked(Content="你好"), "message"),
        (asked(Content="你好", bizmsgmenuid="101"), "interaction"),
        (asked("event", Event="CLICK", EventKey="HOURS"), "interaction"),
        (asked("event", Event="subscribe", EventKey=""), "interaction"),
    ],
)
async def test_the_allowance_that_an_act_opens_travels_along(autoreply: AutoReply, event: Event, kind: str) -> None:
    (publication,) = await only(autoreply, event)
    window = data_as(publication.event, Decision).window
    assert window is not None
    assert (window.kind, window.opened_at) == (kind, NOW)


async def test_the_same_event_leads_to_the_same_answer(autoreply: AutoReply) -> None:
    event = asked(Content="你好")
    ids = {(await only(autoreply, event))[0].event.id for _ in range(3)}
    assert len(ids) == 1


async def test_one_odd_event_does_not_take_its_batch_along(autoreply: AutoReply) -> None:
    odd = asked(Content="你好")
    odd.data = raw([1, 2])
    results = await autoreply.handle([asked(Content="你好"), odd, asked(Content="你好")])
    assert isinstance(results[1], Exception)
    assert [len(results[n]) for n in (0, 2)] == [1, 1]  # type: ignore[arg-type]
