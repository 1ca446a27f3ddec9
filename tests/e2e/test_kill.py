"""Any process may be killed at any time: nothing accepted is lost, nothing is answered twice, everything drains.

CHAOS_CALLBACKS sets the size of each crowd, 1,000 unless told:
CHAOS_CALLBACKS=5000 make test ARGS="tests/e2e/test_kill.py -s"
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from conftest import RULES, Registry
from crowd import Checker, Crowd, Verdict, all_ready
from running import RunningWeir
from wechat import Client, until

CALLBACKS = int(os.environ.get("CHAOS_CALLBACKS", "1000"))
OUTAGE = 20.0
"""Seconds for which RabbitMQ is away."""
PER_SECOND = max(25, CALLBACKS // 25)
HELD = 150
"""Callbacks open when the gateway dies that holds them."""
ACCOUNT = "crowd"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """What each case found, printed at the end (pytest -s shows it)."""
    rows: list[str] = []
    yield rows
    print("\n" + "\n".join(rows))


@pytest.fixture
async def crowd(weir: RunningWeir, client: Client, registry: Registry) -> AsyncIterator[Crowd]:
    """A fresh crowd of the account `crowd`, which has a lane of its own for contest entries."""
    await registry.add(client, ACCOUNT, "plain")
    triage = weir.home / "triage.yaml"
    if ACCOUNT not in triage.read_text(encoding="utf-8"):
        (weir.home / "rules" / f"{ACCOUNT}.yaml").write_text(RULES % ACCOUNT + ENTRY_RULE, encoding="utf-8")
        with triage.open("a", encoding="utf-8") as file:
            file.write(f'  {ACCOUNT}:\n    entry: ["^#抽奖"]\n')
        probe = await client.follower(ACCOUNT)
        await until(lambda: client.say(probe, "#抽奖"), lambda done: done["answer"] == "passive", 5)
    await all_ready(client)
    yield Crowd(client, ACCOUNT)
    for name in weir.children():
        weir.signal(name, signal.SIGCONT)
    await all_ready(client)


ENTRY_RULE = """\
  - id: entry
    when: {text: {contains: ["#抽奖"]}}
    reply: {type: text, content: "已参加"}
