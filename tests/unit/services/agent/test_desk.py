"""What comes to people over the bus, with conversations in a list."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from contracts import orders
from contracts.envelope import Event, data_as, raw
from contracts.errors import Reject
from contracts.facts import Conversation, Handover
from services.agent.conversations import Document, Opened, Question
from services.agent.handover import Desk

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@dataclass
class FakeConversations:
    asked: list[Question] = field(default_factory=list)
    open: bool = True
    new: bool = True

    async def ask(self, question: Question) -> Opened:
        self.asked.append(question)
        document = {"_id": "c1", "account": "demo", "openid": "oA", "skill": "票务", "reason": "no_rule", "priority": 2}
        return Opened({**document, "causes": ["demo|oA|1"], "revision": 4}, self.new)

    async def join(self, question: Question) -> Document | None:
        self.asked.append(question)
        return {"_id": "c1"} if self.open else None

    async def forget(self, account: str, openid: str) -> None:
        self.asked.clear()


def said(text: str = "票在哪里取") -> Event:
    fields = {"ToUserName": "gh_1", "FromUserName": "oA", "CreateTime": 1, "MsgType": "text", "Content": text}
    return Event(
        id="demo|oA|1", source="/accounts/demo", type="wechat.message.text", subject="oA", time=NOW, account="demo",
        lane="desk", replyto="gateway.reply.x", deadline=NOW, data=raw(fields),
    )  # fmt: skip


async def test_who_opens_a_conversation_tells_it_under_one_id_and_who_joins_tells_nothing() -> None:
    store = FakeConversations()
    event = orders.handover(said(), Handover("票务", 2, "no_rule", "票在哪里取"))
    told = [(await Desk(store).handover(event))[0] for _ in range(2)]
    assert {one.event.id for one in told} == {"c1!opened"}
    assert told[0].key == "signal.weir.conversation.opened"
    assert (told[0].event.subject, told[0].event.cause, told[0].event.time) == ("oA", "demo|oA|1", NOW)
    assert data_as(told[0].event, Conversation) == Conversation("c1", "票务", 2, "no_rule")
    assert store.asked[0] == Question("demo", "oA", "demo|oA|1", NOW, Handover("票务", 2, "no_rule", "票在哪里取"))
    store.new = False
    assert await Desk(store).handover(event) == []


@pytest.mark.parametrize("change", [{"type": "weir.send"}, {"subject": ""}, {"cause": ""}, {"data": raw({"skill": 1})}])
async def test_a_command_without_meaning_is_refused_for_good(change: dict[str, object]) -> None:
    event = orders.handover(said(), Handover())
    for name, value in change.items():
        setattr(event, name, value)
    with pytest.raises(Reject):
        await Desk(FakeConversations()).handover(event)


async def test_what_is_said_in_a_conversation_joins_it() -> None:
    store = FakeConversations()
    assert await Desk(store).desk(said("好的")) == []
    assert store.asked[0].handover.text == "好的"
    assert store.asked[0].cause == "demo|oA|1"


async def test_what_is_said_after_its_end_goes_back_to_the_machine_under_its_own_id() -> None:
    (back,) = await Desk(FakeConversations(open=False)).desk(said())
    assert back.key == "question.wechat.message.text"
    assert (back.event.id, back.event.lane, back.event.replyto, back.event.deadline) == (
        "demo|oA|1",
        "question",
        "",
        None,
    )
