"""`weir redrive` on a real RabbitMQ: dead letters are counted, shown, and sent round again once."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from chassis.fate import Fate
from chassis.publisher import Publisher
from contracts import topology
from contracts.envelope import Event, decode, encode
from contracts.errors import Reject
from tests.integration.test_bus import Stage
from tests.unit.contracts.test_envelope import event
from weir.cli import main

Capture = pytest.CaptureFixture[str]
QUEUE = topology.COURIER_BULK  # nothing is bound to it that the test does not publish


@pytest.fixture(autouse=True)
def addresses(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_AMQP_URL", amqp_url)
    monkeypatch.setenv("WEIR_MONGODB_URL", "mongodb://127.0.0.1:9/")


def on(url: str, work: Any) -> Any:
    """Run work on a bus of its own, and close it."""

    async def run() -> Any:
        stage = await Stage(url).start()
        try:
            return await work(stage)
        finally:
            await stage.close()

    coroutine: Coroutine[Any, Any, Any] = run()
    return asyncio.run(coroutine)


def dead(url: str, count: int, reason: str = "odd", **changes: Any) -> None:
    async def work(stage: Stage) -> None:
        fate = Fate(stage.bus, Publisher(stage.bus), QUEUE, "handler")
        for number in range(count):
            await fate.meet(event(id=f"{reason}-{number}", **changes), Reject(reason, "no good"))

    on(url, work)


def waiting(url: str, queue: str) -> list[Event]:
    """All that is in a queue, left there."""

    async def work(stage: Stage) -> list[Event]:
        found: list[Event] = []
        while delivery := await stage.bus.fetch(queue):
            found += decode(delivery.body)
        return found

    events: list[Event] = on(url, work)
    return events


def test_counts_of_all_queues(amqp_url: str, capsys: Capture) -> None:
    dead(amqp_url, 3)
    assert main(["redrive", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts == {name: 3 if name == QUEUE.name else 0 for name in topology.BY_NAME}
    assert main(["redrive"]) == 0
    assert "courier.bulk                3 dead" in capsys.readouterr().out


def test_looking_shows_why_and_changes_nothing(amqp_url: str, capsys: Capture) -> None:
    dead(amqp_url, 2, attempt=2, firstfailed="2026-09-01T12:00:00+00:00")
    for _ in range(2):
        assert main(["redrive", QUEUE.name]) == 0
        shown = capsys.readouterr().out
        assert shown.count("2026-09-01T12:00:00+00:00  odd ") == 2
        assert "wechat.message.text  (3 attempts) no good" in shown
        assert "0 sent round again, 2 left; add --yes" in shown
    assert main(["redrive", QUEUE.name, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["ids"] for row in rows] == [["odd-0"], ["odd-1"]]
    assert rows[0]["handler"] == "handler"
    assert "Reject" in rows[0]["traceback"]
    assert len(waiting(amqp_url, QUEUE.dead)) == 2
    assert waiting(amqp_url, QUEUE.name) == []


def test_sent_round_again_they_start_anew_with_their_ids(amqp_url: str, capsys: Capture) -> None:
    dead(amqp_url, 5, attempt=3, firstfailed="2026-09-01T12:00:00+00:00", replyto="gateway.reply.gone")
    assert main(["redrive", QUEUE.name, "--yes"]) == 0
    assert "5 sent round again, 0 left" in capsys.readouterr().out
    back = waiting(amqp_url, QUEUE.name)
    assert [item.id for item in back] == [f"odd-{number}" for number in range(5)]
    assert {(item.attempt, item.firstfailed, item.replyto, item.deadline) for item in back} == {(0, "", "", None)}
    assert waiting(amqp_url, QUEUE.dead) == []


def test_only_those_of_a_reason_and_only_so_many(amqp_url: str, capsys: Capture) -> None:
    dead(amqp_url, 3, "odd")
    dead(amqp_url, 3, "busy")
    assert main(["redrive", QUEUE.name, "--yes", "--reason", "busy", "--limit", "2"]) == 0
    assert "2 sent round again, 4 left" in capsys.readouterr().out
    assert [item.id for item in waiting(amqp_url, QUEUE.name)] == ["busy-0", "busy-1"]
    assert {item.id for item in waiting(amqp_url, QUEUE.dead)} == {"odd-0", "odd-1", "odd-2", "busy-2"}


def test_what_the_broker_gave_up_can_be_chosen_too(amqp_url: str, capsys: Capture) -> None:
    async def work(stage: Stage) -> None:
        body = b"[" + encode(event(id="broker")) + b"]"
        await stage.bus.publish(topology.DEAD, QUEUE.dead, body)

    on(amqp_url, work)
    assert main(["redrive", QUEUE.name, "--yes", "--reason", "delivery_limit"]) == 0
    assert "1 sent round again" in capsys.readouterr().out


def test_without_an_answer_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("WEIR_AMQP_URL", "amqp://weir:hunter2@127.0.0.1:9/")
    assert main(["redrive"]) == 1
    shown = capsys.readouterr().err
    assert "RabbitMQ does not answer: is Weir running?" in shown
    assert "hunter2" not in shown
    assert "Traceback" not in shown
