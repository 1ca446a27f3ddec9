"""From a follower's phone to rules, people and back: the whole way, with the sandbox as WeChat."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chassis.publisher import fact
from contracts import facts
from contracts.envelope import Event, raw
from services.agent.conversations import Conversations
from services.history.documents import original
from tests.integration.courier_stage import until
from tests.integration.turns_stage import Whole, whole

RULES = """\
version: 2
rules:
  - {id: hello, when: {text: {exact: ["你好"]}}, reply: {type: text, content: 你也好}}
  - id: three
    when: {text: {exact: ["三条"]}}
    continue: true
    replies: [{type: text, content: 第一条}, {type: text, content: 第二条}]
  - {id: more, when: {text: {prefix: ["三"]}}, reply: {type: text, content: 第三条}}
  - {id: join, when: {text: {exact: ["加入"]}}, tag: {add: [member]}, reply: {type: text, content: 好的}}
  - {id: leave, when: {text: {exact: ["退出"]}}, tag: {remove: [member]}, reply: {type: text, content: 再见}}
  - {id: member, when: {text: {exact: ["我是谁"]}, tags: {any: [member]}}, reply: {type: text, content: 会员}}
  - {id: guest, when: {text: {exact: ["我是谁"]}}, reply: {type: text, content: 访客}}
  - {id: coupon, when: {text: {exact: ["券"]}}, limit: {ever: 1}, reply: {type: text, content: 券码}}
  - {id: had, when: {text: {exact: ["券"]}}, reply: {type: text, content: 已领过}}