"""


async def verdict(weir: RunningWeir, crowd: Crowd, table: list[str], what: str, seconds: float = 90.0) -> Verdict:
    """Wait for the drain, check, and note the row."""
    checker = Checker(weir)
    began = time.monotonic()
    drained = await checker.drained(crowd, seconds)
    found = await checker.check(crowd)
    table.append(f"{found.row(what)} drain={time.monotonic() - began:.1f}s")
    print(table[-1])
    assert not found.wrong, table[-1]
    assert drained, f"not drained within {seconds} s: {table[-1]}"
    return found


async def restarted(weir: RunningWeir, client: Client, name: str, before: int) -> None:
    """Wait until the killed process is there again and everything is ready."""
    async with asyncio.timeout(60):
        while weir.children().get(name, {}).get("restarts", before) == before:
            await asyncio.sleep(0.05)
    await all_ready(client)


@pytest.mark.parametrize("name", ["edge", "autoreply", "history", "mongodb"])
async def test_kill_in_the_middle_of_a_crowd(
    weir: RunningWeir, client: Client, crowd: Crowd, table: list[str], name: str
) -> None:
    before = weir.children()[name]["restarts"]
    half = CALLBACKS // 2
    writing = asyncio.gather(crowd.write(half, 32), crowd.write(CALLBACKS - half, 32, "#抽奖 我要参加"))
    await crowd.reached(CALLBACKS // 3)
    weir.signal(name, signal.SIGKILL)
    assert len(crowd.done) < CALLBACKS - 50, "the crowd had ended before the kill"
    await writing
    await restarted(weir, client, name, before)
    found = await verdict(weir, crowd, table, f"kill -9 {name}")
    if name != "edge":
        assert found.accepted == found.sent


async def test_kill_the_gateway_while_it_holds_callbacks_open(
    weir: RunningWeir, client: Client, crowd: Crowd, table: list[str]
) -> None:
    """The answers come back to a gateway that is gone, while WeChat asks the next one for them: each is given once."""
    before = weir.children()["edge"]["restarts"]
    weir.signal("autoreply", signal.SIGSTOP)
    writing = asyncio.create_task(crowd.write(HELD, HELD))
    async with asyncio.timeout(20):
        while await client.counted("weir_gateway_pending_callbacks") < HELD:
            await asyncio.sleep(0.02)
    weir.signal("edge", signal.SIGKILL)
    async with asyncio.timeout(30):
        while weir.children()["edge"]["restarts"] == before:
            await asyncio.sleep(0.02)
    weir.signal("autoreply", signal.SIGCONT)
    await writing
    await all_ready(client)
    # How many of them the next gateway accepts is a matter of WeChat's three tries and of how soon it is there.
    await verdict(weir, crowd, table, f"kill -9 edge with {HELD} held open")


async def test_kill_the_courier_in_the_middle_of_its_sends(
    weir: RunningWeir, client: Client, crowd: Crowd, table: list[str]
) -> None:
    """Late answers leave through the API; some calls are under way when their courier dies."""
    before = weir.children()["courier"]["restarts"]
    count = min(CALLBACKS // 2, 1000)
    await client.control("PUT", "faults", {"account": ACCOUNT, "latency_ms": [100, 300]})
    weir.signal("autoreply", signal.SIGSTOP)
    await crowd.write(count, count)
    weir.signal("autoreply", signal.SIGCONT)
    assert {callback.answer for callback in crowd.done} == {"success"}
    async with asyncio.timeout(30):
        while await client.counted("weir_courier_sends_total", "courier", state="sent") < count / 4:
            await asyncio.sleep(0.02)
    weir.signal("courier", signal.SIGKILL)
    await restarted(weir, client, "courier", before)
    await client.control("DELETE", "faults")
    found = await verdict(weir, crowd, table, "kill -9 courier")
    assert found.passive == 0
    assert found.unknown <= 32, "no more are in doubt than the courier calls at a time"
    listed = await client.api("sends", state="unknown", account=ACCOUNT, limit="100")
    assert listed["count"] == found.unknown


async def test_rabbitmq_killed_and_away(weir: RunningWeir, client: Client, crowd: Crowd, table: list[str]) -> None:
    """kill -9, and for 20 s every connection is refused: no callback's 200 changes."""
    before = weir.children()["rabbitmq"]["restarts"]
    old = weir.pid("rabbitmq")
    writing = asyncio.create_task(crowd.write_steadily(PER_SECOND, OUTAGE + 4))
    await crowd.reached(PER_SECOND)
    weir.signal("rabbitmq", signal.SIGKILL)
    away = time.monotonic()
    async with asyncio.timeout(10):
        while weir.pid("rabbitmq") == old:
            await asyncio.sleep(0.02)
    weir.signal("rabbitmq", signal.SIGSTOP)  # the new one does not get as far as listening
    await asyncio.sleep(away + OUTAGE - time.monotonic())
    assert weir.journal() > 0
    weir.signal("rabbitmq", signal.SIGCONT)
    await writing
    await restarted(weir, client, "rabbitmq", before)
    found = await verdict(weir, crowd, table, "kill -9 rabbitmq, away for 20 s")
    assert found.accepted == found.sent
    steady(crowd, away, OUTAGE)


async def test_rabbitmq_frozen(weir: RunningWeir, crowd: Crowd, table: list[str]) -> None:
    """Connections stay open and nothing answers for 20 s."""
    writing = asyncio.create_task(crowd.write_steadily(PER_SECOND, OUTAGE + 4))
    await crowd.reached(PER_SECOND)
    weir.signal("rabbitmq", signal.SIGSTOP)
    away = time.monotonic()
    await asyncio.sleep(OUTAGE)
    assert weir.journal() > 0
    weir.signal("rabbitmq", signal.SIGCONT)
    await writing
    found = await verdict(weir, crowd, table, "SIGSTOP rabbitmq for 20 s")
    assert found.accepted == found.sent
    steady(crowd, away, OUTAGE)


async def test_mongodb_frozen(weir: RunningWeir, crowd: Crowd, table: list[str]) -> None:
    """The store is away for 10 s: callbacks and passive answers go on as if nothing were."""
    writing = asyncio.create_task(crowd.write_steadily(PER_SECOND, 14))
    await crowd.reached(PER_SECOND)
    weir.signal("mongodb", signal.SIGSTOP)
    away = time.monotonic()
    await asyncio.sleep(10)
    weir.signal("mongodb", signal.SIGCONT)
    await writing
    found = await verdict(weir, crowd, table, "SIGSTOP mongodb for 10 s")
    assert (found.accepted, found.passive) == (found.sent, found.sent)
    steady(crowd, away, 10)


def steady(crowd: Crowd, away: float, seconds: float) -> None:
    """Every callback was told 200 at its first try; from a second into the outage on, within 2 s."""
    assert {callback.tries for callback in crowd.done} == {1}
    assert max(callback.seconds for callback in crowd.done) < 5.0
    inside = [one.seconds for one in crowd.done if away + 1 < one.began < away + seconds]
    assert inside
    assert max(inside) < 2.0
