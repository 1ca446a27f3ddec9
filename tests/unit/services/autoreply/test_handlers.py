"""From an event to what is published about it, and what is asked and written for that; MongoDB is played by a dict."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis import metrics
from chassis.publisher import Publication
from contracts import facts, orders, wechat
from contracts.content import Text
from contracts.envelope import Event, data_as, raw
from contracts.errors import Later
from contracts.facts import ActivityStarted, Decision, Handover, Send, Tagged
from services.autoreply.handlers import AutoReply
from services.autoreply.memory import Profile
from services.autoreply.outgoing import LATE_SECONDS
from services.autoreply.rulefile import read
from services.autoreply.ruleset import RuleSet
from services.autoreply.turn import Turn
from tests.unit.services.autoreply.remembering import FakeMemory, FakePeople

PLAIN = """\
version: 2
rules:
  - {id: hello, when: {text: {exact: ["你好"]}}, reply: {type: text, content: 好}}
  - {id: hours, when: {click: ["HOURS"]}, reply: {type: text, content: 九点}}
  - {id: welcome, when: {subscribe: true}, reply: {type: text, content: 欢迎}}
  - id: three
    when: {text: {exact: ["三条"]}}
    replies: [{type: text, content: 一}, {type: text, content: 二}, {type: text, content: 三}]
  - {id: refund, when: {text: {exact: ["退款"]}}, handover: {skill: 售后, priority: 7}, reply: {type: text, content: 请稍等}}
  - {id: join, when: {text: {exact: ["加入"]}}, tag: {add: [member], remove: [guest]}, activity: spring, reply: {type: text, content: 好的}}
"""
WITH_DEFAULT = PLAIN + "default: {reply: {type: text, content: '收到，您是第{{ position }}位'}}\n"
KNOWING = """\
version: 2
rules:
  - {id: vip, when: {text: {exact: ["你好"]}, tags: {any: [vip]}}, reply: {type: text, content: 贵宾好}}
  - {id: first, when: {text: {exact: ["你好"]}, first_message: true}, reply: {type: text, content: 初次见面}}
  - {id: hello, when: {text: {exact: ["你好"]}}, reply: {type: text, content: 好}}
"""
LIMITED = """\
version: 2
rules:
  - {id: coupon, when: {text: {exact: ["券"]}}, limit: {cooldown: 60}, reply: {type: text, content: 券码}}
  - {id: later, when: {text: {exact: ["券"]}}, reply: {type: text, content: 稍后再领}}