default: {reply: {type: text, content: "收到，您是第{{ position }}位"}, handover: {skill: 票务}}
"""


@pytest.fixture
async def weir(tmp_path: Path, amqp_url: str, mongo_url: str, mongo_db: str) -> AsyncIterator[Whole]:
    async with whole(tmp_path, amqp_url, mongo_url, mongo_db, RULES) as running:
        yield running


async def shown(weir: Whole, openid: str, texts: list[str]) -> None:
    """Wait until the phone shows these, in this order, and nothing else."""

    async def there() -> bool:
        return len(await weir.shown(openid)) >= len(texts)

    await until(there)
    assert await weir.shown(openid) == texts


async def inbound(weir: Whole, openid: str, text: str) -> dict[str, Any]:
    (found,) = await weir.found("messages", {"openid": openid, "direction": "in", "text": text})
    return found


def as_event(message: dict[str, Any]) -> Event:
    """An event as it was, for a redelivery: the gateway that waited for its answer is gone."""
    return Event(
        id=message["_id"],
        source="/accounts/demo",
        type=f"wechat.message.{message['kind']}",
        subject=message["openid"],
        time=message["at"],
        account="demo",
        lane="question",
        replyto="gateway.reply.gone",
        deadline=message["at"] + timedelta(seconds=4.5),
        data=raw({"ToUserName": "gh_123456789abc", **original(message)}),
    )


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    await until(condition, 10)


async def test_several_answers_arrive_in_order_each_with_its_rule_in_history(weir: Whole) -> None:
    openid = await weir.follower()
    await asyncio.gather(*(weir.says(one, "三条") for one in (openid, *await weir.sandbox.followers(5))))
    await shown(weir, openid, ["第一条", "第二条", "第三条"])
    out = await weir.found("messages", {"openid": openid, "direction": "out"}, 3)
    because = {
        one["_id"][-3:]: (one["because"]["rule"], one["via"], bool(one["because"]["rules_version"])) for one in out
    }
    assert because == {
        "#r0": ("three", "passive", True),
        "#r1": ("three", "custom", True),
        "#r2": ("more", "custom", True),
    }
    # What was kept for the case of a kill comes after five seconds, and is known by its id: nothing is sent again.
    assert len({one["cause"] for one in out}) == 1


async def test_a_question_opens_one_conversation_however_often_it_is_delivered(weir: Whole) -> None:
    openid = await weir.follower()
    await weir.says(openid, "票在哪里取")
    await weir.says(openid, "在吗")
    await weir.says(openid, "你好")
    await shown(weir, openid, ["收到，您是第1位", "你也好"])
    event = as_event(await inbound(weir, openid, "票在哪里取"))
    for _ in range(3):
        await weir.publisher.publish(fact(event))
    await until_true(lambda: questions(weir, openid, 2))
    await weir.says(openid, "退款")  # comes after the redeliveries in the same queue
    await until_true(lambda: questions(weir, openid, 3))
    (conversation,) = await weir.database.conversations.find({}).to_list(None)
    assert [one["text"] for one in conversation["questions"]] == ["票在哪里取", "在吗", "退款"]
    assert (conversation["state"], conversation["skill"], conversation["unread"]) == ("waiting", "票务", 3)
    assert len(await weir.found("facts", {"type": facts.CONVERSATION_OPENED})) == 1
    assert len(await weir.found("facts", {"type": facts.HANDOVER_REQUESTED}, 3)) == 3
    assert len(await weir.shown(openid)) == 2


async def questions(weir: Whole, openid: str, count: int) -> bool:
    found = await weir.database.conversations.find_one({"openid": openid})
    return found is not None and len(found["questions"]) >= count


async def test_with_a_person_the_machine_is_silent_and_answers_again_when_they_are_done(weir: Whole) -> None:
    first, openid = await weir.sandbox.followers(2)
    await weir.says(first, "在吗")
    await weir.says(openid, "人工")
    await shown(weir, first, ["收到，您是第1位"])
    (conversation,) = await weir.found("conversations", {"openid": openid})
    assert conversation["reason"] == "asked_for_a_person"
    people = Conversations(weir.database)
    await people.take(conversation["_id"], "lan", conversation["revision"])
    # At once, while neither gateway nor autoreply can know of it: the machine looks once more before it answers.
    await weir.says(openid, "你好")
    await until_true(lambda: questions(weir, openid, 2))

    async def at_the_desk() -> bool:
        await weir.says(openid, "你好")
        stored = await weir.database.messages.find_one({"openid": openid, "lane": "desk"})
        return stored is not None

    await until_true(at_the_desk)
    before = len((await weir.database.conversations.find_one({"openid": openid}))["questions"])
    await weir.says(openid, "还在吗")
    await until_true(lambda: questions(weir, openid, before + 1))
    assert "你也好" not in await weir.shown(openid)
    await people.close(conversation["_id"], "lan", None, anybodys=False)
    # Said when the conversation had just ended: the desk gives it back to the machine.
    await weir.says(openid, "你好")
    await until_true(lambda: says(weir, openid, "你也好"))
    assert await weir.database.conversations.count_documents({"openid": openid}) == 1


async def says(weir: Whole, openid: str, text: str) -> bool:
    return text in await weir.shown(openid)


async def test_tags_and_limits_hold_from_one_message_to_the_next(weir: Whole) -> None:
    openid = await weir.follower()
    await weir.says(openid, "我是谁")
    await weir.says(openid, "加入")
    await weir.found("followers", {"openid": openid, "tags": "member"})
    await weir.says(openid, "我是谁")
    await shown(weir, openid, ["访客", "好的", "会员"])
    headers = {"Authorization": "Bearer " + weir.parts["history"].settings.admin_token}
    async with weir.http.get(f"{weir.url('history')}/api/followers/demo/{openid}", headers=headers) as response:
        assert (await response.json())["tags"] == ["member"]
    # A limit: once ever is once, and the message that used it up gets its own answer when it comes again.
    openid = await weir.follower()
    await weir.says(openid, "券")
    await weir.says(openid, "我是谁")  # or the next would be taken for a repetition
    await weir.says(openid, "券")
    await shown(weir, openid, ["券码", "访客", "已领过"])
    first = min(await weir.found("messages", {"openid": openid, "text": "券"}, 2), key=lambda one: str(one["_id"]))
    await weir.publisher.publish(fact(as_event(first)))
    await weir.says(openid, "你好")
    await shown(weir, openid, ["券码", "访客", "已领过", "你也好"])
    turn = await weir.database.turns.find_one({"openid": openid})
    assert [(one["rule"], one["ever"]) for one in turn["fired"]] == [("coupon", 1)]
