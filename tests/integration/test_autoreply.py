"""Autoreply and the gateway together, as they run, on a real RabbitMQ and MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis.amqp import Bus
from chassis.consumer import Consumer, Result
from chassis.lifecycle import Process
from chassis.publisher import Publisher
from chassis.settings import Settings
from contracts import facts, topology
from contracts.envelope import Event, data_as
from services.autoreply.app import build
from services.gateway.triagefile import POLL_SECONDS
from tests.integration.gateway_stage import Gateway, WeChat, event, put_account, start, stop, text, until

RULES = """\
version: 1
rules:
  - {id: hello, when: {text: {exact: ["你好"]}}, reply: {type: text, content: "%s"}}
  - {id: hours, when: {click: ["HOURS"]}, reply: {type: text, content: 九点开门}}
  - {id: welcome, when: {subscribe: true}, reply: {type: text, content: 欢迎}}
  - {id: card, when: {text: {exact: ["图文"]}}, reply: {type: news, articles: [{title: 新闻, url: "https://example.org/"}]}}
default: {reply: {type: text, content: 收到}}
"""


class Recorder:
    """History's place: remembers every fact."""

    def __init__(self, url: str) -> None:
        self.bus = Bus(url, "recorder")
        self.facts: list[Event] = []
        self.consumer = Consumer(self.bus, Publisher(self.bus), topology.HISTORY, self._remember)

    async def _remember(self, events: list[Event]) -> list[Result]:
        self.facts += events
        return [[] for _ in events]

    async def start(self) -> None:
        await self.bus.start()
        await self.consumer.start()
        await asyncio.wait_for(self.bus.wait_ready(), 30)

    async def close(self) -> None:
        await self.bus.stop_consuming()
        await self.consumer.drain()
        await self.bus.close()

    def sent(self) -> list[Event]:
        return [item for item in self.facts if item.type == facts.REPLY_SENT]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules" / "demo.yaml"
    path.parent.mkdir()
    path.write_text(RULES % "你也好", encoding="utf-8")
    return path


@pytest.fixture
async def recorder(amqp_url: str) -> AsyncIterator[Recorder]:
    made = Recorder(amqp_url)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def wechat(
    amqp_url: str, mongo_url: str, mongo_db: str, tmp_path: Path, rules: Path, recorder: Recorder
) -> AsyncIterator[WeChat]:
    await put_account(mongo_url, mongo_db)
    gateway = await Gateway.run(amqp_url, mongo_url, mongo_db, tmp_path)
    autoreply: Process = await build(
        Settings(amqp_url=amqp_url, mongodb_url=mongo_url, mongodb_database=mongo_db, rules_dir=rules.parent)
    )
    tasks = await start(autoreply)
    await asyncio.wait_for(autoreply.bus.wait_ready(), 30)
    yield WeChat(gateway)
    await stop(autoreply, tasks)
    await gateway.close()


async def test_rules_answer_and_history_knows_which(wechat: WeChat, recorder: Recorder) -> None:
    answers = [
        await wechat.push(text(" 你好 ")),
        await wechat.push(text("别的")),
        await wechat.push(event("CLICK", EventKey="HOURS")),
        await wechat.push(event("subscribe", EventKey="")),
    ]
    assert [answer.text for answer in answers] == ["你也好", "收到", "九点开门", "欢迎"]
    assert max(answer.seconds for answer in answers) < 1
    assert (await wechat.push(event("CLICK", EventKey="NONE"))).body == b"success"
    assert "新闻" in (await wechat.push(text("图文"))).body.decode()
    await until(lambda: len(recorder.sent()) == 5)
    because = [data_as(item, facts.ReplySent).because for item in recorder.sent()]
    assert [reason.rule for reason in because] == ["hello", "default", "hours", "welcome", "card"]
    assert len({reason.rules_version for reason in because}) == 1
    assert all(item.cause in {fact.id for fact in recorder.facts} for item in recorder.sent())


async def test_rules_change_while_it_runs_and_a_bad_file_changes_nothing(wechat: WeChat, rules: Path) -> None:
    assert (await wechat.push(text("你好"))).text == "你也好"
    rules.write_text("version: 1\nrules: &a [*a]\n", encoding="utf-8")
    await asyncio.sleep(2 * POLL_SECONDS + 0.2)  # two looks at the file: nothing else tells that nothing happens
    assert (await wechat.push(text("你好"))).text == "你也好"
    rules.write_text(RULES % "新的回答", encoding="utf-8")
    async with asyncio.timeout(10):
        while (await wechat.push(text("你好"))).text != "新的回答":
            await asyncio.sleep(0.1)


def told(recorder: Recorder) -> list[Event]:
    """Everything but that the rule file was published."""
    return [item for item in recorder.facts if item.type != facts.RULES_PUBLISHED]


async def test_a_crowd_is_answered_each_with_its_own(wechat: WeChat, recorder: Recorder) -> None:
    async def one(number: int) -> tuple[str, str]:
        word = "你好" if number % 2 else f"第 {number} 个"
        answer = await wechat.push(text(word, openid=f"oFollowerNumber{number:014d}"))
        return word, answer.text

    said = await asyncio.gather(*(one(number) for number in range(300)))
    assert all(answer == ("你也好" if word == "你好" else "收到") for word, answer in said)
    # A message and its answer, and for every other one the fact that a person is to see to it.
    await until(lambda: len(told(recorder)) == 750, 30)
    assert len({item.id for item in told(recorder)}) == 750
    assert sum(item.type == facts.HANDOVER_REQUESTED for item in recorder.facts) == 150