"""
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
FOLLOWER = ("demo", "oA")


class Machine:
    """Autoreply on the rules of one text, its memory and its people."""

    def __init__(self, text: str) -> None:
        self.rules: dict[str, RuleSet] = {"demo": read(text)}
        self.memory, self.people = FakeMemory(), FakePeople()
        self.autoreply = AutoReply(self.rules, self.memory, self.people)

    async def only(self, event: Event) -> list[Publication]:
        (result,) = await self.autoreply.handle([event])
        assert not isinstance(result, Exception), result
        return list(result)

    async def answer(self, event: Event) -> str | None:
        """The text that goes back for this event."""
        decision = decided(await self.only(event))
        return decision.content.content if isinstance(decision.content, Text) else None


def decided(publications: list[Publication]) -> Decision:
    return data_as(publications[0].event, Decision)


def keys(publications: list[Publication]) -> list[str]:
    return [publication.key for publication in publications]


@pytest.fixture
def plain() -> Machine:
    return Machine(PLAIN)


@pytest.fixture
def asking() -> Machine:
    return Machine(WITH_DEFAULT)


def asked(
    msg_type: str = "text",
    *,
    cause: str = "demo|oA|1",
    openid: str = "oA",
    after: float = 0,
    replyto: str = "gateway.reply.x",
    wait: float = 4.0,
    lane: str = "question",
    **fields: Any,
) -> Event:
    whole = {"ToUserName": "gh_1", "FromUserName": openid, "CreateTime": 1, "MsgType": msg_type, **fields}
    return Event(
        id=cause,
        source="/accounts/demo",
        type=wechat.event_type(whole),
        subject=openid,
        time=NOW + timedelta(seconds=after),
        account="demo",
        lane=lane,
        deadline=datetime.now(UTC) + timedelta(seconds=wait) if replyto else None,
        replyto=replyto,
        data=raw(whole),
    )


# -- where an answer goes ------------------------------------------------------------------------------------------


async def test_an_answer_goes_to_the_gateway_that_waits(plain: Machine) -> None:
    (publication,) = await plain.only(asked(Content="你好"))
    assert (publication.exchange, publication.key) == ("", "gateway.reply.x")
    assert publication.event.type == facts.REPLY_DECIDED
    decision = data_as(publication.event, Decision)
    assert (decision.id, decision.cause, decision.openid) == ("demo|oA|1#r0", "demo|oA|1", "oA")
    assert decision.content == Text("好")
    assert decision.because.rule == "hello"
    assert decision.because.rules_version
    assert publication.otherwise is not None
    orphaned = publication.otherwise()
    assert (orphaned.exchange, orphaned.key) == ("weir.events", "signal.weir.reply.orphaned")
    assert orphaned.event.id != publication.event.id


async def test_silence_is_told_to_the_gateway_too_with_its_reason(plain: Machine) -> None:
    (publication,) = await plain.only(asked("event", Event="CLICK", EventKey="NONE"))
    decision = data_as(publication.event, Decision)
    assert decision.content is None
    assert decision.because.note == "no rule matched"
    assert publication.otherwise is None
    event = asked(Content="你好")
    event.account = "other"
    (publication,) = await plain.only(event)
    assert data_as(publication.event, Decision).because.note == "the account has no rules"


async def test_when_nobody_waits_it_goes_to_the_courier(plain: Machine) -> None:
    (publication,) = await plain.only(asked(Content="三条", replyto=""))
    assert (publication.exchange, publication.key) == ("weir.commands", orders.REPLY)
    assert publication.event.id == "demo|oA|1#r0"
    send = data_as(publication.event, Send)
    assert send.because.rule == "three"
    assert [part.content for part in send.more] == [Text("二"), Text("三")]
    assert await plain.only(asked("event", Event="CLICK", EventKey="NONE", replyto="")) == []


async def test_long_past_the_deadline_it_goes_to_history(plain: Machine) -> None:
    (publication,) = await plain.only(asked(Content="你好", wait=-LATE_SECONDS - 0.1))
    assert publication.event.type == facts.REPLY_ORPHANED
    (publication,) = await plain.only(asked(Content="你好", wait=-LATE_SECONDS / 2))
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
async def test_the_allowance_that_an_act_opens_travels_along(plain: Machine, event: Event, kind: str) -> None:
    window = decided(await plain.only(event)).window
    assert window is not None
    assert (window.kind, window.opened_at) == (kind, NOW)


async def test_several_answers_travel_together_each_with_its_rule(plain: Machine) -> None:
    (publication,) = await plain.only(asked(Content="三条"))
    decision = data_as(publication.event, Decision)
    assert [decision.content, *(part.content for part in decision.more)] == [Text("一"), Text("二"), Text("三")]
    assert {part.because for part in decision.more} == {decision.because}


async def test_one_odd_event_does_not_take_its_batch_along(asking: Machine) -> None:
    odd = asked(Content="你好")
    odd.data = raw([1, 2])
    results = await asking.autoreply.handle([asked(Content="你好"), odd, asked(Content="什么")])
    assert isinstance(results[1], Exception)
    assert [len(results[n]) for n in (0, 2)] == [1, 3]  # type: ignore[arg-type]


# -- what else is done ---------------------------------------------------------------------------------------------


async def test_a_rule_hands_over_and_the_follower_stands_in_the_queue(plain: Machine) -> None:
    answer, order, told = await plain.only(asked(Content="退款"))
    assert data_as(answer.event, Decision).content == Text("请稍等")
    assert (order.exchange, order.key) == ("weir.commands", "handover")
    assert data_as(order.event, Handover) == Handover("售后", 7, "rule", "退款")
    assert (order.event.id, order.event.cause) == ("demo|oA|1#handover", "demo|oA|1")
    assert (told.key, told.event.data) == ("signal.weir.handover.requested", order.event.data)
    assert told.event.id != order.event.id
    assert plain.people.queue == [FOLLOWER]


async def test_tags_and_activities_are_facts_of_the_time_of_the_act(plain: Machine) -> None:
    _, tags, activity = await plain.only(asked(Content="加入"))
    tagged = data_as(tags.event, Tagged)
    assert (tagged.add, tagged.remove, tagged.because.rule) == (("member",), ("guest",), "join")
    assert (tags.key, tags.event.time, tags.event.id) == ("signal.weir.follower.tagged", NOW, "demo|oA|1#tags")
    started = data_as(activity.event, ActivityStarted)
    assert (started.activity, started.because.rule) == ("spring", "join")
    assert activity.event.id == "demo|oA|1#activity.0"


@pytest.mark.parametrize("content", ["你好", "三条", "退款", "加入"])
async def test_what_a_plain_rule_answers_asks_and_writes_nothing(asking: Machine, content: str) -> None:
    events = [asked(Content=content, cause=f"demo|o{n}|1", openid=f"o{n}") for n in range(5)]
    events.append(asked(Content="别的", lane="entry", openid="oE"))
    await asking.autoreply.handle(events)
    assert not asking.memory.asked
    assert asking.people.asked == 0


# -- questions that nothing answers --------------------------------------------------------------------------------


async def test_a_question_is_acknowledged_with_its_place_and_handed_over(asking: Machine) -> None:
    asking.people.queue = [("demo", f"o{n}") for n in range(11)]
    publications = await asking.only(asked(Content="票在哪里取"))
    assert decided(publications).content == Text("收到，您是第12位")
    assert keys(publications) == ["gateway.reply.x", "handover", "signal.weir.handover.requested"]
    assert data_as(publications[1].event, Handover).reason == "no_rule"


async def test_of_a_batch_each_gets_a_place_of_their_own_and_the_store_is_asked_once(asking: Machine) -> None:
    events = [asked(Content="在吗", cause=f"demo|o{n}|1", openid=f"o{n}") for n in range(4)]
    results = await asking.autoreply.handle(events)
    answers = [decided(list(result)).content for result in results]  # type: ignore[arg-type]
    assert answers == [Text(f"收到，您是第{n}位") for n in (1, 2, 3, 4)]
    assert asking.memory.asked == {"turns": 1, "write": 1}


async def test_an_account_without_a_default_hands_over_too(plain: Machine) -> None:
    publications = await plain.only(asked(Content="票在哪里取"))
    assert decided(publications).content is None
    assert "handover" in keys(publications)


async def test_who_waits_is_not_told_so_again_for_ten_minutes_and_every_question_is_handed_over(
    asking: Machine,
) -> None:
    assert await asking.answer(asked(Content="票在哪里取")) == "收到，您是第1位"
    publications = await asking.only(asked(Content="在吗", cause="demo|oA|2", after=30))
    assert decided(publications).content is None
    assert decided(publications).because.note == "waits for a person, and was told so lately"
    assert "handover" in keys(publications)
    assert await asking.answer(asked(Content="你好", cause="demo|oA|3", after=60)) == "好"
    assert await asking.answer(asked(Content="还在吗", cause="demo|oA|4", after=601)) == "收到，您是第1位"


async def test_a_new_question_after_the_conversation_is_acknowledged_anew(asking: Machine) -> None:
    assert await asking.answer(asked(Content="票在哪里取"))
    asking.people.queue.clear()  # taken, answered and closed
    assert await asking.answer(asked(Content="那停车呢", cause="demo|oA|2", after=90)) == "收到，您是第1位"


async def test_the_second_unanswered_turn_in_a_row_goes_to_a_person_whatever_the_default_says() -> None:
    machine = Machine(PLAIN + "default: {handover: false, reply: {type: text, content: 收到}}\n")
    assert keys(await machine.only(asked(Content="啊"))) == ["gateway.reply.x"]
    publications = await machine.only(asked(Content="喂", cause="demo|oA|2", after=5))
    assert data_as(publications[1].event, Handover).reason == "unanswered_twice"


async def test_an_answer_in_between_breaks_the_row() -> None:
    machine = Machine(PLAIN + "default: {handover: false, reply: {type: text, content: 收到}}\n")
    await machine.only(asked(Content="啊"))
    machine.memory.answered = {FOLLOWER}  # as history has it: a plain rule writes nothing here
    assert keys(await machine.only(asked(Content="喂", cause="demo|oA|2", after=5))) == ["gateway.reply.x"]
    machine.memory.answered = set()
    assert "handover" in keys(await machine.only(asked(Content="喂", cause="demo|oA|3", after=9)))


@pytest.mark.parametrize("content", ["人工", "转人工！", "我要人工客服", "Human"])
async def test_who_asks_for_a_person_gets_one_ahead_of_the_rules(asking: Machine, content: str) -> None:
    publications = await asking.only(asked(Content=content))
    assert data_as(publications[1].event, Handover).reason == "asked_for_a_person"


# -- what is known and remembered ----------------------------------------------------------------------------------


async def test_rules_see_tags_and_the_first_message() -> None:
    machine = Machine(KNOWING)
    machine.memory.known = {("demo", "oV"): Profile(frozenset(["vip"]))}
    machine.memory.wrote = {("demo", "oOld")}
    events = [
        asked(Content="你好", cause="1", openid="oV"),
        asked(Content="你好", cause="2", openid="oNew"),
        asked(Content="你好", cause="3", openid="oNew"),
        asked(Content="你好", cause="4", openid="oOld"),
    ]
    results = await machine.autoreply.handle(events)
    answers = [decided(list(result)).content for result in results]  # type: ignore[arg-type]
    assert answers == [Text("贵宾好"), Text("初次见面"), Text("好"), Text("好")]
    assert (
        machine.memory.asked["turns"] == machine.memory.asked["profiles"] == machine.memory.asked["wrote_before"] == 1
    )
    assert machine.memory.asked["write"] <= 1


async def test_the_first_message_stays_the_first_however_often_it_comes() -> None:
    machine = Machine(KNOWING)
    first = asked(Content="你好")
    assert await machine.answer(first) == "初次见面"
    machine.memory.wrote = {FOLLOWER}  # history has it by now
    assert await machine.answer(first) == "初次见面"
    assert await machine.answer(asked(Content="你好", cause="demo|oA|2")) == "好"


async def test_a_cooldown_holds_and_does_not_silence_the_event_that_used_it_up() -> None:
    machine = Machine(LIMITED)
    first = asked(Content="券")
    assert await machine.answer(first) == "券码"
    assert await machine.answer(asked(Content="券", cause="demo|oA|2", after=30)) == "稍后再领"
    for _ in range(2):  # WeChat's retry, and a redelivery
        assert await machine.answer(first) == "券码"
    assert await machine.answer(asked(Content="券", cause="demo|oA|3", after=61)) == "券码"
    assert machine.memory.stored[FOLLOWER]["fired"][0]["ever"] == 2


async def test_a_redelivery_counts_nothing_twice_and_leads_to_the_same_ids(asking: Machine) -> None:
    event = asked(Content="票在哪里取")
    once, twice = await asking.only(event), await asking.only(event)
    assert [one.event.id for one in once] == [one.event.id for one in twice]
    assert decided(once).content == decided(twice).content == Text("收到，您是第1位")
    assert len(asking.memory.stored[FOLLOWER]["unanswered"]) == 1


async def test_two_events_of_one_follower_in_a_batch_see_each_other() -> None:
    machine = Machine(LIMITED)
    results = await machine.autoreply.handle([asked(Content="券"), asked(Content="券", cause="demo|oA|2")])
    assert [decided(list(result)).content for result in results] == [Text("券码"), Text("稍后再领")]  # type: ignore[arg-type]


async def test_a_turn_that_somebody_else_changed_is_decided_anew() -> None:
    machine = Machine(LIMITED)
    machine.memory.interfere = [Turn(FOLLOWER).fire(["coupon"], NOW, "2026-05-04")]
    assert await machine.answer(asked(Content="券", after=5)) == "稍后再领"
    assert machine.memory.stored[FOLLOWER]["fired"][0]["ever"] == 1


# -- people --------------------------------------------------------------------------------------------------------


async def test_in_a_conversation_the_machine_is_silent_and_the_person_gets_the_message(asking: Machine) -> None:
    asking.people.talking = asking.people.just_taken = {FOLLOWER}
    publications = await asking.only(asked(Content="你好"))
    assert decided(publications).content is None
    assert decided(publications).because.note == "in a conversation with a person"
    assert keys(publications) == ["gateway.reply.x", "handover"]
    assert data_as(publications[1].event, Handover) == Handover(reason="in_conversation", text="你好")
    assert not asking.people.queue
    asking.memory.away = True
    assert await asking.answer(asked(Content="你好", cause="demo|oA|2")) is None


async def test_whose_conversation_ended_a_moment_ago_is_answered(asking: Machine) -> None:
    asking.people.talking = {FOLLOWER}
    assert await asking.answer(asked(Content="你好")) == "好"


async def test_who_waited_until_a_moment_ago_is_looked_up_once_more(asking: Machine) -> None:
    asking.people.queue = [FOLLOWER]
    asking.people.just_taken = {FOLLOWER}
    assert await asking.answer(asked(Content="你好")) is None
    asking.people.just_taken = set()
    assert await asking.answer(asked(Content="你好", cause="demo|oA|2")) == "好"
    assert asking.people.asked == 2


# -- without MongoDB -----------------------------------------------------------------------------------------------


async def test_without_mongodb_plain_rules_answer_and_questions_are_handed_over(asking: Machine) -> None:
    asking.memory.away = True
    events = [asked(Content="你好"), asked(Content="票在哪里取", cause="demo|oB|1", openid="oB")]
    plain, question = await asking.autoreply.handle(events)
    assert decided(list(plain)).content == Text("好")  # type: ignore[arg-type]
    assert keys(list(question))[1] == "handover"  # type: ignore[arg-type]
    await asking.only(asked(Content="喂", cause="demo|oB|2", openid="oB"))
    assert asking.memory.asked["turns"] == 1  # it is left alone for a moment


async def test_without_mongodb_what_needs_to_know_the_follower_waits_on_the_bus() -> None:
    machine = Machine(LIMITED)
    machine.memory.away = True
    (result,) = await machine.autoreply.handle([asked(Content="券")])
    assert isinstance(result, Later)


async def test_questions_of_the_faq_are_counted_as_answered_or_handed_over() -> None:
    machine = Machine(
        "version: 2\nfaq:\n  - id: parking\n    questions: [停车场在哪里, 停车费多少钱]\n"
        "    answer: {type: text, content: 东门}\n  - {id: ticket, questions: [门票多少钱], answer: {type: text, content: 两百}}\n"
    )
    results = ("answered", "handed_over")
    before = [metrics.faq_answers.labels(result)._value.get() for result in results]
    answered = await machine.only(asked(Content="请问停车场在哪里呀"))
    handed_over = await machine.only(asked(Content="停在附近的商场划算吗", cause="demo|oA|2"))
    assert any(data_as(one.event, Decision).because.rule == "faq:parking" for one in answered if one.key != "handover")
    (order,) = [data_as(one.event, Handover) for one in handed_over if one.event.type == orders.HANDOVER]
    assert [candidate.faq for candidate in order.candidates] == ["parking"]
    after = [metrics.faq_answers.labels(result)._value.get() for result in results]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1]
