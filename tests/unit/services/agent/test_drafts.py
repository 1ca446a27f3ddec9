"""Drafts: what leaves the house, what is kept, and when one is sent by itself."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from chassis.llm import Written
from chassis.publisher import Publication
from contracts.content import Text
from contracts.envelope import data_as
from contracts.errors import Unavailable
from contracts.facts import Candidate, Handover, Send
from services.agent.conversations import Question
from services.agent.drafts import Draft, Drafting, draft_for, masked

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
OPENID = "oT5kWx0m3QbRz8LhYc2NfVu7EaJg"
CANDIDATES = (Candidate("ticket", "门票多少钱", "成人票 200 元。", 0.4),)


class Model:
    def __init__(self, text: str = "您好，成人票 200 元。") -> None:
        self.text = text
        self.asked: list[str] = []

    async def write(self, system: str, user: str) -> Written | None:
        self.asked.append(user)
        return Written(self.text, "small-1", 120) if self.text else None


class Store:
    def __init__(self, state: str = "waiting") -> None:
        self.state = state
        self.kept: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[str] = []
        self.fails = 0

    async def keep_draft(self, name: str, cause: str, draft: dict[str, Any]) -> dict[str, Any] | None:
        if self.fails:
            self.fails -= 1
            raise Unavailable("mongodb", "not there")
        self.kept.append((name, draft))
        return {"_id": name, "state": self.state, "draft": draft} if self.state != "closed" else None

    async def draft_sent(self, name: str, cause: str) -> None:
        self.sent.append(cause)


class Out:
    def __init__(self) -> None:
        self.published: list[Publication] = []

    async def publish(self, publication: Publication) -> None:
        self.published.append(publication)


def question(
    text: str = "大人的票咋卖", cause: str = "demo|o|1", candidates: tuple[Candidate, ...] = CANDIDATES
) -> Question:
    return Question("demo", OPENID, cause, NOW, Handover(reason="no_rule", text=text, candidates=candidates))


async def drafted(drafting: Drafting, *questions: Question, conversation: dict[str, Any] | None = None) -> None:
    work = asyncio.create_task(drafting.run())
    for one in questions:
        drafting.offer(conversation or {"_id": "c1"}, one)
    async with asyncio.timeout(5):
        await drafting.done()
    work.cancel()


async def test_a_draft_is_kept_with_the_conversation_and_nothing_is_sent() -> None:
    model, store, out = Model(), Store(), Out()
    await drafted(Drafting(model, store, out, now=lambda: NOW), question())
    assert store.kept == [
        (
            "c1",
            {"text": "您好，成人票 200 元。", "model": "small-1", "tokens": 120, "cause": "demo|o|1", "at": NOW},
        )
    ]
    assert out.published == []


async def test_the_model_gets_the_question_and_the_candidates_and_not_who_asked() -> None:
    model = Model()
    await draft_for(model, f"我是{OPENID}，电话 138-0013-8000，邮箱 lan@example.org，票多少钱", CANDIDATES)
    (asked,) = model.asked
    assert msgspec.json.decode(asked) == {
        "question": "我是***，电话 ***，邮箱 ***，票多少钱",
        "faq": [{"question": "门票多少钱", "answer": "成人票 200 元。"}],
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("身份证11010519491231002X", "身份证***"),
        ("订单 2026050412345 没到", "订单 *** 没到"),
        ("2个大人100元", "2个大人100元"),
    ],
)
def test_long_numbers_are_masked_and_short_ones_say_something(text: str, shown: str) -> None:
    assert masked(text) == shown


async def test_without_candidates_or_text_the_model_is_not_asked() -> None:
    model = Model()
    assert await draft_for(model, "票", ()) is None
    assert await draft_for(model, " ", CANDIDATES) is None
    assert model.asked == []


@pytest.mark.parametrize("text", ["", "NONE", "NONE。", "长" * 700])
async def test_what_is_no_answer_is_no_draft(text: str) -> None:
    assert await draft_for(Model(text), "票多少钱", CANDIDATES) is None
    assert await draft_for(Model(), "票多少钱", CANDIDATES) == Draft("您好，成人票 200 元。", "small-1", 120)


async def test_a_draft_sends_itself_only_when_told_to_and_only_while_nobody_has_the_question() -> None:
    store, out = Store(), Out()
    await drafted(Drafting(Model(), store, out, autosend=True, now=lambda: NOW), question())
    (publication,) = out.published
    send = data_as(publication.event, Send)
    assert publication.key == "send.reply"
    assert (publication.event.id, publication.event.cause, publication.event.subject) == (
        "demo|o|1#draft",
        "demo|o|1",
        OPENID,
    )
    assert send.content == Text("您好，成人票 200 元。")
    assert "small-1" in send.because.note
    assert send.expires is not None
    assert store.sent == ["demo|o|1"]
    for state in ("assigned", "closed"):
        store, out = Store(state), Out()
        await drafted(Drafting(Model(), store, out, autosend=True), question())
        assert (out.published, store.sent) == ([], [])


async def test_a_question_that_has_its_draft_gets_no_second_one() -> None:
    model = Model()
    await drafted(
        Drafting(model, Store(), Out()), question(), conversation={"_id": "c1", "draft": {"cause": "demo|o|1"}}
    )
    assert model.asked == []


async def test_a_draft_that_is_lost_stops_no_other() -> None:
    store = Store()
    store.fails = 1
    await drafted(Drafting(Model(), store, Out()), question(), question(cause="demo|o|2"))
    assert [draft["cause"] for _, draft in store.kept] == ["demo|o|2"]


async def test_more_than_fit_are_left_to_people() -> None:
    model = Model()
    await drafted(Drafting(model, Store(), Out()), *(question(cause=f"demo|o|{n}") for n in range(150)))
    assert len(model.asked) == 100
